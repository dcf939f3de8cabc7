# %% [markdown]
# # A diffusers folder as the source model
#
# A folder of `UNet2DModel.save_pretrained` with its scheduler can be the source. Neither diffusers nor torch is needed.
# So that this example needs no download, it first trains a small U-Net on scikit-learn's digits and writes such a
# folder. If you have one, begin at "Read the folder". `--small` trains for a few steps only.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_digits

import tgdp_jax as tg
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.nets.unet import UNet
from tgdp_jax.train.optimiser import OptimiserConfig

SMALL = "--small" in sys.argv
folder = Path(tempfile.mkdtemp()) / "ddpm"
pixels, _ = load_digits(return_X_y=True)
images = (pixels.reshape(-1, 8, 8, 1) / 8.0 - 1.0).astype(np.float32)  # [N, 8, 8, 1] in [-1, 1]

# %% [markdown]
# ## Write a folder
#
# The process is the chain of 1,000 steps that DDPM uses, and the network sees its timesteps.

# %%
chain = tg.sde.DiscreteVP()
levels = 1 if SMALL else 2
unet = UNet(
    channels=(16, 32)[:levels],
    layers=1,
    down_types=("DownBlock2D", "AttnDownBlock2D")[-levels:],
    up_types=("AttnUpBlock2D", "UpBlock2D")[:levels],
    groups=8,
    mid_groups=8,
    out_channels=1,
)
net = DiscreteTime(unet, chain.num_steps)
optimiser = OptimiserConfig(steps=20 if SMALL else 2000, steps_per_launch=20, batch_size=64, learning_rate=2e-3)
fitted = tg.fit_denoiser(jax.random.key(0), net, chain, images, optimiser=optimiser)
tg.interop.save_unet(folder, tg.interop.DiffusersUNet(net, fitted.params, chain, "eps", (8, 8, 1)))
print("wrote", *sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# ## Read the folder
#
# The model is a score function in continuous time, and it brings its process.

# %%
loaded = tg.interop.load_unet(folder)
samples = tg.sample(jax.random.key(1), loaded.score(), loaded.sde, 16, (8, 8, 1), num_steps=10, clip=1.0)
print("samples", samples.shape, "from", float(samples.min()), "to", float(samples.max()))

# %% [markdown]
# ## Transfer from it
#
# `--pretrained` makes the folder the source of any method. Here the target is 50 digits with thicker strokes.

# %%
arguments = ["run", "digits", "--pretrained", folder, "--method", "lora", "--n-target", 50]
arguments += ["--out", folder.parent / "run"]
if SMALL:
    arguments += ["--rival.optimiser.steps", 10, "--rival.optimiser.steps-per-launch", 5, "--rival.folds", 2]
    arguments += ["--lora.learning-rates", 0.001, "--sampling.num", 64, "--sampling.steps", 5]
subprocess.run([sys.executable, "-m", "tgdp_jax", *map(str, arguments)], check=True)
print("the run and its report are in", folder.parent / "run")
