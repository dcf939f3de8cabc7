"""Model folders of others: which files hold the weights, and configs read within bounds.

Pickled weights are refused, since loading a pickle can run code.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import FileError, UserError

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
# Of a pipeline's folder, and the classes that it may be of.
INDEX = "model_index.json"
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "DiTPipeline")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NAME = re.compile(r"[\w-][\w.-]{0,150}")
_PART = re.compile(r"-\d+-of-\d+$")
# Configs have a few kilobytes; the index of the largest models has less than a megabyte.
_MAX_JSON = 2**20

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxdict = 12
_SHORT.maxlevel, _SHORT.maxlong = 2, 20
_SHORT.maxstring = _SHORT.maxother = 60
# Short as a value of a file is written into a message, however long or deeply nested it is.
shown = _SHORT.repr


def named(value: Any) -> str:
    """A name as it is written into a message: as it is where it is one."""
    return value if isinstance(value, str) and value.isidentifier() and len(value) <= 60 else shown(value)


def check_class(values: dict[str, Any], where: str, *kinds: str, of: str = "model") -> str:
    """The class that a config names.

    Args:
      values: what the file holds.
      where: its name, for messages.
      *kinds: the classes that are known.
      of: what has a class.

    Raises:
      UserError: it is none of them.
    """
    kind = values.get("_class_name")
    if kind not in kinds:
        what = f"{of} without a class name" if kind is None else named(kind)
        raise UserError(f"{where} is of a {what}: {' or '.join(kinds)} is expected here")
    return kind


def pickled(file: Path) -> UserError:
    """What is said of a pickle that was given for weights."""
    return UserError(
        f"{file} is a pickle, which can run code when it is loaded: convert it to safetensors where you trust it, with "
        "from_pretrained(...).save_pretrained(..., safe_serialization=True) of the library that wrote it"
    )


def check_home(folder: Path, weights: str = WEIGHTS) -> None:
    """Refuses what is no folder of a model.

    Raises:
      UserError: it is none, or it has no config.
    """
    if not folder.is_dir():
        if folder.suffix in PICKLES:
            raise pickled(folder)
        raise UserError(f"{folder} is not a folder: give the one that holds {CONFIG} and {weights}")
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder / CONFIG} is missing: give the folder that holds {CONFIG} and {weights}")


def unet_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    """(folder of a `UNet2DModel`, its config) in a folder of such a model, or of a pipeline that holds it in `unet/`.

    Raises:
      UserError: it is no folder, or one of something else.
    """
    home = folder / "unet" if (folder / "unet").is_dir() else folder
    check_home(home)
    values = read_json(home / CONFIG)
    check_class(values, str(home / CONFIG), "UNet2DModel")
    return home, values


def is_pipeline(folder: Path) -> bool:
    """Whether a folder is that of a pipeline of latents, and not of a `UNet2DModel` alone or in its own pipeline.

    Raises:
      UserError: its index can not be read.
    """
    return (folder / INDEX).is_file() and read_json(folder / INDEX).get("_class_name") in PIPELINES


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Says which folder can not be read where the system refuses to look into it.

    Raises:
      FileError: it refused.
    """
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{folder} can not be read ({error.strerror or error}): check the path and its permissions"
        ) from error


def read_json(path: Path, most: int = _MAX_JSON) -> dict[str, Any]:
    """Reads a JSON object from a config file, of no more than `most` bytes.

    Raises:
      UserError: it is missing, no regular file, too large, or holds something else.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: give the folder that holds {CONFIG} and {WEIGHTS}")
    size = check_regular_file(path)
    if size > most:
        raise UserError(f"{path} has {size} bytes, more than any of its kind: fetch it again")
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply for a config: fetch it again") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can not be read ({error}): fetch it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object: fetch it again")
    return value


def weight_files(home: Path, name: str = WEIGHTS) -> list[Path]:
    """Finds the safetensors files that together hold a model's weights.

    The plain one goes before the parts that an index lists, and these before a single one of another name, such as
    `diffusion_pytorch_model.fp16.safetensors`.

    Args:
      home: the folder.
      name: of the plain one.

    Raises:
      UserError: there is none, there are several to choose from, or parts are missing.
    """
    if (home / name).exists():
        return [home / name]
    files = sorted(file for file in home.iterdir() if file.name[0] != ".")
    index = f"{name}.index.json"
    # Parts in another precision have it in the name of their index: name.index.fp16.json.
    indices = [file for file in files if file.name.startswith(f"{name}.index") and file.suffix == ".json"]
    if indices:
        return _parts(next((file for file in indices if file.name == index), indices[0]))
    found = [file for file in files if file.suffix == ".safetensors"]
    part = next((file for file in found if _PART.search(file.stem)), None)
    if part is not None:
        raise UserError(f"{part} is one part of several and {index}, which lists them, is missing: fetch it too")
    if len(found) == 1:
        return found
    if found:
        names = ", ".join(file.name for file in found[:4])
        raise UserError(f"{home} holds {len(found)} files of weights ({names}): rename the one to take to {name}")
    pickle = next((file for file in files if file.suffix in PICKLES), None)
    if pickle is not None:
        raise pickled(pickle)
    raise UserError(f"{home} has no {name}: fetch it")


def _parts(index: Path) -> list[Path]:
    """Files that an index lists, which must lie beside it."""
    where = read_json(index).get("weight_map")
    names = list(where.values()) if isinstance(where, dict) else []
    if not names or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise UserError(f"{index} does not list files beside it: fetch it again")
    return [index.with_name(name) for name in sorted(set(names))]
