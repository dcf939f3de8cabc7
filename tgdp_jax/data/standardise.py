"""Standardising by the source: what is left as it is, and what lies too far away to be put on the source's scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgdp_jax.data.labels import listed
from tgdp_jax.data.problem import Scaler, varying
from tgdp_jax.errors import UserError

# Source standard deviations. Squares of larger numbers drown those of all other coordinates in float32.
FARTHEST = 1e6
# The same for what is not scaled, beside all others, which have a standard deviation of 1.
FARTHEST_UNSCALED = 100.0


class Standardised:
    """The scaler of source rows x [N, *D], and the coordinates that do not vary there.

    Args:
      x: source rows.
      names: of the coordinates, for sentences; empty: they are numbered.
    """

    def __init__(self, x: np.ndarray, names: Sequence[str] = ()):
        self.names = names
        self.scaler = Scaler.of(x)
        self.constant = ~varying(x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64))

    def __call__(self, rows: np.ndarray, what: str) -> np.ndarray:
        """Rows [M, *D] in the models' units.

        Raises:
          UserError: they lie so far from the source that nothing carries over.
        """
        with np.errstate(over="ignore"):
            x = self.scaler.to_model(rows)
        reach = np.abs(x).max(0)
        unlike, far = self.constant & ~(reach <= FARTHEST_UNSCALED), ~self.constant & ~(reach <= FARTHEST)
        if unlike.any():
            raise UserError(
                f"{what} lies far away in {self._named(unlike)}, where the source is constant to rounding and teaches "
                "nothing: drop what is constant from all files, or give it in other units"
            )
        if far.any():
            worst = (rows - self.scaler.shift)[:, far] / self.scaler.scale[far]
            raise UserError(
                f"{what} lies up to {np.abs(worst).max():.2g} standard deviations of the source away from the source's "
                f"mean in {self._named(far)}, too far to be standardised: bring both files to the same units, or drop "
                "it"
            )
        return x

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user: which coordinates are not scaled."""
        if not self.constant.any():
            return ()
        return (f"not scaled, being constant to rounding in the source: {self._named(self.constant)}",)

    def _named(self, mask: np.ndarray) -> str:
        """Coordinates by their names or indices: column 3, columns 3, 7, or (3, 0) where rows are not flat."""
        places = [tuple(place) for place in np.argwhere(mask).tolist()]
        numbers = [str(place[0]) if len(place) == 1 else str(place) for place in places]
        names = [repr(self.names[place[0]]) for place in places] if self.names else numbers
        return f"column{'s' * (len(names) > 1)} {listed(names)}"
