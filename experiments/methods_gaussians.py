# ruff: noqa: E501  (the tables)
"""Every transfer method on Gaussian mixtures, where the truth is known: which method for which n and dimension?

    python -m experiments.methods_gaussians                d = 2 and 32; n = 10, 100, 1000; seeds 0-2
    python -m experiments.methods_gaussians --dims 2       one dimension alone
    python -m experiments.methods_gaussians --size tiny    in minutes, to see that it works

The problem is that of `experiments.gaussians`. Networks and lengths are smaller than the default, so that all
fits two CPU cores in two hours; all seeds share one source model. Each study goes on where it was cut off;
results go to runs/ (--out), with a page that ranks the methods and says what the numbers recommend.

Measured with jax 0.10.2 on two CPU cores that had other work too; 5,000 samples. Sliced W2 in units of the data, path KL
and NLL in nats, the memorisation ratio (memor.) 1 where samples are as far from the nearest of the n rows as fresh data are (below: nearer),
"trained" the numbers that the target changes. `gan`, `kde` and `sir` have no score, and so no path KL. The held-out AUC of
the domain classifier is 0.94 to 0.96 in d = 2.

d = 2, mean and standard deviation of seeds 0-2; 34 minutes of processor time

         n  method                      sliced W2       path KL         NLL   memor.  train s  sample s  trained
        10  tgdp                     0.181 ±0.063  0.489 ±0.086  1.77 ±0.09     0.69       46      1.16   256168
        10  discriminator_guidance   0.194 ±0.077  0.708 ±0.270  2.26 ±0.35     0.70       12      0.52    52998
        10  finetune                 0.171 ±0.028  0.501 ±0.017  1.74 ±0.11     1.01       11      0.08    17666
        10  lora                     0.192 ±0.014  0.707 ±0.302  2.61 ±1.05     0.92       11      0.07     1820
        10  dreambooth               0.207 ±0.030  0.790 ±0.079  2.26 ±0.41     1.13       16      0.08    17794
        10  textual_inversion        0.187 ±0.027  0.496 ±0.104  1.62 ±0.11     1.22       14      0.07      128
        10  domain_guidance          0.177 ±0.027  0.565 ±0.021  1.93 ±0.16     1.01       11      0.14    17666
        10  self_supervised          0.176 ±0.032  0.557 ±0.041  1.73 ±0.24     1.04       17      0.07    17666
        10  multimodal               0.181 ±0.059  0.681 ±0.179  2.03 ±0.57     0.80       70      0.91   233602
        10  gan                      0.174 ±0.050             -           -     0.94       31      0.02    18115
        10  scratch                  0.172 ±0.029  0.516 ±0.136  1.63 ±0.19     1.03        3      0.06    17666
        10  kde                      0.167 ±0.047             -           -     0.89        0      0.04        0
        10  sir                      0.310 ±0.215             -           -     0.95       12      0.01    97174
        10  source                   0.340 ±0.007  3.029 ±0.010  4.23 ±0.07     2.28        6      0.07        0
        10  fresh data               0.015 ±0.004  0.000 ±0.000  1.19 ±0.06     1.00        -         -        0

       100  tgdp                     0.128 ±0.104  0.149 ±0.059  1.35 ±0.11     0.88       39      0.61   119250
       100  discriminator_guidance   0.137 ±0.098  0.241 ±0.120  1.60 ±0.13     0.83       11      0.27    26499
       100  finetune                 0.128 ±0.087  0.238 ±0.173  1.59 ±0.29     0.86       12      0.07    17666
       100  lora                     0.128 ±0.088  0.204 ±0.156  1.42 ±0.13     0.86       11      0.07     1820
       100  dreambooth               0.119 ±0.086  0.173 ±0.111  1.42 ±0.14     0.90       18      0.07    17794
       100  textual_inversion        0.150 ±0.020  0.327 ±0.028  1.45 ±0.06     1.25       12      0.07      128
       100  domain_guidance          0.147 ±0.091  0.303 ±0.237  1.74 ±0.40     0.84       12      0.13    17666
       100  self_supervised          0.123 ±0.084  0.212 ±0.145  1.53 ±0.21     0.86       18      0.08    17666
       100  multimodal               0.126 ±0.092  0.213 ±0.118  1.42 ±0.11     0.85       58      0.55   233602
       100  gan                      0.147 ±0.079             -           -     1.02       29      0.02    18115
       100  scratch                  0.124 ±0.100  0.240 ±0.185  1.49 ±0.19     0.84        5      0.07    17666
       100  kde                      0.119 ±0.097             -           -     0.93        0      0.03        0
       100  sir                      0.176 ±0.152             -           -     1.06       10      0.01    39753
       100  source                   0.340 ±0.007  3.029 ±0.010  4.23 ±0.07     3.95        6      0.07        0
       100  fresh data               0.015 ±0.004  0.000 ±0.000  1.19 ±0.06     1.01        -         -        0

      1000  tgdp                     0.035 ±0.014  0.035 ±0.006  1.21 ±0.07     0.98       48      0.72    66249
      1000  discriminator_guidance   0.042 ±0.005  0.100 ±0.010  1.28 ±0.06     0.95       15      0.34    26499
      1000  finetune                 0.039 ±0.015  0.027 ±0.003  1.23 ±0.07     0.98       20      0.09    17666
      1000  lora                     0.041 ±0.009  0.029 ±0.009  1.22 ±0.06     0.97       17      0.09     1820
      1000  dreambooth               0.038 ±0.009  0.043 ±0.001  1.25 ±0.07     1.01       25      0.11    17794
      1000  textual_inversion        0.132 ±0.007  0.305 ±0.005  1.43 ±0.04     1.26       16      0.09      128
      1000  domain_guidance          0.061 ±0.012  0.055 ±0.002  1.29 ±0.09     0.93       20      0.20    17666
      1000  self_supervised          0.038 ±0.013  0.024 ±0.002  1.23 ±0.07     0.97       22      0.10    17666
      1000  multimodal               0.030 ±0.017  0.019 ±0.003  1.21 ±0.06     0.99       83      0.68   233602
      1000  gan                      0.029 ±0.008             -           -     1.00       40      0.02    18115
      1000  scratch                  0.034 ±0.010  0.035 ±0.005  1.24 ±0.07     0.96        8      0.08    17666
      1000  kde                      0.034 ±0.011             -           -     1.03        0      0.02        0
      1000  sir                      0.125 ±0.030             -           -     1.17       14      0.01    13251
      1000  source                   0.340 ±0.007  3.029 ±0.010  4.23 ±0.07     3.69        6      0.08        0
      1000  fresh data               0.015 ±0.004  0.000 ±0.000  1.19 ±0.06     1.00        -         -        0

d = 32, mean and standard deviation of seeds 0-2; 25 minutes of processor time a seed

         n  method                      sliced W2       path KL         NLL   memor.  train s  sample s  trained
        10  tgdp                     0.040 ±0.004  3.015 ±0.172 12.37 ±0.24     1.02       66      1.35   345642
        10  discriminator_guidance   0.110 ±0.004  4.238 ±0.378 16.08 ±0.49     0.84       25      1.46    64518
        10  finetune                 0.059 ±0.003  4.091 ±0.304 12.71 ±0.30     0.92       32      0.48    25376
        10  lora                     0.087 ±0.004  8.356 ±1.090 18.52 ±3.79     0.95       27      0.54     2320
        10  dreambooth               0.048 ±0.003  3.322 ±0.176 12.42 ±0.17     0.97       33      0.42    25504
        10  textual_inversion        0.036 ±0.003  2.015 ±0.077 11.28 ±0.13     1.01       28      0.73      128
        10  domain_guidance          0.063 ±0.003  4.607 ±0.313 13.03 ±0.32     0.91       32      0.78    25376
        10  self_supervised          0.087 ±0.009  8.719 ±1.085 15.68 ±0.79     0.88       26      0.26    25376
        10  multimodal               0.114 ±0.006 16.153 ±1.090 24.76 ±0.88     0.83      136      2.31   241312
        10  gan                      0.125 ±0.003             -           -     0.80       68      0.05    21985
        10  scratch                  0.089 ±0.004  9.162 ±0.801 17.23 ±1.37     0.91        6      0.11    25376
        10  kde                      0.208 ±0.024             -           -     1.03        0      0.18        0
        10  sir                      0.040 ±0.005             -           -     1.03       10      0.03   152088
        10  source                   0.041 ±0.004  3.085 ±0.020 12.61 ±0.03     1.05        8      0.20        0
        10  fresh data               0.010 ±0.001  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

       100  tgdp                     0.036 ±0.006  0.961 ±0.065 10.37 ±0.05     0.99       65      1.15    83529
       100  discriminator_guidance   0.061 ±0.005  1.670 ±0.098 12.87 ±0.15     0.99       21      0.67    32259
       100  finetune                 0.029 ±0.005  1.571 ±0.044 10.19 ±0.12     1.00       20      0.19    25376
       100  lora                     0.030 ±0.005  1.146 ±0.026 10.10 ±0.06     1.01       18      0.17     2320
       100  dreambooth               0.032 ±0.004  1.750 ±0.074 10.85 ±0.19     1.02       19      0.16    25504
       100  textual_inversion        0.031 ±0.002  1.788 ±0.021 11.08 ±0.01     1.03       15      0.16      128
       100  domain_guidance          0.029 ±0.006  1.757 ±0.083 10.18 ±0.12     0.99       20      0.30    25376
       100  self_supervised          0.032 ±0.005  1.896 ±0.028 10.39 ±0.09     0.99       22      0.19    25376
       100  multimodal               0.046 ±0.008  2.094 ±0.159 10.91 ±0.28     0.98      102      1.39   241312
       100  gan                      0.057 ±0.005             -           -     0.95       62      0.04    21985
       100  scratch                  0.036 ±0.003  2.087 ±0.175 10.43 ±0.16     1.02        5      0.14    25376
       100  kde                      0.150 ±0.005             -           -     1.00        0      0.03        0
       100  sir                      0.041 ±0.008             -           -     1.00       20      0.02    19011
       100  source                   0.041 ±0.004  3.085 ±0.020 12.61 ±0.03     1.06        8      0.18        0
       100  fresh data               0.010 ±0.001  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

      1000  tgdp                     0.018 ±0.001  0.337 ±0.025  9.67 ±0.03     1.00       83      1.06    79113
      1000  discriminator_guidance   0.022 ±0.003  0.506 ±0.047 10.21 ±0.13     1.00       21      0.72    32259
      1000  finetune                 0.018 ±0.002  0.532 ±0.011  9.75 ±0.02     1.01       24      0.17    25376
      1000  lora                     0.017 ±0.001  0.336 ±0.021  9.52 ±0.02     1.02       21      0.15     2320
      1000  dreambooth               0.018 ±0.001  0.662 ±0.001  9.86 ±0.02     1.01       29      0.19    25504
      1000  textual_inversion        0.030 ±0.002  1.571 ±0.010 10.87 ±0.03     1.04       21      0.13      128
      1000  domain_guidance          0.020 ±0.002  0.619 ±0.018  9.83 ±0.04     1.01       24      0.38    25376
      1000  self_supervised          0.018 ±0.001  0.567 ±0.042  9.78 ±0.01     1.01       24      0.15    25376
      1000  multimodal               0.018 ±0.002  0.402 ±0.002  9.67 ±0.05     1.00      130      1.80   241312
      1000  gan                      0.034 ±0.004             -           -     0.98       69      0.07    21985
      1000  scratch                  0.019 ±0.001  0.713 ±0.052  9.81 ±0.02     1.01        5      0.16    25376
      1000  kde                      0.123 ±0.001             -           -     1.02        0      0.02        0
      1000  sir                      0.051 ±0.010             -           -     1.00       20      0.04    25348
      1000  source                   0.041 ±0.004  3.085 ±0.020 12.61 ±0.03     1.06        8      0.15        0
      1000  fresh data               0.010 ±0.001  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

How to read it. In two dimensions the draw of the n rows decides: sliced W2 of every sensible method is that of a kernel
density estimate, which costs nothing, and the path KL of TGDP, fine-tuning, textual inversion and training from scratch at
n = 10 are within a spread of each other. At n = 100 TGDP has the lowest path KL on average (DreamBooth next), at n = 1000
the multimodal network, which has thirteen times the weights, the self-supervised one and fine-tuning; textual inversion,
with 128 numbers to train, stays where it was.

In 32 dimensions transfer pays, and what it may change decides. At n = 10 whatever trains weights is worse than the source
as it is (3.1), training from scratch and the multimodal network by far; TGDP is the source again (its consistency term sees
to that); only textual inversion improves on it (2.0), as 128 numbers can be learned from ten rows. At n = 100 TGDP is
first (0.96), before low-rank adapters (1.15), all else is at 1.6 and more. At n = 1000 adapters and TGDP lead (0.34 each)
and the multimodal network (0.40) follows; full fine-tuning is at 0.53.

By cost: adapters train in a quarter to a third of TGDP's time, some 2,000 numbers, and draw at the speed of one network, where TGDP and
discriminator guidance pay for their ensembles. The GAN has the best samples of d = 2 at n = 1000 and among the worst of
d = 32. Domain guidance sharpens what fine-tuning has learned, which these targets, as wide as the source, do not need: its path
KL is above fine-tuning's at every n. Novelty shows who leans on the rows: at n = 10 in two dimensions TGDP and discriminator
guidance (0.7).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from experiments.command import command
from tgdp_jax.app.commands.compare import compare
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.settings.methods import DreamBoothConfig, GanConfig, LoraConfig, TextualInversionConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.training import ClassifierConfig, DenoiserConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.transfer import METHODS

Size = Literal["tiny", "cpu"]


def training(size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `TrainingConfig`."""
    tiny = size == "tiny"
    source = OptimiserConfig(steps=200 if tiny else 2000, learning_rate=3e-3, ema=0.995, steps_per_launch=100)
    # Every rate of a rival costs a cross-validation: one each, found on other seeds.
    rival = OptimiserConfig(
        steps=100 if tiny else 1000, schedule="constant", ema=0.98, steps_per_launch=50, patience=200
    )
    small = OptimiserConfig(steps=100 if tiny else 1000, learning_rate=1e-3, steps_per_launch=50, patience=200)
    gan = OptimiserConfig(steps=200 if tiny else 3000, learning_rate=1e-3, ema=0.999, steps_per_launch=100)
    gan_target = OptimiserConfig(
        steps=100 if tiny else 1000,
        learning_rate=3e-4,
        schedule="constant",
        ema=0.98,
        steps_per_launch=50,
        patience=200,
    )
    return {
        "network": NetworkConfig(features=(128, 128)),
        "source": DenoiserConfig(optimiser=source),
        "rival": RivalConfig(learning_rates=(1e-3,), folds=3, optimiser=rival),
        "lora": LoraConfig(learning_rates=(1e-2,)),
        "dreambooth": DreamBoothConfig(num_prior=1000),
        "textual_inversion": TextualInversionConfig(learning_rates=(3e-2,)),
        "classifier": ClassifierConfig(
            folds=3, regularisers=("weight_decay", "mixup", "noise_0.3", "noise_0.8"), optimiser=small
        ),
        "guidance": GuidanceConfig(
            features=(64, 64, 64),
            folds=3,
            optimiser=OptimiserConfig(
                steps=100 if tiny else 1500, learning_rate=3e-3, steps_per_launch=100, patience=300
            ),
        ),
        "gan": GanConfig(folds=3, source=gan, target=gan_target),
        "sampling": SamplingConfig(num=500 if tiny else 5000),
    }


def study(out: Path, size: Size, dim: int) -> None:
    """All methods at one dimension."""
    config = CompareConfig(
        problem=GaussiansConfig(dim=dim, num_source=10_000),
        methods=tuple(METHODS),
        n_targets=(10, 100) if size == "tiny" else (10, 100, 1000),
        seeds=1 if size == "tiny" else 3,
        source_seed=0,
        **training(size),
    )
    compare(config, out / f"methods-gaussians-d{dim}-{size}")


def main(dims: tuple[int, ...] = (2, 32), out: Path = Path("runs"), size: Size = "cpu") -> None:
    """Runs the study.

    Args:
      dims: dimensions.
      out: folder for the results.
      size: tiny (minutes) or cpu.
    """
    for dim in dims:
        study(out, size, dim)


if __name__ == "__main__":
    command(main)
