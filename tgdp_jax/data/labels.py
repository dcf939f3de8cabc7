"""Labels by name: one name is one class in source, target and reference, whatever its place in each.

Names are those of folders, or strings in a file. A name that is a number is that number: folder "7", the string "07"
and the integer 7 are one class. Where all of the source's labels are numbers, models see these numbers; else its names
are numbered in their order.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from tgdp_jax.data.problem import check_label_array, check_labels, count_classes
from tgdp_jax.errors import UserError

Key = int | str
T = TypeVar("T")
# So many digits fit into 64 bits.
MAX_DIGITS = 18
# Names in one line of a note or message.
SHOWN = 10


class LabelFile(NamedTuple):
    """Labels y as they were read, or None; the number of rows that they belong to; and the file, for messages."""

    y: np.ndarray | None
    rows: int
    what: str


class Given(NamedTuple):
    """Labels as a file has them.

    Attributes:
      keys: the distinct labels, in order: integers, and names that are no numbers.
      names: how they are spelled.
      place: which of them a row has, int [N].
      named: whether they are names, be they numbers or not, and no integers.
    """

    keys: tuple[Key, ...]
    names: tuple[str, ...]
    place: np.ndarray
    named: bool


class Classes(NamedTuple):
    """The source's classes.

    Attributes:
      label: label by key, of the classes that have rows.
      names: name by label.
      numbers: whether the labels are the source's own numbers.
    """

    label: dict[Key, int]
    names: tuple[str, ...]
    numbers: bool

    def __len__(self) -> int:
        return len(self.names)


class Matched(NamedTuple):
    """Labels of several files in the source's numbering.

    Attributes:
      classes: names by label; empty where the source has no labels.
      y: int32 [N] by file, of those that have labels which match.
      notes: what labels mean and which were left out, for the user.
    """

    classes: tuple[str, ...]
    y: dict[str, np.ndarray]
    notes: tuple[str, ...]


def match_labels(files: Mapping[str, LabelFile], *, required: bool) -> Matched:
    """Numbers the labels of all files as the source's.

    Args:
      files: labels by what the file is to the run: "source", and others.
      required: models see the labels, which have to be there and to match, and numbers stay what they are. Else they
        are for judging alone: those that do not match are left out, with a note.

    Raises:
      UserError: labels that are required are missing or do not match.
    """
    notes: list[str] = []

    def tried(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except UserError as error:
            if required:
                raise
            notes.append(f"labels are left out: {error}")
            return None

    asked = {name: file for name, file in files.items() if required or file.y is not None}
    read = {name: tried(lambda file=file: read_labels(file)) for name, file in asked.items()}
    given = {name: labels for name, labels in read.items() if labels is not None}
    if "source" not in given:
        return Matched((), {}, tuple(notes))
    classes = tried(lambda: classes_of(given["source"], files["source"].what, keep_numbers=required))
    if classes is None:
        return Matched((), {}, tuple(notes))

    def numbered(name: str, labels: Given, classes: Classes = classes) -> np.ndarray | None:
        return tried(lambda: number_labels(labels, classes, files[name].what))

    all_numbered = {name: numbered(name, labels) for name, labels in given.items()}
    y = {name: labels for name, labels in all_numbered.items() if labels is not None}
    others = [labels for name, labels in y.items() if name != "source"]
    named = any(labels.named for labels in given.values())
    if others and (named or any(name != str(label) for label, name in enumerate(classes.names))):
        notes.append(mapping_note(classes, np.unique(np.concatenate(others)).tolist()))
    return Matched(classes.names, y, tuple(notes))


def distinct_keys(names: Sequence[str], what: str) -> tuple[Key, ...]:
    """What names stand for: integers where they are numbers, else themselves in Unicode's composed form.

    Raises:
      UserError: two names stand for the same.
    """
    known: dict[Key, str] = {}
    for name in names:
        text = unicodedata.normalize("NFC", name)
        key = int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else text
        if key in known:
            raise UserError(f"{what} has classes {known[key]!r} and {name!r}, which are one: rename one of them")
        known[key] = name
    return tuple(known)


def read_labels(file: LabelFile) -> Given:
    """Labels of a file, integers or strings [rows].

    Raises:
      UserError: missing, of another kind or length, or two names that are one.
    """
    y = file.y
    if y is not None and y.dtype.kind == "U" and y.shape == (file.rows,):
        values, place = np.unique(y, return_inverse=True)
        names = tuple(values.tolist())
        return Given(distinct_keys(names, file.what), names, place, True)
    numbers, place = np.unique(check_label_array(y, file.rows, file.what), return_inverse=True)
    return Given(tuple(numbers.tolist()), tuple(map(str, numbers.tolist())), place, False)


def classes_of(given: Given, what: str, *, keep_numbers: bool) -> Classes:
    """The classes that the labels of a source make.

    Args:
      given: the labels.
      what: the file, for messages.
      keep_numbers: labels that are numbers stay what they are, with a class for every number up to the largest; else
        they are numbered in order.

    Raises:
      UserError: numbers or names that can not be classes.
    """
    rows, numeric = len(given.place), all(isinstance(key, int) for key in given.keys)
    if numeric and keep_numbers:
        own = np.array(given.keys)[given.place]
        count = count_classes(own, rows, what)
        check_labels(own, rows, count, what)
        names = dict(zip(given.keys, given.names, strict=True))
        label = {key: int(key) for key in given.keys}
        return Classes(label, tuple(names.get(i, str(i)) for i in range(count)), True)
    if 2 * len(given.keys) > rows:
        raise UserError(f"{what} has {len(given.keys)} different labels for {rows} rows: these are no classes")
    order = sorted(range(len(given.keys)), key=lambda i: given.keys[i]) if numeric else range(len(given.keys))
    return Classes({given.keys[i]: n for n, i in enumerate(order)}, tuple(given.names[i] for i in order), False)


def number_labels(given: Given, classes: Classes, what: str) -> np.ndarray:
    """Labels in the source's numbering, int32 [N].

    Raises:
      UserError: there are classes that the source does not have.
    """
    if not given.named and classes.numbers:
        return check_labels(np.array(given.keys)[given.place], len(given.place), len(classes), what)
    new = [name for key, name in zip(given.keys, given.names, strict=True) if key not in classes.label]
    if new:
        known = [classes.names[label] for label in sorted(classes.label.values())]
        raise UserError(
            f"{what} has {'a class' if len(new) == 1 else f'{len(new)} classes'} that the source does not know by this "
            f"name: {listed(new)}; name classes as the source does ({listed(known)})"
        )
    return np.array([classes.label[key] for key in given.keys], np.int32)[given.place]


def mapping_note(classes: Classes, of_target: Iterable[int]) -> str:
    """One line that says which label is which class, and which classes only the source has."""
    seen, have = set(of_target), sorted(classes.label.values())
    alone = [label for label in have if label not in seen]

    def said(label: int) -> str:
        name = classes.names[label]
        shown = name if name == str(label) else f"{label} = {name}"
        return shown + " (source only)" * (label in alone)

    if len(have) <= SHOWN:
        return "labels: " + ", ".join(map(said, have))
    tail = f"; {len(alone)} of {len(have)} are in the source only" if alone else ""
    return f"labels: {', '.join(map(said, have[: SHOWN - 1]))}, ..., {said(have[-1])}{tail}"


def listed(names: Sequence[str]) -> str:
    """Names in one line, the first `SHOWN` of them."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
