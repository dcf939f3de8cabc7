"""The simulation: what is drawn depends on settings and seed alone, and follows the densities it claims."""

import numpy as np
import pytest

from tests.helpers import assert_moments, density, mixture_moments
from tgdp_jax.data import gaussians
from tgdp_jax.data.gaussians import GaussiansConfig, load, mixtures
from tgdp_jax.errors import UserError


@pytest.fixture(autouse=True)
def few_reference_rows(monkeypatch):
    # Among ten thousand draws in float32 some coordinates are equal by chance.
    monkeypatch.setattr(gaussians, "NUM_REFERENCE", 50)


SMALL = GaussiansConfig(num_source=200)


def small(n_target=8, *, seed=0, config=SMALL):
    return load(config, n_target=n_target, seed=seed)


def test_equal_seeds_give_equal_rows():
    a, b = small(), small()
    for name in ("source", "target", "reference"):
        np.testing.assert_array_equal(getattr(a, name).x, getattr(b, name).x)
        np.testing.assert_array_equal(getattr(a, name).y, getattr(b, name).y)


def test_other_seeds_give_other_rows():
    a, b = small(), small(seed=1)
    for name in ("source", "target", "reference"):
        assert not np.intersect1d(getattr(a, name).x, getattr(b, name).x).size


def test_source_target_and_reference_are_different_draws():
    # With equal means only the keys keep the three apart.
    p = small(config=GaussiansConfig(num_source=200, target_mean=(0.5, 0.5)))
    assert not np.intersect1d(p.source.x, p.target.x).size
    assert not np.intersect1d(p.target.x, p.reference.x).size
    assert not np.intersect1d(p.source.x, p.reference.x).size


def test_target_rows_are_nested_in_their_number():
    few, many = small(8), small(50)
    np.testing.assert_array_equal(few.target.x, many.target.x[:8])
    np.testing.assert_array_equal(few.target.y, many.target.y[:8])
    # More target rows change nothing else: columns of a comparison stay comparable.
    np.testing.assert_array_equal(few.source.x, many.source.x)
    np.testing.assert_array_equal(few.reference.x, many.reference.x)


def test_numbers_of_rows_and_types():
    p = load(SMALL, n_target=None, seed=0)
    assert (len(p.source), len(p.target), len(p.reference)) == (200, 100, 50)
    for part in (p.source, p.target, p.reference):
        assert part.x.dtype == np.float32 and part.y.dtype == np.int32
        assert part.x.shape == (len(part), 2) and part.y.shape == (len(part),)
    assert p.shape == (2,) and not p.conditional


@pytest.mark.parametrize("which", ["source", "target"])
def test_rows_follow_the_density_they_claim(which):
    config = GaussiansConfig(num_source=20_000, variance=0.2, target_weight=0.3, source_mean=(1.0, 0.2))
    p = load(config, n_target=20_000, seed=3)
    part, truth = getattr(p, which), getattr(p.exact, which)
    mean, cov = mixture_moments(truth)
    assert_moments(part.x, mean, cov, errors=5)
    for label in (0, 1):
        rows = part.x[part.y == label]
        share = len(rows) / len(part)
        assert abs(share - float(truth.weights[label])) < 5 * 0.5 / np.sqrt(len(part))
        np.testing.assert_allclose(rows.mean(0), truth.means[label], atol=5 * np.sqrt(0.2 / len(rows)))


def test_the_default_is_the_papers_simulation():
    exact = mixtures(GaussiansConfig())
    np.testing.assert_allclose(exact.source.means, [[0.5, 0.5], [-0.5, -0.5]], rtol=1e-6)
    np.testing.assert_allclose(exact.target.means, [[0.5, -0.5], [-0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(exact.source.variance, 0.1)
    np.testing.assert_allclose(exact.source.weights, [0.5, 0.5])


@pytest.mark.parametrize("dim", [2, 4, 8, 32])
def test_even_dimensions_are_the_same_problem_in_general_position(dim):
    exact = mixtures(GaussiansConfig(dim=dim))
    source, target = np.asarray(exact.source.means[0]), np.asarray(exact.target.means[0])
    np.testing.assert_allclose([source @ source, target @ target], 0.5, rtol=1e-5)
    np.testing.assert_allclose(source @ target, 0.0, atol=1e-6)
    assert np.all(source != 0) and np.all(target != 0)


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_any_dimension_loads(dim):
    p = load(GaussiansConfig(dim=dim, num_source=100), n_target=5, seed=0)
    assert p.source.x.shape == (100, dim) and p.target.x.shape == (5, dim) and p.reference.x.shape == (50, dim)


def test_a_target_of_one_class_has_no_other_label():
    for weight, label in ((1.0, 0), (0.0, 1)):
        p = small(50, config=GaussiansConfig(num_source=200, conditional=True, target_weight=weight))
        assert set(p.target.y.tolist()) == set(p.reference.y.tolist()) == {label}
        assert set(p.source.y.tolist()) == {0, 1}
        assert p.num_classes == 2 and p.conditional


def test_labels_are_the_components():
    p = small(50, config=GaussiansConfig(num_source=2000, variance=0.01, conditional=True))
    likelier = np.stack([density(p.exact.source, p.source.x, y) for y in (0, 1)]).argmax(0)
    np.testing.assert_array_equal(likelier, p.source.y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"variance": 0.0}, "variance is 0.0"),
        ({"variance": -1.0}, "variance is -1.0"),
        ({"variance": float("nan")}, "variance is nan"),
        ({"variance": float("inf")}, "variance is inf"),
        ({"num_source": 99}, "num-source is 99"),
        ({"target_weight": 1.5}, "target-weight is 1.5"),
        ({"target_weight": -0.1}, "target-weight is -0.1"),
        ({"source_mean": (1.0,)}, "source-mean has 1 numbers but dim is 2"),
        ({"target_mean": (1.0, 2.0, 3.0)}, "target-mean has 3 numbers but dim is 2"),
        ({"source_mean": (float("inf"), 0.0)}, "source-mean must be finite"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        GaussiansConfig(**settings)


@pytest.mark.parametrize(
    ("n", "message"),
    [(1, "at least 2 target rows"), (0, "at least 2"), (-3, "n-target is -3"), (100_001, "only 100000 target rows")],
)
def test_impossible_numbers_of_target_rows_are_refused(n, message):
    with pytest.raises(UserError, match=message):
        small(n)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10**9}, "drawing 100000 rows of dimension 1000000000 would take .*: lower --dim$"),
        ({"dim": 10**30}, "would take .*: lower --dim$"),
        (
            {"num_source": 10**12},
            "1000000000000 rows of dimension 2 would take .*: lower --dim or --num-source$",
        ),
    ],
)
def test_sizes_beyond_memory_are_refused_by_their_options(options, message):
    with pytest.raises(UserError, match=message):
        load(GaussiansConfig(**options), n_target=None, seed=0)
