"""Reverse-time sampling and exact likelihood."""

from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import public

if TYPE_CHECKING:
    from tgdp_jax.sampling.likelihood import log_likelihood
    from tgdp_jax.sampling.linear_multistep import multistep
    from tgdp_jax.sampling.loop import sample
    from tgdp_jax.sampling.modal import sample_modalities
    from tgdp_jax.sampling.registry import GRIDS, SOLVERS
    from tgdp_jax.sampling.solver import Point, Solver
    from tgdp_jax.sampling.steps import ddim, predictor_corrector

__all__ = [
    "GRIDS",
    "SOLVERS",
    "Point",
    "Solver",
    "ddim",
    "log_likelihood",
    "multistep",
    "predictor_corrector",
    "sample",
    "sample_modalities",
]

__getattr__ = public(
    __name__,
    {
        "likelihood": ("log_likelihood",),
        "loop": ("sample",),
        "modal": ("sample_modalities",),
        "linear_multistep": ("multistep",),
        "registry": ("GRIDS", "SOLVERS"),
        "solver": ("Point", "Solver"),
        "steps": ("ddim", "predictor_corrector"),
    },
)
