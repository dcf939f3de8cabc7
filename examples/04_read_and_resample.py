# %% [markdown]
# # Read, plot and resample a finished run
#
# A run folder is a model. It needs no training data and works from any directory. Changing how a run is sampled never
# trains it again. `--small` trains for a few steps only.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import tgdp_jax as tg

SMALL = "--small" in sys.argv
out = Path(tempfile.mkdtemp())
folder = out / "run"

# %% [markdown]
# ## Make a run
#
# Skip this cell if you have one, and set `folder` to it.

# %%
arguments = ["run", "gaussians", "--method", "tgdp", "--n-target", 100, "--out", folder]
if SMALL:
    arguments += ["--source.optimiser.steps", 100, "--sampling.num", 300, "--classifier.folds", 2]
    arguments += ["--classifier.optimiser.steps", 100, "--guidance.optimiser.steps", 100, "--guidance.folds", 2]
    arguments += ["--guidance.features", 32, 32]
subprocess.run([sys.executable, "-m", "tgdp_jax", *map(str, arguments)], check=True)

# %% [markdown]
# ## Read it

# %%
model = tg.load(folder)
for row, values in model.metrics.items():
    print(row, {name: round(value[0], 3) for name, value in values.items() if isinstance(value[0], float)})

# %% [markdown]
# ## Sample it in other ways
#
# The first samples are those of the run. Each call below changes one thing.

# %%
default = model.sample(1000).x
heun = model.sample(1000, solver="heun", steps=10, grid="quadratic").x
stronger = model.sample(1000, scale=1.5).x
other = model.sample(1000, seed=1).x
for name, x in {"default": default, "heun": heun, "scale 1.5": stronger, "seed 1": other}.items():
    print(f"{name:10} mean {np.round(x.mean(0), 3)}")
print("log-likelihood of the first samples", np.round(model.log_likelihood(default[:3]), 2))

# %% [markdown]
# ## Its parts
#
# The score and the process are values like any other.

# %%
print("score at the origin", model.score(jnp.zeros((1, 2)), jnp.full((1,), 0.5), None))
print("process", model.sde)

# %% [markdown]
# ## Plot it
#
# A notebook shows the picture if it is the last value of a cell.

# %%
picture = model.plot()
picture.save(out / "samples.png")
picture  # noqa: B018 (a notebook shows it)

# %% [markdown]
# ## From the command line
#
# The same options change one thing at a time, in one line. The file says under `about` what differs from the run.

# %%
more = ["sample", folder, "--num", 500, "--solver", "heun", "--steps", 10, "--out", out / "more.npz"]
subprocess.run([sys.executable, "-m", "tgdp_jax", *map(str, more)], check=True)
drawn = np.load(out / "more.npz")
print("x", drawn["x"].shape, "about", drawn["about"])
