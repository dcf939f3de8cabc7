"""The weights of a model's folder, read after its header alone was checked, and folders written in one piece."""

from __future__ import annotations

import contextvars
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from tgdp_jax.errors import UserError, write_remedy
from tgdp_jax.interop import tensors
from tgdp_jax.interop.files import CONFIG, WEIGHTS, check_home, read_json, readable, weight_files
from tgdp_jax.interop.sizes import Shapes
from tgdp_jax.runtime.files import write_atomic
from tgdp_jax.runtime.parallel import is_primary

_HEADERS_ALONE = contextvars.ContextVar("headers_alone", default=False)


@contextmanager
def headers_alone() -> Iterator[None]:
    """Within it `read_weights` checks the headers of files and gives the shapes of parameters in their place."""
    token = _HEADERS_ALONE.set(True)
    try:
        yield
    finally:
        _HEADERS_ALONE.reset(token)


def reads_headers_alone() -> bool:
    """Whether weights are read as shapes here, see `headers_alone`."""
    return _HEADERS_ALONE.get()


def read_part(
    folder: str | Path,
    of_options: Callable[[dict[str, Any], str], Any],
    check_sizes: Callable[[Any, Shapes, str], None],
    expected: Callable[[Any], Any],
    *,
    name: str = WEIGHTS,
    rename: Callable[[str], str] = lambda name: name,
    skip: Callable[[str], bool] = lambda name: False,
) -> tuple[Any, dict[str, Any]]:
    """(module, its variables {"params": ...}, float32) of a folder with a config and weights.

    Args:
      folder: the folder.
      of_options: (what the config says, its name) -> module.
      check_sizes: (module, the tensors' shapes, the config's name); raises where they do not belong together.
      expected: module -> its parameters, as shapes alone.
      name, rename, skip: see `read_weights`.

    Raises:
      UserError: a file is missing, damaged or of something else.
    """
    folder = Path(folder)
    with readable(folder):
        check_home(folder, name)
        where = str(folder / CONFIG)
        net = of_options(read_json(folder / CONFIG), where)
        params = read_weights(
            folder,
            check=lambda shapes: check_sizes(net, shapes, where),
            expected=lambda: expected(net),
            name=name,
            rename=rename,
            skip=skip,
        )
    return net, {"params": params}


def write_part(
    folder: str | Path,
    config: dict[str, Any],
    variables: Any,
    *,
    name: str = WEIGHTS,
    rename: Callable[[str], str] = lambda name: name,
) -> None:
    """Writes what `read_part` reads, into a new or empty folder that appears when it is complete.

    Args:
      folder: the folder.
      config: what its config says.
      variables: of the module, {"params": ...}.
      name, rename: see `write_model`.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    if is_primary():
        with new_folder(folder) as part:
            write_model(part, config, variables["params"], name=name, rename=rename)


def read_weights(
    home: Path,
    *,
    check: Callable[[Shapes], None],
    expected: Callable[[], Any],
    name: str = WEIGHTS,
    rename: Callable[[str], str] = lambda name: name,
    skip: Callable[[str], bool] = lambda name: False,
) -> Any:
    """Linen parameters, float32, of the weights in a folder.

    Args:
      home: the folder.
      check: of the tensors' shapes; raises where the config's sizes are not theirs, before anything is made of them.
      expected: makes the parameters that the config's net has, as shapes alone.
      name: of the plain file of weights.
      rename: a tensor's name in the file -> its current one.
      skip: whether a tensor of the file is no parameter.

    Raises:
      UserError: the weights are missing, damaged or pickled, or do not fit.
    """
    files = weight_files(home, name)
    where = str(files[0] if len(files) == 1 else home)

    def read(one: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        return {rename(key): value for key, value in _together(files, lambda file: one(file, skip)).items()}

    shapes = read(tensors.read_shapes)
    check(shapes)
    wanted = expected()
    tensors.check_fit(shapes, wanted, where)
    if reads_headers_alone():
        return wanted
    return jax.tree.map(jnp.asarray, tensors.from_tensors(read(tensors.read_tensors), wanted, where))


def params_of(net: Any, *inputs: Any) -> Any:
    """The parameters of a Linen module for inputs of these shapes, as shapes alone: nothing is computed."""
    return _params_of(net, *inputs)


@functools.lru_cache(maxsize=8)  # tracing a large net takes seconds
def _params_of(net: Any, *inputs: Any) -> Any:
    made: Any = jax.eval_shape(functools.partial(net.init, jax.random.key(0)), *inputs)
    return made["params"]


def _together(files: list[Path], read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What `read` finds in all files, by the tensors' names, each of which is in one of them."""
    out: dict[str, Any] = {}
    for file in files:
        found = read(file)
        twice = out.keys() & found.keys()
        if twice:
            raise UserError(f"{file} holds {min(twice)}, as another part of the weights does: fetch the folder again")
        out |= found
    return out


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write into, which appears under its name when all is written, or not at all.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    folder = Path(folder).absolute()
    part = folder.with_name(f".{folder.name}.part")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists already: choose another folder or delete it")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        yield part
        os.replace(part, folder)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} can not be written ({error}): {write_remedy(error)}") from error
    finally:
        # Gone already where all went well; an interrupt leaves nothing half-written either.
        shutil.rmtree(part, ignore_errors=True)


def write_model(
    home: Path,
    config: dict[str, Any],
    params: Any,
    *,
    name: str = WEIGHTS,
    rename: Callable[[str], str] = lambda name: name,
) -> None:
    """Writes a model's config and weights, by diffusers' names, into a folder that is made where it is missing.

    Args:
      home: the folder.
      config: what its config says.
      params: Linen parameters.
      name: of the file of weights.
      rename: diffusers' name of a tensor -> its name in the file.
    """
    home.mkdir(exist_ok=True)
    write_json(home / CONFIG, config)
    arrays = {rename(key): value for key, value in tensors.to_tensors(params).items()}
    # diffusers and transformers read files that say what they were written from.
    safetensors.numpy.save_file(arrays, home / name, metadata={"format": "pt"})


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, complete or not at all.

    Raises:
      UserError: the place can not be written.
    """

    def save(part: Path) -> None:
        try:
            safetensors.numpy.save_file(dict(arrays), part, metadata=metadata)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomic(path, save)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a config file."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
