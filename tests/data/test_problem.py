"""Scaling, and labels for samples."""

import jax
import numpy as np
import pytest

from tgdp_jax.data.problem import Data, Problem, Scaler


def problem(labels) -> Problem:
    rng = np.random.default_rng(0)
    source = Data(rng.normal(size=(100, 2)).astype(np.float32), np.arange(100, dtype=np.int32) % 4)
    labels = np.asarray(labels, np.int32)
    target = Data(rng.normal(size=(len(labels), 2)).astype(np.float32), labels)
    return Problem("test", source, target, None, num_classes=4)


def test_scaling_there_and_back():
    scaler = Scaler(np.array([100.0, -3.0]), np.array([10.0, 0.01]))
    x = scaler.to_user(np.array([[0.0, 0.0], [1.0, -2.0]], np.float32))
    np.testing.assert_allclose(x, [[100.0, -3.0], [110.0, -3.02]], rtol=1e-6)
    np.testing.assert_allclose(scaler.to_model(x), [[0.0, 0.0], [1.0, -2.0]], atol=1e-4)
    assert x.dtype == scaler.to_model(x).dtype == np.float32


def test_labels_of_samples_follow_the_target_and_not_the_source():
    drawn = problem([1, 1, 1, 3]).target_labels(jax.random.key(0), np.arange(4000))
    assert set(drawn.tolist()) == {1, 3}
    assert abs((drawn == 1).mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)


def test_a_label_depends_on_the_samples_id_alone():
    p, key = problem([0, 1, 2, 3] * 5), jax.random.key(1)
    many = p.target_labels(key, np.arange(64))
    np.testing.assert_array_equal(p.target_labels(key, np.arange(10)), many[:10])
    np.testing.assert_array_equal(p.target_labels(key, np.array([50, 3])), many[[50, 3]])
    assert (p.target_labels(jax.random.key(2), np.arange(64)) != many).any()


def test_labels_are_drawn_by_one_program(caplog):
    p, ids = problem([0, 1, 2, 3]), np.arange(33)
    p.target_labels(jax.random.key(0), ids)
    with jax.log_compiles():
        p.target_labels(jax.random.key(1), ids)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]


def test_an_unconditional_problem_asks_for_no_labels():
    p = problem([0, 1])
    plain = Problem("test", p.source, p.target, None)
    assert plain.target_labels(jax.random.key(0), np.arange(3)) is None
    assert set(plain.source.arrays(plain.conditional)) == {"x"}
    assert set(p.source.arrays(p.conditional)) == {"x", "y"}


def test_one_number_for_the_scale_of_the_data():
    rng = np.random.default_rng(0)
    source = Data((rng.normal(size=(5000, 2)) * [1.0, 3.0]).astype(np.float32))
    assert Problem("test", source, source, None).data_std == pytest.approx(np.sqrt(5.0), rel=0.05)
