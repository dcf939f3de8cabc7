"""Folders of diffusers' pipelines: model_index.json and a folder for each part, read as one object and written.

Neither diffusers, transformers nor torch is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.interop.autoencoder import read_autoencoder, write_autoencoder
from tgdp_jax.interop.clip_text import WEIGHTS as TEXT_WEIGHTS
from tgdp_jax.interop.clip_text import read_text_encoder, write_text_encoder
from tgdp_jax.interop.files import (
    INDEX,
    SCHEDULER,
    WEIGHTS,
    check_class,
    named,
    read_json,
    readable,
    shown,
    weight_files,
)
from tgdp_jax.interop.latent_dit import read_dit, write_dit
from tgdp_jax.interop.latent_unet import read_unet, write_unet
from tgdp_jax.interop.pipeline import LABELS, PLAIN, XL, LabelPipeline, Pipeline, TextEncoder, TextPipeline
from tgdp_jax.interop.schedulers import options_of_process, process_of_options
from tgdp_jax.interop.tokenizer import read_tokenizer, write_tokenizer
from tgdp_jax.interop.weights import new_folder, write_json
from tgdp_jax.runtime.parallel import is_primary

# Classes that parts may be of.
_CLASSES: dict[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "transformer": ("DiTTransformer2DModel", "Transformer2DModel"),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
_OF_TEXT = ("text_encoder", "tokenizer")
# The parts of every pipeline.
_PARTS = {
    PLAIN: ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    XL: ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler"),
    LABELS: ("transformer", "vae", "scheduler"),
}
# Parts of a written index that a pipeline does without.
_ABSENT = {PLAIN: ("safety_checker", "feature_extractor", "image_encoder"), XL: ("feature_extractor", "image_encoder")}


def load_pipeline(folder: str | Path, *, dtype: Any = jnp.float32) -> Pipeline:
    """Reads a pipeline of diffusers: StableDiffusionPipeline, StableDiffusionXLPipeline or DiTPipeline.

    Args:
      folder: with model_index.json and a folder for each part.
      dtype: what the inner layers of all networks compute in; parameters are float32.

    Raises:
      UserError: another pipeline, a part that is missing or that is not supported, weights that are pickled or do not
        fit, or parts that do not fit each other.
    """
    folder = Path(folder)
    with readable(folder):
        kind, index = _index(folder)
        scheduler = read_json(folder / "scheduler" / SCHEDULER)
        where, learned = str(folder / "scheduler" / SCHEDULER), kind == LABELS
        sde, prediction = process_of_options(scheduler, where, learned_variance=learned)
    inner = None if dtype == jnp.float32 else dtype
    vae, vae_params = read_autoencoder(folder / "vae", dtype=inner)
    common = {"kind": kind, "vae": vae, "vae_params": vae_params, "sde": sde}
    common |= {"prediction": prediction, "scheduler": scheduler}
    if kind == LABELS:
        net, params = read_dit(folder / "transformer", dtype=dtype)
        made: Pipeline = LabelPipeline(net=net, params=params, labels=_labels(index, folder / INDEX), **common)
        faults = _faults(made)
    else:
        net, params = read_unet(folder / "unet", dtype=dtype)
        encoders = _encoders(folder, kind, inner)
        # diffusers' default.
        zeros = kind == XL and bool(index.get("force_zeros_for_empty_prompt", True))
        made = TextPipeline(net=net, params=params, encoders=encoders, zeros=zeros, **common)
        faults = (*_faults(made), *_text_faults(made))
    for wrong, words in faults:
        if wrong:
            raise UserError(f"{folder} holds parts that make no {kind} ({words}): use the parts of one model")
    return made


def pipeline_files(folder: str | Path) -> dict[str, Path]:
    """The files of a pipeline's folder that `load_pipeline` reads, by their places in it.

    Raises:
      UserError: the folder can not be read, lacks a part, or has no weights or several to choose from.
    """
    folder = Path(folder)
    with readable(folder):
        kind, _ = _index(folder)
        files = [folder / INDEX]
        for part in _PARTS[kind]:
            if part != "scheduler" and not part.startswith("tokenizer"):
                files += weight_files(folder / part, TEXT_WEIGHTS if part.startswith(_OF_TEXT) else WEIGHTS)
            # Configs and the tokenizer's files.
            files += sorted(file for file in (folder / part).iterdir() if file.suffix in (".json", ".txt"))
        return {file.relative_to(folder).as_posix(): file for file in files}


def _encoders(folder: Path, kind: str, dtype: Any) -> tuple[TextEncoder, ...]:
    encoders = []
    for name, words in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        if name in _PARTS[kind]:
            net, params = read_text_encoder(folder / name, dtype=dtype)
            tokenizer = read_tokenizer(folder / words, longest=net.positions)
            encoders.append(TextEncoder(net=net, params=params, tokenizer=tokenizer))
    return tuple(encoders)


def _labels(index: dict[str, Any], path: Path) -> dict[str, int]:
    """Numbers of labels by all of their names, which are apart by commas."""
    values = index.get("id2label") or {}
    if not isinstance(values, dict) or not all(key.isdecimal() and isinstance(v, str) for key, v in values.items()):
        raise UserError(f"{path}: id2label is {shown(values)}: fetch it again")
    return {name.strip(): int(number) for number, names in values.items() for name in names.split(",")}


def _index(folder: Path) -> tuple[str, dict[str, Any]]:
    """(kind of pipeline, its index), with every part that it needs there and of a known class."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give that of a pipeline, which holds {INDEX}")
    if not (folder / INDEX).exists():
        raise UserError(f"{folder} has no {INDEX}: give the folder of a whole pipeline, as save_pretrained writes it")
    index = read_json(folder / INDEX)
    kind = check_class(index, str(folder / INDEX), *_PARTS, of="pipeline")
    for name in _PARTS[kind]:
        part = index.get(name)
        said = part[1] if isinstance(part, list) and len(part) == 2 else part
        if said is None:
            raise UserError(f"{folder / INDEX} has no {name}, without which a {kind} makes no pictures: add the part")
        if name in _CLASSES and said not in _CLASSES[name]:
            raise UserError(
                f"{folder / INDEX}: {name} is a {named(said)}, which is not supported: {' or '.join(_CLASSES[name])} is"
            )
        if not (folder / name).is_dir():
            raise UserError(f"{folder / name} is missing, a part that {INDEX} names: fetch the folder again")
    return kind, index


def _faults(made: Pipeline) -> tuple[tuple[bool, str], ...]:
    """(whether parts do not fit each other, how)."""
    takes, has = made.net.in_channels, made.vae.latents
    return ((takes != has, f"latents have {has} channels and the denoiser takes {takes}"),)


def _text_faults(made: TextPipeline) -> tuple[tuple[bool, str], ...]:
    net, features = made.net, sum(encoder.net.width for encoder in made.encoders)
    pooled = made.encoders[-1].net.projection if made.kind == XL else None
    return (
        (net.in_channels != net.out_channels, f"it takes {net.in_channels} channels and predicts {net.out_channels}"),
        (net.text_dim != features, f"texts have {features} features and the denoiser takes {net.text_dim}"),
        (net.pooled_dim != pooled, f"pooled texts have {pooled} features and the denoiser takes {net.pooled_dim}"),
        (bool(net.num_classes) or net.class_kind is not None, "the denoiser takes labels"),
        *(
            (
                one.tokenizer.size > one.net.vocab,
                f"there are {one.tokenizer.size} tokens and {one.net.vocab} embeddings",
            )
            for one in made.encoders
        ),
    )


def write_pipeline(folder: str | Path, pipeline: Pipeline) -> None:
    """Writes a folder that `DiffusionPipeline.from_pretrained` and `load_pipeline` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      pipeline: what is written.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    if not is_primary():
        return
    scheduler = dict(pipeline.scheduler or {})
    process = pipeline.sde, pipeline.prediction
    if not scheduler or process_of_options(scheduler, "", learned_variance=True) != process:
        scheduler = options_of_process(*process)
    with new_folder(folder) as part:
        write_autoencoder(part / "vae", pipeline.vae, pipeline.vae_params)
        (part / "scheduler").mkdir()
        write_json(part / "scheduler" / SCHEDULER, scheduler)
        if isinstance(pipeline, LabelPipeline):
            write_dit(part / "transformer", pipeline.net, pipeline.params)
            own = {"id2label": _names(pipeline.labels)} if pipeline.labels else {}
        else:
            own = _write_text(part, pipeline)
        classes = {name: kinds[0] for name, kinds in _CLASSES.items()}
        classes |= {"vae": type(pipeline.vae).__name__, "scheduler": scheduler["_class_name"]}
        library = {name: "transformers" if name.startswith(_OF_TEXT) else "diffusers" for name in classes}
        parts = {name: [library[name], classes[name]] for name in _PARTS[pipeline.kind]}
        absent = {name: [None, None] for name in _ABSENT.get(pipeline.kind, ())}
        write_json(part / INDEX, {"_class_name": pipeline.kind} | parts | absent | own)


def _write_text(part: Path, pipeline: Any) -> dict[str, Any]:
    """Writes what is of texts alone; what the index says of it."""
    write_unet(part / "unet", pipeline.net, pipeline.params)
    for number, encoder in enumerate(pipeline.encoders):
        suffix = f"_{number + 1}" if number else ""
        write_text_encoder(part / f"text_encoder{suffix}", encoder.net, encoder.params)
        write_tokenizer(part / f"tokenizer{suffix}", encoder.tokenizer)
    xl = pipeline.kind == XL
    return {"force_zeros_for_empty_prompt": pipeline.zeros} if xl else {"requires_safety_checker": False}


def _names(labels: Mapping[str, int]) -> dict[str, str]:
    """Inverse of `_labels`."""
    out: dict[str, list[str]] = {}
    for name, number in labels.items():
        out.setdefault(str(number), []).append(name)
    return {number: ", ".join(names) for number, names in out.items()}
