"""One type for every transfer problem: source rows, n target rows, and fresh target rows to judge by."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tgdp_jax.data.copies import copies_together
from tgdp_jax.data.modalities import Modalities
from tgdp_jax.data.tables.columns import Columns
from tgdp_jax.errors import UserError

if TYPE_CHECKING:
    from tgdp_jax.data.mixture import GaussianMixture

RowKind = Literal["vectors", "series", "images"]
_KINDS: dict[int, RowKind] = {2: "series", 3: "images"}


@dataclasses.dataclass(frozen=True)
class Data:
    """Rows x [N, *D] float32, with integer labels y [N] or None."""

    x: np.ndarray
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def arrays(self, conditional: bool) -> dict[str, Any]:
        """{"x"} or, for a conditional problem, {"x", "y"}."""
        return {"x": self.x, "y": self.y} if conditional else {"x": self.x}

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the rows and their labels."""
        parts = [self.x] if self.y is None else [self.x, self.y]
        each = [hashlib.sha256(np.ascontiguousarray(part).data).digest() for part in parts]
        return hashlib.sha256(b"".join(each)).hexdigest()

    def take(self, rows: Any) -> Data:
        """The given rows."""
        return Data(self.x[rows], None if self.y is None else self.y[rows])


@dataclasses.dataclass(frozen=True)
class Scaler:
    """x_model = (x_user - shift) / scale, coordinate by coordinate (or with one number for all)."""

    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Scaler:
        """Standardises by the mean and standard deviation of rows x [N, *D]; a constant coordinate keeps scale one.

        In double precision: squares of large or small units leave the range of float32. See `varying` for what is
        constant.
        """
        mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
        return cls(mean, np.where(varying(mean, std), std, 1.0))

    def to_model(self, x: np.ndarray) -> np.ndarray:
        """User's units to the models'."""
        return ((x - self.shift) / self.scale).astype(np.float32)

    def to_user(self, x: np.ndarray) -> np.ndarray:
        """Models' units back to the user's."""
        return (x * self.scale + self.shift).astype(np.float32)


def varying(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Which coordinates vary, by their means and standard deviations [*D] in double precision; bool [*D].

    The others are constant to rounding: beside their own mean, or beside the coordinate that varies most, where even
    units that have nothing in common do not lie so far apart (a picofarad and a gigahertz are 1e-21).
    """
    return (std > SMALLEST_OF_MEAN * np.abs(mean)) & (std > SMALLEST_OF_DATA * std.max(initial=0.0))


# About what float32 resolves.
SMALLEST_OF_MEAN = 1e-7
SMALLEST_OF_DATA = 1e-24

IDENTITY = Scaler(np.zeros(()), np.ones(()))


@dataclasses.dataclass(frozen=True)
class Exact:
    """The true densities, where they are known."""

    source: GaussianMixture
    target: GaussianMixture


@dataclasses.dataclass(frozen=True)
class Captions:
    """What there is to say of captions, where rows are latents of pictures and a label is the number of a caption.

    Attributes:
      dropout: share of the draws that see no caption.
      class_prompt: the class of which the source's own rows are kept.
      token: new word that captions name.
      initial: the word that it starts from.
    """

    dropout: float = 0.0
    class_prompt: str | None = None
    token: str | None = None
    initial: str | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """A transfer problem, in the models' units.

    Rows may carry labels in an unconditional problem too: they are for judging. Models see labels only where
    `num_classes` is above 0.

    Attributes:
      name: as on the command line.
      source: source rows.
      target: the n target rows that may be learned from.
      reference: target rows that no method sees, for judging; None where there are none to spare.
      num_classes: number of labels of a conditional problem, 0 for an unconditional one.
      exact: true densities, for problems with a closed form.
      scaler: maps to and from the user's units.
      modalities: what a row is made of, for problems whose rows have named parts.
      ecg_rate: samples a second where rows are ECGs [T, 8] of leads I, II, V1..V6, in mV for the user; else None.
      classes: names of the labels, where they have any.
      notes: what a reader of the data left out, for the user.
      columns: what the numbers of a row are, where rows come from a table.
      captions: of latents of pictures, whose classes are captions: what else there is to say of these. The scaler then
        decodes latents.
      asked: labels that samples are asked for, one after the other, where these are not drawn as the target's are.
      drawn_style: of generated pictures of shapes, the style that samples should have; their captions say the rest.
    """

    name: str
    source: Data
    target: Data
    reference: Data | None
    num_classes: int = 0
    exact: Exact | None = None
    scaler: Scaler = IDENTITY
    modalities: Modalities | None = None
    ecg_rate: int | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: Columns | None = None
    captions: Captions | None = None
    asked: np.ndarray | None = None
    drawn_style: str | None = None

    @property
    def conditional(self) -> bool:
        """Whether models see labels."""
        return self.num_classes > 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape *D of one row."""
        return self.source.x.shape[1:]

    @property
    def kind(self) -> RowKind:
        """What a row is. The one place that tells it by the form: [D] vectors, [L, C] series, [H, W, C] images."""
        return _KINDS.get(len(self.shape), "vectors")

    @property
    def data_std(self) -> float:
        """Scale of the source data, for preconditioning: one number, so that no coordinate is singled out.

        Two digits are enough for that, and let draws of one source share their compiled programs. A pretrained source
        without rows has 1.
        """
        return 1.0 if not len(self.source) else float(f"{self.source.x.std():.2g}")

    @property
    def num_labels(self) -> int:
        """One more than the source's largest label, whether models see labels or not; 0 where it has none."""
        return 0 if self.source.y is None else int(self.source.y.max()) + 1

    def target_labels(self, key: Any, ids: np.ndarray) -> np.ndarray | None:
        """Labels [N] for sample ids, drawn from the target rows' label distribution, one key a sample; None if
        unconditional."""
        if not self.conditional:
            return None
        from tgdp_jax.data.draws import choose_rows  # late: rows can be read without JAX

        rows = np.asarray(choose_rows(key, np.asarray(ids, np.uint32), len(self.target)))
        return None if self.target.y is None else self.target.y[rows]

    def sample_labels(self, key: Any, ids: np.ndarray) -> np.ndarray | None:
        """Labels [N] that samples are asked for; None if unconditional."""
        return self.target_labels(key, ids) if self.asked is None else self.asked[np.asarray(ids) % len(self.asked)]

    def prior_labels(self, key: Any, ids: np.ndarray) -> np.ndarray | None:
        """Labels [N] of the source's own rows that are to be kept: the class prompt's, or drawn as the target's."""
        if self.captions is None or self.captions.class_prompt is None:
            return self.target_labels(key, ids)
        return np.full(len(ids), self.classes.index(self.captions.class_prompt), np.int32)


def check_rows(x: np.ndarray, what: str) -> np.ndarray:
    """x as float32 rows.

    Raises:
      UserError: not numeric, not [N, *D], or not finite.
    """
    if x.dtype.kind not in "fiub":
        raise UserError(f"{what} has dtype {x.dtype}: x must be numeric, convert it to float32 before saving")
    if x.ndim < 2:
        raise UserError(f"{what} has shape {x.shape}: x must be [N, *D], one row a sample (for scalars use [N, 1])")
    if len(x) == 0:
        raise UserError(f"{what} has no rows: give at least two")
    if x.size == 0:
        raise UserError(f"{what} has shape {x.shape}: rows without a number can not be learned from")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
    if bad.any():
        raise UserError(
            f"{what} has NaN, infinite or (for float32) too large values in {int(bad.sum())} of {len(x)} rows "
            f"(first: row {int(bad.argmax())}): remove or impute them"
        )
    return x


def check_label_array(y: np.ndarray | None, rows: int, what: str) -> np.ndarray:
    """Integer labels [N], checked to be such; names are for `labels.read_labels`.

    Raises:
      UserError: missing, not integers, or of another length.
    """
    if y is None:
        raise UserError(f"{what} has no labels: a conditional run needs integers or names in an array under key 'y'")
    if y.dtype.kind not in "iu" or y.shape != (rows,):
        raise UserError(
            f"labels of {what} have dtype {y.dtype} and shape {y.shape}: y must be integers [{rows}] or as many names"
        )
    return y


def count_classes(y: np.ndarray | None, rows: int, what: str) -> int:
    """One more than the source's largest label.

    Raises:
      UserError: missing, not integers, of another length, or numbers that can not be classes.
    """
    largest = int(check_label_array(y, rows, what).max())
    if largest >= rows:
        raise UserError(
            f"labels of {what} reach {largest} but it has {rows} rows: number the classes 0, 1, 2 and so on"
        )
    return max(largest + 1, 1)


def check_labels(
    y: np.ndarray | None, rows: int, num_classes: int, what: str, classes: str = "the source's classes"
) -> np.ndarray:
    """Labels as int32 [N]; `classes` says in the message what their range is.

    Raises:
      UserError: missing, not integers, of another length, or out of [0, num_classes).
    """
    y = check_label_array(y, rows, what)
    if y.min() < 0 or y.max() >= num_classes:
        raise UserError(
            f"labels of {what} reach from {y.min()} to {y.max()}: they must lie in 0..{num_classes - 1}, {classes}"
        )
    return y.astype(np.int32)


def check_two(n: int) -> None:
    """Raises:
    UserError: n is below 2."""
    if n < 2:
        raise UserError(f"n-target is {n}: at least 2 target rows are needed to hold one out; raise --n-target")


def check_n_target(n: int, available: int) -> None:
    """Raises:
    UserError: n is below 2 or above what the data hold."""
    check_two(n)
    if n > available:
        raise UserError(f"n-target is {n} but only {available} target rows are to be had: lower --n-target")


def split_target(
    groups: np.ndarray, n_target: int | None, *, all_to_learn: bool, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Row numbers of the target to learn from, and the others to judge by; None where these are too few.

    Copies of one row are on one side. The rows to learn from are nested in n_target.

    Args:
      groups: rows of the same number are copies of one another [N], see `copies.copy_groups`.
      n_target: rows to learn from; None: four fifths.
      all_to_learn: what to judge by comes from elsewhere, so that None means all and nothing is set aside.
      seed: of the order, which is the same for every n_target.

    Raises:
      UserError: n_target is out of range.
    """
    available = len(groups)
    if n_target is None:
        n_target = available if all_to_learn else max(2, available - available // 5)
    check_n_target(n_target, available)
    order = np.random.default_rng(seed).permutation(available)
    if all_to_learn:
        return order[:n_target], None
    order = copies_together(order, groups)
    learned, rest = order[:n_target], order[n_target:]
    # The last row that is learned from may have further copies.
    rest = rest[~np.isin(groups[rest], groups[learned])]
    # A handful of rows judges nothing; better no number than a wild one.
    return learned, None if len(rest) < 10 else rest
