"""Pictures of samples carry the user's units, and names of classes where there are any."""

import numpy as np
import pytest

from tgdp_jax.app.commands import pages
from tgdp_jax.data.problem import Data, Problem, Scaler


def problem(dim):
    rng = np.random.default_rng(0)
    data = [Data(rng.normal(size=(n, dim)).astype(np.float32), rng.integers(2, size=n)) for n in (200, 20)]
    scaler = Scaler(np.arange(1.0, dim + 1) * 100, np.full(dim, 10.0))
    return Problem("arrays", *data, None, num_classes=2, scaler=scaler, classes=("cat", "dog"))


@pytest.mark.parametrize("dim", [1, 2])
def test_axes_carry_the_users_units(dim):
    picture = pages.sample_picture(problem(dim), {"tgdp": np.zeros((30, dim), np.float32)}, {"tgdp": np.zeros(30, int)})
    figure = picture.drawing.figure()
    low, high = figure.axes[0].get_xlim()
    # Mean 100 and standard deviation 10, where the models see 0 and 1.
    assert 50 < low < 85 and 115 < high < 150
    assert figure.axes[0].get_xlabel() == "x1" and "units" not in picture.caption
    if dim == 2:
        bottom, top = figure.axes[0].get_ylim()
        assert 150 < bottom < 185 and 215 < top < 250 and figure.axes[0].get_ylabel() == "x2"
    assert [mark.name for mark in picture.drawing.key] == ["cat", "dog"]


def test_a_projection_says_that_it_is_one():
    picture = pages.sample_picture(problem(5), {"tgdp": np.zeros((30, 5), np.float32)}, {})
    assert picture.drawing.figure().axes[0].get_xlabel() == "first principal axis"
    assert "standardised" in picture.caption


def test_grids_are_brought_to_the_users_units_coordinate_by_coordinate():
    xs, ys = pages._in_users_units(problem(2), np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0]))
    assert xs.tolist() == [100, 110, 120] and ys.tolist() == [200, 210]
