"""Metrics and pictures of whole runs are light here: neither is what these tests are about."""

import shutil

import pytest

from tests.e2e.tools import GAUSSIANS, call
from tests.light import cheap_pictures, light_features, light_metrics, small_picture  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, light_metrics):  # noqa: F811 (the fixture)
    """A finished run of the method with most stages; (folder, standard output, standard error)."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, *call(*GAUSSIANS, "--out", folder)


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of the finished run, to be changed at will."""
    return shutil.copytree(finished_run[0], tmp_path / "run")
