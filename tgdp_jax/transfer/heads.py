"""Classifiers and guidance networks of a run: what a config and a problem make of them, and what they stand on."""

from __future__ import annotations

from typing import Any

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.nets import ClassifierHead, ClassifierMLP, GuidanceHead, GuidanceMLP, LabelHead
from tgdp_jax.nets.captioned import CaptionFeatures, caption_features, has_embeddings
from tgdp_jax.nets.heads import frozen
from tgdp_jax.nets.protocols import HasFeatures
from tgdp_jax.nets.readout import FeatureReadout
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.ensemble import EnsembleLogRatio
from tgdp_jax.transfer.artefacts import CleanRatio, NoisedRatio, params_of
from tgdp_jax.transfer.base import Trees
from tgdp_jax.transfer.networks import denoiser, denoiser_shapes, is_dense
from tgdp_jax.transfer.pretrained import forward_process

# The stage that leaves the weights of what heads stand on.
HEAD_STAGE = {"source": "source", "labels": "label_classifier"}


def guidance_net(config: TrainingConfig, problem: Problem, *, classifies: bool = False) -> Any:
    """The network for g = log h or, where it `classifies`, for the noise-conditional domain classifier.

    Of images the former is free to move every pixel, as its consistency term says how. A free classifier is soon sure
    of itself by what tells few images apart: on digits it reads Frechet distances of 234, 149 and 116 with ten, fifty
    and two hundred images, versus 107, 82 and 87 for a head (one seed). On series that freedom was measured to add
    nothing.

    Raises:
      UserError: it can not stand on what is asked for.
    """
    g, sde = config.guidance, forward_process(config)
    if is_dense(config) and config.head.on == "own":
        return GuidanceMLP(sde, g.features, g.embedding, problem.num_classes, problem.data_std, config.dtype)
    return GuidanceHead(
        sde,
        config.head.channels,
        g.features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        free=problem.kind == "images" and not classifies,
        dtype=config.dtype,
        texts=_texts(config, problem),
    )


def classifier_net(config: TrainingConfig, problem: Problem) -> Any:
    """The clean domain classifier.

    Raises:
      UserError: it can not stand on what is asked for.
    """
    features = config.classifier.features
    if config.classifier.kind == "ridge":
        return FeatureReadout(
            _source_net(config, problem), forward_process(config), problem.num_classes, texts=_texts(config, problem)
        )
    if is_dense(config) and config.head.on == "own":
        return ClassifierMLP(features, problem.num_classes, problem.data_std, config.dtype)
    return ClassifierHead(
        config.head.channels,
        features,
        problem.num_classes,
        problem.data_std,
        _shared(config, problem),
        dtype=config.dtype,
        texts=_texts(config, problem),
    )


def label_net(config: TrainingConfig, problem: Problem) -> LabelHead:
    """The classifier of the source's labels.

    Raises:
      UserError: rows that are neither images nor series, or without labels.
    """
    if problem.kind == "vectors":
        raise UserError(
            f"a classifier of labels is for images and series but a row has shape {problem.shape}: use --head.on own "
            "or source"
        )
    if not problem.num_labels:
        raise UserError("the source rows have no labels to learn a classifier from: use --head.on own or source")
    num, head = problem.num_labels, config.head
    features = config.classifier.features
    return LabelHead(forward_process(config), num, head.channels, features, problem.data_std, config.dtype)


def pretrains(config: TrainingConfig, problem: Problem) -> bool:
    """Whether the domain classifier starts from the classifier of the source's labels."""
    own = config.classifier.kind == "network" and config.head.on == "own" and not is_dense(config)
    return config.classifier.pretrain and own and problem.num_labels > 0


def shared_variables(config: TrainingConfig, trees: Trees) -> dict[str, Any]:
    """What heads take from a frozen network, and are told of captions; empty where there is neither."""
    of_net = {} if config.head.on == "own" else frozen(params_of(trees, HEAD_STAGE[config.head.on]))
    return _with_captions(of_net, trees)


def classifier_variables(config: TrainingConfig, trees: Trees) -> dict[str, Any]:
    """What the clean domain classifier takes from a frozen network; empty where it stands on its own."""
    if config.classifier.kind == "ridge":
        return _with_captions(frozen(params_of(trees, "source")), trees)
    return shared_variables(config, trees)


def _with_captions(variables: dict[str, Any], trees: Trees) -> dict[str, Any]:
    source = params_of(trees, "source") if "source" in trees else {}
    if not has_embeddings(source):
        return variables
    return {"source": {**variables.get("source", {}), "texts": {"table": caption_features(source)}}}


def _texts(config: TrainingConfig, problem: Problem) -> CaptionFeatures | None:
    """What heads are told of captions, in the place of one-hot labels: captions that are alike are alike to them. Of
    captions that are classes it is the one-hot label."""
    if problem.captions is None:
        return None
    variables = denoiser_shapes(config, problem)
    if not has_embeddings(variables):
        return None
    shapes = jax.eval_shape(caption_features, variables)
    return CaptionFeatures(problem.num_classes, shapes.shape[-1])


def _source_net(config: TrainingConfig, problem: Problem) -> Any:
    net = denoiser(config, problem)
    if not isinstance(net, HasFeatures):
        raise UserError(
            f"a network of kind {config.network.kind} has no features for heads to stand on: use --head.on own and "
            "--classifier.kind network, or give it a method encode (nets.protocols.HasFeatures)"
        )
    return net


def _shared(config: TrainingConfig, problem: Problem) -> Any:
    match config.head.on:
        case "source":
            return _source_net(config, problem)
        case "labels":
            return label_net(config, problem)
        case "own":
            return None
        case unknown:
            raise AssertionError(f"head.on {unknown!r} has no network")


def clean_log_ratio(config: TrainingConfig, problem: Problem, trees: Trees) -> EnsembleLogRatio:
    """The learned log q/p as a function (x [B, *D], cond) -> [B]."""
    ratio = CleanRatio.from_tree(trees["classifier"])
    return EnsembleLogRatio(
        ratio.params, ratio.weights, classifier_net(config, problem), classifier_variables(config, trees)
    )


def noised_log_ratio(config: TrainingConfig, problem: Problem, trees: Trees, stage: str) -> EnsembleLogRatio:
    """The log h that a stage learned as a function (x [B, *D], t [B], cond) -> [B]."""
    ratio = NoisedRatio.from_tree(trees[stage])
    net = guidance_net(config, problem, classifies=stage == "noisy_classifier")
    return EnsembleLogRatio(ratio.params, ratio.weights, net, shared_variables(config, trees))
