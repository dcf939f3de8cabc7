# %% [markdown]
# # Compare methods as a table
#
# A comparison trains each method at each number of target rows and each seed, and shares the source model between them.
# Here the problem is the Gaussian mixture, where the truth is known; for rows of your own, take `ArraysConfig`.
# `--small` trains for a few steps only.

# %%
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import tgdp_jax as tg
from tgdp_jax.data.gaussians import GaussiansConfig

SMALL = "--small" in sys.argv
folder = Path(tempfile.mkdtemp()) / "compare"

# %% [markdown]
# ## What is compared

# %%
config = tg.CompareConfig(
    problem=GaussiansConfig(dim=2),
    methods=("lora", "source", "kde") if SMALL else ("lora", "finetune", "source", "kde"),
    n_targets=(20,) if SMALL else (10, 100),
    seeds=1 if SMALL else 3,
)
if SMALL:

    def short(section, **changes):
        return dataclasses.replace(section, optimiser=dataclasses.replace(section.optimiser, steps=50), **changes)

    config = dataclasses.replace(
        config,
        source=short(config.source),
        rival=short(config.rival, folds=2, learning_rates=(1e-3,)),
        lora=dataclasses.replace(config.lora, learning_rates=(1e-3,)),
        sampling=dataclasses.replace(config.sampling, num=200),
    )

# %% [markdown]
# ## Run it
#
# The call prints a table and writes `metrics.json` and `report.html`. If it is cut off, the same call continues it.

# %%
tg.compare(config, folder)

# %% [markdown]
# ## The numbers
#
# The report ranks the methods and says what the numbers recommend. The same numbers are in `metrics.json`.

# %%
numbers = json.loads((folder / "metrics.json").read_text())
print(list(numbers))
print("open", folder / "report.html", "in a browser")
