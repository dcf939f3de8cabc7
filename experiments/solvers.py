"""What a solver leaves undone at a given number of evaluations, on exact scores and on trained models.

    python -m experiments.solvers                                exact scores
    python -m experiments.solvers --runs runs/digits runs/ecg    finished runs too, with their own scores and guidance

A solver's error is the sliced W2 between its samples and those of 100 steps of Heun's method from the same noise: no
chance of the draw is in it. Half the sliced W2 between two fresh draws of the same number ("chance") says below which
error a difference can not be seen in samples. Results go to runs/solvers (--out).
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
