"""Fixtures that make whole runs short: metrics of few rows, and pictures only where a test looks at them.

A test module, or the `conftest.py` of a folder, that imports them has them; those with `autouse` then hold everywhere
in it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests import tiny
from tgdp_jax.app import evaluation
from tgdp_jax.app.commands import pages
from tgdp_jax.app.report import plots
from tgdp_jax.app.report.drawing import Drawing
from tgdp_jax.data import gaussians
from tgdp_jax.metrics import downstream, likelihood, utility
from tgdp_jax.metrics.evidence import Evidence


@pytest.fixture(scope="module", autouse=True)
def light_metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussians, "NUM_REFERENCE", 300)
        patch.setattr(evaluation, "Evidence", functools.partial(Evidence, num_path=500, num_likelihood=20))
        # A chunk is filled up with copies of its last row.
        patch.setattr(likelihood, "log_likelihood", functools.partial(likelihood.log_likelihood, chunk=20))
        yield


@pytest.fixture(scope="module")
def light_features():
    """Classifiers of images after a few steps: how good they are is another test's affair."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name in ((evaluation, "fit_features"), (utility, "utility"), (downstream, "downstream")):
            patch.setattr(place, name, functools.partial(getattr(place, name), optimiser=tiny.OPTIMISER))
        yield


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnOnce(Drawing):
    """A picture that remembers what it was drawn as."""

    drawn: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def png(self) -> bytes:
        return self._once("png", super().png)

    def svgs(self, prefix: str, title: str) -> list[str]:
        return self._once((prefix, title), functools.partial(super().svgs, prefix, title))

    def _once(self, key: Any, draw: Callable[[], Any]) -> Any:
        if key not in self.drawn:
            self.drawn[key] = draw()
        return self.drawn[key]


@pytest.fixture(scope="session")
def small_picture():
    return DrawnOnce(**vars(plots.curves({"a": {"loss": ([1, 2], [1.0, 0.5])}})))


@pytest.fixture(autouse=True)
def cheap_pictures(monkeypatch, small_picture):
    # Fixtures of wider scope are made before this one: theirs are the real ones.
    for name in ("samples", "fields", "curves", "lines", "tradeoff"):
        monkeypatch.setattr(pages.plots, name, lambda *args, **kwargs: small_picture)
