"""What the numbers of a row are where rows come from a table, and the way back to a table.

A column of numbers is one coordinate. A column of categories is one-hot: a coordinate for every category of the source,
1 for the row's own and 0 for the others; the way back takes the largest. Whole numbers are rounded on the way back.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

Kind = Literal["number", "integer", "category"]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      name: in the table.
      kind: what it holds.
      categories: the distinct values of a column of categories, texts or truth values, in order.
    """

    name: str
    kind: Kind
    categories: tuple[Any, ...] = ()

    @property
    def size(self) -> int:
        """How many coordinates of a row it takes."""
        return len(self.categories) if self.kind == "category" else 1


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table that are modelled, in the order of a row's coordinates, and that of the labels.

    Attributes:
      parts: the columns that are modelled.
      order: names of all columns of a table of samples.
      ending: of the files that samples are written to, such as ".csv".
      label: the column of class labels, which is one of `order`; None where models see none.
    """

    parts: tuple[Column, ...]
    order: tuple[str, ...]
    ending: str
    label: Column | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a row's coordinates: age, colour=red, colour=blue."""
        return tuple(
            f"{part.name}={category}" if part.kind == "category" else part.name
            for part in self.parts
            for category in (part.categories or (None,))
        )

    def decode(self, x: np.ndarray, y: np.ndarray | None, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The columns [N] of a table, by name and in order.

        Args:
          x: rows [N, D] in the user's units.
          y: labels [N], or None.
          classes: names of the labels.
        """
        out: dict[str, np.ndarray] = {}
        at = 0
        for part in self.parts:
            block = x[:, at : at + part.size]
            at += part.size
            if part.kind == "category":
                out[part.name] = np.array(part.categories)[block.argmax(1)]
            else:
                out[part.name] = np.rint(block[:, 0]).astype(np.int64) if part.kind == "integer" else block[:, 0]
        if self.label is not None and y is not None:
            values = {str(value): value for value in self.label.categories}
            named = self.label.kind == "category"
            out[self.label.name] = np.array([values[name] for name in classes])[y] if named else np.asarray(y)
        return {name: out[name] for name in self.order if name in out}

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; `columns_of_json` is the inverse."""
        return dataclasses.asdict(self)


def columns_of_json(value: dict[str, Any]) -> Columns:
    """Inverse of `Columns.to_json`.

    Raises:
      KeyError, TypeError: it is not what that made.
    """

    def column(fields: dict[str, Any]) -> Column:
        return Column(fields["name"], fields["kind"], tuple(fields["categories"]))

    label = None if value["label"] is None else column(value["label"])
    return Columns(tuple(map(column, value["parts"])), tuple(value["order"]), value["ending"], label)


def plain_columns(size: int, *, labels: bool, ending: str) -> Columns:
    """The columns x1, x2, ... and y of rows [size] that come from no table.

    Args:
      size: numbers in a row.
      labels: whether there are labels.
      ending: of the file.
    """
    parts = tuple(Column(f"x{i + 1}", "number") for i in range(size))
    label = Column("y", "integer") if labels else None
    return Columns(parts, (*(part.name for part in parts), *(["y"] if labels else [])), ending, label)
