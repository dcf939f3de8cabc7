"""Metrics of few rows, and pictures only where a test looks at them: neither is what these tests are about."""

import functools
import shutil

import pytest

from tests import tiny
from tests.e2e.tools import GAUSSIANS, call
from tgdp_jax.app import evaluation
from tgdp_jax.app.commands import pages
from tgdp_jax.app.report import plots
from tgdp_jax.data import gaussians
from tgdp_jax.metrics import downstream, utility
from tgdp_jax.metrics.evidence import Evidence


@pytest.fixture(scope="module", autouse=True)
def light_metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussians, "NUM_REFERENCE", 300)
        patch.setattr(evaluation, "Evidence", functools.partial(Evidence, num_path=500, num_likelihood=20))
        yield


@pytest.fixture(scope="module")
def light_features():
    """Classifiers of images after a few steps: how good they are is another test's affair."""
    with pytest.MonkeyPatch.context() as patch:
        for place, name in ((evaluation, "fit_features"), (utility, "utility"), (downstream, "downstream")):
            patch.setattr(place, name, functools.partial(getattr(place, name), optimiser=tiny.OPTIMISER))
        yield


@pytest.fixture(scope="session")
def small_picture():
    return plots.curves({"a": {"loss": ([1, 2], [1.0, 0.5])}})


@pytest.fixture(autouse=True)
def cheap_pictures(monkeypatch, small_picture):
    # Fixtures of wider scope are made before this one: theirs are the real ones.
    for name in ("samples", "fields", "curves", "lines", "tradeoff"):
        monkeypatch.setattr(pages.plots, name, lambda *args, **kwargs: small_picture)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, light_metrics):
    """A finished run of the method with most stages; (folder, standard output, standard error)."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, *call(*GAUSSIANS, "--out", folder)


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of the finished run, to be changed at will."""
    return shutil.copytree(finished_run[0], tmp_path / "run")
