"""Attention that does not write the weights of all pairs of tokens to memory.

A picture of 64 x 64 latents has 16 million pairs a head. On GPUs cuDNN's fused kernels are asked for where they apply,
which JAX takes only where it is told to. On CPU many pairs are gone through in parts that stay in the caches: one head
of one row at a time, 256 tokens with four heads of 16 channels take less than a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
LARGEST, MULTIPLE = 128, 8  # of the channels of a head
CAPABILITY = (8, 0)  # of the first GPUs with these kernels
FEW, MANY = 2**13, 2**17  # pairs of tokens: as fast at once, and the most of a part
_TWICE, _AT_ONCE = ContextVar("twice", default=False), ContextVar("at_once", default=False)


def differentiable_twice() -> AbstractContextManager[None]:
    """What is traced within has gradients of gradients, which cuDNN's kernels have not."""
    return _on(_TWICE)


def at_once() -> AbstractContextManager[None]:
    """What is traced within takes all pairs at once: a compiler counts their operations, which it does not of loops."""
    return _on(_AT_ONCE)


@contextmanager
def _on(flag: ContextVar[bool]) -> Iterator[None]:
    token = flag.set(True)
    try:
        yield
    finally:
        flag.reset(token)


def implementation(device: Any, dtype: Any, channels: int) -> str | None:
    """What `jax.nn.dot_product_attention` is told to take: "cudnn" where it applies, else None, XLA's own.

    Args:
      device: that it runs on.
      dtype: of queries, keys and values.
      channels: of a head.
    """
    if dtype not in (jnp.bfloat16, jnp.float16) or channels > LARGEST or channels % MULTIPLE or _TWICE.get():
        return None
    major, dot, minor = str(getattr(device, "compute_capability", "")).partition(".")
    known = device.platform == "gpu" and dot and major.isdecimal() and minor.isdecimal()  # AMD's are no numbers
    return "cudnn" if known and (int(major), int(minor)) >= CAPABILITY else None


def attend(query: Array, key: Array, value: Array, *, causal: bool = False) -> Array:
    """What tokens [B, N, heads, C] see of others [B, M, heads, C]; the softmax is float32."""
    how: Any = implementation(jax.devices()[0], query.dtype, query.shape[-1])
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation=how)


def attend_in_parts(query: Array, key: Array, value: Array) -> Array:
    """The same as `attend` but for rounding, on CPU in parts where there are many pairs."""
    batch, num, heads, channels = query.shape
    others = key.shape[1]
    if jax.default_backend() != "cpu" or num * others <= FEW or _AT_ONCE.get():
        return attend(query, key, value)
    rows = num
    while rows * others > MANY and rows % 2 == 0:
        rows //= 2

    def head(parts: tuple[Array, Array, Array]) -> Array:
        queries, keys, values = parts

        def some(queries: Array) -> Array:
            logits = jnp.matmul(queries, keys.T, preferred_element_type=jnp.float32)
            # Brought to sum one at the end, where there is one number a channel and not one a pair.
            weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
            out = jnp.matmul(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
            return (out / weights.sum(-1, keepdims=True)).astype(values.dtype)

        return jax.lax.map(some, queries.reshape(-1, rows, channels)).reshape(num, channels)

    scaled = (query / channels**0.5).astype(query.dtype)
    each = tuple(z.swapaxes(1, 2).reshape(batch * heads, -1, channels) for z in (scaled, key, value))
    return jax.lax.map(head, each).reshape(batch, heads, num, channels).swapaxes(1, 2)


def linen_attend(query: Array, key: Array, value: Array) -> Array:
    """The same as Linen's layers of attention call it, which have a rounding of their own elsewhere."""
    if implementation(jax.devices()[0], query.dtype, query.shape[-1]) is None:
        return nn.dot_product_attention(query, key, value)
    return attend(query, key, value)
