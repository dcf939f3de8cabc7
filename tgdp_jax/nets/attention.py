"""Attention, by the fused kernels of cuDNN where they apply.

JAX chooses them only where it is told to. They never write the weights of all pairs of tokens to memory, of which a
picture of 64 x 64 latents has 16 million a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
LARGEST, MULTIPLE = 128, 8  # of the channels of a head
CAPABILITY = (8, 0)  # of the first GPUs with these kernels
_TWICE = ContextVar("twice", default=False)


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """What is traced within has gradients of gradients, which cuDNN's kernels have not."""
    token = _TWICE.set(True)
    try:
        yield
    finally:
        _TWICE.reset(token)


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


def linen_attend(query: Array, key: Array, value: Array) -> Array:
    """The same as Linen's layers of attention call it, which have a rounding of their own elsewhere."""
    if implementation(jax.devices()[0], query.dtype, query.shape[-1]) is None:
        return nn.dot_product_attention(query, key, value)
    return attend(query, key, value)
