"""The guided sampler as a plain PyTorch loop: the same weights, arithmetic, time grid and number of evaluations.

What depends on time alone (alpha, sigma, log-SNR and the time features) is computed before the loop and enters as
numbers. That spares PyTorch work that a loop over batches of times would do. PyTorch is imported only here, only when
asked for.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.app.bench.models import Networks
from tgdp_jax.errors import UserError
from tgdp_jax.nets.embedding import TimeFeatures
from tgdp_jax.sde import SDE


def load_torch() -> Any:
    """The module.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise UserError("PyTorch is not installed: pip install 'tgdp-jax[torch]'") from error


class Level(NamedTuple):
    """What a time of the grid is to the sampler; `features` [1, F] is a tensor, lambda half the log-SNR."""

    alpha: float
    sigma: float
    half_log_snr: float
    features: Any


class TorchSampler:
    """Both networks, and the loops that sample with them.

    Attributes:
      torch: the module.
      device: where it computes: "cuda" where JAX has a GPU and this PyTorch sees one too, else "cpu".
    """

    def __init__(self, networks: Networks) -> None:
        self.torch = load_torch()
        gpu = jax.default_backend() == "gpu" and self.torch.cuda.is_available()
        self.device = "cuda" if gpu else "cpu"
        # As JAX multiplies float32 by default: full precision on CPU, TF32 on GPUs that have it.
        self.torch.set_float32_matmul_precision("high" if gpu else "highest")
        self.dtype = getattr(self.torch, networks.precision)
        self.dim, self.sde = networks.dim, networks.eps.sde
        self.eps = self._layers(networks.eps_params)
        self.guidance = self._layers(networks.guidance_params)

    def _layers(self, params: Any) -> list[Any]:
        layers, linears = params["params"]["MLP_0"], []
        for i in range(len(layers)):
            kernel, bias = (np.array(layers[f"Dense_{i}"][name]) for name in ("kernel", "bias"))
            linear = self.torch.nn.Linear(*kernel.shape)
            linear.load_state_dict(
                {"weight": self.torch.from_numpy(kernel.T.copy()), "bias": self.torch.from_numpy(bias)}
            )
            hidden = 0 < i < len(layers) - 1
            linears.append(linear.to(self.device, self.dtype if hidden else self.torch.float32).requires_grad_(False))
        return linears

    def _forward(self, layers: list[Any], h: Any) -> Any:
        """The network; as in the library, first and last layer compute in float32."""
        for layer in layers[:-1]:
            h = self.torch.nn.functional.silu(layer(h).to(self.dtype))
        return layers[-1](h.float())

    def levels(self, times: jax.Array) -> list[Level]:
        """The grid as numbers, in the precision that the library computes them in."""
        features = np.array(TimeFeatures(self.sde).apply({}, times))
        tensors = self.torch.from_numpy(features).to(self.device)
        columns = np.stack([self.sde.alpha(times), self.sde.sigma(times), 0.5 * self.sde.log_snr(times)], 1)
        return [
            Level(alpha, sigma, half, tensors[i : i + 1]) for i, (alpha, sigma, half) in enumerate(columns.tolist())
        ]

    def predict(self, x: Any, level: Level) -> tuple[Any, Any]:
        """(x0, eps) [B, d] of the guided score at x [B, d]."""
        torch, alpha, sigma = self.torch, level.alpha, level.sigma
        # Unit data: see the preconditioning of the networks.
        root = math.sqrt(alpha**2 + sigma**2)
        time = level.features.expand(len(x), -1)
        with torch.enable_grad():
            z = x.detach().requires_grad_(True)
            g = (alpha / root) * self._forward(self.guidance, torch.cat([z / root, time], 1))
            (slope,) = torch.autograd.grad(g.sum(), z)
        scaled = x / root
        residual = self._forward(self.eps, torch.cat([scaled, time], 1))
        eps = (sigma / root) * scaled + (alpha / root) * residual - sigma * slope
        return (x - sigma * eps) / alpha, eps

    def dpmpp_2m(self, x: Any, levels: Sequence[Level]) -> Any:
        """DPM-Solver++(2M) (Lu et al. 2022b, Algorithm 2) from start noise x [B, d]; one evaluation a step."""
        memory, h_before = None, math.nan
        for here, there in itertools.pairwise(levels):
            x0, _ = self.predict(x, here)
            h = there.half_log_snr - here.half_log_snr
            slope = x0 if memory is None else x0 + (0.5 * h / h_before) * (x0 - memory)
            x = (there.sigma / here.sigma) * x - there.alpha * math.expm1(-h) * slope
            memory, h_before = x0, h
        return x

    def dpm_solver_2(self, x: Any, levels: Sequence[Level]) -> Any:
        """Singlestep DPM-Solver-2 (Lu et al. 2022, Algorithm 1) from start noise x [B, d]; two evaluations a step.

        Args:
          x: start noise.
          levels: those of the grid with the middles between, see `with_middles`.
        """

        def to(there: Level, here: Level, eps: Any) -> Any:
            h = there.half_log_snr - here.half_log_snr
            return (there.alpha / here.alpha) * x - there.sigma * math.expm1(h) * eps

        for here, middle, there in zip(levels[:-2:2], levels[1:-1:2], levels[2::2], strict=True):
            _, first = self.predict(x, here)
            _, second = self.predict(to(middle, here, first), middle)
            x = to(there, here, second)
        return x

    def draw(self, loop: Any, levels: Sequence[Level], num: int, chunk: int) -> np.ndarray:
        """`num` samples [num, d] on the host by one of the loops, `chunk` rows at a time."""
        torch = self.torch
        parts = []
        with torch.no_grad():
            for start in range(0, num, chunk):
                noise = torch.randn(min(chunk, num - start), self.dim, device=self.device)
                parts.append(loop(noise, levels).cpu().numpy())
        return np.concatenate(parts)


def with_middles(sde: SDE, times: jax.Array) -> jax.Array:
    """The grid [K + 1] with the time of the middle log-SNR within every interval, [2 K + 1]."""
    log_snr = sde.log_snr(times)
    middles = sde.t_of_log_snr(0.5 * (log_snr[:-1] + log_snr[1:]))
    return jnp.concatenate([times[:1], jnp.stack([middles, times[1:]], 1).reshape(-1)])
