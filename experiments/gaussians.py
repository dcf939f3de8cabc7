"""The paper's simulation (Ouyang et al. 2024, section 5.1) and its form in higher dimensions, all methods side by side.

    python -m experiments.gaussians table        paper's setting, n = 10, 100, 1000, seeds 0-4
    python -m experiments.gaussians dimensions   d = 8 and 32, n = 100, seeds 0-2
    python -m experiments.gaussians ablation     guidance losses and regularisers, n = 100, seeds 0-1
    python -m experiments.gaussians floor        what the draw of n rows costs by itself

Each continues where it was cut off; results go to runs/ (--out). Source: two Gaussians of variance 0.1 at +-(0.5, 0.5),
10,000 rows; target: at +-(0.5, -0.5), n rows; VP process, beta 0.1 to 20; 10,000 samples with DPM-Solver++(2M), 25
steps on log-SNR. Sliced W2 with 64 projections against 10,000 fresh target rows; path KL in nats.

RESULTS
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import tyro

from tgdp_jax.commands.compare import compare
from tgdp_jax.config import ClassifierConfig, CompareConfig, GuidanceConfig, TrainingConfig
from tgdp_jax.console import Display, print_table
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.folder import write_json
from tgdp_jax.metrics.closed_form import path_kl
from tgdp_jax.metrics.two_sample import sliced_wasserstein2
from tgdp_jax.pipeline import draw_samples, load_problem, named_key, problem_identity, train
from tgdp_jax.report.table import Cell, Column, Row
from tgdp_jax.train.checkpoint import Store

EXACT = ClassifierConfig(exact=True)


def _guidance(**changes) -> TrainingConfig:
    return TrainingConfig(guidance=dataclasses.replace(GuidanceConfig(), **changes))


def variants() -> Iterator[tuple[str, TrainingConfig]]:
    """Each row of the ablation: one change to the default recipe."""
    yield "default: logistic, eta2 averaged over 0, 1, 10", TrainingConfig()
    for eta2 in (0.0, 0.1, 1.0, 10.0):
        yield f"eta2 = {eta2:g}", _guidance(consistency=(eta2,))
    yield "eta1 = 1", _guidance(cycle=1.0)
    yield "eta1 = 1, eta2 = 0", _guidance(cycle=1.0, consistency=(0.0,))
    yield "not pooled", _guidance(pooled=False)
    for loss in ("kl", "mse", "log_mse", "cep"):
        yield f"{loss}, eta2 = 0", _guidance(loss=loss, consistency=(0.0,))
    yield "exact ratio, eta2 = 0", dataclasses.replace(_guidance(consistency=(0.0,)), classifier=EXACT)
    yield (
        "exact ratio, not pooled, eta2 = 0",
        dataclasses.replace(_guidance(consistency=(0.0,), pooled=False), classifier=EXACT),
    )


def table(out: Path) -> None:
    """The paper's setting."""
    compare(CompareConfig(seeds=5), out / "gaussians-table")


def dimensions(out: Path) -> None:
    """Dimension 8 and 32 at n = 100."""
    methods = "tgdp,discriminator_guidance,finetune,scratch,source"
    for dim in (8, 32):
        problem = GaussiansConfig(dim=dim)
        config = CompareConfig(problem=problem, methods=methods, n_targets="100", seeds=3)
        compare(config, out / f"gaussians-d{dim}")


def ablation(out: Path, *, seeds: int = 2, n_targets: tuple[int, ...] = (100,)) -> None:
    """Losses and regularisers, by sliced W2 and path KL."""
    folder = out / "gaussians-ablation"
    store, problem_config = Store(folder / "checkpoints"), GaussiansConfig()
    identity = problem_identity(problem_config)
    rows = []
    with Display() as display:
        for n in n_targets:
            for name, config in variants():
                found = []
                for seed in range(seeds):
                    problem = load_problem(problem_config, n_target=n, seed=seed)
                    assert problem.reference is not None and problem.exact is not None
                    display.prefix = f"n={n} seed={seed} {name}: "
                    trained = train(config, problem, identity, "tgdp", seed, store, display)
                    samples, _ = draw_samples(trained.generator, problem, seed, config.sampling.num, display)
                    score = trained.generator.score
                    assert score is not None
                    error = path_kl(named_key(seed, "metrics"), score, problem.exact.target, config.process.make())
                    found.append((sliced_wasserstein2(samples, problem.reference.x), error.value))
                mean, spread = np.mean(found, 0), np.std(found, 0, ddof=1) if seeds > 1 else (math.nan, math.nan)
                cells = {k: Cell(float(m), float(s)) for k, m, s in zip(("sw2", "path_kl"), mean, spread, strict=True)}
                rows.append(Row(name, cells, group=str(n)))
    columns = [Column("sw2", "sliced W2", "lower"), Column("path_kl", "path KL", "lower")]
    summary = [{"variant": r.name, "num_target": r.group, **{k: list(c) for k, c in r.cells.items()}} for r in rows]
    write_json(folder / "metrics.json", summary)
    print_table(rows, columns, title=f"Ablation, mean and deviation of {seeds} seeds", group="target rows")
    print(json.dumps({"written": str(folder / "metrics.json")}))


def floor(out: Path, *, seeds: int = 5) -> None:
    """What the draw of n rows costs by itself: the true target with the mode shares that the n rows happen to have.

    Both modes are known perfectly here; nothing in the rows tells a method more about the shares.
    """
    found = []
    for dim, n_targets in ((2, (10, 100, 1000)), (8, (100,)), (32, (100,))):
        for n in n_targets:
            for seed in range(seeds):
                problem = load_problem(GaussiansConfig(dim=dim), n_target=n, seed=seed)
                assert problem.reference is not None and problem.exact is not None and problem.target.y is not None
                share = float(np.mean(problem.target.y == 0))
                drawn = dataclasses.replace(problem.exact.target, weights=jnp.array([share, 1 - share]))
                x, _ = drawn.sample(named_key(seed, "floor"), len(problem.reference))
                distance = sliced_wasserstein2(np.asarray(x), problem.reference.x)
                found.append({"dim": dim, "num_target": n, "seed": seed, "share": share, "sw2": distance})
            print(f"d={dim} n={n}: sliced W2 {np.mean([f['sw2'] for f in found[-seeds:]]):.4f}, shares", end=" ")
            print(*(f"{f['share']:.3f}" for f in found[-seeds:]))
    write_json(out / "gaussians-floor" / "metrics.json", found)


def main(
    study: Annotated[Literal["table", "dimensions", "ablation", "floor"], tyro.conf.Positional],
    out: Path = Path("runs"),
) -> None:
    """Runs one study.

    Args:
      study: which.
      out: folder for the results.
    """
    {"table": table, "dimensions": dimensions, "ablation": ablation, "floor": floor}[study](out)


if __name__ == "__main__":
    tyro.cli(main)
