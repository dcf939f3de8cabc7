"""The denoising network of a run: what a config and a problem make of it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.data.problem import Problem
from tgdp_jax.guidance import classifier_free
from tgdp_jax.nets.protocols import HasToken, require
from tgdp_jax.nets.registry import NETWORKS, DenoiserSpec, check_network
from tgdp_jax.prediction import ScoreFn, network_score
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.denoising import fresh_params
from tgdp_jax.train.reparam import Reparam, carried_over
from tgdp_jax.transfer.pretrained import (
    forward_process,
    prediction,
    pretrained_model,
    pretrained_net,
    pretrained_with_token,
)


def denoiser(config: TrainingConfig, problem: Problem, *, new_token: bool = False) -> Any:
    """The noise-prediction network of the source and all that starts from it; with a `new_token`, see `Prompt`.

    Raises:
      UserError: a network for images or series, and rows that are none; or one that can not have a token.
    """
    net = _denoiser(config, problem, new_token)
    if new_token:
        require(net, HasToken, "a method that trains a new token")
    return net


def _denoiser(config: TrainingConfig, problem: Problem, new_token: bool) -> Any:
    model = pretrained_model(config)
    if model is not None:
        return pretrained_net(model, config, problem, new_token)
    check_network(config.network.kind, problem.kind, problem.shape)
    return NETWORKS[config.network.kind].build(
        DenoiserSpec(
            sde=forward_process(config),
            settings=config.network,
            features=config.network.features,
            embedding=config.network.embedding,
            shape=problem.shape,
            modalities=problem.modalities,
            num_classes=problem.num_classes,
            data_std=problem.data_std,
            dtype=config.dtype,
            new_token=new_token,
        )
    )


def check_denoiser(
    config: TrainingConfig, problem: Problem, *, new_token: bool = False, reparam: Reparam | None = None
) -> None:
    """Says what keeps the denoiser from taking the problem's rows, before anything is trained or written.

    Raises:
      UserError: see `denoiser`; also rows whose sides a network can not divide, or a `reparam` that finds nothing to
        train in it.
    """
    shapes = denoiser_shapes(config, problem, new_token=new_token)
    if reparam is not None:
        jax.eval_shape(reparam.init, jax.random.key(0), shapes)


def denoiser_shapes(config: TrainingConfig, problem: Problem, *, new_token: bool = False) -> Any:
    """The shapes of the denoiser's variables; nothing is computed.

    Raises:
      UserError: see `denoiser`; also rows whose sides a network can not divide.
    """
    return _shapes(denoiser(config, problem, new_token=new_token), problem.shape, problem.conditional)


@functools.cache
def _shapes(net: Any, shape: tuple[int, ...], labelled: bool) -> Any:
    """The parameters' shapes."""
    return jax.eval_shape(lambda key: fresh_params(key, net, shape, labelled=labelled), jax.random.key(0))


def is_dense(config: TrainingConfig) -> bool:
    """Whether the other networks of the run are multilayer perceptrons, as beside a denoiser that is one."""
    return config.pretrained is None and NETWORKS[config.network.kind].dense


def denoiser_score(
    config: TrainingConfig, problem: Problem, params: Any, *, new_token: bool = False, guided: bool = True
) -> ScoreFn:
    """Score function of a trained `denoiser`; one with a new token answers for that.

    Of captions it has classifier-free guidance, as the settings say; or, where it is not to be `guided`, is that of the
    density that the network was trained on.
    """
    net, sde, kind = denoiser(config, problem, new_token=new_token), forward_process(config), prediction(config)
    if problem.captions is None or not guided:
        return network_score(net, params, sde, prediction=kind)
    # One label more than there are captions stands for none.
    none = None if config.text.scale == 1 else jnp.full(1, problem.num_classes, jnp.int32)
    return classifier_free(net, params, sde, prediction=kind, uncond=none, scale=config.text.scale)


def with_token(config: TrainingConfig, problem: Problem, params: Any) -> Any:
    """Parameters of the `denoiser` with a new token from those of the one without.

    Its embedding is zero, where a row with the token is as good as one without; of one that captions name, that of the
    word that it starts from.
    """
    known = pretrained_with_token(pretrained_model(config), config, problem, params)
    if known is not None:
        return known
    net = denoiser(config, problem, new_token=True)
    return carried_over(params, _shapes(net, problem.shape, problem.conditional))
