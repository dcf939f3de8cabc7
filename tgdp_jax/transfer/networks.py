"""The networks of a run: what a config and a problem make of each role."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from tgdp_jax.data.modalities import halves
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop import DiffusersUNet, SSSDModel
from tgdp_jax.nets import (
    SSSD,
    ClassifierHead,
    ClassifierMLP,
    DiscriminatorConv,
    DiscriminatorMLP,
    EpsDiT,
    EpsMLP,
    EpsMultimodal,
    EpsSSSD,
    EpsUNet,
    GeneratorConv,
    GeneratorMLP,
    GuidanceHead,
    GuidanceMLP,
    LabelHead,
)
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.nets.heads import frozen
from tgdp_jax.prediction import ScoreFn, network_score
from tgdp_jax.settings import TrainingConfig
from tgdp_jax.train.denoising import fresh_params
from tgdp_jax.train.gan import Players
from tgdp_jax.train.reparam import carried_over
from tgdp_jax.transfer.base import Trees

# The stage that leaves the weights of what heads stand on.
HEAD_STAGE = {"source": "source", "labels": "label_classifier"}


def denoiser(config: TrainingConfig, problem: Problem, *, new_token: bool = False) -> Any:
    """The noise-prediction network of the source and all that starts from it; with a `new_token`, see `Prompt`.

    Raises:
      UserError: a network for images or series, and rows that are none.
    """
    if config.model is not None:
        return _pretrained_net(config.model, config.dtype, problem, new_token)
    net, sde = config.network, config.sde
    classes, std, dtype = problem.num_classes, problem.data_std, config.dtype
    if net.kind == "mlp":
        return EpsMLP(sde, config.source.features, config.source.embedding, classes, std, dtype, new_token)
    if net.kind == "multimodal":
        modalities, embedding = problem.modalities or halves(problem.shape), config.source.embedding
        sizes = net.channels, net.width, net.depth
        return EpsMultimodal(sde, modalities, *sizes, embedding, classes, std, dtype, new_token)
    _check_rows(config, problem)
    if net.kind == "sssd":
        layers = SSSD(**vars(net.sssd), num_classes=classes, dtype=dtype, remat=net.remat, new_token=new_token)
        return EpsSSSD(sde, layers, std)
    if net.kind == "dit":
        sizes = net.patch, net.width, net.depth, net.heads
        return EpsDiT(sde, *sizes, classes, std, dtype=dtype, remat=net.remat, new_token=new_token)
    return EpsUNet(
        sde,
        net.channels,
        net.blocks,
        net.attention,
        num_classes=classes,
        data_std=std,
        dtype=dtype,
        remat=net.remat,
        new_token=new_token,
    )


def check_denoiser(config: TrainingConfig, problem: Problem) -> None:
    """Says what keeps the denoiser from taking the problem's rows, before anything is trained or written.

    Raises:
      UserError: see `denoiser`; also rows whose sides a network can not divide.
    """
    _trace(denoiser(config, problem), problem.shape)


@functools.cache
def _trace(net: Any, shape: tuple[int, ...]) -> None:
    jax.eval_shape(lambda key: fresh_params(key, net, shape), jax.random.key(0))


def _check_rows(config: TrainingConfig, problem: Problem) -> None:
    axes, rows = (2, "series [L, C]") if config.network.kind == "sssd" else (3, "images [H, W, C]")
    if len(problem.shape) != axes:
        raise UserError(
            f"network {config.network.kind} is for {rows} but a row has shape {problem.shape}: use --network.kind mlp"
        )


def gan_players(config: TrainingConfig, problem: Problem) -> Players:
    """Generator and discriminator: convolutional wherever the denoiser is an image network, dense otherwise.

    Raises:
      UserError: a network for images or series and rows that are none, or more frozen layers than there are.
    """
    gan, common = config.gan, (problem.num_classes, problem.data_std, config.dtype)
    if config.model is None and not _is_mlp(config):
        _check_rows(config, problem)
    if _is_mlp(config) or len(problem.shape) != 3:
        generator: Any = GeneratorMLP(problem.shape, gan.latent, gan.features, *common)
        discriminator: Any = DiscriminatorMLP(gan.features, *common)
    else:
        generator = GeneratorConv(problem.shape, gan.latent, gan.channels, *common)
        discriminator = DiscriminatorConv(gan.channels, *common)
    if gan.freeze > discriminator.num_layers:
        raise UserError(f"freeze is {gan.freeze}: the discriminator has {discriminator.num_layers} layers to freeze")
    return Players(generator, discriminator)


def _pretrained_net(model: DiffusersUNet | SSSDModel, dtype: Any, problem: Problem, new_token: bool) -> DiscreteTime:
    """Raises:
    UserError: rows or labels are not what the model was trained on."""
    size = tuple("any" if side is None else side for side in model.shape)
    if len(problem.shape) != len(size) or any(n not in ("any", m) for n, m in zip(size, problem.shape, strict=True)):
        kind, axes, remedy = "images", "(height, width, channels)", "bring images to its size with --size, or take"
        if isinstance(model, SSSDModel):
            kind, axes, remedy = "series", "(places, channels)", "cut and resample series to its form, or take"
        raise UserError(
            f"the pretrained model is for {kind} of shape {size} {axes} but a row has shape {problem.shape}: {remedy} "
            "another model"
        )
    if np.ndim(problem.scaler.scale):
        raise UserError(
            f"problem {problem.name} scales rows by their own spread, but a pretrained model knows them in its own "
            "units: use the problem images, or the model as a score function from Python"
        )
    classes = model.net.num_classes
    if classes and not problem.conditional:
        raise UserError(f"the pretrained model is of {classes} classes and needs labels: add --conditional")
    if problem.num_classes > classes:
        raise UserError(
            f"labels reach {problem.num_classes - 1} but the pretrained model "
            + (f"has {classes} classes: merge some" if classes else "takes no labels: leave out --conditional")
        )
    return model.net.clone(net=model.net.net.clone(dtype=dtype, new_token=new_token))


def denoiser_score(config: TrainingConfig, problem: Problem, tree: Any, *, new_token: bool = False) -> ScoreFn:
    """Score function of a trained `denoiser`; one with a new token answers for that."""
    net = denoiser(config, problem, new_token=new_token)
    return network_score(net, tree["params"], config.sde, prediction=config.prediction)


def with_token(config: TrainingConfig, problem: Problem, params: Any) -> Any:
    """Parameters of the `denoiser` with a new token, whose embedding is zero, from those of the one without."""
    net = denoiser(config, problem, new_token=True)
    shapes = jax.eval_shape(lambda key: fresh_params(key, net, problem.shape), jax.random.key(0))
    return carried_over(params, shapes)


def guidance_net(config: TrainingConfig, problem: Problem, *, classifies: bool = False) -> Any:
    """The network for g = log h or, where it `classifies`, for the noise-conditional domain classifier.

    Of images the former is free to move every pixel, as its consistency term says how. A free classifier is soon sure
    of itself by what tells few images apart: on digits, Frechet distances of 234, 149 and 116 for 107, 82 and 87 with
    ten, fifty and two hundred images (one seed). On series that freedom was measured to add nothing.

    Raises:
      UserError: it can not stand on what is asked for.
    """
    g, sde = config.guidance, config.sde
    if _is_mlp(config) and config.head.on == "own":
        return GuidanceMLP(sde, g.features, g.embedding, problem.num_classes, problem.data_std, config.dtype)
    return GuidanceHead(
        sde,
        config.head.channels,
        g.features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        free=len(problem.shape) == 3 and not classifies,
        dtype=config.dtype,
    )


def classifier_net(config: TrainingConfig, problem: Problem) -> Any:
    """The clean domain classifier.

    Raises:
      UserError: it can not stand on what is asked for.
    """
    features = config.classifier.features
    if _is_mlp(config) and config.head.on == "own":
        return ClassifierMLP(features, problem.num_classes, problem.data_std, config.dtype)
    return ClassifierHead(
        config.head.channels,
        features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        dtype=config.dtype,
    )


def label_net(config: TrainingConfig, problem: Problem) -> LabelHead:
    """The classifier of the source's labels.

    Raises:
      UserError: rows that are neither images nor series, or without labels.
    """
    if len(problem.shape) not in (2, 3):
        raise UserError(
            f"a classifier of labels is for images and series but a row has shape {problem.shape}: use --head.on own "
            "or source"
        )
    if problem.source.y is None:
        raise UserError("the source rows have no labels to learn a classifier from: use --head.on own or source")
    num, head = int(problem.source.y.max()) + 1, config.head
    features = config.classifier.features
    return LabelHead(config.sde, num, head.channels, features, problem.data_std, config.dtype)


def pretrains(config: TrainingConfig, problem: Problem) -> bool:
    """Whether the domain classifier starts from the classifier of the source's labels."""
    own = config.head.on == "own" and not _is_mlp(config)
    return config.classifier.pretrain and own and problem.source.y is not None


def shared_variables(config: TrainingConfig, trees: Trees) -> dict[str, Any]:
    """What heads take from a frozen network; empty where they stand on their own."""
    if config.head.on == "own":
        return {}
    return frozen(trees[HEAD_STAGE[config.head.on]]["params"])


def _is_mlp(config: TrainingConfig) -> bool:
    return config.network.kind in ("mlp", "multimodal") and config.pretrained is None


def _shared(config: TrainingConfig, problem: Problem) -> Any:
    match config.head.on:
        case "source":
            net = denoiser(config, problem)
            if not hasattr(net, "encode"):
                raise UserError(
                    f"a network of kind {config.network.kind} has no features for heads to stand on: use --head.on own"
                )
            return net
        case "labels":
            return label_net(config, problem)
        case _:
            return None
