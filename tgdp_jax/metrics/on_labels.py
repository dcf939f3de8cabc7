"""Metrics of what classifiers of target rows gain from samples; see `utility`, and `downstream` for ECGs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgdp_jax.metrics import downstream, utility
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.spread import Value


def augmented(e: Evidence) -> Value:
    return e.once(trained).augmented


def gain(e: Evidence) -> Value:
    return e.once(trained).gain


def diagnosis(name: str) -> Callable[[Evidence], Value]:
    """One of the measures of `downstream`, such as auc_both."""
    return lambda e: e.once(diagnosed)[name]


def trained(e: Evidence) -> utility.Utility:
    """Accuracies of classifiers with and without the samples."""
    real, samples, test = _parts(e)
    return utility.utility(e.key("utility"), real, samples, test, num_classes=e.num_classes)


def diagnosed(e: Evidence) -> dict[str, Value]:
    """Measures of all classifiers of `downstream`, by name."""
    assert isinstance(e.features, Features)
    real, samples, test = _parts(e)
    return downstream.downstream(e.key("utility"), real, samples, test, e.features)


def _parts(e: Evidence) -> tuple[tuple[Any, Any], ...]:
    return (e.train, e.train_labels), (e.samples, e.labels), (e.reference, e.reference_labels)
