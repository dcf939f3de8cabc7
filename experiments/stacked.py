# ruff: noqa: E501  (the tables)
"""Stacked transfer on Gaussian mixtures: what each of its parts is worth, by path KL in nats.

    python -m experiments.stacked                          d = 2, 8, 32; n = 10, 100, 1000; seeds 0-2
    python -m experiments.stacked --dims 32 --n-targets 10 100

Problem, networks and source model are those of `experiments.methods_gaussians`. All adaptations are trained alike:
adapters at a rate of 3e-3, a look at the held-out rows every 20 steps, no better one for 100 steps ends it. Without
`shrink` a row is the method as its last training left it; with it, what it changes of the source's score is weighed at
each noise level by rows out of fold. Members are trained once for all rows that share them. A second table has the
differences to `stacked`, seed by seed: methods of one seed have the same rows and the same source. Each study goes on
where it was cut off; results go to runs/ (--out).

A row with the exact ratio is given log q/p in closed form where the others learn it from the rows: what the same recipe
would read if the classifier were perfect.

Measured with jax 0.10.2 on two shared CPU cores; "-" was not run with three seeds. TGDP and the rows with the exact ratio
come from a second run, in which `stacked` read 0.152, 1.91 and 0.703; they are compared with that.

path KL, mean and standard error of seeds 0-2
                                                      d=2 n=10        d=2 n=100       d=2 n=1000        d=8 n=100        d=32 n=10       d=32 n=100
    stacked                                     0.358 +- 0.029   0.151 +- 0.055   0.031 +- 0.004   0.354 +- 0.046     1.92 +- 0.04   0.703 +- 0.065
    stacked without lora                        0.381 +- 0.043   0.148 +- 0.042   0.045 +- 0.001                -     1.91 +- 0.06   0.768 +- 0.066
    stacked without textual_inversion           0.435 +- 0.029   0.180 +- 0.066   0.034 +- 0.006                -     2.10 +- 0.08   0.733 +- 0.061
    stacked without tgdp_denoising              0.363 +- 0.030   0.156 +- 0.060   0.035 +- 0.006                -     1.94 +- 0.06   0.782 +- 0.060
    stacked, one weight for all noise levels    0.399 +- 0.048   0.158 +- 0.038   0.038 +- 0.007                -     1.96 +- 0.04   0.809 +- 0.097
    tgdp_denoising, shrunk                      0.541 +- 0.091   0.180 +- 0.048   0.060 +- 0.004   0.447 +- 0.056     2.29 +- 0.12   0.824 +- 0.056
    tgdp_denoising                              0.681 +- 0.087   0.206 +- 0.042   0.068 +- 0.006   0.546 +- 0.133     2.47 +- 0.16   0.923 +- 0.075
    lora, shrunk                                0.635 +- 0.124   0.208 +- 0.083   0.037 +- 0.007   0.399 +- 0.047     2.18 +- 0.11   0.813 +- 0.054
    lora                                        0.796 +- 0.276   0.236 +- 0.103   0.038 +- 0.008   0.478 +- 0.070     2.45 +- 0.07     1.09 +- 0.09
    lora, soup, shrunk                                       -                -                -                -     2.12 +- 0.12   0.822 +- 0.051
    lora, soup                                               -                -                -                -     2.37 +- 0.08     1.04 +- 0.08
    textual_inversion, shrunk                   0.431 +- 0.034   0.213 +- 0.011   0.203 +- 0.006   0.981 +- 0.051     1.96 +- 0.06     1.76 +- 0.01
    textual_inversion                           0.707 +- 0.085   0.345 +- 0.015   0.306 +- 0.001     1.03 +- 0.03     1.95 +- 0.05     1.79 +- 0.01
    finetune, shrunk                                         -                -                -                -     2.20 +- 0.16   0.990 +- 0.064
    finetune                                                 -                -                -                -     2.36 +- 0.11     1.39 +- 0.02
    tgdp                                                     -   0.149 +- 0.034                -                -     3.03 +- 0.09   0.962 +- 0.039
    stacked, exact ratio                                     -   0.107 +- 0.032                -                -     1.75 +- 0.06   0.540 +- 0.038
    tgdp_denoising, shrunk, exact ratio                      -   0.124 +- 0.030                -                -     1.76 +- 0.06   0.572 +- 0.031
    tgdp, exact ratio                                        -   0.133 +- 0.036                -                -     1.51 +- 0.08   0.557 +- 0.008
    source                                        3.02 +- 0.00     3.02 +- 0.00     3.02 +- 0.00     2.98 +- 0.00     3.12 +- 0.00     3.12 +- 0.00

difference to stacked, paired by seed
                                                      d=2 n=10        d=2 n=100       d=2 n=1000        d=8 n=100        d=32 n=10       d=32 n=100
    stacked without lora                        0.023 +- 0.016  -0.003 +- 0.015   0.013 +- 0.005                -  -0.015 +- 0.023   0.064 +- 0.014
    stacked without textual_inversion           0.077 +- 0.031   0.029 +- 0.011   0.003 +- 0.002                -   0.177 +- 0.107   0.029 +- 0.008
    stacked without tgdp_denoising              0.004 +- 0.001   0.005 +- 0.009   0.004 +- 0.002                -   0.017 +- 0.017   0.079 +- 0.008
    stacked, one weight for all noise levels    0.040 +- 0.028   0.007 +- 0.019   0.006 +- 0.003                -   0.040 +- 0.010   0.106 +- 0.036
    tgdp_denoising, shrunk                      0.183 +- 0.062   0.029 +- 0.007   0.028 +- 0.006   0.092 +- 0.018   0.371 +- 0.159   0.121 +- 0.026
    tgdp_denoising                              0.322 +- 0.059   0.055 +- 0.014   0.037 +- 0.009   0.191 +- 0.088   0.546 +- 0.194   0.219 +- 0.031
    lora, shrunk                                0.277 +- 0.139   0.057 +- 0.029   0.006 +- 0.003   0.044 +- 0.010   0.255 +- 0.115   0.110 +- 0.011
    lora                                        0.438 +- 0.291   0.085 +- 0.048   0.006 +- 0.004   0.124 +- 0.026   0.530 +- 0.039   0.385 +- 0.048
    lora, soup, shrunk                                       -                -                -                -   0.197 +- 0.145   0.118 +- 0.018
    lora, soup                                               -                -                -                -   0.446 +- 0.109   0.333 +- 0.052
    textual_inversion, shrunk                   0.073 +- 0.025   0.062 +- 0.052   0.172 +- 0.008   0.627 +- 0.041   0.039 +- 0.021     1.05 +- 0.06
    textual_inversion                           0.349 +- 0.059   0.194 +- 0.045   0.274 +- 0.005   0.679 +- 0.027   0.034 +- 0.081     1.09 +- 0.06
    finetune, shrunk                                         -                -                -                -   0.280 +- 0.194   0.287 +- 0.016
    finetune                                                 -                -                -                -   0.439 +- 0.152   0.687 +- 0.043
    tgdp                                                     -  -0.003 +- 0.017                -                -     1.12 +- 0.09   0.259 +- 0.027
    stacked, exact ratio                                     -  -0.045 +- 0.018                -                -  -0.152 +- 0.056  -0.163 +- 0.028
    tgdp_denoising, shrunk, exact ratio                      -  -0.028 +- 0.021                -                -  -0.147 +- 0.060  -0.131 +- 0.035
    tgdp, exact ratio                                        -  -0.019 +- 0.014                -                -  -0.401 +- 0.110  -0.146 +- 0.057
    source                                        2.66 +- 0.03     2.86 +- 0.06     2.98 +- 0.00     2.63 +- 0.05     1.20 +- 0.05     2.41 +- 0.07

d = 32, n = 1000, seed 0 alone: stacked 0.260, lora, shrunk 0.281, lora 0.305, source 3.12.

No single method is the best or level with the best in every column, and the stack is. With ten rows in 32 dimensions the
classifier finds nothing (its held-out cross-entropy is above log 2), and leaving tgdp_denoising out changes little. At d = 8
and at n = 1000 in two dimensions the members are the limit: more steps or a further member would be needed.

In 32 dimensions much of TGDP's error is the learned ratio's. With the exact one it falls from 3.03 to 1.51 at n = 10 and
from 0.96 to 0.56 at n = 100, and the stack's from 1.91 to 1.75 and from 0.70 to 0.54; TGDP is then ahead of the stack at
n = 10, by 0.249 +- 0.106, and level with it at n = 100. In two dimensions with a hundred rows the exact ratio is worth
0.045 +- 0.018 to the stack and 0.016 +- 0.003 to TGDP: most of what is left there is due to the other parts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.adjust import optimised
from experiments.command import command
from experiments.methods_gaussians import training
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.registry import load_problem
from tgdp_jax.metrics.closed_form import path_kl
from tgdp_jax.metrics.spread import mean_value
from tgdp_jax.runtime.files import write_json
from tgdp_jax.settings.methods import LoraConfig, StackedConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.stages import named_key, train_method

MAIN = "stacked"


class Variant(NamedTuple):
    """A row of the table: a method with its settings, and whether it is shrunk, if it can be."""

    method: str
    config: TrainingConfig
    shrunk: bool = True


def variants() -> Iterator[tuple[str, Variant]]:
    """Rows by name."""
    given = TrainingConfig(source_seed=0, **training("cpu"))
    rival = optimised(given.rival, steps_per_launch=20, patience=100, ema=0.95)
    base = dataclasses.replace(given, rival=rival, lora=LoraConfig(learning_rates=(3e-3,)))

    yield MAIN, Variant("stacked", base)
    for left_out in StackedConfig().members:
        members = tuple(name for name in StackedConfig().members if name != left_out)
        config = dataclasses.replace(base, stacked=StackedConfig(members=members))
        yield f"stacked without {left_out}", Variant("stacked", config)
    one = dataclasses.replace(base, stacked=StackedConfig(knots=1))
    yield "stacked, one weight for all noise levels", Variant("stacked", one)
    for method in ("tgdp_denoising", "lora", "textual_inversion", "finetune"):
        yield f"{method}, shrunk", Variant(method, base)
        yield method, Variant(method, base, shrunk=False)
    soup = dataclasses.replace(base, rival=dataclasses.replace(rival, finish="soup"))
    yield "lora, soup, shrunk", Variant("lora", soup)
    yield "lora, soup", Variant("lora", soup, shrunk=False)
    yield "tgdp", Variant("tgdp", base)
    exact = dataclasses.replace(base, classifier=dataclasses.replace(base.classifier, exact=True))
    yield "stacked, exact ratio", Variant("stacked", exact)
    yield "tgdp_denoising, shrunk, exact ratio", Variant("tgdp_denoising", exact)
    yield "tgdp, exact ratio", Variant("tgdp", exact)
    yield "source", Variant("source", base)


def measured(
    dim: int, n: int, seed: int, rows: Sequence[str], folder: Path, display: Display
) -> dict[str, dict[str, Any]]:
    """What each row reads at one dimension, number of target rows and seed; kept in a file."""
    path = folder / "cells" / f"d{dim}-n{n}-seed{seed}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    problem_config = GaussiansConfig(dim=dim, num_source=10_000)
    problem = load_problem(problem_config, n_target=n, seed=seed, source_seed=0)
    assert problem.exact is not None
    store, identity = Store(folder / "checkpoints"), problem_identity(problem_config)
    for name, (method, config, shrunk) in variants():
        if name in found or (rows and name not in rows):
            continue
        display.prefix = f"d={dim} n={n} seed={seed} {name}: "
        trained = train_method(config, problem, identity, method, seed, store, display)
        trees, info = trained.trees, trained.reports[list(trained.reports)[-1]].info
        if not shrunk:
            trees = {**trees, method: {key: part for key, part in trees[method].items() if key != "shrink"}}
        score = METHODS[method].generator(config, problem, trees).score
        assert score is not None
        value = path_kl(named_key(seed, "metrics"), score, problem.exact.target, forward_process(config)).value
        weights = info.get("weights") if shrunk else None
        found[name] = {"path_kl": value, "seconds": trained.seconds, "weights": weights}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


def main(
    dims: tuple[int, ...] = (2, 8, 32),
    n_targets: tuple[int, ...] = (10, 100, 1000),
    seeds: int = 3,
    rows: tuple[str, ...] = (),
    out: Path = Path("runs"),
) -> None:
    """Runs the study.

    Args:
      dims: dimensions.
      n_targets: numbers of target rows.
      seeds: seeds 0, 1, ... up to this number.
      rows: names of rows; none for all.
      out: folder for the results.
    """
    folder = out / "stacked-gaussians"
    with Display() as display:
        found = {
            (dim, n, seed): measured(dim, n, seed, rows, folder, display)
            for seed in range(seeds)
            for dim in dims
            for n in n_targets
        }
    columns = [Column(f"{d}-{n}", f"d={d} n={n}", "lower") for d in dims for n in n_targets]
    names = [name for name, _ in variants() if not rows or name in rows]

    def values(name: str, d: int, n: int) -> list[float]:
        return [found[d, n, seed][name]["path_kl"] for seed in range(seeds)]

    def table(title: str, of: Any) -> None:
        cells = {
            name: {f"{d}-{n}": Cell(*mean_value(of(name, d, n))) for d in dims for n in n_targets} for name in names
        }
        print_table([Row(name, cells[name]) for name in names], columns, title=title)
        write_json(folder / f"{title.split(',')[0].replace(' ', '-')}.json", cells)

    table(f"path KL, mean and standard error of {seeds} seeds", values)
    if MAIN in names:
        table(
            f"difference to {MAIN}, paired by seed",
            lambda name, d, n: [a - b for a, b in zip(values(name, d, n), values(MAIN, d, n), strict=True)],
        )


if __name__ == "__main__":
    command(main)
