"""Solvers and time grids by name; looking names up imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import Registry

if TYPE_CHECKING:
    from jax import Array

    from tgdp_jax.sampling.solver import Solver
    from tgdp_jax.sde import SDE

SOLVERS: Mapping[str, Solver] = Registry(
    {
        "dpmpp_2m": "tgdp_jax.sampling.steps:DPMPP_2M",
        "dpmpp_2m_sde": "tgdp_jax.sampling.steps:DPMPP_2M_SDE",
        "centre_3m": "tgdp_jax.sampling.linear_multistep:CENTRE_3M",
        "residual_2m": "tgdp_jax.sampling.linear_multistep:RESIDUAL_2M",
        "dpmpp_3m": "tgdp_jax.sampling.linear_multistep:DPMPP_3M",
        "unipc": "tgdp_jax.sampling.linear_multistep:UNIPC",
        "deis": "tgdp_jax.sampling.linear_multistep:DEIS",
        "heun": "tgdp_jax.sampling.steps:PROBABILITY_FLOW_HEUN",
        "euler": "tgdp_jax.sampling.steps:PROBABILITY_FLOW_EULER",
        "ddim": "tgdp_jax.sampling.steps:DDIM",
        "ancestral": "tgdp_jax.sampling.steps:ANCESTRAL",
        "euler_maruyama": "tgdp_jax.sampling.steps:EULER_MARUYAMA",
        "predictor_corrector": "tgdp_jax.sampling.steps:PREDICTOR_CORRECTOR",
    }
)

# (sde, num_steps) -> times [num_steps + 1].
GRIDS: Mapping[str, Callable[[SDE, int], Array]] = Registry(
    {
        "uniform": "tgdp_jax.sampling.grids:uniform",
        "trailing": "tgdp_jax.sampling.grids:trailing",
        "quadratic": "tgdp_jax.sampling.grids:quadratic",
        "log_snr": "tgdp_jax.sampling.grids:log_snr",
        "blend": "tgdp_jax.sampling.grids:blend",
        "edm": "tgdp_jax.sampling.grids:edm",
    }
)
