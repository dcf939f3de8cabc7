"""A new token in every kind of network: nothing changes until it is learned, and then for the rows that carry it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.nets import EpsDiT, EpsMLP, EpsUNet
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.sde import VP
from tgdp_jax.train.reparam import flat, nested

NUM = 4
T, Y = jnp.linspace(0.1, 0.5, NUM), jnp.array([0, 1, 1, 0])
MARKED = jnp.array([True, False, True, False])
IMAGE = (4, 4, 1)
NETS = {
    "mlp": (EpsMLP(VP(), (16, 8), num_classes=2), (3,)),
    "mlp without labels": (EpsMLP(VP(), (16, 8)), (3,)),
    "unet": (EpsUNet(VP(), (8,), groups=2, num_classes=2), IMAGE),
    "dit": (EpsDiT(VP(), width=8, depth=1, heads=2, num_classes=2), IMAGE),
}


@functools.cache
def outputs(name):
    """Rows without the token, all with it, some with it; each with the token's embedding at zero and elsewhere."""
    plain, shape = NETS[name]
    net, y = plain.clone(new_token=True), Y if plain.num_classes else None
    x = jax.random.normal(jax.random.key(0), (NUM, *shape))
    params = spread_params(net.init, x, T, y, scale=0.3)
    (path,) = (path for path in flat(params) if path.endswith("token/row"))
    fresh = nested({**flat(params), path: jnp.zeros_like(flat(params)[path])})
    without = nested({key: leaf for key, leaf in flat(params).items() if key != path})

    @jax.jit
    def run(without, fresh, params):
        some = Prompt(y, MARKED)
        return plain.apply(without, x, T, y), [
            (net.apply(p, x, T, y), net.apply(p, x, T, some)) for p in (fresh, params)
        ]

    return run(without, fresh, params)


@pytest.mark.parametrize("name", NETS)
def test_a_fresh_token_changes_nothing(name):
    plain, ((everywhere, some), _) = outputs(name)
    np.testing.assert_allclose(everywhere, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_a_learned_token_changes_the_rows_that_carry_it(name):
    plain, (_, (everywhere, some)) = outputs(name)
    assert (np.abs(everywhere - plain).reshape(NUM, -1).max(1) > 1e-4).all()
    np.testing.assert_allclose(some[MARKED], everywhere[MARKED], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(some[~MARKED], plain[~MARKED], rtol=1e-5, atol=1e-6)


def test_labels_must_match_the_network_with_a_token_too():
    x = jnp.zeros((NUM, 3))
    for cond in (Y, Prompt(Y, MARKED)):
        with pytest.raises(UserError, match="unconditional but labels were"):
            EpsMLP(VP(), (8,), new_token=True).init(jax.random.key(0), x, T, cond)
    for cond in (None, Prompt(None, MARKED)):
        with pytest.raises(UserError, match="2 classes"):
            EpsMLP(VP(), (8,), num_classes=2, new_token=True).init(jax.random.key(0), x, T, cond)
