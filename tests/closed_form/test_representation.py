"""Objectives without labels have the values and minimisers that their docstrings state, and look where they should."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, scales, spread_params
from tgdp_jax import losses
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierHead, EpsDiT, EpsMLP, EpsUNet
from tgdp_jax.nets.heads import frozen
from tgdp_jax.nets.layers import middle, pooled, with_layers
from tgdp_jax.nets.representation import MaskedDecoder
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.registry import OBJECTIVES
from tgdp_jax.train.representation import RepresentationConfig, hidden_parts, representation_task

SDE = PROCESSES["vp"]
contrastive = jax.jit(losses.contrastive, static_argnames="temperature")
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
ROWS = IMAGES[:, 0, :, 0]
T = jnp.array([0.05, 0.3, 0.9])
NETS = {
    "unet": (EpsUNet(SDE, (8,), 1), IMAGES, ["down0", "middle", "up0"]),
    "dit": (EpsDiT(SDE, width=8, depth=2, heads=2), IMAGES, ["block0", "block1"]),
    "mlp": (EpsMLP(SDE, (8, 4, 8)), ROWS, ["hidden0", "hidden1", "hidden2"]),
}


class TestContrastive:
    @pytest.mark.parametrize("temperature", [0.1, 1.0])
    def test_views_that_agree_of_orthogonal_rows(self, temperature):
        z = jnp.eye(5)
        value = contrastive(3.0 * z, 0.2 * z, temperature=temperature)  # lengths do not matter
        expected = math.log(1 + 8 * math.exp(-1 / temperature))
        np.testing.assert_allclose(value, np.full(5, expected), rtol=1e-4, atol=1e-6)

    def test_features_that_are_all_alike_leave_guessing(self):
        one = jnp.ones((6, 3))
        np.testing.assert_allclose(contrastive(one, one, temperature=0.3), math.log(11), rtol=1e-6)
        # So do views that are orthogonal to everything, their partner included.
        z = jnp.eye(8)
        np.testing.assert_allclose(contrastive(z[:4], z[4:], temperature=0.3), math.log(7), rtol=1e-6)

    def test_two_opposite_rows_reach_the_least_value(self):
        z = jnp.array([[1.0, 2.0], [-1.0, -2.0]])
        expected = math.log(1 + 2 * math.exp(-2 / 0.5))
        np.testing.assert_allclose(contrastive(z, z, temperature=0.5), expected, rtol=1e-5)
        rng = np.random.default_rng(0)
        others = [contrastive(*jnp.asarray(rng.normal(size=(2, 2, 2))), temperature=0.5) for _ in range(20)]
        assert np.min(others) > expected

    def test_it_is_one_number_a_row_and_sees_both_views(self):
        a, b = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3)))
        value = contrastive(a, b, temperature=0.5)
        np.testing.assert_allclose(contrastive(b, a, temperature=0.5), value, rtol=1e-5)
        # By hand: each of the eight views among the seven others.
        z = np.concatenate([a, b]) / np.linalg.norm(np.concatenate([a, b]), axis=1, keepdims=True)
        logits = z @ z.T / 0.5
        own = [
            -math.log(math.exp(logits[i, (i + 4) % 8]) / sum(math.exp(logits[i, j]) for j in range(8) if j != i))
            for i in range(8)
        ]
        np.testing.assert_allclose(value, [(own[i] + own[i + 4]) / 2 for i in range(4)], rtol=1e-5)

    def test_a_zero_vector_has_a_gradient(self):
        slope = jax.jit(jax.grad(lambda a: jnp.sum(contrastive(a, jnp.eye(3), temperature=0.5))))(jnp.zeros((3, 3)))
        assert np.isfinite(slope).all()


def test_hidden_values_are_predicted_by_their_mean_given_what_is_seen():
    # x_0 = (a, b) of unit variances and correlation rho; of x_t only the first number is seen.
    rho, at = 0.8, 0.2
    alpha, sigma = scales(SDE, at)
    seen = np.linspace(-2, 2, 7)
    axis = np.linspace(-7, 7, 401)
    a, b = (nodes.ravel() for nodes in np.meshgrid(axis, axis, indexing="ij"))
    log_prior = -(a**2 - 2 * rho * a * b + b**2) / (2 * (1 - rho**2))
    log_weight = log_prior - 0.5 * ((seen[:, None] - alpha * a) / sigma) ** 2
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    exact = alpha * rho * seen / (alpha**2 + sigma**2)

    def expected(prediction, i):
        truth = jnp.stack([a, b], -1)
        hidden = jnp.broadcast_to(jnp.array([False, True]), truth.shape)
        values = losses.square_on(jnp.broadcast_to(prediction, truth.shape), truth, hidden)
        return jnp.sum(weight[i] * values)

    with jax.enable_x64(True):
        for i, mean in enumerate(exact):
            slope = jax.jit(jax.grad(functools.partial(expected, i=i)))
            below, there, above = (np.asarray(slope(jnp.array([5.0, mean + shift]))) for shift in (-0.1, 0.0, 0.1))
            np.testing.assert_allclose(there, 0.0, atol=1e-9)  # of the visible number too, wherever it stands
            np.testing.assert_allclose([below[1], above[1]], [-0.2, 0.2], atol=1e-9)


def test_a_row_with_nothing_to_predict_costs_nothing():
    where = jnp.array([[True, False], [False, False]])
    np.testing.assert_allclose(losses.square_on(jnp.full((2, 2), 3.0), jnp.ones((2, 2)), where), [4.0, 0.0])


class TestHiddenParts:
    @pytest.mark.parametrize(
        "dim, patches, share, count", [((8, 8, 3), 4, 0.5, 96), ((6,), 4, 0.3, 2), ((2,), 4, 0.9, 1)]
    )
    def test_every_row_hides_the_same_number_and_all_alike(self, dim, patches, share, count):
        parts = np.asarray(hidden_parts(jax.random.key(0), 4000, dim, share=share, patches=patches))
        assert parts.shape == (4000, *dim) and set(parts.reshape(4000, -1).sum(1)) == {count}
        often = parts.mean(0)
        expected = count / math.prod(dim)
        assert np.abs(often - expected).max() < 5 * math.sqrt(expected * (1 - expected) / 4000)

    def test_patches_are_hidden_whole(self):
        parts = np.asarray(hidden_parts(jax.random.key(1), 50, (8, 12, 2), share=0.4, patches=4))
        patches = parts.reshape(50, 4, 2, 4, 3, 2).transpose(0, 1, 3, 2, 4, 5).reshape(50, 16, -1)
        assert np.all(patches.all(-1) == patches.any(-1)) and set(patches.all(-1).sum(1)) == {6}

    def test_one_number_can_not_be_hidden(self):
        with pytest.raises(UserError, match="nothing to hide"):
            hidden_parts(jax.random.key(0), 2, (1,), share=0.5, patches=4)


class TestDecoder:
    def test_a_place_predicts_the_part_of_the_picture_it_stands_for(self):
        head = MaskedDecoder((8, 6, 2), width=4)
        h = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, 5)))
        params = spread_params(head.init, h)
        moved = h.at[1, 2, 1, 0].add(1.0)
        decode = jax.jit(head.apply)
        change = np.asarray(decode(params, moved)) - np.asarray(decode(params, h))
        assert change.shape == (2, 8, 6, 2)
        assert (np.abs(change[1, 4:6, 2:4]) > 0).all()
        change[1, 4:6, 2:4] = 0.0
        np.testing.assert_array_equal(change, 0.0)

    def test_what_is_hidden_is_replaced(self):
        head = MaskedDecoder((3,), width=4)
        params = spread_params(head.init, jnp.zeros((1, 5)))
        x, hidden = jnp.arange(6.0).reshape(2, 3), jnp.array([[True, False, False], [False, False, True]])
        seen = np.asarray(head.apply(params, x, hidden, method="hide"))
        token = np.asarray(params["params"]["token"])
        np.testing.assert_array_equal(seen, [[token[0], 1.0, 2.0], [3.0, 4.0, token[2]]])


@pytest.mark.parametrize("net, x, names", NETS.values(), ids=NETS)
class TestLayers:
    def test_they_come_with_the_prediction_and_leave_no_trace(self, net, x, names):
        assert set(jax.eval_shape(net.init, jax.random.key(0), x, T)) == {"params"}
        params = spread_params(net.init, x, T)
        found = {}

        @jax.jit
        def both(params, x, t):
            out, layers = with_layers(net, params, x, t)
            found["names"] = list(layers)
            plain = net.apply(params, x, t), net.apply(params, x, t, method="encode")[-1]
            return (out, middle(layers)), plain, layers

        with_them, without, layers = both(params, x, T)
        for a, b in zip(with_them, without, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert found["names"] == names
        assert all(pooled(h).shape[0] == len(x) and pooled(h).ndim == 2 for h in layers.values())

    def test_an_objective_asks_the_same_parameters_and_its_units_are_apart(self, net, x, names):
        # Shapes alone: nothing is compiled.
        dim = x.shape[1:]
        for objective in OBJECTIVES:
            plain = denoising_task(net, SDE, "eps", 64, dim)
            settings = RepresentationConfig(objective=objective)
            task = representation_task(plain, settings, net, SDE, "eps", 64, dim)
            data = {"x": jnp.zeros((9, *dim)), "train": all_rows(9)}
            params = jax.eval_shape(task.init, jax.random.key(0))
            assert set(params) == {"net", "head"}
            shapes = jax.eval_shape(plain.init, jax.random.key(0))
            assert jax.tree.structure(params["net"]) == jax.tree.structure(shapes)
            batch = jax.eval_shape(task.draw, jax.random.key(0), data, None)
            terms = jax.eval_shape(task.loss, params, None, batch, jnp.zeros(()), None)
            (units,) = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
            assert set(terms) == {"denoising", objective} and {term.shape for term in terms.values()} == {(units,)}


def test_networks_of_vectors_stand_on_a_source_too():
    source, x, _ = NETS["mlp"]
    head = ClassifierHead((), (4,), source=source)
    variables = spread_params(head.init, x)
    given = frozen(spread_params(source.init, x, T, seed=5))
    assert jax.tree.structure(given["source"]) == jax.tree.structure(variables["source"])
    logits = (
        head.apply({"params": variables["params"], **each}, x) for each in (given, {"source": variables["source"]})
    )
    assert np.abs(np.subtract(*logits)).max() > 1e-4


def test_a_network_that_shows_nothing_is_refused():
    class Silent:
        def apply(self, params, x, *args, **kwargs):
            return x, {"intermediates": {"block": {"scale": (x,)}}}

    with pytest.raises(UserError, match="Silent does not show its layers"):
        with_layers(Silent(), {}, IMAGES, T)


@pytest.mark.parametrize(
    "wrong",
    [{"objective": "nope"}, {"weight": 0.0}, {"temperature": -1.0}, {"hidden": 1.0}, {"patches": 1}, {"width": 0}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError):
        RepresentationConfig(**wrong)
