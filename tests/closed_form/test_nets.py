"""Networks at the parameters where their output is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import PROCESSES, spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierMLP, EpsMLP, GuidanceMLP
from tgdp_jax.nets.embedding import TimeFeatures
from tgdp_jax.nets.layers import largest
from tgdp_jax.sde import VP

NAMES = pytest.mark.parametrize("name", list(PROCESSES))
STDS = pytest.mark.parametrize("std", [0.7, (0.3, 1.0, 2.5)])


def rows(num=40, seed=0, shape=(3,)):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num, *shape)), jnp.float32), jnp.asarray(rng.uniform(0.01, 1, num), jnp.float32)


def shaken(net, *args):
    """Parameters away from initialisation."""
    return spread_params(net.init, *args)


@functools.partial(jax.jit, static_argnums=0)
def apply(net, params, *args):
    return net.apply(params, *args)


@pytest.mark.parametrize(
    ("name", "std"), [("vp", 0.7), *((name, (0.3, 1.0, 2.5)) for name in ("vp", "subvp", "cosine", "ve"))]
)
def test_a_fresh_noise_predictor_is_exact_for_gaussian_data(name, std):
    """Its residual starts at zero; what is left must be E[eps | x_t] for N(0, diag(std^2)) data."""
    sde = PROCESSES[name]
    x, t = rows()
    net = EpsMLP(sde, features=(8,), data_std=std)
    out = jax.jit(lambda x, t: net.apply(net.init(jax.random.key(0), x, t), x, t))(x, t)
    alpha, sigma = np.asarray(sde.alpha(t))[:, None], np.asarray(sde.sigma(t))[:, None]
    exact = sigma * np.asarray(x) / (alpha**2 * np.asarray(std) ** 2 + sigma**2)
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["vp", "ve"])
@STDS
def test_the_residual_has_the_scale_of_the_unexplained_noise(name, std):
    """eps - E[eps | x_t] has standard deviation alpha s / sqrt(v) per coordinate for Gaussian data."""
    sde, num = PROCESSES[name], 20_000
    rng = np.random.default_rng(0)
    t = jnp.full(num, 0.3)
    x0, eps = np.asarray(std) * rng.normal(size=(num, 3)), rng.normal(size=(num, 3))
    xt = sde.perturb(jnp.asarray(x0, jnp.float32), jnp.asarray(eps, jnp.float32), t)
    net = EpsMLP(sde, features=(), data_std=std)
    shapes = jax.eval_shape(net.init, jax.random.key(0), xt, t)
    # Without hidden layers and with the kernel at zero, the network's residual is its output bias: zero or one.
    without, with_one = (
        apply(net, jax.tree.map(lambda leaf, bias=bias: jnp.full(leaf.shape, bias * (leaf.ndim == 1)), shapes), xt, t)
        for bias in (0.0, 1.0)
    )
    weight = np.asarray(with_one - without)
    np.testing.assert_allclose(weight.mean(0), (eps - np.asarray(without)).std(0), rtol=0.03)


@NAMES
def test_guidance_vanishes_with_the_signal(name):
    """log q_t/p_t goes to zero as the signal-to-noise ratio does, whatever the network has learned."""
    sde = PROCESSES[name]
    x, _ = rows()
    x = sde.prior_scale * x
    net = GuidanceMLP(sde, features=(8,))
    params = shaken(net, x, jnp.ones(40))
    early, late = (np.abs(apply(net, params, x, jnp.full(40, t))).max() for t in (0.05, 1.0))
    assert early > 0.1
    assert late < 0.02


def test_guidance_output_carries_the_factor_alpha():
    """With kernels at zero and an output bias of b the network is exactly alpha(t) b."""
    sde = PROCESSES["vp"]
    x, t = rows()
    net = GuidanceMLP(sde, features=())
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.5 * (leaf.ndim == 1)), shapes)
    np.testing.assert_allclose(apply(net, params, x, t), 2.5 * np.asarray(sde.alpha(t)), rtol=1e-5)


@pytest.mark.parametrize("build", [EpsMLP, GuidanceMLP])
def test_images_give_the_values_of_their_flattened_vectors(build):
    x, t = rows(shape=(2, 3, 1))
    flat = x.reshape(40, 6)
    std = tuple(np.linspace(0.5, 1.5, 6))
    net = build(VP(), features=(8,), data_std=std)
    params = shaken(net, flat, t)
    from_images, from_vectors = apply(net, params, x, t), apply(net, params, flat, t)
    assert from_images.shape == (x.shape if build is EpsMLP else (40,))
    np.testing.assert_allclose(from_images.reshape(40, -1), from_vectors.reshape(40, -1), rtol=1e-6)
    assert np.std(from_vectors) > 1e-2


@pytest.mark.parametrize("build", [EpsMLP, GuidanceMLP])
def test_rows_do_not_interact(build):
    x, t = rows()
    net = build(VP(), features=(8,), num_classes=2)
    y = jnp.arange(40) % 2
    params = shaken(net, x, t, y)
    whole = apply(net, params, x, t, y)
    np.testing.assert_allclose(apply(net, params, x[5:9], t[5:9], y[5:9]), whole[5:9], rtol=1e-5, atol=1e-6)
    # ... and every input matters.
    for inputs in ((x + 0.5, t, y), (x, 0.5 * t, y), (x, t, 1 - y)):
        assert np.abs(apply(net, params, *inputs) - whole).max() > 1e-3


def test_the_label_past_the_last_class_means_no_label():
    x, t = rows()
    net = GuidanceMLP(VP(), features=(8,), num_classes=3)
    params = shaken(net, x, t, jnp.zeros(40, jnp.int32))
    none = apply(net, params, x, t, jnp.full(40, 3))
    # Zero features: the rows of the first kernel that belong to labels have no say.
    kernel = params["params"]["MLP_0"]["Dense_0"]["kernel"]
    params["params"]["MLP_0"]["Dense_0"]["kernel"] = kernel.at[-3:].set(7.0)
    np.testing.assert_allclose(apply(net, params, x, t, jnp.full(40, 3)), none, rtol=1e-6)
    assert np.abs(apply(net, params, x, t, jnp.zeros(40, jnp.int32)) - none).max() > 1e-2


@pytest.mark.parametrize("build", [EpsMLP, GuidanceMLP])
def test_labels_must_match_the_network(build):
    x, t = rows()
    labels = jnp.zeros(40, jnp.int32)
    with pytest.raises(UserError, match="unconditional"):
        build(VP(), features=(8,)).init(jax.random.key(0), x, t, labels)
    with pytest.raises(UserError, match="3 classes"):
        build(VP(), features=(8,), num_classes=3).init(jax.random.key(0), x, t)


def test_labels_must_match_the_classifier():
    x, _ = rows()
    with pytest.raises(UserError, match="unconditional"):
        ClassifierMLP(features=(8,)).init(jax.random.key(0), x, jnp.zeros(40, jnp.int32))
    with pytest.raises(UserError, match="3 classes"):
        ClassifierMLP(features=(8,), num_classes=3).init(jax.random.key(0), x)


@pytest.mark.parametrize("build", [EpsMLP, GuidanceMLP])
@pytest.mark.parametrize("std", [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_data_std_of_the_wrong_length_is_refused(build, std):
    x, t = rows()
    with pytest.raises(UserError, match="data_std"):
        build(VP(), features=(8,), data_std=std).init(jax.random.key(0), x, t)


@pytest.mark.parametrize("dim", [1, 3])
def test_a_data_std_of_the_wrong_length_is_refused_by_the_classifier(dim):
    x, _ = rows(shape=(dim,))
    with pytest.raises(UserError, match="data_std"):
        ClassifierMLP(features=(8,), data_std=(1.0, 2.0)).init(jax.random.key(0), x)


def test_the_classifier_scales_its_input_by_the_data_std():
    x, _ = rows()
    std = (0.5, 1.0, 2.0)
    plain, scaled = ClassifierMLP(features=(8,)), ClassifierMLP(features=(8,), data_std=std)
    params = shaken(plain, x)
    np.testing.assert_allclose(apply(scaled, params, x * jnp.asarray(std)), apply(plain, params, x), rtol=1e-5)
    assert np.std(apply(plain, params, x)) > 1e-2


def test_random_frequencies_are_features_and_learn_nothing():
    x, t = rows()
    net = GuidanceMLP(VP(), features=(8,), embedding="fourier")
    params = shaken(net, x, t)
    gradient = jax.grad(lambda p: jnp.sum(jnp.square(apply(net, p, x, t))))(params)["params"]
    np.testing.assert_array_equal(gradient["TimeFeatures_0"]["frequencies"], 0.0)
    assert np.abs(gradient["MLP_0"]["Dense_0"]["kernel"]).max() > 1e-3


def test_time_features_are_the_written_out_ones():
    sde = VP()
    t = np.array([0.02, 0.4, 0.97])
    log_snr = np.asarray(sde.log_snr(jnp.asarray(t)), np.float64)

    def features(kind, params=None):
        return TimeFeatures(sde, kind, dim=6).apply(params or {}, jnp.asarray(t, jnp.float32))

    compact = np.stack([t, log_snr / 5, np.sin(2 * np.pi * t), np.cos(2 * np.pi * t)], -1)
    np.testing.assert_allclose(features("compact"), compact, rtol=1e-4, atol=1e-6)
    angles = 1000 * t[:, None] * 10_000.0 ** (-np.arange(3) / 3)
    np.testing.assert_allclose(features("sinusoidal"), np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-3)
    frequencies = np.array([0.3, -1.2, 0.8])
    angles = 2 * np.pi * log_snr[:, None] / 5 * frequencies
    out = features("fourier", {"params": {"frequencies": jnp.asarray(frequencies, jnp.float32)}})
    np.testing.assert_allclose(out, np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-4)


def test_an_unknown_embedding_is_refused_with_the_list_of_what_exists():
    x, t = rows()
    with pytest.raises(UserError, match=r"compact.*fourier.*sinusoidal"):
        EpsMLP(VP(), features=(8,), embedding="rotary").init(jax.random.key(0), x, t)


def test_the_largest_value_passes_its_gradient_to_one_place():
    h = np.array([[[1.0, -2.0], [3.0, -5.0], [3.0, -2.0]]], np.float32)  # [1, 3 places, 2 channels], with ties
    values, back = jax.vjp(largest, h)
    np.testing.assert_array_equal(values, h.max(1))
    np.testing.assert_array_equal(back(jnp.array([[2.0, 7.0]]))[0], [[[0.0, 7.0], [2.0, 0.0], [0.0, 0.0]]])
