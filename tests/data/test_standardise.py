"""Standardising by the source: columns that are constant to rounding, and rows that are too far away."""

import numpy as np
import pytest

from tgdp_jax.data.arrays import ArraysConfig, load
from tgdp_jax.data.problem import Scaler
from tgdp_jax.data.standardise import Standardised
from tgdp_jax.errors import UserError


def normal(num: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, columns)).astype(np.float32)


def with_column(x: np.ndarray, column: np.ndarray | float) -> np.ndarray:
    out = x.copy()
    out[:, 1] = column
    return out


TINY = 1e-30 * normal(300, 1, seed=5)[:, 0]


@pytest.mark.parametrize(
    "column", [TINY, 0.0, 0.1, 7.5e8 + 20 * normal(300, 1)[:, 0]], ids=["tiny", "zero", "constant", "rounding"]
)
def test_a_column_that_is_constant_to_rounding_is_left_as_it_is(column):
    source = with_column(normal(300), column)
    found = Standardised(source)
    assert found.scaler.scale[1] == 1.0
    assert found.notes == ("not scaled, being constant to rounding in the source: column 1",)
    # The other columns are what they are without it.
    other = Scaler.of(np.delete(source, 1, 1))
    rows = found(source, "source.npz")
    np.testing.assert_array_equal(np.delete(rows, 1, 1), other.to_model(np.delete(source, 1, 1)))
    assert np.abs(rows[:, 1]).max() < 100


@pytest.mark.parametrize("units", [1e-30, 1e-12, 1.0, 1e20])
def test_columns_of_any_units_are_scaled_together(units):
    source = normal(300, 3) * [units, 5.0 * units, 0.1 * units]
    found = Standardised(source.astype(np.float32))
    assert not found.constant.any() and not found.notes
    np.testing.assert_allclose(found.scaler.scale, source.std(0), rtol=1e-5)


def test_farads_beside_hertz_are_scaled():
    source = (normal(300, 2) * [1e-12, 1e9]).astype(np.float32)
    assert not Standardised(source).constant.any()


@pytest.mark.parametrize("theirs", [1e20 * normal(40, 1)[:, 0], 101.0, 1e20, 1e38])
@pytest.mark.parametrize("ours", [TINY, 0.0])
def test_a_target_far_from_where_the_source_is_constant_is_refused(ours, theirs):
    found = Standardised(with_column(normal(300), ours))
    with pytest.raises(UserError, match=r"target\.npz lies far away in column 1, where the source is constant"):
        found(with_column(normal(40, seed=1), theirs), "target.npz")


def test_a_target_may_vary_near_where_the_source_is_constant():
    """The empty border of a picture, in which the target's pictures have ink."""
    found, target = Standardised(with_column(normal(300), 0.0)), with_column(normal(40, seed=1), normal(40, 1)[:, 0])
    np.testing.assert_allclose(found(target, "target.npz")[:, 1], target[:, 1], rtol=1e-6)


@pytest.mark.parametrize("distance", [2e6, 1e20, 3e38])
def test_a_target_too_far_out_is_refused_for_that(distance):
    # Beyond the last, standardised values leave the range of float32.
    found = Standardised(with_column(normal(300), 1e-3 * normal(300, 1, seed=2)[:, 0]))
    with pytest.raises(
        UserError, match=r"lies up to \S+ standard deviations of the source away .* in column 1, too far"
    ):
        found(with_column(normal(40, seed=1), distance * 1e-3), "target.npz")
    # Far, but not too far.
    assert np.isfinite(found(with_column(normal(40, seed=1), 100.0), "target.npz")).all()


def test_columns_of_series_are_named_by_their_place():
    source = np.random.default_rng(0).normal(size=(200, 4, 2)).astype(np.float32)
    source[:, 3, 0] = source[:, 1, 1] = 0.0
    assert Standardised(source).notes == (
        "not scaled, being constant to rounding in the source: columns (1, 1), (3, 0)",
    )


def test_healthy_columns_stay_healthy_beside_one_that_is_not(tmp_path):
    source, target = with_column(normal(300), TINY), with_column(normal(40, seed=1) + 1, TINY[:40])
    np.savez(tmp_path / "source.npz", x=source)
    np.savez(tmp_path / "target.npz", x=target)
    p = load(ArraysConfig(source=tmp_path / "source.npz", target=tmp_path / "target.npz"), n_target=None, seed=0)
    # What a sampler draws anywhere in the models' range is of the data's size for the user, in every column.
    drawn = p.scaler.to_user(normal(100, seed=9))
    assert np.abs(drawn).max() < 10 and p.data_std == pytest.approx(1.0, rel=0.3)
    assert p.notes == ("not scaled, being constant to rounding in the source: column 1",)
    np.savez(tmp_path / "target.npz", x=with_column(target, 1e3 * normal(40, 1)[:, 0]))
    with pytest.raises(UserError, match=r"target\.npz lies far away in column 1"):
        load(ArraysConfig(source=tmp_path / "source.npz", target=tmp_path / "target.npz"), n_target=None, seed=0)
