"""Attention by hand, and where cuDNN's kernels are asked for."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as kernels

from tgdp_jax.nets import attention
from tgdp_jax.nets.attention import at_once, attend, attend_in_parts, differentiable_twice, implementation, linen_attend
from tgdp_jax.nets.dit import Block
from tgdp_jax.nets.latent_dit import DiTBlock

GPU = SimpleNamespace(platform="gpu", compute_capability="9.0")
HALF = jnp.dtype(jnp.bfloat16)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_a_mean_with_softmax_weights(causal):
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=(2, 5, 3, 4)).astype(np.float32) for _ in range(3))
    scores = np.einsum("bnhc,bmhc->bhnm", query, key) / 2
    scores = np.where(np.tri(5, dtype=bool) | (not causal), scores, -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wanted = np.einsum("bhnm,bmhc->bnhc", weights, value)
    np.testing.assert_allclose(attend(*map(jnp.asarray, (query, key, value)), causal=causal), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "dtype", "channels", "wanted"),
    [
        (GPU, jnp.bfloat16, 64, "cudnn"),
        (GPU, jnp.float16, 128, "cudnn"),
        (GPU, HALF, 40, "cudnn"),
        (GPU, jnp.float32, 64, None),
        (GPU, jnp.bfloat16, 136, None),
        (GPU, jnp.bfloat16, 20, None),
        (SimpleNamespace(platform="gpu", compute_capability="7.5"), jnp.bfloat16, 64, None),
        (SimpleNamespace(platform="gpu", compute_capability="gfx90a"), jnp.bfloat16, 64, None),
        (SimpleNamespace(platform="cpu"), jnp.bfloat16, 64, None),
    ],
)
def test_kernels_are_asked_for_where_they_apply(device, dtype, channels, wanted):
    assert implementation(device, dtype, channels) == wanted
    with differentiable_twice():
        assert implementation(device, dtype, channels) is None
    assert implementation(device, dtype, channels) == wanted


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_many_pairs_in_parts_are_the_same(dtype, monkeypatch):
    monkeypatch.setattr(attention, "FEW", 20)
    monkeypatch.setattr(attention, "MANY", 30)
    rng = np.random.default_rng(1)
    query, key, value = (jnp.asarray(rng.normal(size=(2, n, 3, 4)), dtype) for n in (12, 7, 7))
    for fn in (attend_in_parts, jax.vmap(attend_in_parts)):
        given = (query, key, value) if fn is attend_in_parts else tuple(z[None] for z in (query, key, value))
        parts = fn(*given).reshape(query.shape)
        assert parts.dtype == dtype
        tolerance = 1e-5 if dtype == jnp.float32 else 0.02
        np.testing.assert_allclose(*(z.astype(float) for z in (parts, attend(query, key, value))), atol=tolerance)

    def slope(fn):
        return jax.grad(lambda q: jnp.sum(fn(q, key, value).astype(jnp.float32) ** 2))(query).astype(float)

    np.testing.assert_allclose(slope(attend_in_parts), slope(attend), atol=1e-4 if dtype == jnp.float32 else 0.1)
    # Pairs come in parts of 3 x 7, of which no more than 30 are there at a time.
    assert "3,7" in str(jax.make_jaxpr(attend_in_parts)(query, key, value))
    with at_once():
        assert "scan" not in str(jax.make_jaxpr(lambda *given: attend_in_parts(*given))(query, key, value))


def lowered(fn, *args):
    """What is compiled for GPUs of NVIDIA, without one."""
    return jax.jit(fn).trace(*args).lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture
def gpu(monkeypatch):
    """Traces as for a GPU."""
    monkeypatch.setattr(attention.jax, "devices", lambda: [GPU])
    monkeypatch.setattr(kernels, "check_cudnn_version", lambda: 91000)


BLOCKS = {
    "of tokens and labels": (DiTBlock(3, 32, 4, True, False, 1e-5, jnp.bfloat16), (32,)),
    "of one's own": (Block(4, jnp.bfloat16), (8,)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_transformers_in_half_precision_use_them(name, gpu):
    net, known = BLOCKS[name]
    h, known = jnp.zeros((2, 6, 32)), jnp.zeros((2, *known))
    shapes = jax.eval_shape(net.init, jax.random.key(0), h, known)
    assert "__cudnn$fmhaSoftmax" in lowered(net.apply, shapes, h, known)
    whole = net.clone(dtype=jnp.float32)
    assert "__cudnn" not in lowered(whole.apply, shapes, h, known)


def test_linens_layers_keep_their_rounding():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, 5, 3, 4))
    ours, theirs = linen_attend(query, key, value), attention.nn.dot_product_attention(query, key, value)
    np.testing.assert_array_equal(ours, theirs)
