"""What a solver leaves undone at a given number of evaluations, on exact scores and on trained models.

    python -m experiments.solvers                                exact scores
    python -m experiments.solvers --runs runs/digits runs/ecg    finished runs too, with their own scores and guidance

A solver's error is the sliced W2 between its samples and those of 100 steps of Heun's method from the same noise: no
chance of the draw is in it. Half the sliced W2 between two fresh draws of the same number ("chance") says below which
error a difference can not be seen in samples. Results go to runs/solvers (--out).

Measured on exact scores with 4,096 samples (the kernel density: 1,024), in units of the data:

    evaluations                 6        8       10       14       20       25
    target, d = 2; chance 0.0108
      centre_3m            0.0027   0.0014   0.0007   0.0002  0.00004  0.00001
      residual_2m          0.0040   0.0015   0.0010   0.0004   0.0002   0.0001
      dpmpp_2m             0.0314   0.0366   0.0289   0.0161   0.0079   0.0050
      dpmpp_3m             0.1776   0.0661   0.0152   0.0031   0.0013   0.0007
      unipc                0.1036   0.0751   0.0422   0.0144   0.0046   0.0023
      deis                 0.0350   0.0193   0.0117   0.0053   0.0021   0.0012
      heun                 0.0698   0.0185   0.0055   0.0019   0.0009   0.0007
      ddim                 0.1756   0.1312   0.1058   0.0773   0.0554   0.0449
    target, d = 32; chance 0.0061
      centre_3m            0.0005   0.0003   0.0001   0.0001  0.00003  0.00002
      residual_2m          0.0004   0.0002   0.0002   0.0001  0.00004  0.00003
      dpmpp_2m             0.0048   0.0105   0.0113   0.0080   0.0044   0.0029
      dpmpp_3m             0.1107   0.0559   0.0213   0.0031   0.0008   0.0004
      unipc                0.0473   0.0410   0.0268   0.0106   0.0037   0.0019
      deis                 0.0364   0.0205   0.0126   0.0056   0.0023   0.0013
      heun                 0.0901   0.0206   0.0068   0.0009   0.0006   0.0007
      ddim                 0.1606   0.1289   0.1071   0.0798   0.0577   0.0469
    8 unequal modes, d = 2; chance 0.0081
      centre_3m            0.0123   0.0065   0.0028   0.0011   0.0007   0.0004
      residual_2m          0.0193   0.0103   0.0042   0.0014   0.0009   0.0006
      dpmpp_2m             0.0706   0.0421   0.0282   0.0133   0.0061   0.0039
      dpmpp_3m             0.1666   0.0301   0.0169   0.0108   0.0041   0.0023
      unipc                0.1218   0.0552   0.0253   0.0067   0.0029   0.0019
      deis                 0.0273   0.0158   0.0104   0.0054   0.0026   0.0016
      heun                 0.0421   0.0282   0.0228   0.0093   0.0044   0.0032
      ddim                 0.1864   0.1283   0.0945   0.0611   0.0404   0.0321
    10 modes, d = 32; chance 0.0321
      centre_3m            0.0170   0.0109   0.0082   0.0069   0.0046   0.0046
      residual_2m          0.0204   0.0176   0.0129   0.0090   0.0064   0.0045
      dpmpp_2m             0.0836   0.0559   0.0345   0.0215   0.0127   0.0108
      dpmpp_3m             0.0911   0.0352   0.0397   0.0175   0.0098   0.0065
      unipc                0.1166   0.0508   0.0211   0.0126   0.0079   0.0084
      deis                 0.0437   0.0279   0.0197   0.0135   0.0106   0.0089
      heun                 0.0688   0.0520   0.0282   0.0167   0.0126   0.0113
      ddim                 0.0889   0.0702   0.0621   0.0503   0.0384   0.0326
    digits as a kernel density, d = 64; chance 0.0194
      centre_3m            0.0162   0.0090   0.0059   0.0039   0.0021   0.0016
      residual_2m          0.0190   0.0118   0.0087   0.0051   0.0028   0.0022
      dpmpp_2m             0.0544   0.0311   0.0196   0.0136   0.0095   0.0075

Heun's method takes two evaluations a step, so that it has 24 where 25 stand.

Trained models, with fewer samples (Gaussians 1,024, digits 192, ECGs 24), versus 60 to 200 steps of
residual_2m, in 1e-4:

                                 dpmpp_2m              centre_3m
                                 10    20    25        8    10    14
    Gaussians, TGDP             293    78    50       75    43     -
    Gaussians, source           308    84    53       65    49     -
    digits, TGDP, clipped       235    98    81      183   126    78
    digits, source, clipped     237   104    88      114    82     -
    simulated ECGs, TGDP        701   307   174      495   379   264
    simulated ECGs, source      672   293   167      456   362   240
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from experiments.command import command
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.model import load
from tgdp_jax.app.report.charts import lines
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.gaussians import GaussiansConfig, mixtures
from tgdp_jax.data.mixture import ExactScore, GaussianMixture
from tgdp_jax.guidance import GuidedScore
from tgdp_jax.metrics.two_sample import sliced_wasserstein2
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.runtime.files import write_json
from tgdp_jax.sampling import SOLVERS, sample
from tgdp_jax.sde import SDE, VP

# Solver: the grid that suits it.
GRIDS = {
    "centre_3m": "blend",
    "residual_2m": "blend",
    "dpmpp_2m": "log_snr",
    "dpmpp_3m": "log_snr",
    "unipc": "log_snr",
    "deis": "quadratic",
    "heun": "quadratic",
    "ddim": "uniform",
}
EVALUATIONS = (6, 8, 10, 14, 20, 25)


class Case(NamedTuple):
    """A score to integrate; `cond` are labels [num], or None; `data_std` is given where no network of it says it."""

    name: str
    score: ScoreFn
    sde: SDE
    shape: tuple[int, ...]
    cond: np.ndarray | None = None
    clip: float | None = None
    data_std: float | None = None


def _mixture(means: Any, variance: float, weights: Any) -> GaussianMixture:
    weights = jnp.asarray(weights, jnp.float32)
    return GaussianMixture(jnp.asarray(means, jnp.float32), jnp.asarray(variance), weights / weights.sum())


def exact_cases() -> Iterator[Case]:
    """Mixtures, whose scores are known at all times."""
    rng, vp = np.random.default_rng(0), VP()
    ring = 0.8 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
    found = {f"target, d = {dim}": mixtures(GaussiansConfig(dim=dim)).target for dim in (2, 32)}
    found["8 unequal modes, d = 2"] = _mixture(ring, 0.01, np.arange(1, 9))
    found["10 modes, d = 32"] = _mixture(0.5 * rng.standard_normal((10, 32)), 0.02, np.ones(10))
    pixels = load_digits(return_X_y=True)[0] / 8.0 - 1.0
    found["digits as a kernel density, d = 64"] = _mixture(pixels, 0.01, np.ones(len(pixels)))
    for name, mixture in found.items():
        mean = mixture.weights @ mixture.means
        spread = float(jnp.sqrt(mixture.variance + jnp.mean(mixture.weights @ jnp.square(mixture.means - mean))))
        yield Case(name, ExactScore(mixture, vp), vp, (mixture.dim,), data_std=spread)


def trained_cases(runs: tuple[Path, ...], num: int) -> Iterator[Case]:
    """Finished runs, sampled as they say but for the solver; where one guides its source, the source alone too."""
    for folder in runs:
        model = load(folder)
        labels = np.arange(num) % len(model.classes) if model.problem.conditional else None
        rest = model.sde, model.shape, labels, model.config.sampling.clip
        yield Case(f"{folder.name}, {model.method}", model.score, *rest)
        if isinstance(model.score, GuidedScore):
            yield Case(f"{folder.name}, source", model.score.score, *rest)


def errors(case: Case, num: int, solvers: tuple[str, ...]) -> tuple[list[Row], float]:
    """One row a solver and number of evaluations, and the chance of two draws."""

    def draw(seed: int, **how: Any) -> np.ndarray:
        key, chunk = jax.random.key(seed), min(num, 256 if np.prod(case.shape) > 500 else 1024)
        x = sample(key, case.score, case.sde, num, case.shape, cond=case.cond, clip=case.clip, chunk=chunk, **how)
        return x.reshape(num, -1)

    fine, other = draw(0, solver="heun", grid="quadratic", num_steps=100), draw(1, data_std=case.data_std)
    rows = []
    for solver in solvers:
        for evaluations in EVALUATIONS:
            steps = evaluations // SOLVERS[solver].evaluations
            x = draw(0, solver=solver, grid=GRIDS[solver], num_steps=steps, data_std=case.data_std)
            error = sliced_wasserstein2(x, fine) if np.isfinite(x).all() else float("inf")
            rows.append(Row(solver, {"error": Cell(error)}, group=evaluations))
    return rows, 0.5 * sliced_wasserstein2(fine, other)


def main(
    runs: tuple[Path, ...] = (),
    num: int = 4096,
    exact: bool = True,
    solvers: tuple[str, ...] = tuple(GRIDS),
    out: Path = Path("runs/solvers"),
) -> None:
    """Measures all solvers.

    Args:
      runs: folders of finished runs.
      num: samples of each.
      exact: whether to measure on exact scores.
      solvers: whose errors are measured.
      out: folder for the table and the picture.
    """
    out.mkdir(parents=True, exist_ok=True)
    column, found, pictures = Column("error", "error of the solver", "lower"), {}, {}
    with Display() as display:
        for case in (*(exact_cases() if exact else ()), *trained_cases(runs, num)):
            display.say(case.name)
            rows, chance = errors(case, num, solvers)
            found[case.name] = {"chance": chance, "rows": [(r.name, r.group, r.cells["error"].value) for r in rows]}
            groups = {n: [row for row in rows if row.group == n] for n in EVALUATIONS}
            floor = Row("chance", {"error": Cell(chance)}, reference=True)
            pictures[case.name] = lines(
                {float(n): [*group, floor] for n, group in groups.items()}, column, xlabel="evaluations of the score"
            )
            table = [
                Row(
                    name,
                    {str(n): row.cells["error"] for n, group in groups.items() for row in group if row.name == name},
                )
                for name in solvers
            ]
            columns = [Column(str(n), str(n), "lower") for n in EVALUATIONS]
            print_table(
                table, columns, title=f"{case.name}: error at so many evaluations; chance {chance:.4f}", names="solver"
            )
    if pictures:
        panels = [part._replace(title=name) for name, each in pictures.items() for part in each.panels]
        picture = dataclasses.replace(next(iter(pictures.values())), panels=panels)
        (out / "solvers.png").write_bytes(picture.png())
    write_json(out / "metrics.json", found)
    print(json.dumps({"written": str(out / "metrics.json")}))


if __name__ == "__main__":
    command(main)
