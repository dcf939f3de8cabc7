# ruff: noqa: E501  (the tables)
"""Twelve-lead ECGs from one hospital to another: the paper's second experiment.

    python -m experiments.ecg table                 simulated records with labels; n = 50, 200, 690
    python -m experiments.ecg regularisers          the same: guidance without regularisers, and with the cycle term
    python -m experiments.ecg unconditional         the same without labels
    ... --data-dir DATA     PTB-XL as the source and LUDB as the target; n = 50, 100
    ... --size tiny         in minutes, to see that it works
    ... --size full         networks and lengths for an accelerator: SSSD-ECG's sizes and chain, 10 s

DATA holds ptb-xl/ (ptbxl_database.csv and records100/, of https://physionet.org/content/ptb-xl; a table shortened to the
records that are there will do) and ludb/ (RECORDS and data/, of https://physionet.org/content/ludb), read with the extra `ecg`.
Each study goes on where it was cut off, and takes from the others what they have trained; results go to runs/ (--out).

Up to size cpu records are cut to 5 s at 100 Hz. Judged by features of a classifier of the source's classes; the mean spectra's
distance over leads (dB); the Wasserstein-1 distance of heart rates (bpm); and macro AUC, F2 and G2 of a classifier of target
records that was trained on samples (gen), on samples and the n target records (both), on these alone (real), or on these from
the source's classifier (tuned).

Measured with jax 0.10.2 on two CPU cores: a state space model of 0.51 million parameters, 4,000 steps on 2,000 records, 300
samples, seed 0, features of a classifier of the source's classes (99 % and more on held-out source records). The table took 29
minutes on the two cores with nothing else to do (46 of processor time), with --size tiny three; the other studies were measured
beside other work, `regularisers` on the source model of another run (see below).

table

       n  method   Frechet  prec.  recall  dens.  cover.  C2ST   memor.   dB   bpm  label  AUC gen  AUC both  F2 gen  F2 both  G2 gen  G2 both  trained
      50  tgdp        37.1   0.76    0.63   0.53    0.23  0.90     1.21  2.1  13.1   0.70    0.828     0.865    0.48     0.54    0.32     0.36   59,624
      50  finetune    50.8   0.83    0.45   0.57    0.26  0.87     1.21  1.3  10.4   0.62    0.845     0.886    0.49     0.54    0.34     0.38  512,224
      50  scratch     74.2   0.83    0.30   0.46    0.15  0.96     1.33  5.4  11.5   0.52    0.752     0.830    0.37     0.51    0.23     0.34  512,224
      50  source      50.2   0.69    0.65   0.45    0.22  0.91     1.23  2.3  13.5   0.63    0.829     0.863    0.48     0.58    0.31     0.39        0

     200  tgdp        25.8   0.81    0.54   0.60    0.26  0.87     1.27  1.5  10.6   0.56    0.831     0.892    0.47     0.64    0.30     0.44   37,782
     200  finetune    39.3   0.87    0.34   0.67    0.25  0.88     1.21  1.7   5.9   0.48    0.867     0.890    0.53     0.65    0.36     0.45  512,224
     200  scratch     62.6   0.84    0.30   0.49    0.16  0.95     1.27  4.3   3.9   0.41    0.787     0.870    0.39     0.56    0.26     0.39  512,224
     200  source      33.5   0.78    0.49   0.55    0.24  0.89     1.25  2.3  10.8   0.51    0.829     0.897    0.50     0.65    0.33     0.45        0

     690  tgdp        27.8   0.87    0.54   0.57    0.23  0.89     1.30  1.4  13.6   0.55    0.810     0.886    0.50     0.59    0.30     0.43   37,782
     690  finetune    43.3   0.83    0.37   0.58    0.24  0.87     1.28  1.2  10.5   0.50    0.821     0.898    0.49     0.61    0.33     0.45  512,224
     690  scratch     61.6   0.85    0.23   0.51    0.15  0.95     1.33  4.8   4.4   0.44    0.732     0.864    0.45     0.57    0.29     0.42  512,224
     690  source      35.9   0.79    0.47   0.53    0.21  0.91     1.26  2.4  13.2   0.52    0.823     0.887    0.51     0.60    0.30     0.44        0

By the n records alone: AUC 0.796, 0.908 and 0.926, F2 0.53, 0.72 and 0.75, G2 0.34, 0.53 and 0.57 at n = 50, 200 and 690; from the
source's classifier 0.982, 0.997 and 0.998; 0.91, 0.97 and 0.99; 0.78, 0.93 and 0.97. Bootstrap standard errors of AUC are .005 to
.01, of F2 and G2 .01 to .015, of Frechet 4 at n = 50 and 3 above. Einthoven's relations hold to 4e-9 mV, which is rounding. Labels of
samples fall as those of the n rows do, by which the source's numbers depend on n. For scale: 300 fresh target records read Frechet
0.6, recall .94, C2ST .47, 0.5 dB, 2 bpm.

With fifty records TGDP reads half the Frechet distance of training from scratch, and its samples raise the AUC of a classifier of
the fifty records from 0.796 to 0.865, those from scratch to 0.830, a lead of nearly four standard errors. Most of that is the source's
merit, whose samples as they are read 50.2 and 0.863. What TGDP adds to the source is seen in Frechet distance (13, 8 and 8 less; an error
of the difference is 4 to 5), label accuracy and spectra (2.1, 1.5 and 1.4 dB versus 2.3; fine-tuning 1.3, 1.7 and 1.2; a standard
error is 0.03 to 0.07), not in AUC. Fine-tuning raises it to 0.886 and is ahead of both in heart rates at every n; its Frechet distance is no
better than the source's, its recall lower. From 200 records on samples of every model lower the AUC of a classifier instead of raising it: half of each
batch is then not as good as what it displaces.

How much depends on the source model's luck: on one that was trained by the same steps on the same records with other rounding (one
thread) the four methods read 27.6, 26.7, 70.3 and 27.7 in Frechet distance at n = 50, 14.4, 14.0, 59.8 and 14.5 at 200, 17.8, 18.4, 59.6
and 16.9 at 690. What both runs show: TGDP ahead of training from scratch in Frechet distance and AUC (.852 versus .839 there), its
spectra nearer than the source's, fine-tuning's AUC higher at fifty. What they do not agree on is the standing of TGDP, fine-tuning and
source among each other in Frechet distance.

Held-out denoising losses, n = 50, of that other run: 0.2183 after 400 steps of guidance, 0.2162 after 1,500, when it was still learning;
fine-tuning's was 0.2085. With 400 steps Frechet distance and AUC read the same within their errors (28.8, 0.861).

None comes near fine-tuning the source's classifier, and no sample set near real records: samples have beats of the right form, but
rhythms are uneven (sets of the source's weights are 6 to 14 bpm off), and there is more to learn for a source model than fits this
size.

The domain classifier starts from a classifier of the source's labels: its held-out cross-entropy at n = 50 is 0.49 nats versus 0.54 from
a fresh start, with the same (other) source model, and Frechet distances are the same (25.8, 26.8). With all heads on the frozen features of
that classifier it is 0.55 (26.4). The consistency term is a mean over 4,000 numbers: with a weight of 300, as for images, guidance
learns nothing (TGDP reads what the source reads), with 300,000 what is shown; weight and steps were chosen on this seed and n = 50.

regularisers

       n  terms    Frechet  prec.  recall  dens.  cover.  C2ST   memor.   dB   bpm  label  AUC gen  AUC both  F2 gen  F2 both  G2 gen  G2 both  trained
      50  plain       27.8   0.80    0.68   0.53    0.28  0.90     1.23  2.4  12.4   0.80    0.823     0.866    0.48     0.57    0.31     0.38   59,624
     200  plain       14.4   0.80    0.62   0.51    0.25  0.88     1.30  2.3   9.0   0.74    0.848     0.898    0.48     0.67    0.31     0.47   37,782
     690  plain       17.0   0.76    0.44   0.48    0.24  0.88     1.28  2.3  13.8   0.78    0.828     0.903    0.51     0.61    0.30     0.45   37,782
      50  cycle       28.9   0.83    0.68   0.52    0.29  0.89     1.27  2.1  12.5   0.80    0.816     0.860    0.50     0.55    0.34     0.36   75,564
     200  cycle       15.4   0.82    0.63   0.54    0.27  0.87     1.29  2.0   8.7   0.72    0.847     0.892    0.49     0.63    0.32     0.43   53,722
     690  cycle       17.4   0.77    0.48   0.49    0.26  0.88     1.26  1.5  14.0   0.77    0.830     0.896    0.49     0.59    0.30     0.43   53,722

"plain" has neither regulariser, "cycle" the cycle term beside consistency; `table` has consistency alone. All on the other source
model, which read 27.7, 14.5 and 16.9. Without regularisers TGDP reads what the source reads at every n, spectra included: the ratio of a few records of 4,000 numbers, carried to noised
ones, says next to nothing, and what guidance learns it learns from the consistency term. The cycle term adds nothing to that.

unconditional

       n  method   Frechet  prec.  recall  dens.  cover.  C2ST   memor.   dB   bpm  trained
      50  tgdp        50.8   0.82    0.39   0.54    0.13  0.95     1.42  2.0  16.9   55,592
      50  finetune    41.6   0.74    0.42   0.47    0.13  0.94     1.50  0.9  20.3  486,944
      50  scratch     66.1   0.75    0.13   0.49    0.12  0.97     1.55  5.4  11.7  486,944
      50  source      53.0   0.82    0.35   0.52    0.11  0.96     1.43  2.7  17.5        0

     200  tgdp        51.8   0.83    0.35   0.53    0.11  0.95     1.44  1.9  17.3   34,966
     200  finetune    35.0   0.87    0.24   0.68    0.18  0.94     1.38  1.6   8.6  486,944
     200  scratch     63.4   0.75    0.25   0.44    0.13  0.95     1.34  4.3   8.9  486,944
     200  source      53.0   0.82    0.35   0.52    0.11  0.96     1.43  2.7  17.5        0

     690  tgdp        52.3   0.83    0.34   0.51    0.11  0.96     1.41  1.7  17.7   34,966
     690  finetune    36.6   0.80    0.40   0.63    0.16  0.93     1.40  1.0  12.0  486,944
     690  scratch     71.0   0.79    0.22   0.50    0.10  0.97     1.38  4.7   7.0  486,944
     690  source      53.0   0.82    0.35   0.52    0.11  0.96     1.42  2.7  17.5        0

Without labels there are no utilities, and samples show the source's mix of classes, which is not the target's: all Frechet distances
are larger. TGDP brings spectra nearer (2.0, 1.9 and 1.7 dB versus 2.7) and the distance by less than its error (4); fine-tuning brings
both nearer, and all are ahead of training from scratch. 38 minutes of one core, the source model included.

table --data-dir, with 500 records of PTB-XL (347 of them to train on) and all 200 of LUDB; superclasses; the rest as above

       n  method   Frechet  prec.  recall  dens.  cover.  C2ST   memor.   dB   bpm  label  AUC gen  AUC both  F2 gen  F2 both  G2 gen  G2 both
      50  tgdp         2.2   0.94    0.80   1.01    0.83  0.81     1.02  3.0   5.4   0.14    0.528     0.629    0.19     0.25    0.08     0.12
      50  finetune     1.9   0.97    0.77   1.06    0.87  0.84     1.01  2.6   5.2   0.13    0.552     0.682    0.21     0.32    0.10     0.16
      50  scratch      3.1   0.97    0.37   1.15    0.75  0.91     1.01  3.0   5.4   0.14    0.539     0.676    0.17     0.28    0.08     0.13
      50  source       2.3   0.97    0.75   1.11    0.85  0.83     1.00  2.8   3.9   0.15    0.529     0.642    0.19     0.35    0.09     0.17

     100  tgdp         2.1   0.97    0.78   1.01    0.94  0.80     1.05  2.8   5.8   0.10    0.574     0.625    0.19     0.24    0.09     0.12
     100  finetune     2.6   0.94    0.69   1.06    0.85  0.83     1.06  2.6   6.4   0.16    0.536     0.624    0.23     0.26    0.11     0.13
     100  scratch      8.8   0.99    0.53   1.10    0.65  0.87     1.07  3.4  14.9   0.27    0.463     0.645    0.16     0.22    0.08     0.11
     100  source       2.2   0.97    0.78   1.09    0.95  0.77     1.03  2.6   4.2   0.12    0.529     0.646    0.16     0.25    0.07     0.13

By the n records alone: AUC 0.668 and 0.626, F2 0.26 and 0.30; from the source's classifier 0.709 and 0.658, 0.40 and 0.40. Standard
errors: Frechet 0.4, AUC 0.04, F2 0.025, heart rates 1 bpm. The data overlap (held-out AUC of the domain classifier 0.85, cross-
entropy 0.46 nats). 24 minutes of processor time.

These numbers do not show a difference between TGDP, fine-tuning and the source: what they share weighs more. A classifier that has
seen 347 records is right on 69 % of the others, so that Frechet distance, precision and coverage look through weak eyes; the
two-sample test (C2ST, 0.5 for real records) and the pictures do not: samples are small waves with a QRS complex here and there, no
ECGs, and show no class (label is chance). A source model of a few hundred records is too poor to carry anything over; PTB-XL whole
(21,800 records) with --size full is what the study is meant for, and has not been run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.adjust import optimised, values
from experiments.command import command
from tgdp_jax.app.commands.compare import compare
from tgdp_jax.data.ecg.folders import EcgConfig
from tgdp_jax.data.ecg.sim import EcgSimConfig
from tgdp_jax.settings.networks import HeadConfig, NetworkConfig
from tgdp_jax.settings.presets.ecg import EcgTrainingConfig
from tgdp_jax.settings.process import ProcessConfig
from tgdp_jax.settings.run import CompareConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.settings.sssd import PAPER, SSSDConfig

METHODS = ("tgdp", "finetune", "scratch", "source")
Size = Literal["tiny", "cpu", "full"]


def data(data_dir: Path | None, size: Size, *, conditional: bool) -> EcgSimConfig | EcgConfig:
    """Simulated records, or PTB-XL and LUDB below a folder."""
    if data_dir is None:
        num, seconds = 300 if size == "tiny" else 2000, 10.0 if size == "full" else 5.0
        return EcgSimConfig(seconds=seconds, num_source=num, conditional=conditional)
    # Copies of both databases have a few records that can not be used.
    return EcgConfig(
        source=data_dir / "ptb-xl",
        target=data_dir / "ludb",
        conditional=conditional,
        seconds=10.0 if size == "full" else 5.0,
        drop_bad=True,
    )


def training(size: Size) -> dict[str, Any]:
    """Settings of networks and training, see `EcgTrainingConfig`."""
    default = EcgTrainingConfig()
    settings = values(default)
    if size == "full":
        rival = dataclasses.replace(default.rival, learning_rates=(5e-5, 2e-4))
        return settings | {
            "process": ProcessConfig(kind="discrete"),
            "network": NetworkConfig(kind="sssd", sssd=PAPER, remat=True),
            "head": HeadConfig(channels=(32, 64, 128)),
            "source": optimised(default.source, steps=100_000, batch_size=32, learning_rate=2e-4),
            "rival": optimised(rival, steps=10_000, batch_size=32),
            "classifier": optimised(default.classifier, steps=1000),
            "guidance": optimised(default.guidance, steps=2000, batch_size=64),
            "sampling": SamplingConfig(num=2000, steps=50, chunk=250),
        }
    if size == "cpu":
        return settings | {
            "source": optimised(default.source, steps=4000),
            "sampling": dataclasses.replace(default.sampling, num=300),
        }
    return settings | {
        "network": NetworkConfig(kind="sssd", sssd=SSSDConfig(layers=1, width=16, states=8)),
        "source": optimised(default.source, steps=100),
        "rival": dataclasses.replace(optimised(default.rival, steps=50), learning_rates=(2e-3,)),
        "classifier": optimised(default.classifier, steps=20),
        "guidance": optimised(default.guidance, steps=20),
        "sampling": SamplingConfig(num=64, steps=10, chunk=64),
    }


def _compare(name: str, data_dir: Path | None, out: Path, size: Size, *, conditional: bool, **settings: Any) -> None:
    """One comparison; those of one size and problem share what they have trained."""
    where = "sim" if data_dir is None else "ptbxl-ludb"
    n_targets = (50,) if size == "tiny" else (50, 100) if data_dir is not None else (50, 200, 690)
    options = training(size) | settings
    options |= {"n_targets": n_targets, "seeds": 1, "source_seed": 0}
    config = CompareConfig(problem=data(data_dir, size, conditional=conditional), **options)
    place = f"ecg-{where}-{size}"
    compare(config, out / f"{place}-{name}", stages=out / f"{place}-stages")


def table(data_dir: Path | None, out: Path, size: Size) -> None:
    """All methods, with labels: the ratio is that of record and label."""
    _compare("table", data_dir, out, size, conditional=True, methods=METHODS)


def regularisers(data_dir: Path | None, out: Path, size: Size) -> None:
    """Guidance without regularisers, and with the cycle term beside consistency; `table` has consistency alone."""
    guidance = training(size)["guidance"]
    plain, cycle = (dataclasses.replace(guidance, **terms) for terms in ({"consistency": (0.0,)}, {"cycle": 1.0}))
    for name, settings in (("plain", plain), ("cycle", cycle)):
        _compare(name, data_dir, out, size, conditional=True, methods=("tgdp",), guidance=settings)


def unconditional(data_dir: Path | None, out: Path, size: Size) -> None:
    """All methods, without labels."""
    _compare("unconditional", data_dir, out, size, conditional=False, methods=METHODS)


STUDIES = {"table": table, "regularisers": regularisers, "unconditional": unconditional}


def main(
    study: Annotated[Literal["table", "regularisers", "unconditional"], tyro.conf.Positional],
    data_dir: Path | None = None,
    out: Path = Path("runs"),
    size: Size = "cpu",
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets; default: simulated records.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (an accelerator).
    """
    STUDIES[study](data_dir, out, size)


if __name__ == "__main__":
    command(main)
