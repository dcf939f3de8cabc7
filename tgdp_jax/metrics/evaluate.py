"""All metrics of one set of samples, with their spread, under the names that tables use."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from tgdp_jax.data.mixture import GaussianMixture
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.closed_form import densities, imbalance, path_kl, responsibilities
from tgdp_jax.metrics.coverage import NEIGHBOURS, density_coverage
from tgdp_jax.metrics.inputs import pair
from tgdp_jax.metrics.likelihood import nll
from tgdp_jax.metrics.memorisation import nearest_training_distance, ratio_of_medians
from tgdp_jax.metrics.neighbours import TREE_MAX_DIM
from tgdp_jax.metrics.spread import Value, bootstrap, mean_value, subsample_spread
from tgdp_jax.metrics.two_sample import median_bandwidth, mmd2_value, sliced_wasserstein2_value, wasserstein2_value
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.sde import SDE

Array = jax.Array
COPIES = 20  # resampled copies behind a spread


class Metric(NamedTuple):
    """How a table shows a metric.

    Attributes:
      label: column head.
      better: "lower", "higher", "target" where the best value lies in the middle, or "none" for what is shown beside
        and does not depend on the method.
      description: one sentence for a reader who has not met it.
      ideal: the best value where it is the same for every problem, else None.
    """

    label: str
    better: Literal["lower", "higher", "target", "none"]
    description: str
    ideal: float | None = None


def _downstream_metrics() -> dict[str, Metric]:
    """Macro AUC, F2 and G2 of classifiers of target records, by what these were trained on."""
    kinds = {
        "generated": ("gen.", "samples alone"),
        "both": ("both", "samples and target rows"),
        "real": ("real", "the target rows alone"),
        "tuned": ("tuned", "the target rows, starting from the source's classifier"),
    }
    measures = {
        "auc": ("AUC", "Macro area under the ROC curve"),
        "f2": ("F2", "Macro F2, which weighs a missed patient more than a false alarm,"),
        "g2": ("G2", "Macro G2, which does so without counting hits twice,"),
    }
    return {
        f"{measure}_{kind}": Metric(
            f"{short} {of}",
            "higher" if kind in ("generated", "both") else "none",
            f"{long} on held-out target records of a classifier trained on {on}.",
        )
        for measure, (short, long) in measures.items()
        for kind, (of, on) in kinds.items()
    }


METRICS: dict[str, Metric] = {
    "sw2": Metric(
        "sliced W2",
        "lower",
        "Sliced Wasserstein-2 distance to held-out target data, in units of the data; equal distributions give a "
        "small positive value.",
    ),
    "w2": Metric(
        "W2",
        "lower",
        "Wasserstein-2 distance between at most 1,000 samples and as many held-out rows; equal distributions give a "
        "positive value that depends on their number.",
    ),
    "mmd2": Metric(
        "MMD²",
        "lower",
        "Unbiased squared maximum mean discrepancy to held-out target data; 0 on average, so at times negative, for "
        "equal distributions.",
        0.0,
    ),
    "frechet": Metric(
        "Fréchet",
        "lower",
        "Squared Fréchet distance between Gaussian fits to classifier features of samples and held-out target rows; "
        "equal distributions give a positive value that falls with their number.",
    ),
    "c2st": Metric(
        "C2ST",
        "target",
        "Share of samples and held-out target rows that a classifier of features tells apart: 0.5 is guessing, 1 "
        "means that every sample gives itself away.",
        0.5,
    ),
    "memorisation": Metric(
        "novelty",
        "target",
        "Median distance of samples to the nearest training row over that of held-out data: 1 is as new as fresh "
        "data, near 0 means copies.",
        1.0,
    ),
    "coverage": Metric(
        "coverage",
        "higher",
        "Share of held-out rows with a sample among their nearest neighbours; what equal distributions give depends on "
        "the numbers of rows.",
    ),
    "density": Metric(
        "density",
        "target",
        "How many held-out rows have a sample as a near neighbour, relative to fresh data: below 1 means samples off "
        "the target; blind to missing parts, which coverage sees.",
        1.0,
    ),
    "precision": Metric(
        "precision",
        "higher",
        "Share of samples that lie as near to held-out rows as these do to one another; a perfect sampler stays below "
        "1.",
    ),
    "recall": Metric(
        "recall",
        "higher",
        "Share of held-out rows that lie as near to samples as these do to one another; a missing part of the target "
        "lowers it.",
    ),
    "label_accuracy": Metric(
        "label acc.",
        "higher",
        "Share of samples that a classifier trained on the source takes for the class that was asked for.",
    ),
    "utility": Metric(
        "utility",
        "higher",
        "Accuracy on held-out target data of a classifier trained on target rows and samples.",
    ),
    "utility_gain": Metric(
        "gain",
        "higher",
        "The same less the accuracy of a classifier trained on the target rows alone: above 0 the samples help.",
    ),
    "spectrum": Metric(
        "spectrum dB",
        "lower",
        "Root mean square over frequencies of the decibels between the mean spectra of samples and held-out records, "
        "averaged over leads; equal distributions give a positive value that falls with their number.",
    ),
    "heart_rate": Metric(
        "rate bpm",
        "lower",
        "Wasserstein-1 distance between heart rates of samples and held-out records, in beats a minute; equal "
        "distributions give a small positive value.",
    ),
    "einthoven": Metric(
        "Einthoven mV",
        "none",
        "What the restored twelve leads break Einthoven's and Goldberger's relations by, root mean square: rounding.",
    ),
    **_downstream_metrics(),
    "avg_density": Metric(
        "mean density",
        "target",
        "Mean true target density at the samples, the paper's metric; values above that of true target samples mean "
        "collapse onto the modes.",
    ),
    "mode_balance": Metric(
        "imbalance",
        "lower",
        "Largest difference between a mode's share of the samples and its weight in the target.",
        0.0,
    ),
    "path_kl": Metric(
        "path KL",
        "lower",
        "Squared score error along the target's diffusion, in nats; it bounds the KL divergence of the samples.",
        0.0,
    ),
    "nll": Metric(
        "NLL",
        "lower",
        "Mean negative log-likelihood of fresh target data under the model, in nats; the best value is the entropy.",
    ),
}

# What a comparison is judged by: the first of these that it has.
MAIN = ("frechet", "sw2")


def evaluate(
    samples: Any,
    reference: Any,
    train: Any,
    *,
    seed: int = 0,
    labels: Any = None,
    reference_labels: Any = None,
    bandwidth: float | None = None,
) -> dict[str, Value]:
    """Metrics that need data alone: sw2, w2, mmd2, coverage, density and memorisation.

    With labels, all but memorisation are computed within each class and averaged with the reference's class shares, so
    that a sampler which ignores its label is found out even where its samples are right as a whole. Classes with fewer
    than two rows on either side are left out (labels are drawn as those of the target rows fall, of which there are
    few); where that leaves none, all rows are taken as one class.

    Args:
      samples: [N, *D].
      reference: held-out target data [M, *D].
      train: the target rows that the method was trained on [n, *D].
      seed: of projections, subsets and resampling; equal seeds make rows of one table comparable.
      labels: the classes the samples were asked for [N], or None.
      reference_labels: the classes of the reference [M]; given exactly where `labels` is.
      bandwidth: of the kernel, in units of x; None takes the median distance within the reference, which is the same
        for every sampler but not for every reference: pass a number to average over references.

    Returns:
      Name in `METRICS` to (value, spread). The spread is the bootstrap standard error (subsamples for w2, coverage
      and density), NaN where there are too few rows to tell; coverage and density themselves are NaN where the
      reference (or a class of it) has no more than five rows, and so is memorisation where every row of the reference
      repeats a training row, as discrete rows may. The training rows are held fixed.

    Raises:
      UserError: bad arrays, or labels without reference labels.
    """
    samples, reference = pair("samples", samples, "reference", reference, at_least=2)
    if bandwidth is None:
        bandwidth = median_bandwidth(reference, seed=seed)
    parts = _by_class(samples, reference, labels, reference_labels)
    found = [_two_sample(x, y, bandwidth, seed) for _, x, y in parts]
    out = _mean_over_classes([share for share, _, _ in parts], found)
    return out | {"memorisation": memorisation_value(samples, reference, train, seed=seed)}


def evaluate_closed_form(
    samples: Any,
    score_fn: ScoreFn | None,
    target: GaussianMixture,
    sde: SDE | None,
    *,
    key: Array,
    conditional: bool = False,
    num_path: int = 20_000,
    num_likelihood: int = 1000,
) -> dict[str, Value]:
    """Metrics of a problem whose target is a mixture: avg_density, mode_balance and, of a score, path_kl and nll.

    Args:
      samples: [N, D].
      score_fn: (x [B, D], t [B], cond) -> score [B, D] of the sampler; None for a method without one.
      target: the target density.
      sde: the forward process of the score; None where score_fn is.
      key: typed PRNG key; equal keys make rows of one table comparable.
      conditional: hand the target's labels to the score as `cond`; nll is then that of x given y.
      num_path: points of the path KL.
      num_likelihood: fresh target samples of the likelihood, which costs about 800 score evaluations each.

    Returns:
      Name in `METRICS` to (value, standard error).

    Raises:
      UserError: bad samples, a score without its process, or a score that is not finite.
    """
    shares = responsibilities(samples, target)
    out = {
        "avg_density": mean_value(densities(samples, target)),
        "mode_balance": Value(imbalance(shares, target), bootstrap(lambda s: imbalance(s, target), shares, num=COPIES)),
    }
    if score_fn is None:
        return out
    if sde is None:
        raise UserError("a score function needs the forward process it was trained on: pass sde")
    path_key, data_key = jax.random.split(key)
    out["path_kl"] = path_kl(path_key, score_fn, target, sde, num=num_path, conditional=conditional)
    x, y = target.sample(data_key, num_likelihood)
    out["nll"] = nll(x, score_fn, sde, cond=y if conditional else None)
    return out


def _two_sample(x: np.ndarray, y: np.ndarray, bandwidth: float, seed: int) -> dict[str, Value]:
    # A run with few held-out rows of some class should not fail over two of its metrics.
    density, coverage = density_coverage(y, x) if len(y) > NEIGHBOURS else (math.nan, math.nan)
    # Half of the reference must still have k-th neighbours.
    enough = len(y) >= 2 * (NEIGHBOURS + 1)
    # Brute force, which many dimensions take, costs the square of the rows.
    most = 2000 if y.shape[1] <= TREE_MAX_DIM else 500
    spreads = math.nan, math.nan
    if enough:
        spreads = subsample_spread(density_coverage, y, x, num=COPIES, seed=seed, max_rows=most)
    return {
        "sw2": sliced_wasserstein2_value(x, y, num=COPIES, seed=seed),
        "w2": wasserstein2_value(x, y, num=COPIES // 2, seed=seed),
        "mmd2": mmd2_value(x, y, bandwidth=bandwidth, num=COPIES, seed=seed),
        "coverage": Value(coverage, float(spreads[1])),
        "density": Value(density, float(spreads[0])),
    }


def _mean_over_classes(shares: list[float], found: list[dict[str, Value]]) -> dict[str, Value]:
    """Every metric's mean over the classes, weighted by their shares; spreads are of independent classes."""
    return {
        name: Value(
            sum(share * one[name].value for share, one in zip(shares, found, strict=True)),
            math.sqrt(sum((share * one[name].spread) ** 2 for share, one in zip(shares, found, strict=True))),
        )
        for name in found[0]
    }


def memorisation_value(samples: Any, reference: Any, train: Any, *, seed: int) -> Value:
    """`ratio_of_medians` of distances to the nearest training row; NaN where all of the reference's are zero."""
    near = nearest_training_distance(samples, train), nearest_training_distance(reference, train)
    return Value(_safe_ratio(*near), bootstrap(_safe_ratio, *near, num=COPIES, seed=seed))


def _safe_ratio(distance: np.ndarray, reference: np.ndarray) -> float:
    # Of discrete rows fresh data may all be copies, and then a copy says nothing; a resampled reference may consist of
    # training rows where the whole does not.
    return ratio_of_medians(distance, reference) if reference.any() else math.nan


def _by_class(
    samples: np.ndarray, reference: np.ndarray, labels: Any, reference_labels: Any
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """(share, samples, reference) of every class with two rows on both sides; all in one where there are none.

    Shares are those of the reference among these classes.
    """
    if (labels is None) != (reference_labels is None):
        raise UserError("labels and reference_labels go together: pass both, or neither")
    if labels is None:
        return [(1.0, samples, reference)]
    labels, reference_labels = np.asarray(labels), np.asarray(reference_labels)
    for name, given, rows in (("labels", labels, samples), ("reference_labels", reference_labels, reference)):
        if given.shape != (len(rows),):
            raise UserError(f"{name} has shape {given.shape} but {len(rows)} rows: pass one label a row")
    out = []
    for label in np.union1d(labels, reference_labels):
        x, y = samples[labels == label], reference[reference_labels == label]
        if min(len(x), len(y)) >= 2:
            out.append((len(y), x, y))
    total = sum(count for count, _, _ in out)
    return [(count / total, x, y) for count, x, y in out] or [(1.0, samples, reference)]
