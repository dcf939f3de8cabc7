"""One subject: what a few drawings of a designer's cat, or clock, teach of it, asked for in other moods and hours.

Five names of the subject are learned from, and the others held back: what is drawn of these is set beside the
designer's own drawings of them. DreamBooth knows the subject by a rare word before the common one ("grinning sks cat"),
textual inversion by a new word in its place ("grinning <new>"); adapters and the source are asked for it as it is.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from experiments.emoji.cells import DREAMBOOTH, INVERSION, Bench, Words
from experiments.emoji.data import SUBJECTS, Emoji, Pictures, to_unit
from experiments.emoji.measures import OF_SUBJECTS
from experiments.emoji.report import grid, measured, table
from experiments.emoji.styles import REAL, bar
from tgdp_jax.metrics.spread import Value

ALL = ("source", "lora", DREAMBOOTH, INVERSION)
LEARNED = 5
EACH = 8  # pictures of every name


def held_back(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """The pictures of a subject that are learned from, and the others."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    return pictures.take(order[:LEARNED]), pictures.take(order[LEARNED:])


def of_subjects(bench: Bench, emoji: Emoji, target: str, methods: Sequence[str], seeds: int) -> None:
    """Fills the cells of one target, prints its table and draws its pictures.

    Args:
      bench: where cells are filled.
      emoji: the data.
      target: designer.
      methods: of `ALL`.
      seeds: seeds 0, 1, ... up to this number.
    """
    found, names = {}, (REAL, *methods)
    for subject, seed in itertools.product(SUBJECTS, range(seeds)):
        cells = _of_subject(bench, emoji, target, subject, names, seed)
        found |= {(name, subject, seed): cell for name, cell in cells.items()}
    table(f"subjects of {target}", OF_SUBJECTS, found, names, list(SUBJECTS), seeds, group="subject")


def _of_subject(
    bench: Bench, emoji: Emoji, target: str, subject: str, names: Sequence[str], seed: int
) -> dict[str, dict[str, Value]]:
    """Cells of one subject and seed, by their rows; those whose method failed are left out."""
    learned, asked = held_back(emoji.parts[target][subject], seed)
    judged_by = bar(bench, emoji, target, asked, emoji.parts[target]["reference"])
    words = Words(place=subject, known=subject, kept=subject)

    def samples(method: str) -> np.ndarray:
        if method == REAL:
            return np.repeat(to_unit(asked.x), EACH, 0)
        # The pictures that are learned from are the seed's own.
        name = f"{target}-{subject}-of{seed}"
        return bench.samples(name, method, learned, asked, words, n=len(learned), seed=seed, each=EACH)

    def measure(method: str) -> dict[str, Value]:
        return judged_by.of_subject(samples(method), learned, EACH)

    cells = {
        method: measured(bench, f"{target}-{subject}-{method}-seed{seed}", functools.partial(measure, method))
        for method in names
    }
    found = {method: cell for method, cell in cells.items() if cell is not None}
    if seed == 0:
        shown = {"learned from": to_unit(learned.x)} | {method: samples(method) for method in found}
        grid(bench.folder / "pictures" / f"{target}-{subject}.png", shown)
    return found
