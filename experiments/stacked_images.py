# ruff: noqa: E501  (the tables)
"""Stacked transfer on images: what each of its parts is worth, by Frechet distance and by held-out denoising loss.

    python -m experiments.stacked_images digits                        bundled digits, strokes a pixel wider
    python -m experiments.stacked_images digits --shift classes        ... the digits 5 to 9, from 0 to 4
    python -m experiments.stacked_images mnist-usps --data-dir DATA    another hand and pen
    ... --size tiny --seeds 1                                          in minutes, to see that it works

n = 10, 50, 200; one source model for all seeds. Data, networks and source are those of `experiments.methods_images`. All
adapters are trained alike: batches of 16 at a rate of 3e-3, a look at the held-out rows every 20 steps, at most 600 of
them, and no better one for 60 ends it; three folds, six with ten images. `lora` is trained on all rows for as many steps
as cross-validation chose. A soup is the mean of the folds' weights. `tgdp_denoising` draws its source rows by the ratio of
`--classifier.kind ridge`, and "share s" is a network s of whose weights are those of LoRA's soup, the rest those of
`tgdp_denoising`'s. Members are trained once for all rows that share them. Every row samples with one pass through one
network a step. Each study goes on where it was cut off; results go to runs/ (--out).

Nats are 1/2 int g^2 / sigma^2 |eps - eps_hat|^2 dt at held-out target rows (of digits 300), up to a constant of the data.
The last table says what the share n / (n + even_at) of LoRA's soup reads, between the shares that were measured.

digits, strokes a pixel wider, measured with jax 0.10.2 on two shared CPU cores; 500 samples, 20 steps of dpmpp_2m:

Frechet distance, mean and standard error of 3 seeds
    method                       n=10           n=50          n=200
    source                  217.2 +- 4.1    217.2 +- 4.1    217.2 +- 4.1
    lora                        61 +- 11     32.6 +- 4.5   19.51 +- 0.28
    lora, soup               57.2 +- 9.8     31.7 +- 4.4   18.85 +- 0.80
    tgdp_denoising, soup     84.4 +- 4.7   62.07 +- 0.93        53 +- 10
    stacked                58.75 +- 0.81    31.1 +- 3.4   18.63 +- 0.41
    share 0.25               66.7 +- 2.7   43.92 +- 0.36     32.2 +- 6.6
    share 0.5                57.6 +- 1.2     34.7 +- 1.6     22.6 +- 3.5
    share 0.75              55.0 +- 5.3      31.2 +- 3.0     19.1 +- 1.3

Frechet distance less that of lora, paired by seed
    method                     n=10          n=50          n=200
    source                   156 +- 11   184.6 +- 7.2    197.7 +- 4.3
    lora                        0 +- 0         0 +- 0          0 +- 0
    lora, soup             -4.3 +- 3.6    -0.9 +- 1.9   -0.66 +- 0.64
    tgdp_denoising, soup      23 +- 15    29.5 +- 4.8        34 +- 11
    stacked                   -3 +- 11   -1.5 +- 1.8   -0.88 +- 0.41
    share 0.25                 5 +- 14    11.4 +- 4.2     12.7 +- 6.8
    share 0.5                 -4 +- 10     2.1 +- 3.1      3.1 +- 3.8
    share 0.75            -6.4 +- 6.6     -1.3 +- 1.9     -0.4 +- 1.6

held-out denoising loss in nats, mean and standard error of 3 seeds
    method                      n=10          n=50           n=200
    source                 294.7 +- 2.8   294.7 +- 2.8     294.7 +- 2.8
    lora                   170.6 +- 2.2   157.0 +- 1.6   147.58 +- 0.96
    lora, soup             169.1 +- 1.8  156.7 +- 1.8     147.0 +- 1.8
    tgdp_denoising, soup   171.3 +- 1.8   161.1 +- 2.1     154.6 +- 1.5
    stacked                168.8 +- 1.7  156.7 +- 1.8      147.1 +- 1.8
    share 0.25             169.6 +- 1.7   159.0 +- 2.0     151.9 +- 1.4
    share 0.5              168.7 +- 1.7   157.6 +- 1.9     149.7 +- 1.5
    share 0.75            168.5 +- 1.7    156.8 +- 1.9     147.9 +- 1.7

held-out denoising loss in nats less that of lora, paired by seed
    method                       n=10           n=50          n=200
    source                  124.0 +- 2.9    137.7 +- 3.2    147.1 +- 2.8
    lora                          0 +- 0          0 +- 0          0 +- 0
    lora, soup             -1.56 +- 0.52  -0.30 +- 0.45   -0.60 +- 0.86
    tgdp_denoising, soup    0.66 +- 0.48    4.07 +- 0.55    7.07 +- 0.63
    stacked                -1.88 +- 0.53  -0.30 +- 0.42    -0.51 +- 0.83
    share 0.25             -1.09 +- 0.54    2.05 +- 0.43    4.35 +- 0.45
    share 0.5              -1.98 +- 0.52    0.64 +- 0.38    2.12 +- 0.53
    share 0.75            -2.12 +- 0.46    -0.20 +- 0.41    0.31 +- 0.71

Frechet distance by even_at, between the shares that were measured
    method         n=10           n=50          n=200
    3.0       55.2 +- 5.6      31.6 +- 4.1  18.87 +- 0.70
    6.0        56.3 +- 3.1     31.5 +- 3.8   18.88 +- 0.60
    12.0     59.30 +- 0.77    31.3 +- 3.3    18.91 +- 0.45
    25.0       65.4 +- 2.2     32.4 +- 2.5   18.97 +- 0.40
    50.0       72.6 +- 3.3     34.7 +- 1.6   19.06 +- 0.94
    100.0      78.0 +- 3.9   40.83 +- 0.72     20.3 +- 2.0
    200.0      81.0 +- 4.3   47.55 +- 0.37     22.6 +- 3.5
    400.0      82.7 +- 4.5   54.00 +- 0.57     29.0 +- 5.5

`stacked.even_at` was chosen by the last table. The ratio says least where source and target do not overlap, as here: the
classifier is certain (AUC 1.00), and with two hundred images the ratio rests on one or two source images (effective
sample size 1.2 to 2.6), whose copies tgdp_denoising learns. So its soup is far behind, and yet a share of it is no loss,
and with ten images makes draws even: `stacked` reads 59, 60 and 57 on the three seeds, lora 83, 47 and 54. Values of even_at from 3
to 12 can not be told apart: paired by seed, the mean over n of the logarithm is 0.028 +- 0.037 higher with 12 than with 3. 12 is the
largest in the table that loses less than a standard error; 25 loses 0.074 +- 0.058. The row `stacked` was measured with 12, on the rows
that chose it, and is judged by mnist-usps, below.

mnist-usps, likewise (`--rows source lora "lora, soup" "tgdp_denoising, soup" stacked`); even_at = 12 was chosen on digits:

Frechet distance, mean and standard error of 3 seeds
    method                      n=10         n=50         n=200
    source                57.4 +- 1.5  57.4 +- 1.5   57.4 +- 1.5
    lora                  47.0 +- 7.3  39.5 +- 3.3   28.4 +- 3.1
    lora, soup            42.9 +- 2.6  31.2 +- 1.7   23.1 +- 1.1
    tgdp_denoising, soup  42.8 +- 2.4  38.8 +- 1.3  38.04 +- 0.42
    stacked               40.7 +- 2.3  31.8 +- 1.7   23.4 +- 1.0

Frechet distance less that of lora, paired by seed
    method                      n=10         n=50        n=200
    source                10.4 +- 6.3  18.0 +- 2.1  29.1 +- 2.1
    lora                       0 +- 0       0 +- 0       0 +- 0
    lora, soup            -4.1 +- 4.7  -8.3 +- 1.7  -5.3 +- 2.9
    tgdp_denoising, soup  -4.2 +- 6.2  -0.7 +- 2.6   9.7 +- 2.7
    stacked               -6.3 +- 5.7  -7.7 +- 1.7  -4.9 +- 2.9

held-out denoising loss in nats, mean and standard error of 3 seeds
    method                       n=10            n=50         n=200
    source                373.3 +- 5.6    373.3 +- 5.6  373.3 +- 5.6
    lora                  335.7 +- 5.9    317.2 +- 1.7  305.9 +- 2.2
    lora, soup            332.4 +- 5.6    315.5 +- 1.7  304.4 +- 2.0
    tgdp_denoising, soup  337.3 +- 4.5  326.50 +- 0.97  324.8 +- 2.2
    stacked               332.0 +- 4.8    315.3 +- 1.6  304.7 +- 2.0

held-out denoising loss in nats less that of lora, paired by seed
    method                        n=10             n=50         n=200
    source                37.61 +- 0.73      56.2 +- 6.7   67.5 +- 6.8
    lora                         0 +- 0           0 +- 0        0 +- 0
    lora, soup            -3.29 +- 0.39  -1.705 +- 0.063  -1.43 +- 0.24
    tgdp_denoising, soup     1.6 +- 1.4      9.34 +- 0.77   18.9 +- 1.8
    stacked                -3.7 +- 1.2   -1.815 +- 0.084  -1.19 +- 0.27

Most of what `stacked` gains on lora is the soup's. With ten images about half of its weights come from the member with source
rows, which makes draws more even (45, 37 and 41 on the three seeds, versus 61, 42 and 37 for lora). Held-out AUC of the ridge ratio: 0.90, 0.70 and 0.53 at
n = 10; 0.90, 0.86 and 0.80 at 50; 0.91, 0.92 and 0.89 at 200. The trainings ran beside other work, so that
their seconds say nothing; in steps, the stack trains the folds of two members and lora those of one and all rows once more.

The soup is level with a last training on all rows or ahead of it, which it saves: seconds to train on seed 1, whose programs
were compiled already, were 30, 45 and 68 for the folds of LoRA and 40, 76 and 71 for those of tgdp_denoising; the ratio took 2 to 4.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import methods_images
from experiments.adjust import optimised
from experiments.command import command
from experiments.images import Size
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.evaluation import draw_samples, image_features
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.metrics.encoded import EncoderFeatures
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.registry import measure
from tgdp_jax.metrics.spread import mean_value
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.runtime.files import write_json
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sde import SDE, expand
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.training import ClassifierConfig
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.denoising import noised_rows
from tgdp_jax.train.fit import fit
from tgdp_jax.train.reparam import started
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.artefacts import Adapted, Artefact, Stack, params_of
from tgdp_jax.transfer.lora import lora
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.source import score_generator
from tgdp_jax.transfer.stages import Trained, named_key, train_method

FOLDS = 3  # six with ten rows
MAIN = "lora"
SHARES = {f"share {share}": share for share in (0.25, 0.5, 0.75)}
ROWS = ("source", MAIN, "lora, soup", "tgdp_denoising, soup", "stacked", *SHARES)
ENDS = ("tgdp_denoising, soup", "lora, soup")  # shares 0 and 1
TITLES = {"frechet": "Frechet distance", "nats": "held-out denoising loss in nats"}
EVEN_AT = (3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0)
METRICS = ("frechet", "precision", "recall")
NOISED = 2048  # held-out rows behind the denoising loss


def settings(study: methods_images.Study, size: Size) -> TrainingConfig:
    """What the rows share: members are soups of their folds, and the ratio is the ridge regression's."""
    given = ImageTrainingConfig(**{**methods_images.settings(study, size), "source_seed": 0})
    rival = dataclasses.replace(given.rival, folds=FOLDS, finish="soup")
    rival = optimised(
        rival, steps=40 if size == "tiny" else 600, batch_size=16, ema=0.98, steps_per_launch=20, patience=60,
        validation_rows=512,
    )  # fmt: skip
    sampling = dataclasses.replace(given.sampling, solver="dpmpp_2m", steps=20, num=100 if size == "tiny" else 500)
    return dataclasses.replace(
        given, rival=rival, classifier=ClassifierConfig(kind="ridge", folds=FOLDS), sampling=sampling
    )


def scores(bed: Bed, trees: dict[str, Any], steps: int) -> Iterator[tuple[str, Callable[[], ScoreFn]]]:
    """Rows by name, of the trees that `stacked` left."""

    def of(method: str, **changed: Artefact) -> ScoreFn:
        own = {**trees, **{name: artefact.to_tree() for name, artefact in changed.items()}}
        score = METHODS[method].generator(bed.config, bed.problem, own).score
        assert score is not None
        return score

    yield MAIN, lambda: of("lora", lora=Adapted(refit(bed, trees, steps)))
    yield "lora, soup", lambda: of("lora")
    yield "tgdp_denoising, soup", lambda: of("tgdp_denoising")
    yield "stacked", lambda: of("stacked")
    for name, share in SHARES.items():
        weights = Stack(jnp.asarray([[share], [1 - share]]))
        yield name, lambda weights=weights: of("stacked", stacked=weights)


def refit(bed: Bed, trees: dict[str, Any], steps: int) -> Any:
    """Adapters trained on all rows for as many steps as cross-validation chose: `lora` without a soup, to the bit."""
    how, key, base = lora(bed.config, bed.problem), named_key(bed.seed, "lora"), params_of(trees, "source")
    rates, rows = how.settings.learning_rates, jax.tree.map(jnp.asarray, bed.problem.target.arrays(False))
    assert how.reparam is not None and len(rates) == 1
    optimiser = dataclasses.replace(how.settings.optimiser, learning_rate=rates[0])
    every = all_rows(len(bed.problem.target))
    fitted = fit(
        jax.random.fold_in(key, len(rates)),
        how.task(),
        dataclasses.replace(optimiser.shortened(steps), patience=0),
        data={**rows, "train": every, "held": every},
        frozen=base,
        initial=started(how.reparam, jax.random.fold_in(key, len(rates) + 1), base),
        keep="last",
    )
    return fitted.params


def denoising_loss(score: ScoreFn, x0: np.ndarray, sde: SDE) -> np.ndarray:
    """1/2 int g^2 / sigma^2 |eps - eps_hat|^2 dt of held-out rows [N], one time each: nats, up to a constant of the data.

    Args:
      score: of a model.
      x0: rows [N, *D]; the same rows, times and noise at every call.
      sde: the forward process.
    """
    place = jnp.asarray((np.random.default_rng(5).permutation(len(x0)) + 0.5) / len(x0), jnp.float32)
    t, speed = jax.vmap(lambda u: jax.jvp(sde.training_time, (u,), (jnp.ones_like(u),)))(place)
    x, t, eps, _ = noised_rows(jax.random.key(99), {"x": jnp.asarray(x0)}, jnp.arange(len(x0)), sde, times=t)
    square = in_chunks(_square_error, (x, t, eps), score, chunk=256, static={"sde": sde})
    return square * np.asarray(0.5 * (sde.diffusion(t) / sde.sigma(t)) ** 2 * speed)


def _square_error(rows: tuple[jax.Array, jax.Array, jax.Array], score: ScoreFn, *, sde: SDE) -> jax.Array:
    x, t, eps = rows
    error = eps + expand(sde.sigma(t), x) * score(x, t, None)
    return jnp.sum(error.reshape(len(x), -1) ** 2, -1)


class Bed(NamedTuple):
    """One problem at one seed, and what is needed to train on it and to judge."""

    config: TrainingConfig
    problem: Problem
    identity: dict[str, Any]
    seed: int
    store: Store
    display: Display
    features: Features | EncoderFeatures | None

    def trained(self, method: str) -> Trained:
        """The method after its stages, which are kept."""
        return train_method(self.config, self.problem, self.identity, method, self.seed, self.store, self.display)

    def judged(self, score: ScoreFn) -> dict[str, float]:
        """Metrics of samples of a score, and its denoising loss."""
        problem, config, reference = self.problem, self.config, self.problem.reference
        assert reference is not None
        generator = score_generator(config, problem, score)
        x, _ = draw_samples(generator, problem, self.seed, config.sampling.num, self.display)
        evidence = Evidence(
            samples=x, reference=reference.x, train=problem.target.x, features=self.features, seed=self.seed
        )  # fmt: skip
        rows = reference.x[np.random.default_rng(5).permutation(len(reference))[:NOISED]]
        nats = denoising_loss(score, rows, forward_process(config)).mean()
        return {**{name: value.value for name, value in measure(evidence, METRICS).items()}, "nats": float(nats)}


def of_source(bed: Bed, folder: Path) -> dict[str, Any]:
    """What the source reads, which no target row changes; kept in a file."""
    path = folder / "cells" / f"source-seed{bed.seed}.json"
    if not path.exists():
        score = bed.trained("source").generator.score
        assert score is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, bed.judged(score))
    return json.loads(path.read_text())


def measured(bed: Bed, rows: tuple[str, ...], folder: Path) -> dict[str, dict[str, Any]]:
    """What each row reads; kept in a file."""
    path = folder / "cells" / f"n{len(bed.problem.target)}-seed{bed.seed}.json"
    found = json.loads(path.read_text()) if path.exists() else {"source": of_source(bed, folder)}
    trained = bed.trained("stacked")
    info = {name: report.info for name, report in trained.reports.items()}
    found["training"] = {"info": info, "seconds": {name: cost.seconds for name, cost in trained.costs.items()}}
    write_json(path, found)
    for name, score in scores(bed, trained.trees, info["lora"]["steps"]):
        if name not in found and (not rows or name in rows):
            found[name] = bed.judged(score())
            write_json(path, found)
    return found


def main(
    study: Annotated[methods_images.Study, tyro.conf.Positional],
    data_dir: Path | None = None,
    shift: str = "thick",
    n_targets: tuple[int, ...] = (10, 50, 200),
    seeds: int = 3,
    rows: tuple[str, ...] = (),
    out: Path = Path("runs"),
    size: Size = "cpu",
) -> None:
    """Runs one study.

    Args:
      study: which.
      data_dir: folder of the data sets of mnist-usps.
      shift: of digits: thick, inverted, rotated or classes.
      n_targets: numbers of target rows.
      seeds: seeds 0, 1, ... up to this number.
      rows: names of rows; none for all.
      out: folder for the results.
      size: tiny (minutes), cpu, or full (mnist-usps on an accelerator).
    """
    problem = methods_images.study_problem(study, data_dir, shift, out)
    folder = out / f"stacked-{f'digits-{shift}' if study == 'digits' else study}-{size}"
    config, identity, store = settings(study, size), problem_identity(problem), Store(folder / "checkpoints")
    with Display() as display:

        def bed(n: int, seed: int) -> Bed:
            loaded = load_problem(problem, n_target=n, seed=seed, source_seed=0)
            display.prefix = f"n={n} seed={seed}: "
            features = image_features(loaded, identity, store, display)
            return Bed(config, loaded, identity, seed, store, display, features)

        found = {(n, seed): measured(bed(n, seed), rows, folder) for seed in range(seeds) for n in n_targets}
    names = [name for name in ROWS if all(name in cell for cell in found.values())]

    def table(title: str, rows: Iterable[str], of: Callable[[str, int, int], float]) -> None:
        columns = [Column(str(n), f"n={n}", "lower") for n in n_targets]
        cells = {
            name: {str(n): Cell(*mean_value([of(name, n, seed) for seed in range(seeds)])) for n in n_targets}
            for name in rows
        }
        print_table([Row(name, cells[name]) for name in cells], columns, title=title)

    def value(metric: str) -> Callable[[str, int, int], float]:
        return lambda name, n, seed: found[n, seed][name][metric]

    for metric, title in TITLES.items():
        of = value(metric)
        table(f"{title}, mean and standard error of {seeds} seeds", names, of)
        if MAIN in names:
            table(f"{title} less that of {MAIN}, paired by seed", names, lambda *at, of=of: of(*at) - of(MAIN, *at[1:]))
    if {*SHARES, *ENDS} <= {*names}:
        curves = {at: [cell[name]["frechet"] for name in (ENDS[0], *SHARES, ENDS[1])] for at, cell in found.items()}
        at_shares = [0.0, *SHARES.values(), 1.0]
        table(
            "Frechet distance by even_at, between the shares that were measured",
            map(str, EVEN_AT),
            lambda even, n, seed: float(np.interp(n / (n + float(even)), at_shares, curves[n, seed])),
        )


if __name__ == "__main__":
    command(main)
