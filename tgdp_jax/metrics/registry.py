"""The metrics, one entry each. A new metric is a function of `Evidence` in a file, and an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from tgdp_jax.metrics import ecg, on_attributes, on_density, on_features, on_labels, on_rows
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.spread import Value


class Metric(NamedTuple):
    """One metric, and how a table shows it.

    Attributes:
      label: column head.
      better: "lower", "higher", "target" where the best value lies in the middle, or "none" for what is shown beside
        and does not depend on the method.
      description: one sentence for a reader who has not met it.
      applies: whether there is what it needs.
      compute: the value and its standard error; asked only where it applies.
      ideal: the best value where it is the same for every problem, else None.
      terminal: whether the terminal has a column for it; reports and JSON have all.
      pairs: whether it looks at pairs of rows, and hence at `evidence.MOST_ROWS` samples and held-out rows at most.
    """

    label: str
    better: Literal["lower", "higher", "target", "none"]
    description: str
    applies: Callable[[Evidence], bool]
    compute: Callable[[Evidence], Value]
    ideal: float | None = None
    terminal: bool = False
    pairs: bool = False


def has_rows(e: Evidence) -> bool:
    return e.has_rows


def plain(e: Evidence) -> bool:
    return e.has_rows and e.features is None


def on_images(e: Evidence) -> bool:
    return e.has_rows and e.features is not None


def asked_for_labels(e: Evidence) -> bool:
    return on_images(e) and e.labels is not None and e.features is not None and e.features.classifies


def asked_for_captions(e: Evidence) -> bool:
    return e.captions is not None and e.features is not None and e.features.reads_texts


def is_ecg(e: Evidence) -> bool:
    return e.has_rows and e.ecg_rate is not None


def for_classifiers(e: Evidence) -> bool:
    return _all_labelled(e) and not is_ecg(e)


def for_diagnoses(e: Evidence) -> bool:
    return _all_labelled(e) and is_ecg(e)


def _all_labelled(e: Evidence) -> bool:
    return asked_for_labels(e) and e.reference_labels is not None and e.train_labels is not None


def of_shapes(e: Evidence) -> bool:
    return e.captions is not None and e.drawn_style is not None


def known_target(e: Evidence) -> bool:
    return e.target is not None


def known_score(e: Evidence) -> bool:
    return e.target is not None and e.score is not None


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
            for_diagnoses,
            on_labels.diagnosis(f"{measure}_{kind}"),
            terminal=measure == "auc" and kind in ("both", "tuned"),
        )
        for measure, (short, long) in measures.items()
        for kind, (of, on) in kinds.items()
    }


def _attribute_metrics() -> dict[str, Metric]:
    """Shares of pictures of shapes that are as their captions say, attribute by attribute."""
    said = {name: f"whose {name} is the one that their caption names" for name in on_attributes.NAMES}
    said[on_attributes.STYLE] = "in the target's style"
    said[on_attributes.ALL] = "of which all attributes and the style are right"
    return {
        f"right_{name}": Metric(
            name,
            "higher",
            f"Share of pictures {of}, read by closed-form rules.",
            of_shapes,
            on_attributes.right(name),
            ideal=1.0,
            terminal=True,
        )
        for name, of in said.items()
    }


METRICS: dict[str, Metric] = {
    "sw2": Metric(
        "sliced W2",
        "lower",
        "Sliced Wasserstein-2 distance to held-out target data, in units of the data; equal distributions give a "
        "small positive value.",
        plain,
        on_rows.sw2,
        terminal=True,
    ),
    "w2": Metric(
        "W2",
        "lower",
        "Wasserstein-2 distance between at most 1,000 samples and as many held-out rows; equal distributions give a "
        "positive value that depends on their number.",
        plain,
        on_rows.w2,
    ),
    "mmd2": Metric(
        "MMD²",
        "lower",
        "Unbiased squared maximum mean discrepancy to held-out target data; 0 on average, so at times negative, for "
        "equal distributions.",
        has_rows,
        on_rows.mmd2,
        ideal=0.0,
        terminal=True,
        pairs=True,
    ),
    "frechet": Metric(
        "Fréchet",
        "lower",
        "Squared Fréchet distance between Gaussian fits to features of samples and held-out target rows; "
        "equal distributions give a positive value that falls with their number.",
        on_images,
        on_features.frechet,
        terminal=True,
    ),
    "c2st": Metric(
        "C2ST",
        "target",
        "Share of samples and held-out target rows that a classifier of features tells apart: 0.5 is guessing, 1 "
        "means that every sample gives itself away.",
        on_images,
        on_features.c2st,
        ideal=0.5,
    ),
    "memorisation": Metric(
        "memorisation ratio",
        "target",
        "Median distance of samples to the nearest training row over that of held-out data: 1 is as new as fresh "
        "data, near 0 means copies.",
        has_rows,
        on_features.memorisation,
        ideal=1.0,
        terminal=True,
    ),
    "coverage": Metric(
        "coverage",
        "higher",
        "Share of held-out rows with a sample among their nearest neighbours; what equal distributions give depends on "
        "the numbers of rows.",
        has_rows,
        on_features.coverage,
        pairs=True,
    ),
    "density": Metric(
        "density",
        "target",
        "How many held-out rows have a sample as a near neighbour, relative to fresh data: below 1 means samples off "
        "the target; blind to missing parts, which coverage sees.",
        has_rows,
        on_features.density,
        ideal=1.0,
        pairs=True,
    ),
    "precision": Metric(
        "precision",
        "higher",
        "Share of samples that lie as near to held-out rows as these do to one another; a perfect sampler stays below "
        "1.",
        on_images,
        on_features.precision,
        terminal=True,
        pairs=True,
    ),
    "recall": Metric(
        "recall",
        "higher",
        "Share of held-out rows that lie as near to samples as these do to one another; a missing part of the target "
        "lowers it.",
        on_images,
        on_features.recall,
        terminal=True,
        pairs=True,
    ),
    "label_accuracy": Metric(
        "label acc.",
        "higher",
        "Share of samples that a classifier trained on the source takes for the class that was asked for.",
        asked_for_labels,
        on_features.label_accuracy,
        terminal=True,
    ),
    "clip_score": Metric(
        "CLIP score",
        "higher",
        "Mean cosine between a sample and its caption, as the CLIP model that judges embeds both.",
        asked_for_captions,
        on_features.caption_agreement,
        terminal=True,
    ),
    "utility": Metric(
        "utility",
        "higher",
        "Accuracy on held-out target data of a classifier trained on target rows and samples.",
        for_classifiers,
        on_labels.augmented,
        terminal=True,
    ),
    "utility_gain": Metric(
        "gain",
        "higher",
        "The same less the accuracy of a classifier trained on the target rows alone: above 0 the samples help.",
        for_classifiers,
        on_labels.gain,
    ),
    "spectrum": Metric(
        "spectrum dB",
        "lower",
        "Root mean square over frequencies of the decibels between the mean spectra of samples and held-out records, "
        "averaged over leads; equal distributions give a positive value that falls with their number.",
        is_ecg,
        ecg.spectrum,
        terminal=True,
    ),
    "heart_rate": Metric(
        "rate bpm",
        "lower",
        "Wasserstein-1 distance between heart rates of samples and held-out records, in beats a minute; equal "
        "distributions give a small positive value.",
        is_ecg,
        ecg.heart_rate,
        terminal=True,
    ),
    "einthoven": Metric(
        "Einthoven mV",
        "none",
        "What the restored twelve leads break Einthoven's and Goldberger's relations by, root mean square: rounding.",
        is_ecg,
        ecg.einthoven,
    ),
    **_downstream_metrics(),
    **_attribute_metrics(),
    "avg_density": Metric(
        "mean density",
        "target",
        "Mean true target density at the samples, the paper's metric; values above that of true target samples mean "
        "collapse onto the modes.",
        known_target,
        on_density.avg_density,
        terminal=True,
    ),
    "mode_balance": Metric(
        "imbalance",
        "lower",
        "Largest difference between a mode's share of the samples and its weight in the target.",
        known_target,
        on_density.mode_balance,
        ideal=0.0,
    ),
    "path_kl": Metric(
        "path KL",
        "lower",
        "Squared score error along the target's diffusion, in nats; it bounds the KL divergence of the samples.",
        known_score,
        on_density.path_kl,
        ideal=0.0,
        terminal=True,
    ),
    "nll": Metric(
        "NLL",
        "lower",
        "Mean negative log-likelihood of fresh target data under the model, in nats; the best value is the entropy.",
        known_score,
        on_density.nll,
        terminal=True,
    ),
}

# What a comparison is judged by: the first of these that it has.
MAIN = ("frechet", "sw2")


def measure(evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, Value]:
    """Every metric for which there is what it needs, under the names that tables use.

    Args:
      evidence: samples, and what there is to measure them by.
      names: in `METRICS`, of those wanted; None: all.

    Returns:
      Name to (value, standard error); the spread is NaN where there are too few rows to tell.

    Raises:
      UserError: bad arrays or labels, or a score that is not finite.
    """
    chosen = METRICS if names is None else {name: METRICS[name] for name in names}
    return {name: metric.compute(evidence) for name, metric in chosen.items() if metric.applies(evidence)}
