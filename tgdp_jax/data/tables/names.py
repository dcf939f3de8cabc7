"""What the names of a table's columns have to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tgdp_jax.errors import UserError

# Tables of more are arrays.
MAX_COLUMNS = 10_000
# Names in one sentence.
SHOWN = 10


def check_names(names: Sequence[str], what: str) -> None:
    """Raises:
    UserError: two columns have one name, or there are too many or none."""
    if not names:
        raise UserError(f"{what} has no columns: give a table with names for its columns")
    if len(names) > MAX_COLUMNS:
        raise UserError(f"{what} has {len(names):,} columns, more than {MAX_COLUMNS:,}: save the rows as .npz instead")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{what} has several columns named {twice[0]!r}: rename them, as columns are found by name")


def check_there(wanted: Iterable[str], names: Iterable[str], what: str) -> None:
    """Raises:
    UserError: a column that is asked for is not among the names."""
    held = list(names)
    missing = [name for name in wanted if name not in held]
    if missing:
        said = ", ".join(map(repr, missing[:SHOWN])) + (f" and {len(missing) - SHOWN} more" if missing[SHOWN:] else "")
        shown = ", ".join(map(repr, held[:SHOWN])) + (f" and {len(held) - SHOWN} more" if held[SHOWN:] else "")
        raise UserError(f"{what} has no column {said}: it has {shown}")
