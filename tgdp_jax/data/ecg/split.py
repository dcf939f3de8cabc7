"""Which records are learned from and which judge: never the same patient on both sides."""

from __future__ import annotations

import numpy as np

from tgdp_jax.data.problem import check_n_target

# PTB-XL's own advice: folds 1 to 8 train, 9 and 10 are kept for validation and test.
TRAIN_FOLDS = 8
# A handful of rows judges nothing; better no number than a wild one.
MIN_REST = 10


def in_training_folds(folds: np.ndarray) -> np.ndarray:
    """Which records may be trained on: those of folds 1 to 8, and all of databases without folds (0). bool [N]."""
    return folds <= TRAIN_FOLDS


def by_patient(patients: np.ndarray, seed: int) -> np.ndarray:
    """Record numbers, the patients in an order of the seed, records of one patient next to one another."""
    names, of = np.unique(patients, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[of]
    return np.argsort(place, kind="stable")


def split_patients(
    patients: np.ndarray, folds: np.ndarray, n_target: int | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Record numbers to learn from, and others to judge by; None where these are too few.

    With official folds the first are drawn from folds 1 to 8 and the others are folds 9 and 10. Without, patients are
    put in an order of the seed, and the records of the first are learned from. The learned ones are nested in n_target.

    Args:
      patients: whose a record is [N].
      folds: official fold [N], 0 where there are none.
      n_target: records to learn from; None: all of folds 1 to 8, four fifths without folds.
      seed: of the order.

    Raises:
      UserError: n_target is out of range.
    """
    order = by_patient(patients, seed)
    trains = in_training_folds(folds)
    pool = order[trains[order]]
    if n_target is None:
        n_target = len(pool) if (folds > 0).any() else max(2, len(pool) - len(pool) // 5)
    check_n_target(n_target, len(pool))
    learned = pool[:n_target]
    rest = order[~trains[order]] if (folds > 0).any() else pool[n_target:]
    # The last patient may have more records than are learned from.
    rest = rest[~np.isin(patients[rest], patients[learned])]
    return learned, rest if len(rest) >= MIN_REST else None
