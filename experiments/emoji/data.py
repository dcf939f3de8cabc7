"""Emoji of three designers, and which of them learn, judge and train judges: the one place where this is decided.

A folder has noto.npz, twemoji.npz and fluent.npz, each with `x` [N, S, S, 3] (uint8) and `text` [N], the names. Names
tell which pictures of two designers show the same thing. Of a target designer only those count whose name the source's
designer has too, so that source and target differ in the drawing alone.

All rows that are one thing stay together: those whose names differ by the skin tone or by who it is (a woman or a man
running), and those that are the same pixels. Such a group is in one part:

    subjects   what one subject is learned from and judged by, see `SUBJECTS`
    learned    what methods are trained on, of which every seed draws its own n
    judge      what trains the judge of captions, and nothing else
    reference  what judges; no training sees it
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tgdp_jax.data.npz import read_npz
from tgdp_jax.data.problem import split_target
from tgdp_jax.errors import UserError

SOURCE = "noto"
TARGETS = ("twemoji", "fluent")
PARTS = ("learned", "judge", "reference")
SHARES = (0.25, 0.15, 0.6)  # of the groups, in this order
# A word that stands for one subject, and names that show it: the same cat, the same clock.
SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "cat": (
        "grinning cat",
        "grinning cat with smiling eyes",
        "cat with tears of joy",
        "smiling cat with heart eyes",
        "cat with wry smile",
        "kissing cat",
        "weary cat",
        "crying cat",
        "pouting cat",
    ),
    "oclock": tuple(
        f"{hour} oclock"
        for hour in "one two three four five six seven eight nine ten eleven twelve".split()
    ),
}  # fmt: skip
_TONE = "skin tone"
_HOW = "save it with numpy.savez(path, x=..., text=...)"
_NOT_THE_THING = frozenset("man men woman women person people light medium dark skin tone".split())


class Pictures(NamedTuple):
    """Captioned pictures.

    Attributes:
      x: [N, S, S, 3], uint8.
      text: captions [N].
    """

    x: np.ndarray
    text: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray) -> Pictures:
        """The rows of these numbers, or where a mask [N] is true."""
        return Pictures(self.x[rows], self.text[rows])

    def chosen(self, n: int, seed: int) -> Pictures:
        """The n of them that a method sees at a seed, as the problem `text-images` chooses them; nested in n."""
        return self.take(split_target(np.arange(len(self)), n, all_to_learn=True, seed=seed)[0])

    @staticmethod
    def joined(several: Iterable[Pictures]) -> Pictures:
        """All of them, one after the other."""
        return Pictures(*(np.concatenate(parts) for parts in zip(*several, strict=True)))


class Emoji(NamedTuple):
    """The data of the study.

    Attributes:
      source: all of the source's designer.
      parts: of every target designer, by the names of the parts; those of subjects by `SUBJECTS`.
    """

    source: Pictures
    parts: Mapping[str, Mapping[str, Pictures]]

    def asked(self, target: str, num: int) -> tuple[Pictures, Pictures]:
        """Pictures whose names samples are drawn of, and those that samples are judged by; neither trains anything.

        Args:
          target: designer.
          num: names, at most half of the reference.
        """
        reference = self.parts[target]["reference"]
        order = np.random.default_rng(0).permutation(len(reference))
        num = min(num, len(reference) // 2)
        return reference.take(order[:num]), reference.take(order[num:])

    def for_judge(self, target: str) -> Pictures:
        """What trains the judge of captions of a target: the other designers, and the target's own part for it."""
        others = [part for name, parts in self.parts.items() if name != target for part in parts.values()]
        return Pictures.joined([self.source, *others, self.parts[target]["judge"]])


def read_emoji(folder: Path) -> Emoji:
    """Reads the three files and divides the targets.

    Raises:
      UserError: a file is missing, or holds something else.
    """
    files = {name: _read(folder / f"{name}.npz") for name in (SOURCE, *TARGETS)}
    source = files[SOURCE]
    known = set(source.text.tolist())
    return Emoji(source, {name: divided(_shared(files[name], known)) for name in TARGETS})


def to_unit(x: np.ndarray) -> np.ndarray:
    """Pictures of bytes as numbers in [-1, 1]."""
    return (x / np.float32(127.5) - 1.0).astype(np.float32)


def divided(pictures: Pictures) -> dict[str, Pictures]:
    """The parts of a target designer's pictures, by names and pixels alone."""
    groups = _groups(pictures)
    subject = {name: word for word, names in SUBJECTS.items() for name in names}
    taken = {group: subject[text] for group, text in zip(groups, pictures.text, strict=True) if text in subject}
    place = np.array([taken.get(group) or _part(group) for group in groups])
    # What is of a subject's group, and is not named there, is in no part.
    wanted = np.array(
        [group not in taken or text in subject for group, text in zip(groups, pictures.text, strict=True)]
    )
    return {name: pictures.take((place == name) & wanted) for name in (*PARTS, *SUBJECTS)}


def _read(path: Path) -> Pictures:
    if not path.exists():
        raise UserError(f"{path} does not exist: see the text at the top of {Path(__file__).name} for what it holds")
    held = read_npz(path, ("x", "text"), _HOW)
    if len(held) < 2:
        raise UserError(f"{path} lacks x or text: {_HOW}")
    x, text = held["x"], held["text"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != 3 or text.shape != x.shape[:1]:
        raise UserError(f"{path} has x {x.dtype} {x.shape} and text {text.shape}: give uint8 [N, S, S, 3] and [N]")
    return Pictures(x, np.array([" ".join(str(name).lower().split()) for name in text]))


def _shared(pictures: Pictures, known: set[str]) -> Pictures:
    """Those whose names are known, where a designer may leave out the words "skin tone" at the end."""
    names = np.array(
        [text if text in known or f"{text} {_TONE}" not in known else f"{text} {_TONE}" for text in pictures.text]
    )
    return Pictures(pictures.x, names).take(np.array([name in known for name in names]))


def _groups(pictures: Pictures) -> list[str]:
    """The name of the group of every row: the least of what it shows, of all rows that are joined to it."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    things = [_thing(text) for text in pictures.text]
    for thing, x in zip(things, pictures.x, strict=True):
        low, high = sorted((root(thing), root(f"~{zlib.crc32(x.tobytes()):08x}")))
        parent[high] = low
    return [root(thing) for thing in things]


def _thing(text: str) -> str:
    """What a name says beside the skin tone and who it is."""
    words = [word for word in text.split() if word not in _NOT_THE_THING]
    return " ".join(words) or "person"


def _part(group: str) -> str:
    """Where a group is, by its name alone."""
    place = zlib.crc32(f"emoji {group}".encode()) / 2**32
    return PARTS[int(np.searchsorted(np.cumsum(SHARES)[:-1], place, side="right"))]
