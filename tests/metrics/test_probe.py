"""Probes on features whose labels are known to be linear in them, nearby, or absent."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, spread_params
from tgdp_jax.app.commands.probe import split
from tgdp_jax.metrics.probe import Labelled, better_beyond_chance, layer_features, probe
from tgdp_jax.nets import EpsMLP
from tgdp_jax.nets.layers import pooled, with_layers

SDE = PROCESSES["vp"]


def accuracies(train: Labelled, test: Labelled) -> tuple[float, float]:
    found = probe(train, (test,))
    assert all(hits[0].shape == (len(test.y),) and hits[0].dtype == bool for hits in found)
    return float(found.linear[0].mean()), float(found.neighbours[0].mean())


def halves(x: np.ndarray, y: np.ndarray) -> tuple[Labelled, Labelled]:
    half = len(x) // 2
    return Labelled(x[:half], y[:half]), Labelled(x[half:], y[half:])


class TestProbe:
    def test_classes_apart_on_a_line_are_found_by_both(self):
        rng = np.random.default_rng(0)
        y = rng.integers(0, 3, 400)
        x = np.stack([y + 0.05 * rng.normal(size=400), 1000 * rng.normal(size=400)], 1)
        # The second feature is noise of another unit: standardised it does no harm to the linear probe.
        linear, _ = accuracies(*halves(x, y))
        assert linear > 0.97
        assert accuracies(*halves(x[:, :1], y)) == (1.0, 1.0)

    def test_a_pattern_that_no_line_splits_is_found_by_neighbours(self):
        corners = np.tile([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], (150, 1))
        x = corners + 0.1 * np.random.default_rng(1).normal(size=corners.shape)
        linear, near = accuracies(*halves(x, (corners.prod(1) > 0).astype(int)))
        assert near == 1.0 and linear < 0.8  # a line has three corners on the right side at most

    def test_labels_without_a_trace_are_guessed(self):
        rng = np.random.default_rng(3)
        found = accuracies(*halves(rng.normal(size=(2000, 4)), rng.integers(0, 2, 2000)))
        np.testing.assert_allclose(found, 0.5, atol=5 * 0.5 / math.sqrt(1000))

    def test_fewer_rows_than_neighbours_and_classes_that_were_not_learned(self):
        train = Labelled(np.array([[0.0], [0.1], [1.0]]), np.array([0, 0, 1]))
        found = probe(train, (Labelled(np.array([[0.0], [1.0]]), np.array([0, 7])),))
        assert not found.linear[0][1] and not found.neighbours[0][1]


def test_rows_of_one_class_are_all_there_is():
    x = np.random.default_rng(0).normal(size=(10, 3))
    found = probe(Labelled(x, np.full(10, 2)), (Labelled(x, np.arange(10) % 5), Labelled(x[:1], np.array([2]))))
    for right in found:
        np.testing.assert_array_equal(right[0], np.arange(10) % 5 == 2)
        assert right[1].tolist() == [True]


def test_claims_of_being_better_follow_the_sign_test():
    right, other = np.array([True] * 8 + [True] * 5), np.array([False] * 8 + [True] * 5)
    assert better_beyond_chance(right, other) == better_beyond_chance(other, right) == pytest.approx(2 / 2**8)
    assert better_beyond_chance(right, right) == 1.0
    one_each = np.array([True, False])
    assert better_beyond_chance(one_each, ~one_each) == 1.0


def test_rows_are_split_into_parts_with_all_classes():
    y = np.repeat([0, 1, 2], [100, 50, 10])
    parts = split(y, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(160))
    np.testing.assert_array_equal([np.bincount(y[part]) for part in parts], [[60, 30, 6], [20, 10, 2], [20, 10, 2]])
    assert all((np.diff(part) < 0).any() for part in parts)  # in random order: the first rows stand for all
    assert not np.array_equal(split(y, 0)[2], split(y, 1)[2])


def test_features_are_those_of_the_noised_row_alone():
    net = EpsMLP(SDE, (8, 4))
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    params, key = spread_params(net.init, x[:1], jnp.ones(1)), jax.random.key(3)
    found = layer_features(net, params, SDE, x, 0.1, key)
    assert list(found) == ["hidden0", "hidden1"] and [f.shape for f in found.values()] == [(300, 8), (300, 4)]
    for name, few in layer_features(net, params, SDE, x[:7], 0.1, key).items():
        np.testing.assert_array_equal(few, found[name][:7])
    eps = np.stack([jax.random.normal(jax.random.fold_in(key, i), (2,)) for i in range(7)])
    times = jnp.full(7, 0.1)
    _, layers = with_layers(net, params, SDE.perturb(x[:7], eps, times), times)
    for name, h in layers.items():
        np.testing.assert_allclose(found[name][:7], pooled(h), rtol=1e-4, atol=1e-5)
