"""The networks of a run: what a config and a problem make of each role."""

from __future__ import annotations

from typing import Any

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets import (
    ClassifierHead,
    ClassifierMLP,
    EpsDiT,
    EpsMLP,
    EpsUNet,
    GuidanceHead,
    GuidanceMLP,
)
from tgdp_jax.nets.heads import frozen
from tgdp_jax.prediction import ScoreFn, network_score
from tgdp_jax.settings import TrainingConfig
from tgdp_jax.transfer.base import Trees


def denoiser(config: TrainingConfig, problem: Problem) -> Any:
    """The noise-prediction network of source, scratch and fine-tuning.

    Raises:
      UserError: an image network for rows that are no images.
    """
    net, sde = config.network, config.process.make()
    classes, std, dtype = problem.num_classes, problem.data_std, config.dtype
    if net.kind == "mlp":
        return EpsMLP(sde, config.source.features, config.source.embedding, classes, std, dtype)
    if len(problem.shape) != 3:
        raise UserError(
            f"network {net.kind} is for images [H, W, C] but a row has shape {problem.shape}: use --network.kind mlp"
        )
    if net.kind == "dit":
        return EpsDiT(sde, net.patch, net.width, net.depth, net.heads, classes, std, dtype=dtype, remat=net.remat)
    return EpsUNet(
        sde,
        net.channels,
        net.blocks,
        net.attention,
        num_classes=classes,
        data_std=std,
        dtype=dtype,
        remat=net.remat,
    )


def denoiser_score(config: TrainingConfig, problem: Problem, tree: Any) -> ScoreFn:
    """Score function of a trained `denoiser`."""
    net = denoiser(config, problem)
    return network_score(net, tree["params"], config.process.make(), prediction=config.source.prediction)


def guidance_net(config: TrainingConfig, problem: Problem) -> Any:
    """The network for g = log h, and for the noise-conditional domain classifier."""
    g, sde = config.guidance, config.process.make()
    if config.network.kind == "mlp":
        return GuidanceMLP(sde, g.features, g.embedding, problem.num_classes, problem.data_std, config.dtype)
    return GuidanceHead(
        sde,
        config.head.channels,
        g.features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        config.dtype,
    )


def classifier_net(config: TrainingConfig, problem: Problem) -> Any:
    """The clean domain classifier."""
    features = config.classifier.features
    if config.network.kind == "mlp":
        return ClassifierMLP(features, problem.num_classes, problem.data_std, config.dtype)
    return ClassifierHead(
        config.head.channels,
        features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        dtype=config.dtype,
    )


def shared_variables(config: TrainingConfig, trees: Trees) -> dict[str, Any]:
    """What heads take from the source model without training it; empty where they stand on their own."""
    if config.network.kind == "mlp" or not config.head.on_source:
        return {}
    return frozen(trees["source"]["params"])


def _shared(config: TrainingConfig, problem: Problem) -> Any:
    return denoiser(config, problem) if config.head.on_source else None
