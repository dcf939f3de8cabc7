"""Reverse-time sampling and exact likelihood."""

from tgdp_jax.sampling.grids import GRIDS
from tgdp_jax.sampling.likelihood import log_likelihood
from tgdp_jax.sampling.loop import sample
from tgdp_jax.sampling.modal import sample_modalities
from tgdp_jax.sampling.multistep import multistep
from tgdp_jax.sampling.solver import Point, Solver
from tgdp_jax.sampling.steps import SOLVERS, ddim, predictor_corrector

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
