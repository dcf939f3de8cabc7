"""All methods: what n pictures of a designer teach of how that designer draws everything else."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.emoji.cells import SCRATCH, Bench, Words
from experiments.emoji.data import SOURCE, Emoji, Pictures, to_unit
from experiments.emoji.judges import trained_judge
from experiments.emoji.measures import COLUMNS, Bar
from experiments.emoji.report import grid, measured, table
from tgdp_jax.metrics.spread import Value
from tgdp_jax.transfer import METHODS

# Every method that reads captions, and a model of the target pictures alone.
ALL = (*(name for name, method in METHODS.items() if method.captions), SCRATCH)
# Pictures of the same names that no model made: the target designer's, and the source designer's.
REAL, DRAWN = "real", f"drawn by {SOURCE}"
STYLE = Words(place=None, known="with", kept="face")


def bar(bench: Bench, emoji: Emoji, target: str, asked: Pictures, rest: Pictures) -> Bar:
    """What samples of a target are judged by; judges are trained where they are not yet."""
    bench.display.prefix = ""
    own = trained_judge("features", emoji.source, bench.size, bench.store, bench.display)
    judge = trained_judge(f"judge-{target}", emoji.for_judge(target), bench.size, bench.store, bench.display)
    return Bar(asked, rest, own.features, judge)


def of_styles(
    bench: Bench,
    emoji: Emoji,
    target: str,
    methods: Sequence[str],
    n_targets: Sequence[int],
    seeds: int,
    num: int,
) -> None:
    """Fills the cells of one target, prints its table and draws its pictures.

    Args:
      bench: where cells are filled.
      emoji: the data.
      target: designer.
      methods: of `ALL`.
      n_targets: numbers of pictures to learn from.
      seeds: seeds 0, 1, ... up to this number.
      num: names that samples are drawn of.
    """
    asked, rest = emoji.asked(target, num)
    judged_by, pool = bar(bench, emoji, target, asked, rest), emoji.parts[target]["learned"]
    known = dict(zip(emoji.source.text.tolist(), emoji.source.x, strict=True))
    fixed: Mapping[str, np.ndarray] = {
        REAL: to_unit(asked.x),
        DRAWN: to_unit(np.stack([known[text] for text in asked.text.tolist()])),
    }
    names = (*fixed, *methods)

    def samples(method: str, n: int, seed: int) -> np.ndarray:
        if method in fixed:
            return fixed[method]
        return bench.samples(target, method, pool, asked, STYLE, n=n, seed=seed)

    def measure(method: str, n: int, seed: int) -> dict[str, Value]:
        return judged_by.of_sets(samples(method, n, seed), pool.chosen(n, seed), seed)

    found = {}
    for seed, n, method in itertools.product(range(seeds), n_targets, names):
        label = f"{target}-{method.replace(' ', '_')}-n{n}-seed{seed}"
        cell = measured(bench, label, functools.partial(measure, method, n, seed))
        if cell is not None:
            found[method, str(n), seed] = cell
    table(f"{SOURCE} to {target}", COLUMNS, found, names, [str(n) for n in n_targets], seeds, group="target pictures")
    for n in n_targets:
        shown = {method: samples(method, n, 0) for method in names if (method, str(n), 0) in found}
        grid(bench.folder / "pictures" / f"{target}-n{n}.png", shown)
