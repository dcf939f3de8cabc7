# ruff: noqa: E501  (the tables)
"""The paper's simulation (Ouyang et al. 2024, section 5.1) and its form in higher dimensions, all methods side by side.

    python -m experiments.gaussians table        paper's setting, n = 10, 100, 1000, seeds 0-4
    python -m experiments.gaussians dimensions   d = 8 and 32, n = 100, seeds 0-4
    python -m experiments.gaussians ablation     losses and regularisers, small network, n = 100, seeds 0-1
    python -m experiments.gaussians floor        what the draw of n rows costs by itself

Each continues where it was cut off; results go to runs/ (--out). Source: two Gaussians of variance 0.1 at +-(0.5, 0.5),
10,000 rows; target: at +-(0.5, -0.5), n rows; VP process, beta 0.1 to 20; 10,000 samples with DPM-Solver++(2M), 25
steps on log-SNR. Sliced W2 with 64 projections against 10,000 fresh target rows; path KL in nats.

Measured (jax 0.10.2, two CPU cores shared with other jobs: seconds are upper bounds). Mean +- standard deviation of seeds.

table, seeds 0-4

        n  method                         sliced W2          path KL              NLL              MMD^2     mean density   train s
       10  tgdp                      0.175 +- 0.044   0.514 +- 0.126   1.808 +- 0.133   0.0217 +- 0.0096   0.367 +- 0.037  66 +- 24
       10  discriminator_guidance    0.185 +- 0.058   0.712 +- 0.341   2.259 +- 0.388   0.0230 +- 0.0131   0.402 +- 0.040   18 +- 4
       10  finetune                  0.169 +- 0.015   0.564 +- 0.185   1.797 +- 0.383   0.0205 +- 0.0065   0.285 +- 0.048  35 +- 11
       10  scratch                   0.158 +- 0.012   0.458 +- 0.032   1.579 +- 0.054   0.0162 +- 0.0063   0.238 +- 0.014   14 +- 5
       10  source                    0.335 +- 0.006   3.178 +- 0.105   4.372 +- 0.116   0.1096 +- 0.0031   0.066 +- 0.002    9 +- 4
       10  kde                       0.178 +- 0.040                -                -   0.0207 +- 0.0078   0.287 +- 0.041    0 +- 0
       10  sir                       0.298 +- 0.136                -                -   0.0775 +- 0.0575   0.316 +- 0.040   10 +- 1
       10  (fresh target data)       0.015 +- 0.006   0.000 +- 0.000   1.195 +- 0.043   0.0000 +- 0.0001   0.401 +- 0.000         -
      100  tgdp                      0.107 +- 0.070   0.155 +- 0.041   1.331 +- 0.079   0.0093 +- 0.0114   0.408 +- 0.030  54 +- 19
      100  discriminator_guidance    0.109 +- 0.069   0.250 +- 0.089   1.513 +- 0.131   0.0081 +- 0.0106   0.433 +- 0.037   11 +- 5
      100  finetune                  0.108 +- 0.072   0.182 +- 0.117   1.450 +- 0.196   0.0086 +- 0.0119   0.410 +- 0.037  42 +- 13
      100  scratch                   0.108 +- 0.075   0.167 +- 0.112   1.379 +- 0.138   0.0090 +- 0.0126   0.431 +- 0.030  29 +- 13
      100  source                    0.335 +- 0.006   3.178 +- 0.105   4.372 +- 0.116   0.1096 +- 0.0031   0.066 +- 0.002    9 +- 4
      100  kde                       0.107 +- 0.069                -                -   0.0088 +- 0.0118   0.365 +- 0.038    0 +- 0
      100  sir                       0.164 +- 0.108                -                -   0.0244 +- 0.0314   0.334 +- 0.020    9 +- 6
      100  (fresh target data)       0.015 +- 0.006   0.000 +- 0.000   1.195 +- 0.043   0.0000 +- 0.0001   0.401 +- 0.000         -
     1000  tgdp                      0.032 +- 0.012   0.025 +- 0.003   1.210 +- 0.048   0.0005 +- 0.0005   0.395 +- 0.013  135 +- 44
     1000  discriminator_guidance    0.035 +- 0.013   0.104 +- 0.020   1.288 +- 0.057   0.0005 +- 0.0005   0.410 +- 0.011   26 +- 14
     1000  finetune                  0.035 +- 0.013   0.021 +- 0.002   1.219 +- 0.049   0.0006 +- 0.0006   0.401 +- 0.016  65 +- 31
     1000  scratch                   0.033 +- 0.011   0.021 +- 0.003   1.213 +- 0.047   0.0005 +- 0.0004   0.401 +- 0.012  41 +- 10
     1000  source                    0.335 +- 0.006   3.178 +- 0.105   4.372 +- 0.116   0.1096 +- 0.0031   0.066 +- 0.002    9 +- 4
     1000  kde                       0.036 +- 0.012                -                -   0.0006 +- 0.0005   0.373 +- 0.013    0 +- 0
     1000  sir                       0.105 +- 0.023                -                -   0.0062 +- 0.0022   0.341 +- 0.021  16 +- 11
     1000  (fresh target data)       0.015 +- 0.006   0.000 +- 0.000   1.195 +- 0.043   0.0000 +- 0.0001   0.401 +- 0.000         -

The draw of n rows costs something by itself (`floor`): the true target with the mode shares that the rows happen to
have (seed 2 has 34 of 100 rows in one mode) reads sliced W2 0.135 at n = 10, 0.087 at n = 100, 0.030 at n = 1000,
0.040 at d = 8 and 0.020 at d = 32. No method that learns from these rows alone can be expected below.

The rows of tgdp and discriminator_guidance at n = 10, and of the last two of d = 8, were measured with a narrower
guidance network (3x64, 1,500 steps) than the default of today (3x128, 3,000 steps).

In bfloat16 (`tgdp compare gaussians --methods tgdp --n-targets 100 --seeds 3 --precision bfloat16`) tgdp reads sliced W2
.0790, .0601, .2291 and path KL .128, .140, .227 for seeds 0 to 2 at n = 100; in float32 .0787, .0602, .2290 and .128, .140,
.227: the precision changes far less than the seed.

dimensions, n = 100; d = 8: seeds 0-3 (the last two rows: seeds 0-2)

        n  method                         sliced W2          path KL              NLL              MMD^2     mean density   train s
      100  tgdp                      0.059 +- 0.022   0.387 +- 0.065   3.421 +- 0.090   0.0060 +- 0.0038   0.211 +- 0.030  77 +- 21
      100  finetune                  0.062 +- 0.021   0.529 +- 0.100   3.330 +- 0.122   0.0053 +- 0.0036   0.142 +- 0.027  28 +- 20
      100  source                    0.137 +- 0.012   3.043 +- 0.137   5.881 +- 0.212   0.0241 +- 0.0005   0.033 +- 0.001     9 +- 4
      100  (fresh target data)       0.010 +- 0.002   0.000 +- 0.000   2.854 +- 0.069   0.0000 +- 0.0001   0.202 +- 0.000         -
      100  discriminator_guidance    0.070 +- 0.020   0.664 +- 0.098   4.195 +- 0.053   0.0071 +- 0.0040   0.276 +- 0.058   37 +- 1
      100  scratch                   0.068 +- 0.017   0.926 +- 0.239   3.606 +- 0.212   0.0067 +- 0.0035   0.159 +- 0.039   22 +- 7

d = 32: seeds 0-4

        n  method                         sliced W2          path KL              NLL              MMD^2     mean density   train s
      100  tgdp                      0.036 +- 0.005   0.876 +- 0.036  10.264 +- 0.139   0.0028 +- 0.0009   0.012 +- 0.003  93 +- 30
      100  finetune                  0.034 +- 0.003   1.150 +- 0.095  10.036 +- 0.116   0.0023 +- 0.0005   0.007 +- 0.001  50 +- 14
      100  source                    0.041 +- 0.005   3.015 +- 0.106  12.259 +- 0.182   0.0029 +- 0.0001   0.002 +- 0.000   14 +- 7
      100  (fresh target data)       0.009 +- 0.000   0.000 +- 0.000   9.261 +- 0.110   0.0000 +- 0.0000   0.013 +- 0.000         -

ablation, n = 100, seeds 0-1: sliced W2, path KL

    default: logistic, eta2 averaged over 0, 1, 10     0.073 +- 0.014    0.128 +- 0.013
    eta2 = 0                                           0.083 +- 0.001    0.198 +- 0.017
    eta2 = 0.1                                         0.073 +- 0.009    0.154 +- 0.010
    eta2 = 1                                           0.070 +- 0.011    0.112 +- 0.001
    eta2 = 10                                          0.069 +- 0.010    0.106 +- 0.007
    eta1 = 1                                           0.072 +- 0.016    0.131 +- 0.013
    eta1 = 1, eta2 = 0                                 0.073 +- 0.012    0.172 +- 0.019
    not pooled                                         0.071 +- 0.008    0.128 +- 0.008
    kl, eta2 = 0                                       0.072 +- 0.007    0.162 +- 0.003
    mse, eta2 = 0                                      0.093 +- 0.015    0.331 +- 0.057
    log_mse, eta2 = 0                                  0.147 +- 0.043    0.517 +- 0.150
    cep, eta2 = 0                                      0.069 +- 0.005    0.155 +- 0.001
    exact ratio, eta2 = 0                              0.070 +- 0.022    0.155 +- 0.016
    exact ratio, not pooled, eta2 = 0                  0.065 +- 0.001    0.204 +- 0.001
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

from experiments.command import command
from tgdp_jax.app.commands.compare import compare
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.evaluation import draw_samples
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.registry import load_problem
from tgdp_jax.metrics.closed_form import path_kl
from tgdp_jax.metrics.two_sample import sliced_wasserstein2
from tgdp_jax.runtime.files import write_json
from tgdp_jax.settings.run import CompareConfig, TrainingConfig
from tgdp_jax.settings.training import ClassifierConfig, GuidanceConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.stages import named_key, train_method

EXACT = ClassifierConfig(exact=True)


# Smaller and shorter than the default: the ablation trains it some ninety times.
SMALL = GuidanceConfig(
    features=(64, 64, 64), optimiser=dataclasses.replace(GuidanceConfig().optimiser, steps=1500, patience=500)
)


def _guidance(**changes) -> TrainingConfig:
    return TrainingConfig(guidance=dataclasses.replace(SMALL, **changes))


def variants() -> Iterator[tuple[str, TrainingConfig]]:
    """Each row of the ablation: one change to the first."""
    yield "logistic, eta2 averaged over 0, 1, 10", _guidance()
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
    methods = ("tgdp", "finetune", "source")
    for dim in (8, 32):
        problem = GaussiansConfig(dim=dim)
        config = CompareConfig(problem=problem, methods=methods, n_targets=(100,), seeds=5)
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
                    trained = train_method(config, problem, identity, "tgdp", seed, store, display)
                    samples, _ = draw_samples(trained.generator, problem, seed, config.sampling.num, display)
                    score = trained.generator.score
                    assert score is not None
                    error = path_kl(named_key(seed, "metrics"), score, problem.exact.target, forward_process(config))
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
    command(main)
