"""Networks for series at the parameters where their output is known, and what each place and row may depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import spread_params
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets import SSSD, ClassifierHead, EpsSSSD, GeneratorMLP, GuidanceHead
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.nets.heads import ConvBody, Energy, frozen
from tgdp_jax.nets.xresnet import XResNet1d
from tgdp_jax.sde import VP
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.process import ProcessConfig
from tgdp_jax.settings.sssd import PAPER, SSSDConfig
from tgdp_jax.train.reparam import LowRank, flat
from tgdp_jax.transfer.gan import gan_players
from tgdp_jax.transfer.networks import denoiser, with_token

SDE = VP()
X = jax.random.normal(jax.random.key(0), (3, 12, 2))
T = jnp.array([0.1, 0.5, 0.9])
Y = jnp.array([0, 1, 1])
LAYERS = SSSD(2, 4, states=4, kernel="s4d_lin", hidden=8, label_dim=4, patch=2)
NET = EpsSSSD(SDE, LAYERS, 0.5)
LABELLED = EpsSSSD(SDE, LAYERS.clone(num_classes=2, new_token=True), (0.5, 2.0))


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, *args):
    return net.apply(variables, *args)


@pytest.mark.parametrize("net, labels", [(NET, None), (LABELLED, Y)])
def test_a_fresh_network_is_the_preconditioning_alone(net, labels):
    out = apply(net, jax.jit(net.init)(jax.random.key(0, impl="rbg"), X, T, labels), X, T, labels)
    alpha, sigma = (f(T)[:, None, None] for f in (SDE.alpha, SDE.sigma))
    np.testing.assert_allclose(out, sigma * X / (alpha**2 * jnp.asarray(net.data_std) ** 2 + sigma**2), rtol=1e-5)


@pytest.fixture(scope="module")
def params():
    """All moved from the start, none so far that gates are shut."""
    start = jax.jit(LABELLED.init)(jax.random.key(0, impl="rbg"), X, T, Y)
    return jax.tree.map(jnp.add, start, spread_params(LABELLED.init, X, T, Y, scale=0.1))


def test_every_place_sees_the_whole_row(params):
    base = apply(LABELLED, params, X, T, Y)
    for place in (0, 11):
        moved = np.abs(apply(LABELLED, params, X.at[:, place].add(1.0), T, Y) - base).max((0, 2))
        assert moved.min() > 1e-5


def test_round_the_layers_a_patch_sees_itself_and_its_neighbours(params):
    net = dict(params["params"]["net"])
    net["output2"] = jax.tree.map(jnp.zeros_like, net["output2"])
    closed = {"params": {"net": net}}
    moved = np.abs(apply(LABELLED, closed, X.at[:, 5].add(1.0), T, Y) - apply(LABELLED, closed, X, T, Y)).max((0, 2))
    assert moved[2:8].min() > 1e-5 and max(moved[:2].max(), moved[8:].max()) == 0


def test_time_label_and_token_count_and_no_label_is_one_too(params):
    def out(t=T, labels=Y):
        return np.asarray(apply(LABELLED, params, X, t, labels))

    without = Prompt(Y, jnp.array([False, True, True]))
    others = [out(t=T.at[0].set(0.2)), out(labels=Y.at[0].set(1)), out(labels=Y.at[0].set(2)), out(labels=without)]
    for other in others:
        np.testing.assert_array_equal(other[1:], out()[1:])
        assert np.abs(other[0] - out()[0]).max() > 1e-4
    # Several classes at once are the sum of their embeddings, none is zero.
    np.testing.assert_allclose(out(labels=jax.nn.one_hot(Y, 2)), out(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(out(labels=jnp.zeros((3, 2))), out(labels=jnp.full(3, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_recomputing_layers_changes_nothing(params):
    one = LABELLED.net.clone(layers=1)

    def loss(params, net):
        return jnp.sum(jnp.sin(net.apply(params, X, 1000 * T, Y)))

    slope = jax.jit(jax.grad(loss), static_argnums=1)
    slopes = [slope({"params": params["params"]["net"]}, net) for net in (one, one.clone(remat=True))]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *slopes)


def test_adapters_go_beside_kernels_and_leave_state_spaces_alone(params):
    adapters = LowRank(2, 2.0).init(jax.random.key(0), params)
    found = {name.rsplit("/", 1)[0] for name in flat(adapters)}
    assert "params/net/layer1/space2/mix/kernel" in found and "params/net/layer0/conv/kernel" in found
    assert not any("/space/" in name for name in found)


def test_a_new_token_changes_nothing_at_first_and_rivals_are_dense():
    rows = Data(np.asarray(X), np.asarray(Y))
    problem = Problem("series", rows, rows, None, num_classes=2)
    config = dataclasses.replace(
        tiny.TRAINING,
        network=NetworkConfig(kind="sssd", sssd=SSSDConfig(layers=1, width=4, states=4, hidden=8, patch=2)),
    )
    net = denoiser(config, problem)
    plain = spread_params(net.init, X, T, Y)
    known = with_token(config, problem, plain)
    ours = apply(denoiser(config, problem, new_token=True), known, X, T, Y)
    np.testing.assert_allclose(ours, apply(net, plain, X, T, Y), rtol=1e-5, atol=1e-5)
    assert isinstance(gan_players(config, problem).generator, GeneratorMLP)


HEADS = {
    "guidance": GuidanceHead(SDE, (8, 4), (8,)),
    "guidance on the source": GuidanceHead(SDE, (), (8,), source=NET, free=False),
    "free guidance on the source": GuidanceHead(SDE, (8, 4), (8,), source=NET),
    "classifier": ClassifierHead((8, 4), (8,)),
    "classifier on the source": ClassifierHead((), (8,), source=NET),
}


@pytest.mark.parametrize("name", HEADS)
def test_rows_do_not_interact(name):
    head = HEADS[name]
    rest = (T,) if isinstance(head, GuidanceHead) else ()
    params = spread_params(head.init, X, *rest)
    assert set(params) == ({"params", "source"} if head.source else {"params"})
    whole = np.asarray(apply(head, params, X, *rest))
    others = np.asarray(apply(head, params, X.at[1].multiply(2), *rest))
    assert whole.shape == (3,) and np.abs(np.diff(whole)).max() > 1e-3
    np.testing.assert_array_equal(others[::2], whole[::2])
    assert np.abs(others[1] - whole[1]) > 1e-3


def test_a_head_on_the_source_takes_its_weights_as_they_are():
    source = spread_params(NET.init, X, T)
    head = HEADS["guidance on the source"]
    made = jax.eval_shape(head.init, jax.random.key(0), X, T)
    assert jax.tree.map(jnp.shape, frozen(source)["source"]) == jax.tree.map(lambda leaf: leaf.shape, made["source"])


def test_energy_is_a_sum_over_places():
    body, energy, known = ConvBody((8, 8)), Energy(), jnp.ones((1, 3))
    short = jax.random.normal(jax.random.key(2), (1, 20, 1, 2))
    params = spread_params(body.init, short, known)
    moved = spread_params(energy.init, short, body.apply(params, short, known), known)
    ends = jnp.zeros((1, 8, 1, 2))

    @functools.partial(jax.jit, static_argnums=0)
    def of(num):
        # Norms look at the whole row: of rows that repeat themselves, statistics agree.
        x = jnp.concatenate([ends, jnp.tile(short, (1, num, 1, 1)), ends], 1)
        return energy.apply(moved, x, body.apply(params, x, known), known)[0]

    np.testing.assert_allclose(of(30) / of(10), 3.0, rtol=0.15)


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_guidance_takes_series_of_any_length(length):
    net = GuidanceHead(SDE, (8, 8, 8), (8,))
    made = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, T)[0], jnp.zeros((3, length, 2)))
    assert made.shape == (3,)


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_residual_networks_take_rows_of_any_length(length):
    net = FeatureCNN(3, channels=(4, 8))
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, length, 2)))
    features, logits = jax.eval_shape(net.apply, variables, jnp.zeros((5, length, 2)))
    assert (features.shape, logits.shape) == ((5, 64), (5, 3))
    body = XResNet1d((4, 8), blocks=2)
    made = jax.eval_shape(lambda x: body.init_with_output(jax.random.key(0), x)[0], jnp.zeros((2, length, 3)))
    assert made.shape == (2, -(-length // 8), 1, 8)


def test_branches_of_a_fresh_residual_network_are_zero():
    nets = [XResNet1d((4,), blocks=blocks) for blocks in (1, 3)]
    params = jax.jit(nets[1].init)(jax.random.key(0, impl="rbg"), X)
    np.testing.assert_array_equal(*(apply(net, params, X) for net in nets))


def test_the_papers_chain_has_its_marginals():
    sde = ProcessConfig(kind="discrete").make()
    kept = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 200))
    t = jnp.arange(1, 201) / 200
    np.testing.assert_allclose(sde.alpha(t), np.sqrt(kept), rtol=1e-5)
    np.testing.assert_allclose(sde.sigma(t), np.sqrt(1 - kept), rtol=1e-5)
    assert sde.t_min == 1 / 200 and 0.13 < kept[-1] < 0.14


def test_the_papers_sizes():
    assert PAPER.layers == 36
    net = SSSD(**vars(PAPER) | {"layers": 1}, num_classes=71)
    made = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 1000, 8)), jnp.ones(1), jnp.zeros(1, jnp.int32))
    blocks = made["params"]
    assert blocks["layer0"]["space2"]["space"]["c"].shape == (2, 512, 32, 2)
    assert blocks["layer0"]["conv"]["kernel"].shape == (3, 1, 256, 512)
    assert blocks["labels"]["kernel"].shape == (71, 128)


def test_bad_rows_and_sizes_are_refused():
    training = dataclasses.replace(tiny.TRAINING, network=NetworkConfig(kind="sssd"))
    with pytest.raises(UserError, match=r"sssd is for series \[L, C\] but a row has shape \(2,\): use --net"):
        denoiser(training, tiny.problem())
    with pytest.raises(UserError, match="12 places: patches of 5"):
        NET.clone(net=LAYERS.clone(patch=5)).init(jax.random.key(0), X, T)
    with pytest.raises(UserError, match="3 entries but a series has 2 channels"):
        NET.clone(data_std=(1.0, 1.0, 1.0)).init(jax.random.key(0), X, T)
    with pytest.raises(UserError, match="even number of states"):
        SSSDConfig(states=5)
    with pytest.raises(UserError, match="s4d_lin"):
        SSSDConfig(kernel="s5")
