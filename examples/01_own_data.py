# %% [markdown]
# # Transfer to two-dimensional data of your own
#
# You have many source rows and few target rows. This example asks whether transfer fits them, learns TGDP, and checks
# the samples with target rows that it did not learn from. `--small` trains for a few steps only.

# %%
import dataclasses
import sys

import matplotlib.pyplot as plt
import numpy as np

import tgdp_jax as tg
from tgdp_jax.metrics.two_sample import sliced_wasserstein2

SMALL = "--small" in sys.argv

# %% [markdown]
# ## The data
#
# The source is a ring. The target is the same ring with most of its mass on the right. Replace both with your own
# arrays of shape [N, 2]; they need no scaling.

# %%
rng = np.random.default_rng(0)


def ring(num, concentration):
    angle = rng.vonmises(0.0, concentration, num)
    radius = 10 + rng.normal(0, 0.8, num)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)


source, target, unseen = ring(5000, 0.0), ring(100, 1.5), ring(2000, 1.5)

# %% [markdown]
# ## Does transfer fit?

# %%
diagnosis = tg.diagnose({"x": source}, {"x": target})
print(diagnosis)

# %% [markdown]
# ## Learn and sample
#
# The settings are those of the command line. Leave them out to train at full length.

# %%
settings = tg.TrainingConfig()
if SMALL:

    def short(section):
        return dataclasses.replace(section, optimiser=dataclasses.replace(section.optimiser, steps=100))

    settings = dataclasses.replace(
        settings,
        source=short(settings.source),
        classifier=dataclasses.replace(short(settings.classifier), folds=2),
        guidance=dataclasses.replace(short(settings.guidance), folds=2, features=(32, 32)),
    )
model = tg.transfer.run("tgdp", source, target, seed=0, settings=settings)
samples = model.sample(2000).x

# %% [markdown]
# ## Did it work?
#
# The samples should be closer to unseen target rows than the source is.

# %%
print(f"sliced W2 to unseen target rows: source {sliced_wasserstein2(source, unseen):.3f}")
print(f"                                 samples {sliced_wasserstein2(samples, unseen):.3f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
for axis, (title, rows) in zip(axes, {"source": source, "target": target, "samples": samples}.items(), strict=True):
    axis.scatter(*rows[:2000].T, s=2)
    axis.set(title=title, aspect="equal")
figure.savefig("own_data.png", dpi=150)
