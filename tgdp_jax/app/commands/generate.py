"""`tgdp generate`: pictures from prompts, by a pipeline of diffusers. Nothing is trained."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tgdp_jax import __version__
from tgdp_jax.app.console import Display
from tgdp_jax.app.evaluation import check_drawn
from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.pictures import fitted, read_picture
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.interop.pipeline import Pipeline, TextPipeline
from tgdp_jax.interop.pipeline_folder import load_pipeline
from tgdp_jax.nets.registry import PRECISIONS
from tgdp_jax.runtime.files import write_atomic
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.sampling import sample
from tgdp_jax.settings.generation import GenerationConfig
from tgdp_jax.transfer.stages import rows_done

KEYWORD = "tgdp_jax"  # of the settings in a picture's metadata
GRID = "grid.png"
REMEDY = "more --steps, a smaller --scale, or --precision float32"
_MAX_PROMPTS = 2**24


def generate(folder: Path, config: GenerationConfig, out: Path, *, quiet: bool = False) -> None:
    """Makes pictures and writes them as out/00000.png, ..., and all together as out/grid.png.

    Args:
      folder: of the pipeline.
      config: how they are made.
      out: folder for the pictures; pictures of the same names are replaced.
      quiet: show no progress.

    Raises:
      UserError: a file can not be read or is of another model, a setting does not fit, or the place can not be written.
    """
    prompts = read_prompts(config)
    with Display(quiet=quiet) as display, warnings.catch_warnings():
        warnings.showwarning = lambda message, *others, **more: display.warn(str(message))
        pipe = _changed(load_pipeline(folder, dtype=PRECISIONS[config.precision]), config)
        images = draw(pipe, config, prompts, rows_done(display, "drawing", config.num))
    settings = _settings(folder, pipe, config)
    digits = len(str(config.num - 1))
    for i, image in enumerate(images):
        own = {"prompt": prompts[i % len(prompts)], "number": i} | settings
        write_picture(out / f"{i:0{max(5, digits)}}.png", image, own)
    write_picture(out / GRID, in_a_grid(images), {"prompts": list(dict.fromkeys(prompts[: config.num]))} | settings)
    if is_primary():
        print(f"{config.num} pictures of {images.shape[1]} x {images.shape[2]} pixels: {out}")


def _changed(pipe: Pipeline, config: GenerationConfig) -> Pipeline:
    """With adapters, embeddings and as many layers as are asked for."""
    if not isinstance(pipe, TextPipeline):
        if config.lora or config.embedding or config.clip_skip:
            raise UserError(f"a {pipe.kind} reads no texts: leave out --lora, --embedding and --clip-skip")
        return pipe
    pipe = dataclasses.replace(pipe, clip_skip=config.clip_skip)
    for file in config.embedding:
        pipe = pipe.with_embedding(file)
    for file, weight in config.adapters:
        pipe = pipe.with_lora(file, weight)
    return pipe


def draw(pipe: Pipeline, config: GenerationConfig, prompts: list[str], progress: Any = None) -> np.ndarray:
    """Pictures [num, H, W, C] in [0, 1] of a pipeline, which has adapters and embeddings already.

    Raises:
      UserError: a size that does not fit, an unknown token, or latents that are not finite.
    """
    size = config.size or pipe.size
    shape = pipe.shape(size)
    text = pipe.embed([prompts[i % len(prompts)] for i in range(config.num)], size)
    start: dict[str, Any] = {}
    if config.init is not None:
        latent = pipe.encode(fitted(read_picture(config.init, "white"), size)[None])
        start = {"init": np.repeat(latent, config.num, 0), "start": config.strength}
    latents = sample(
        jax.random.key(config.seed),
        pipe.score(scale=config.scale, negative=pipe.negative(config.negative, size), rescale=config.rescale),
        pipe.sde,
        config.num,
        shape,
        solver=config.solver,
        grid=config.grid,
        num_steps=config.steps,
        cond=text,
        chunk=config.chunk,
        progress=progress,
        **start,
    )
    check_drawn(latents, REMEDY)
    return pipe.decode(latents, chunk=config.chunk)


def read_prompts(config: GenerationConfig) -> list[str]:
    """The prompts that are asked for.

    Raises:
      FileError: their file is missing, too large, or no text.
      UserError: it holds none.
    """
    if config.prompts is None:
        return list(config.prompt)
    path = config.prompts
    if check_regular_file(path) > _MAX_PROMPTS:
        raise FileError(f"{path} has more than {_MAX_PROMPTS} bytes: give a text file with a prompt on every line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is no text in UTF-8 (byte {error.start} is not): save it as UTF-8") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise UserError(f"{path} holds no prompt: give a text file with a prompt on every line")
    return found


def write_picture(path: Path, image: np.ndarray, settings: dict[str, Any]) -> None:
    """Writes an image [H, W, C] in [0, 1] as PNG, with its settings as JSON in the metadata.

    Raises:
      UserError: the place can not be written.
    """
    about = PngInfo()
    about.add_itxt(KEYWORD, json.dumps(settings, ensure_ascii=False))
    pixels = np.round(255.0 * image).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    write_atomic(path, lambda part: picture.save(part, format="PNG", pnginfo=about))


def in_a_grid(images: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] side by side and below each other, about as many as rows; empty places are white."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    _, height, width, channels = images.shape
    full = np.ones((rows * columns, height, width, channels), np.float32)
    full[: len(images)] = images
    cells = full.reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def _settings(folder: Path, pipe: Pipeline, config: GenerationConfig) -> dict[str, Any]:
    """What a picture is made again with, beside its prompt and number."""
    height, width = config.size or pipe.size
    values = {
        "model": folder.resolve().name,
        "negative": config.negative,
        "scale": config.scale,
        "rescale": config.rescale,
        "steps": config.steps,
        "solver": config.solver,
        "grid": config.grid,
        "seed": config.seed,
        "height": height,
        "width": width,
        "clip_skip": config.clip_skip,
        "chunk": config.chunk,
        "precision": config.precision,
        "lora": {file.name: weight for file, weight in config.adapters},
        "embedding": [file.name for file in config.embedding],
        "version": __version__,
    }
    return values | ({} if config.init is None else {"init": config.init.name, "strength": config.strength})
