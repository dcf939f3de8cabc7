"""The samplers that are measured: embedded networks with random weights, or those of a finished run.

Time does not depend on the weights, so nothing is trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.guidance import GuidedScore, log_ratio_guidance
from tgdp_jax.nets import EpsMLP, EpsUNet, GuidanceHead, GuidanceMLP
from tgdp_jax.nets.registry import PRECISIONS
from tgdp_jax.prediction import ScoreFn, network_score
from tgdp_jax.sampling import SOLVERS
from tgdp_jax.sampling.steps import Solver
from tgdp_jax.sde import SDE, VP
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.training import GuidanceConfig
from tgdp_jax.transfer.base import ScoreGenerator

Array = jax.Array
SMALL = (64, 64, 64)
# name: (dimension, widths of the noise prediction network, widths of the guidance network)
EMBEDDED: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "paper": (2, (512, 512, 512, 512, 256), (512, 512, 512, 512)),
    "small": (2, SMALL, SMALL),
    "default32": (32, NetworkConfig().features, GuidanceConfig().features),
}
# name: (pixels a side of grey images, channels of the U-Net's levels, channels of the guidance network)
IMAGES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {"unet16": (16, (16, 32, 96), (16, 32, 64))}


@dataclasses.dataclass(frozen=True)
class Case:
    """A guided sampler.

    Attributes:
      name: in tables.
      sde: forward process.
      shape: of one sample.
      guided: the guided score.
      unguided: the same without its guidance; None where there is none.
      parameters: numbers in its networks.
      width: of its widest layer.
      solver: of the sampler.
      grid: its time grid.
      clip: its bound on x_0.
      precision: that its networks compute in.
      labels: number of rows -> labels [N], or None for an unconditional sampler.
    """

    name: str
    sde: SDE
    shape: tuple[int, ...]
    guided: ScoreFn
    unguided: ScoreFn | None
    parameters: int
    width: int
    solver: Solver = SOLVERS["dpmpp_2m"]
    grid: str = "log_snr"
    clip: float | None = None
    precision: str = "float32"
    labels: Callable[[int], Array] | None = None

    def cond(self, rows: int) -> Array | None:
        """Labels [rows], or None."""
        return None if self.labels is None else self.labels(rows)


@dataclasses.dataclass(frozen=True)
class Networks:
    """A noise prediction and a guidance network with their weights.

    Attributes:
      name: in tables.
      dim: of the data.
      eps: noise prediction.
      guidance: log-ratio.
      eps_params: weights of the first.
      guidance_params: weights of the second.
      precision: that both compute in.
    """

    name: str
    dim: int
    eps: EpsMLP
    guidance: GuidanceMLP
    eps_params: Any
    guidance_params: Any
    precision: str

    def case(self) -> Case:
        """The guided sampler of both."""
        score = network_score(self.eps, self.eps_params, self.eps.sde)
        log_h = jax.tree_util.Partial(self.guidance.apply, self.guidance_params)
        return Case(
            self.name,
            self.eps.sde,
            (self.dim,),
            log_ratio_guidance(log_h)(score),
            score,
            parameters=_size(self.eps_params) + _size(self.guidance_params),
            width=max(*self.eps.features, *self.guidance.features),
            precision=self.precision,
        )


def networks(
    dim: int, eps: tuple[int, ...], guidance: tuple[int, ...], *, name: str, precision: str = "float32"
) -> Networks:
    """Networks of the given widths with random weights."""
    vp, dtype = VP(), PRECISIONS[precision]
    eps_net, guidance_net = EpsMLP(vp, eps, dtype=dtype), GuidanceMLP(vp, guidance, dtype=dtype)
    return Networks(
        name,
        dim,
        eps_net,
        guidance_net,
        _random_params(0, eps_net, (dim,)),
        _random_params(1, guidance_net, (dim,)),
        precision,
    )


def embedded(name: str, precision: str = "float32") -> Networks:
    """Networks of `EMBEDDED`."""
    dim, eps, guidance = EMBEDDED[name]
    return networks(dim, eps, guidance, name=name, precision=precision)


def sampler(name: str, precision: str = "float32") -> Case:
    """The guided sampler of networks of `EMBEDDED` or `IMAGES`."""
    if name in EMBEDDED:
        return embedded(name, precision).case()
    side, channels, head = IMAGES[name]
    vp, dtype, shape = VP(), PRECISIONS[precision], (side, side, 1)
    eps = EpsUNet(vp, channels, attention=(len(channels) - 1,), dtype=dtype)
    guidance = GuidanceHead(vp, head, dtype=dtype)
    eps_params, guidance_params = _random_params(0, eps, shape), _random_params(1, guidance, shape)
    score = network_score(eps, eps_params, vp)
    return Case(
        name,
        vp,
        shape,
        log_ratio_guidance(jax.tree_util.Partial(guidance.apply, guidance_params))(score),
        score,
        parameters=_size(eps_params) + _size(guidance_params),
        width=max(*channels, *head),
        clip=1.0,
        precision=precision,
    )


def of_run(name: str, generator: Any, precision: str, labels: Callable[[int], Any] | None) -> Case:
    """The sampler of a finished run.

    Args:
      name: in tables.
      generator: what its method made.
      precision: that its networks compute in.
      labels: number of rows -> labels [N], for a conditional run.

    Raises:
      UserError: a method that samples without a score.
    """
    if not isinstance(generator, ScoreGenerator):
        raise UserError(
            f"{name} samples without a network, so there is nothing to measure: give a run of another method"
        )
    score, sampling, solver = generator.score, generator.sampling, SOLVERS[generator.sampling.solver]
    kernels = [leaf for leaf in jax.tree.leaves(score) if np.ndim(leaf) > 1]
    return Case(
        name,
        generator.sde,
        generator.shape,
        score,
        score.score if isinstance(score, GuidedScore) else None,
        parameters=_size(score),
        width=max(leaf.shape[-1] for leaf in kernels),
        solver=solver,
        grid=sampling.grid or solver.grid,
        clip=sampling.clip,
        precision=precision,
        labels=labels,
    )


def _random_params(seed: int, net: Any, shape: tuple[int, ...]) -> Any:
    """Weights of the usual size everywhere: an output layer that starts at zero would make results trivial."""
    key = jax.random.key(seed)
    shapes = jax.eval_shape(net.init, key, jnp.zeros((1, *shape)), jnp.ones(1))
    leaves, tree = jax.tree.flatten(shapes)

    def draw(key: Array, leaf: Any) -> Array:
        scale = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return scale * jax.random.normal(key, leaf.shape, leaf.dtype)

    keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
    return tree.unflatten([draw(k, leaf) for k, leaf in zip(keys, leaves, strict=True)])


def _size(tree: Any) -> int:
    return int(sum(np.size(leaf) for leaf in jax.tree.leaves(tree)))
