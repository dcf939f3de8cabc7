"""A pretrained model in the place of a source model trained here: what the settings and its files say of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop import (
    DiffusersUNet,
    LabelPipeline,
    SSSDModel,
    TextPipeline,
    load_pipeline,
    load_sssd,
    load_unet,
    pipeline_files,
    unet_files,
)
from tgdp_jax.interop.files import is_pipeline, readable
from tgdp_jax.interop.weights import reads_headers_alone
from tgdp_jax.nets.captioned import Captioned, Labelled
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.sde import SDE
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import fingerprint
from tgdp_jax.transfer.blueprint import blueprint, trains_own
from tgdp_jax.transfer.captions import captioned_net, captioned_variables, with_new_token
from tgdp_jax.transfer.class_labels import labelled_net, labelled_variables

Model = DiffusersUNet | SSSDModel | TextPipeline | LabelPipeline


@functools.lru_cache(maxsize=1)
def _loaded(place: Path, state: tuple[tuple[str, int, int], ...], shapes: bool) -> Model:
    if place.suffix == ".safetensors":
        return load_sssd(place)
    if not _holds_pipeline(place):
        return load_unet(place)
    pipe = load_pipeline(place)
    assert isinstance(pipe, TextPipeline | LabelPipeline)
    return pipe


def _holds_pipeline(place: Path) -> bool:
    with readable(place):
        return is_pipeline(place)


def pretrained_model(config: TrainingConfig) -> Model | None:
    """The pretrained model, if the settings name one; with shapes for weights within `interop.weights.headers_alone`.

    Of a run that trains one of its own and has not yet, it has shapes too.

    Raises:
      UserError: it can not be loaded, see `load_unet`, `load_sssd` and `load_pipeline`.
    """
    if config.pretrained is None:
        return blueprint(config) if trains_own(config) else None
    return _loaded(config.pretrained, _state(config.pretrained), reads_headers_alone())


def _state(place: Path) -> tuple[tuple[str, int, int], ...]:
    """Place, time and size of the model's files, by which one that was replaced is known; () where it is none."""
    try:
        stats = {str(path.absolute()): path.stat() for path in _files(place).values()}
    except (OSError, UserError):  # which loading says
        return ()
    return tuple((name, found.st_mtime_ns, found.st_size) for name, found in stats.items())


def _files(place: Path) -> Mapping[str, Path]:
    if not place.is_dir():
        return {place.name: place}
    return pipeline_files(place) if _holds_pipeline(place) else unet_files(place)


def forward_process(config: TrainingConfig) -> SDE:
    """The forward process: that of the settings, or the pretrained model's."""
    model = pretrained_model(config)
    return config.process.make() if model is None else model.sde


def prediction(config: TrainingConfig) -> str:
    """What the denoising network predicts, one of `prediction.PREDICTIONS`."""
    model = pretrained_model(config)
    return config.source.prediction if model is None else model.prediction


def model_digest(config: TrainingConfig) -> dict[str, str]:
    """Hash of the pretrained model's files under the name of its option; empty where there is none."""
    # Loaded first, which says what is wrong with a folder that is none.
    if pretrained_model(config) is None or config.pretrained is None:
        return {}
    return {"pretrained": files_digest(_files(config.pretrained))}


def files_digest(files: Mapping[str, Path]) -> str:
    """Hash of a file's contents; of several files that belong together, with their names."""
    parts = {name: _digest(file) for name, file in files.items()}
    return fingerprint(parts) if len(parts) > 1 else next(iter(parts.values()))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pretrained_variables(model: Model, problem: Problem) -> Any:
    """The variables of `pretrained_net`."""
    if isinstance(model, LabelPipeline):
        return labelled_variables(model, problem)
    return captioned_variables(model, problem) if isinstance(model, TextPipeline) else model.variables


def pretrained_with_token(model: Model | None, config: TrainingConfig, problem: Problem, params: Any) -> Any:
    """Those with a new token of a model that reads captions; None: of any other, whose new token is zero."""
    return with_new_token(model, problem, params, _vectors(config)) if isinstance(model, TextPipeline) else None


def _vectors(config: TrainingConfig) -> int:
    """Of the new word, where captions are read at every call; text encoders are trained without one."""
    return 0 if config.lora.text_encoder else config.textual_inversion.vectors


def pretrained_net(
    model: Model, config: TrainingConfig, problem: Problem, new_token: bool
) -> DiscreteTime | Captioned | Labelled:
    """The network of a pretrained model, for a problem's rows and labels.

    Raises:
      UserError: rows or labels are not what the model was trained on.
    """
    remat = config.network.remat
    if isinstance(model, LabelPipeline):
        return labelled_net(model, problem, dtype=config.dtype, remat=remat, new_token=new_token)
    if isinstance(model, TextPipeline):
        vectors = _vectors(config)
        return captioned_net(model, problem, dtype=config.dtype, remat=remat, new_token=new_token, vectors=vectors)
    if problem.captions is not None:
        raise UserError("the pretrained model reads no captions: give the folder of a text-to-image pipeline")
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
    return model.net.clone(net=model.net.net.clone(dtype=config.dtype, new_token=new_token))
