"""Structured state spaces (S4, Gu et al. 2022): sequence layers that convolve with kernels as long as the row.

Every feature u(t) drives a linear system of N states, x' = A x + B u, y = Re C x + D u. At steps of length dt it is a
recurrence x_k = Ab x_(k-1) + Bb u_k, and hence y = K * u + D u with the kernel K_l = C Ab^l Bb, l = 0..L-1. Matrices
here are complex of N / 2 states and stand for themselves beside their conjugates, so that K is twice a real part.

Diagonal (S4D, Gu, Gupta, Goel & Ré 2022): A = diag(lambda), held over a step (zero order),

    Ab = exp(dt lambda),   Bb = (exp(dt lambda) - 1) / lambda,   K_l = 2 Re sum_n C_n Bb_n exp(dt lambda_n l).

Powers factor, l = m i + j, into exp(dt lambda m i) exp(dt lambda j): K is a product of two matrices, and the [N, L]
table of all powers is never built.

Diagonal plus low rank: the HiPPO-LegS matrix, which keeps a memory of all the past in Legendre polynomials, is no
stable diagonal one but A = V (diag(lambda) - P P^*) V^*. With the bilinear rule, Ab = (1 - dt A / 2)^-1 (1 + dt A / 2)
and Bb = (1 - dt A / 2)^-1 dt B, the kernel comes from its generating function at the L-th roots of unity w,

    sum_l K_l w^l = C~ (1 - Ab w)^-1 Bb = 2 C~ (2 (1 - w) / dt - (1 + w) A)^-1 B,     C~ = C (1 - Ab^L),

by an inverse FFT. C~ is what is learned, in the place of C. Woodbury's identity leaves Cauchy sums,

    2 [ S(C~, B) - (1 + w) S(C~, P) S(P^*, B) / (1 + (1 + w) S(P^*, P)) ],
    S(a, b) = sum_n a_n b_n / (2 (1 - w) / dt - (1 + w) lambda_n) over all N states,

where the sum of a conjugate pair, v / (z - s lambda) + v^* / (z - s lambda^*) with s = 1 + w, is
2 (z Re v - s Re v lambda^*) / ((z - s lambda) (z - s lambda^*)). (The form with 2 (1 - w) / (1 + w), customary
elsewhere, divides by zero at w = -1.)
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.registry import KERNELS

Array = jax.Array
STEPS = 1e-3, 1e-1  # shortest and longest step at the start


def hippo_legs(states: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HiPPO-LegS (Gu et al. 2020), A_nk = -sqrt((2n+1)(2k+1)) below the diagonal and -(n+1) on it, in its eigenbasis.

    Args:
      states: N, even.

    Returns:
      lambda [N / 2] with positive imaginary parts, P [N / 2], B [N / 2] and V [N, N / 2], complex128, of which
      A = Re 2 V diag(lambda) V^* - p p^T with p = Re 2 V P.
    """
    n = np.arange(states)
    root = np.sqrt(n + 0.5)
    # A + p p^T with p_n = sqrt(n + 1/2) is -1/2 plus a skew-symmetric matrix: its eigenvectors are orthogonal.
    skew = np.outer(root, root) * (np.triu(np.ones((states, states)), 1) - np.tril(np.ones((states, states)), -1))
    imaginary, vectors = np.linalg.eigh(-1j * skew)
    half = slice(states // 2, None)  # eigh sorts, and the spectrum is symmetric
    vectors = vectors[:, half]
    back = vectors.conj().T
    return -0.5 + 1j * imaginary[half], back @ root, back @ np.sqrt(2 * n + 1.0), vectors


def diagonal_spectrum(kind: str, states: int) -> np.ndarray:
    """lambda [N / 2] that S4D starts from: -1/2 + i pi n ("s4d_lin") or -1/2 + i (N / pi) (N / (2n+1) - 1)."""
    n = np.arange(states // 2)
    return -0.5 + 1j * (math.pi * n if kind == "s4d_lin" else states / math.pi * (states / (2 * n + 1) - 1))


def diagonal_kernel(spectrum: Array, c: Array, dt: Array, length: int) -> Array:
    """Kernels [D, H, length] of diagonal systems, B = 1.

    Args:
      spectrum: lambda [H, N / 2], complex with negative real parts.
      c: C [D, H, N / 2], complex; D kernels share a system.
      dt: steps [H].
      length: L.
    """
    rate = dt[:, None] * spectrum
    inputs = c * (jnp.exp(rate) - 1.0) / spectrum
    inner = math.isqrt(length - 1) + 1
    outer = -(-length // inner)
    rows = jnp.exp(rate[..., None] * (inner * jnp.arange(outer)))
    columns = jnp.exp(rate[..., None] * jnp.arange(inner))
    left = inputs[..., None] * rows
    # A real product of twice the width: complex ones are slow on CPU.
    left = jnp.concatenate([left.real, -left.imag], -2)
    right = jnp.concatenate([columns.real, columns.imag], -2)
    kernel = 2.0 * jnp.einsum("dhni,hnj->dhij", left, right, precision=jax.lax.Precision.HIGHEST)
    return kernel.reshape(*kernel.shape[:2], -1)[..., :length]


def dplr_kernel(spectrum: Array, p: Array, b: Array, c: Array, dt: Array, length: int) -> Array:
    """Kernels [D, H, length] of systems diag(spectrum) - p p^*.

    Args:
      spectrum: lambda [H, N / 2], complex with negative real parts.
      p, b: P and B [H, N / 2].
      c: C~ [D, H, N / 2] for this length; D kernels share a system.
      dt: steps [H].
      length: L.
    """
    nodes = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    z = jnp.asarray(2.0 * (1.0 - nodes), jnp.complex64) / dt[:, None]
    s = jnp.asarray(1.0 + nodes, jnp.complex64)
    at = z[:, None], s * spectrum[..., None], s * spectrum.conj()[..., None]
    inverse = 1.0 / ((at[0] - at[1]) * (at[0] - at[2]))
    pairs = jnp.concatenate([c * b, c * p, (p.conj() * b)[None], (p.conj() * p)[None]])
    weights = jnp.concatenate([pairs.real, (pairs * spectrum.conj()).real])
    split = jnp.concatenate([inverse.real, inverse.imag], -1)
    sums = jnp.einsum("vhn,hnf->vhf", weights, split, precision=jax.lax.Precision.HIGHEST)
    real, imaginary = jnp.split(sums, 2, -1)
    first, second = jnp.split(real + 1j * imaginary, 2)
    found = 2.0 * (z * first - s * second)
    kinds = len(c)
    cb, cp, pb, pp = found[:kinds], found[kinds:-2], found[-2], found[-1]
    return jnp.fft.irfft(2.0 * (cb - s * cp * pb / (1.0 + s * pp)), length)


def convolve(u: Array, forward: Array, backward: Array | None = None) -> Array:
    """y [B, L, H] of u [B, L, H] and kernels [H, L]: y_k = sum_j forward_j u_(k-j) + sum_j backward_j u_(k+1+j).

    A row sees its own place through `forward` alone. Computed by FFT, in float32 whatever comes in.
    """
    length = u.shape[1]
    kernel = jnp.pad(forward, ((0, 0), (0, length)))
    if backward is not None:
        kernel += jnp.pad(backward[:, ::-1], ((0, 0), (length, 0)))
    spectrum = jnp.fft.rfft(u.astype(jnp.float32).swapaxes(1, 2), 2 * length) * jnp.fft.rfft(kernel)
    return jnp.fft.irfft(spectrum, 2 * length)[..., :length].swapaxes(1, 2)


def as_complex(pairs: Array) -> Array:
    """Complex numbers of (real, imaginary) along the last axis: parameters and optimisers are real."""
    return pairs[..., 0] + 1j * pairs[..., 1]


class StateSpace(nn.Module):
    """y [B, L, H] float32 of u [B, L, H]: every feature through a system of its own, and D u beside it.

    Parameters are named as in the equations above: log_dt [H], log_decay (log -Re lambda) and frequency (Im lambda)
    [H, N / 2], c [directions, H, N / 2, 2], d [H] and, of "dplr", p and b [H, N / 2, 2].

    Attributes:
      states: N, even.
      kernel: "s4d_lin" or "s4d_inv" (diagonal), or "dplr" (HiPPO-LegS).
      bidirectional: a place sees what comes after it too, through a C of its own.
    """

    states: int = 64
    kernel: str = "dplr"
    bidirectional: bool = True

    @nn.compact
    def __call__(self, u: Array) -> Array:
        choose("state space kernel", self.kernel, KERNELS)
        if self.states < 2 or self.states % 2:
            raise UserError(f"a state space has {self.states} states: give an even number of at least 2")
        length, width = u.shape[1:]
        kernels = self._kernels(length, width)
        skip = self.param("d", nn.initializers.normal(1.0), (width,))
        return convolve(u, *kernels) + u.astype(jnp.float32) * skip

    def _kernels(self, length: int, width: int) -> Array:
        """[directions, width, length]."""
        low_rank = self.kernel == "dplr"
        start, *vectors = hippo_legs(self.states) if low_rank else (diagonal_spectrum(self.kernel, self.states),)

        def constant(name: str, value: Any) -> Array:
            return self.param(name, lambda _: jnp.broadcast_to(jnp.asarray(value, jnp.float32), (width, *value.shape)))

        dt = jnp.exp(self.param("log_dt", _log_uniform, (width,)))
        decay, frequency = constant("log_decay", np.log(-np.real(start))), constant("frequency", np.imag(start))
        spectrum = -jnp.exp(decay) + 1j * frequency
        shape = (1 + self.bidirectional, width, self.states // 2, 2)
        c = as_complex(self.param("c", nn.initializers.normal(math.sqrt(0.5)), shape))
        if not low_rank:
            return diagonal_kernel(spectrum, c, dt, length)
        pairs = (np.stack([np.real(v), np.imag(v)], -1) for v in vectors[:2])
        p, b = (as_complex(constant(name, value)) for name, value in zip("pb", pairs, strict=True))
        return dplr_kernel(spectrum, p, b, c, dt, length)


def _log_uniform(key: Array, shape: tuple[int, ...]) -> Array:
    low, high = (math.log(step) for step in STEPS)
    return jax.random.uniform(key, shape, minval=low, maxval=high)


class S4Block(nn.Module):
    """[B, L, H] -> the same: layer norm of h + mix(gelu(state space(h))), features mixed at every place.

    Attributes:
      states, kernel, bidirectional: as of `StateSpace`, which is float32.
      dtype: what the rest computes in; None: the type of inputs and parameters. Statistics of the norm are float32.
    """

    states: int = 64
    kernel: str = "dplr"
    bidirectional: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        y = StateSpace(self.states, self.kernel, self.bidirectional, name="space")(h)
        y = nn.gelu(y if self.dtype is None else y.astype(self.dtype), approximate=False)
        y = nn.Dense(h.shape[-1], dtype=self.dtype, name="mix")(y)
        return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, use_fast_variance=False, name="norm")(h + y)
