# ruff: noqa: E501  (the tables)
"""Every transfer method on Gaussian mixtures, where the truth is known: which method for which n and dimension?

    python -m experiments.methods_gaussians                d = 2 and 32; n = 10, 100, 1000; seeds 0-2
    python -m experiments.methods_gaussians --dims 2       one dimension alone
    python -m experiments.methods_gaussians --size tiny    in minutes, to see that it works

The problem is that of `experiments.gaussians`. Networks and lengths are smaller than the default, so that all
fits two CPU cores in two hours; all seeds share one source model. Each study goes on where it was cut off;
results go to runs/ (--out), with a page that ranks the methods and says what the numbers recommend.

Measured with jax 0.10.2 on two CPU cores that had other work too; 5,000 samples. Sliced W2 in units of the data, path KL
and NLL in nats, novelty 1 where samples are as far from the nearest of the n rows as fresh data are (below: nearer),
"trained" the numbers that the target changes. `gan`, `kde` and `sir` have no score, and so no path KL. The held-out AUC of
the domain classifier is 0.94 to 0.96 in d = 2.

d = 2, mean and standard deviation of seeds 0-2; 34 minutes of processor time

         n  method                      sliced W2       path KL         NLL  novelty  train s  sample s  trained
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

d = 32, seeds 0 and 1; 25 minutes of processor time a seed

         n  method                      sliced W2       path KL         NLL  novelty  train s  sample s  trained
        10  tgdp                     0.041 ±0.006  3.081 ±0.181 12.47 ±0.23     1.02       75      1.33   345642
        10  discriminator_guidance   0.108 ±0.003  4.452 ±0.111 16.36 ±0.05     0.84       29      1.94    64518
        10  finetune                 0.060 ±0.002  4.255 ±0.154 12.86 ±0.21     0.92       33      0.62    25376
        10  lora                     0.087 ±0.006  7.727 ±0.018 16.39 ±1.22     0.94       28      0.72     2320
        10  dreambooth               0.050 ±0.002  3.421 ±0.061 12.50 ±0.14     0.96       33      0.55    25504
        10  textual_inversion        0.038 ±0.001  2.055 ±0.045 11.34 ±0.11     1.00       32      1.01      128
        10  domain_guidance          0.064 ±0.002  4.773 ±0.173 13.18 ±0.26     0.91       33      1.02    25376
        10  self_supervised          0.087 ±0.012  9.102 ±1.214 15.72 ±1.11     0.87       23      0.31    25376
        10  multimodal               0.112 ±0.006 16.538 ±1.219 24.76 ±1.25     0.82      129      2.25   241312
        10  gan                      0.124 ±0.003             -           -     0.79       65      0.06    21985
        10  scratch                  0.089 ±0.006  9.433 ±0.919 17.62 ±1.69     0.91        5      0.09    25376
        10  kde                      0.210 ±0.033             -           -     1.02        0      0.23        0
        10  sir                      0.041 ±0.006             -           -     1.02       10      0.02   152088
        10  source                   0.042 ±0.006  3.096 ±0.007 12.61 ±0.04     1.04        8      0.25        0
        10  fresh data               0.010 ±0.000  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

       100  tgdp                     0.033 ±0.006  0.932 ±0.058 10.34 ±0.02     0.99       56      1.15    83529
       100  discriminator_guidance   0.062 ±0.006  1.724 ±0.038 12.90 ±0.19     0.99       17      0.59    32259
       100  finetune                 0.027 ±0.006  1.591 ±0.038 10.12 ±0.00     1.00       15      0.20    25376
       100  lora                     0.028 ±0.005  1.133 ±0.020 10.10 ±0.08     1.01       15      0.18     2320
       100  dreambooth               0.032 ±0.005  1.709 ±0.028 10.75 ±0.09     1.02       15      0.15    25504
       100  textual_inversion        0.032 ±0.002  1.776 ±0.000 11.08 ±0.02     1.03       12      0.15      128
       100  domain_guidance          0.027 ±0.006  1.799 ±0.055 10.11 ±0.01     0.99       15      0.27    25376
       100  self_supervised          0.030 ±0.004  1.881 ±0.016 10.34 ±0.01     0.99       18      0.16    25376
       100  multimodal               0.043 ±0.008  2.012 ±0.100 10.75 ±0.01     0.99       78      1.02   241312
       100  gan                      0.054 ±0.000             -           -     0.95       44      0.04    21985
       100  scratch                  0.035 ±0.004  1.989 ±0.055 10.34 ±0.01     1.02        3      0.08    25376
       100  kde                      0.152 ±0.006             -           -     1.01        0      0.03        0
       100  sir                      0.042 ±0.011             -           -     1.00       16      0.01    19011
       100  source                   0.042 ±0.006  3.096 ±0.007 12.61 ±0.04     1.06        8      0.18        0
       100  fresh data               0.010 ±0.000  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

      1000  tgdp                     0.018 ±0.000  0.351 ±0.010  9.68 ±0.03     1.00       55      0.59    76905
      1000  discriminator_guidance   0.023 ±0.004  0.522 ±0.054 10.24 ±0.17     1.00       14      0.57    32259
      1000  finetune                 0.018 ±0.002  0.526 ±0.007  9.75 ±0.03     1.01       16      0.09    25376
      1000  lora                     0.018 ±0.001  0.329 ±0.024  9.51 ±0.00     1.02       14      0.09     2320
      1000  dreambooth               0.018 ±0.002  0.662 ±0.001  9.87 ±0.01     1.01       23      0.15    25504
      1000  textual_inversion        0.031 ±0.001  1.572 ±0.014 10.89 ±0.02     1.04       18      0.09      128
      1000  domain_guidance          0.021 ±0.003  0.609 ±0.004  9.82 ±0.06     1.01       16      0.27    25376
      1000  self_supervised          0.018 ±0.002  0.591 ±0.012  9.78 ±0.01     1.01       19      0.09    25376
      1000  multimodal               0.018 ±0.002  0.403 ±0.002  9.65 ±0.04     1.00      104      1.42   241312
      1000  gan                      0.036 ±0.004             -           -     0.98       50      0.08    21985
      1000  scratch                  0.020 ±0.001  0.725 ±0.068  9.81 ±0.03     1.01        4      0.10    25376
      1000  kde                      0.123 ±0.002             -           -     1.02        0      0.02        0
      1000  sir                      0.053 ±0.013             -           -     0.99       13      0.04    28516
      1000  source                   0.042 ±0.006  3.096 ±0.007 12.61 ±0.04     1.06        8      0.09        0
      1000  fresh data               0.010 ±0.000  0.000 ±0.000  9.31 ±0.00     1.00        -         -        0

How to read it. In two dimensions the draw of the n rows decides: sliced W2 of every sensible method is that of a kernel
density estimate, which costs nothing, and the path KL of TGDP, fine-tuning, textual inversion and training from scratch at
n = 10 are within a spread of each other. At n = 100 TGDP has the lowest path KL on average (DreamBooth next), at n = 1000
the multimodal network, which has thirteen times the weights, the self-supervised one and fine-tuning; textual inversion,
with 128 numbers to train, stays where it was.

In 32 dimensions transfer pays, and what it may change decides. At n = 10 whatever trains weights is worse than the source
as it is (3.1), training from scratch and the multimodal network by far; TGDP is the source again (its consistency term sees
to that); only textual inversion improves on it (2.1), as 128 numbers can be learned from ten rows. At n = 100 TGDP is
first (0.93), before low-rank adapters (1.13), all else is at 1.6 and more. At n = 1000 adapters and TGDP lead (0.33, 0.35)
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
from tgdp_jax.commands.compare import compare
from tgdp_jax.config import CompareConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.settings import (
    ClassifierConfig,
    DenoiserConfig,
    DreamBoothConfig,
    GanConfig,
    GuidanceConfig,
    LoraConfig,
    RivalConfig,
    SamplingConfig,
    TextualInversionConfig,
)
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
        "source": DenoiserConfig(features=(128, 128), optimiser=source),
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
        methods=",".join(METHODS),
        n_targets="10,100" if size == "tiny" else "10,100,1000",
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
