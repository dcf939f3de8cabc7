"""Convolution, with the parameters of `flax.linen.Conv`, whose gradient is fast within compiled loops on CPU.

For y = conv(x, w) at stride 1 the gradients are, with g that of y,

    dx = conv(g, w mirrored, channels swapped),      dw[i, j] = x^T g[shifted by (-i, -j)],

the second a product of matrices, x^T with the windows of g side by side. XLA's own form of dw is a convolution with
windows as large as the image; inside a `scan` on CPU that was measured to take 30 times as long as all the rest. One
product for every place in the window takes up to three times as long as the one.

Of maps one or two pixels wide (series, and where a U-Net is coarsest) a product with the windows of x side by side is
the fastest on the way forth too: 1.5 to 2 and 5 to 8 times as fast as XLA's convolution. Of wider ones it is slower.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]
NARROW = 2  # pixels on a side


class Conv(nn.Module):
    """Windows over x [B, H, W, C] to [B, H', W', features]; series are images one pixel wide.

    Attributes:
      features: channels of the output.
      size: of a window, (height, width) or one number for both.
      stride: pixels between windows, likewise.
      padding: zeros around the image, ((above, below), (left, right)); None: as many as keep H and W at stride 1.
      kernel_init: of the kernel [height, width, C, features]; the bias starts at zero.
      dtype: what it computes in; None: of the type of inputs and parameters. Parameters are float32.
      use_bias: whether there is a bias.
    """

    features: int
    size: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: Pads | None = None
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size, stride = _both(self.size), _both(self.stride)
        kernel = self.param("kernel", self.kernel_init, (*size, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        above, left = ((side - 1) // 2 for side in size)
        same = (above, size[0] // 2), (left, size[1] // 2)
        out = _convolve(x, kernel, stride, self.padding or same)
        return out if bias is None else out + bias


def _both(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _convolve(x: Array, kernel: Array, stride: tuple[int, int], pads: Pads) -> Array:
    if jax.default_backend() != "cpu":
        return _xla(x, kernel, stride, pads)
    narrow = min(x.shape[1:3]) <= NARROW
    if stride == (1, 1) and not narrow:
        return _dense(x, kernel, pads)
    parts = _shifted(x, kernel.shape[:2], stride, pads)
    if narrow:
        return jnp.concatenate(parts, -1) @ kernel.reshape(-1, kernel.shape[-1])
    places = kernel.reshape(-1, *kernel.shape[2:])
    return functools.reduce(jnp.add, [part @ w for part, w in zip(parts, places, strict=True)])


def _xla(x: Array, kernel: Array, stride: tuple[int, int], pads: Pads) -> Array:
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, stride, pads, dimension_numbers=dims)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dense(x: Array, kernel: Array, pads: Pads) -> Array:
    """Stride 1."""
    return _xla(x, kernel, (1, 1), pads)


def _dense_fwd(x: Array, kernel: Array, pads: Pads) -> tuple[Any, tuple[Array, Array]]:
    # Not `_xla`: what differentiates the gradient once more would differentiate that by XLA's own rule.
    return _dense(x, kernel, pads), (x, kernel)


def _dense_bwd(pads: Pads, kept: tuple[Array, Array], g: Array) -> tuple[Any, Array]:
    x, kernel = kept
    last = kernel.shape[0] - 1, kernel.shape[1] - 1
    (above, below), (left, right) = pads
    around = (last[0] - above, last[0] - below), (last[1] - left, last[1] - right)
    dx = _dense(g, kernel[::-1, ::-1].swapaxes(2, 3), around)
    shifted = jnp.concatenate(_shifted(g, kernel.shape[:2], (1, 1), around)[::-1], -1)
    dw = x.reshape(-1, x.shape[-1]).T @ shifted.reshape(-1, shifted.shape[-1])
    return dx, jnp.moveaxis(dw.reshape(-1, *kernel.shape[:2], g.shape[-1]), 0, 2)


_dense.defvjp(_dense_fwd, _dense_bwd)


def _shifted(x: Array, size: tuple[int, ...], stride: tuple[int, int], pads: Pads) -> list[Array]:
    """What every place of a window sees of x [B, H, W, C], row by row: height * width of [B, H', W', C]."""
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))

    def along(axis: int) -> list[slice]:
        side, step = size[axis], stride[axis]
        places = (padded.shape[1 + axis] - side) // step + 1
        return [slice(i, i + step * (places - 1) + 1, step) for i in range(side)]

    return [padded[:, row, column] for row in along(0) for column in along(1)]
