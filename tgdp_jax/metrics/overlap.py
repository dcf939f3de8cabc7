"""Does density-ratio transfer fit these data? Asked before anything is trained.

Transfer reweights the source: target mass that no source sample covers can not be reached, and where source and target
agree there is nothing to gain. A domain classifier, judged on rows that it was not trained on, tells both:

    held-out AUC           P(log r at a target row > log r at a source row); 1/2 for equal distributions, 1 for disjoint
    held-out cross-entropy 1/2 E_q softplus(-log r) + 1/2 E_p softplus(log r); log 2 for equal, 0 for disjoint

Pairs of two-component Gaussian mixtures in two dimensions (variance 0.1) anchor the thresholds: with the exact ratio
and 200,000 rows, and as `diagnose` reads them from 200 target rows (two to six draws). The first is the simulation of
Ouyang et al. 2024, where transfer works; with the last, guidance fails even when it is given the exact ratio.

    means +-(c, c), +-(c, -c)      AUC      cross-entropy, nats      read
    c = 0.5                        .961     .252                     .957 to .966, .240 to .273
    c = 0.7                        .997     .070                     .993 to .997, .078 to .105
    c = 0.9                        .9999    .013                     1.00,         .018 to .033
    c = 1.5                        1        < .0001                  1.00,         .001

The effective sample size computed from a *learned* ratio decides nothing: an overconfident or a flat classifier moves
it by orders of magnitude, either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from tgdp_jax.data.arrays import check_pair, given_rows
from tgdp_jax.data.problem import Scaler
from tgdp_jax.density_ratio import Calibration
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.neighbours import TIE, kth_distance, nearest_distance
from tgdp_jax.train.classifier import fit_log_ratio
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import Session

# Far: held-out AUC above FAR_AUC or cross-entropy under FAR_CROSS_ENTROPY (nats). Between the pair that works (.96 and
# .25) and the one that does not (1.00 and .001), on the cautious side.
FAR_AUC = 0.99
FAR_CROSS_ENTROPY = 0.05
# The AUC counts as far from so many target rows on. The *exact* ratio of the pair that works reads above .99 in 42, 21,
# 8 and 2 % of the draws of 2, 5, 10 and 20 rows, and in none of 50; its cross-entropy never reads under .05.
ROWS_FOR_FAR_AUC = 50
# Same: an AUC within so many standard errors of 1/2. Held-out rows also choose when training stops, so that the largest
# of 32 readings of identical pairs was 2.2, where independent rows would give about 2.1.
SAME_ERRORS = 2.5
# Fewer target rows allow no verdict of "same": an AUC of .66, two unit Gaussians 0.58 apart, would still pass for it.
ROWS_FOR_SAME = 20
# The radius within which a target row has a source row nearby, as a quantile of the source's own distances.
NEIGHBOUR_QUANTILE = 0.99
# Rows stray from the source where so small an overlap had probability STRAY_PROBABILITY at most if each row were near
# with probability STRAY_SHARE. Identical distributions give .99, with 100 source rows .96 to .98: quantiles err.
STRAY_SHARE = 0.95
STRAY_PROBABILITY = 1e-3
# Not one of so many target rows near the source is far, whatever a classifier of so few rows reads: of 5 rows of the
# pair that works, 3.5 are near on average and none with probability .002.
ROWS_FOR_NO_OVERLAP = 5
# More rows sharpen nothing here and cost time: the AUC of equal distributions is known to .004 then.
MAX_ROWS = 10_000
MAX_NEIGHBOUR_ROWS = 2_000
# Standardised values are cut off here, so that float32 training can not overflow. Among 10,000 source rows none can lie
# beyond 100 of their own standard deviations: only rows of a target that is far anyway are moved.
MAX_STANDARDISED = 1e4
# A fifth of the default's steps at three times its rate: in d = 2 and 32 it reads the same cross-entropy to 0.01 nats.
OPTIMISER = OptimiserConfig(steps=300, learning_rate=3e-3, batch_size=128, steps_per_launch=20, patience=100)


class Advice(NamedTuple):
    """What to do.

    Attributes:
      kind: "transfer" (density-ratio transfer fits), "finetune" (too far apart for it) or "same" (no difference seen).
      sentence: the advice with its reason, one plain sentence.
    """

    kind: Literal["transfer", "finetune", "same"]
    sentence: str


class Diagnosis(NamedTuple):
    """How source and target relate.

    Attributes:
      calibration: held-out quality of a quickly learned ratio.
      neighbour_overlap: share of target rows that have a source row nearby, see `neighbour_overlap`.
      advice: what follows.
      num_source: source rows looked at, `MAX_ROWS` at most.
      num_target: target rows looked at, `MAX_ROWS` at most.
    """

    calibration: Calibration
    neighbour_overlap: float
    advice: Advice
    num_source: int
    num_target: int


def null_auc_error(num_target: int, num_source: float = math.inf) -> float:
    """Standard deviation of the AUC where both distributions are the same (Mann-Whitney; Hanley & McNeil 1982).

    sqrt((m + n + 1) / (12 m n)), for m source rows that are not given 1 / sqrt(12 n).
    """
    return math.sqrt((1 / num_target + (1 + 1 / num_target) / num_source) / 12)


def advise(
    calibration: Calibration,
    *,
    num_target: int,
    num_source: float = math.inf,
    neighbour_overlap: float | None = None,
) -> Advice:
    """Transfer, fine-tune, or leave the source as it is; see the module's constants for the thresholds.

    Args:
      calibration: held-out quality of the ratio.
      num_target: target rows n that it comes from.
      num_source: source rows m that it comes from; matters where they are not many more than n.
      neighbour_overlap: share of target rows near a source row. It overrules the classifier of a few rows that sees no
        difference.

    Raises:
      UserError: no target rows, or an AUC or cross-entropy that is not a number.
    """
    auc, cross_entropy = calibration.auc, calibration.cross_entropy
    if num_target < 1:
        raise UserError(f"num_target is {num_target}: at least 1 target row is needed")
    if math.isnan(auc) or math.isnan(cross_entropy):
        raise UserError(
            f"the AUC is {auc} and the cross-entropy {cross_entropy}: the classifier diverged, train it anew"
        )
    error = null_auc_error(num_target, num_source)
    readings = f"held-out AUC {auc:.3f}, cross-entropy {cross_entropy:.3f} nats"
    far = cross_entropy < FAR_CROSS_ENTROPY or (auc > FAR_AUC and num_target >= ROWS_FOR_FAR_AUC)
    disjoint = neighbour_overlap == 0 and num_target >= ROWS_FOR_NO_OVERLAP
    if far or disjoint:
        readings += ", no target row has a source row nearby" if disjoint else ""
        return Advice(
            "finetune",
            f"Source and target hardly overlap ({readings}), too little for density-ratio transfer: fine-tune the "
            "source; guidance would rest on its consistency term alone.",
        )
    if auc <= 0.5 + SAME_ERRORS * error and not _stray(neighbour_overlap, num_target):
        if num_target < ROWS_FOR_SAME:
            limit = min(1.0, 0.5 + SAME_ERRORS * error)
            return Advice(
                "same",
                f"No clear difference between source and target was seen, but {num_target} target rows are too few for "
                f"a verdict (held-out AUC {auc:.2f}, where chance alone gives up to {limit:.2f}).",
            )
        return Advice(
            "same",
            f"No difference between source and target was seen (held-out AUC {auc:.3f}, where chance gives 0.5 ± "
            f"{error:.3f}): use the source model as it is, transfer has nothing to add.",
        )
    if num_target < ROWS_FOR_SAME:
        return Advice(
            "transfer",
            f"Source and target differ ({readings}) and density-ratio transfer is worth trying, but {num_target} "
            "target rows make this a rough reading.",
        )
    return Advice("transfer", f"Source and target differ but overlap ({readings}): density-ratio transfer fits.")


def _stray(overlap: float | None, num_target: int) -> bool:
    """Whether too many target rows are away from all source rows for one distribution."""
    if overlap is None:
        return False
    looked_at = min(num_target, MAX_NEIGHBOUR_ROWS)
    return bool(stats.binom.cdf(round(overlap * looked_at), looked_at, STRAY_SHARE) < STRAY_PROBABILITY)


def neighbour_overlap(source: Any, target: Any, *, seed: int = 0) -> float:
    """Share of target rows whose nearest source row is as near as source rows are to one another.

    With up to `MAX_NEIGHBOUR_ROWS` source rows as the pool, "near" is within the `NEIGHBOUR_QUANTILE` quantile of the
    Euclidean distances from each of them to the nearest other one. Equal distributions give .99 up to sampling error,
    disjoint supports 0. One radius serves everywhere and distances grow alike in many dimensions (the pair that works
    gives .71 in d = 2 and .97 in d = 64): a low value says that rows are far, a high one does not say that none is.

    Args:
      source: rows [M, *D], M >= 2, in units where all coordinates matter alike.
      target: rows [N, *D] in the same units.
      seed: chooses the rows where there are more than `MAX_NEIGHBOUR_ROWS`.
    """
    pool, points = (
        part.reshape(len(part), -1).astype(np.float64)
        for part in (_at_most(np.asarray(x), MAX_NEIGHBOUR_ROWS, (seed, i)) for i, x in enumerate((source, target)))
    )
    # Repeated rows (resampled or discrete data) would make distances, and with them the radius, zero.
    pool = np.unique(pool, axis=0)
    radius = np.quantile(kth_distance(pool, 1), NEIGHBOUR_QUANTILE) if len(pool) > 1 else 0.0
    # Distances between discrete rows are all but equal: rounding must not decide.
    return float(np.mean(nearest_distance(points, pool) <= radius * (1 + TIE)))


def diagnose(
    source: Any,
    target: Any,
    *,
    columns: Sequence[str] = (),
    label: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float, float], None] | None = None,
) -> Diagnosis:
    """Learns a quick ratio on standardised rows and says whether transfer fits; seconds for small rows.

    Labels are not looked at: of a conditional problem this judges x alone, and the joint ratio of (x, y) is at least as
    far from one.

    Args:
      source: at least 100 rows: an array [M, *D], `Data`, a dict that holds them under "x", or a pandas DataFrame.
      target: at least 2 rows [N, *D] in the same units, likewise.
      columns: of DataFrames: names of those to look at. Default: all but the label's.
      label: of DataFrames: name of the column of class labels.
      seed: the result is a pure function of it and the data.
      progress: called as (step, steps, loss, validation) while the classifier trains.

    Raises:
      UserError: rows are not numeric, not finite, too few, or differ in shape.
    """
    given, _ = given_rows({"source": source, "target": target}, columns=columns, label=label)
    check_pair(given["source"], given["target"])
    raw = [_at_most(data.x, MAX_ROWS, (seed, i)).astype(np.float64) for i, data in enumerate(given.values())]
    scaler = Scaler.of(raw[0])
    rows = [np.clip(scaler.to_model(x), -MAX_STANDARDISED, MAX_STANDARDISED) for x in raw]
    fitted = fit_log_ratio(
        jax.random.key(seed),
        {"x": jnp.asarray(rows[0])},
        {"x": jnp.asarray(rows[1])},
        optimiser=OPTIMISER,
        session=Session(progress=progress),
    )
    overlap = neighbour_overlap(*rows, seed=seed)
    num_source, num_target = len(rows[0]), len(rows[1])
    advice = advise(fitted.calibration, num_target=num_target, num_source=num_source, neighbour_overlap=overlap)
    return Diagnosis(fitted.calibration, overlap, advice, num_source, num_target)


def _at_most(x: np.ndarray, num: int, seed: tuple[int, int]) -> np.ndarray:
    """Rows of x, or `num` of them drawn without replacement."""
    return x if len(x) <= num else x[np.random.default_rng(seed).permutation(len(x))[:num]]
