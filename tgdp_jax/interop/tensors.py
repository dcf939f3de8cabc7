"""Weights of diffusers' `UNet2DModel` in a safetensors file, to and from Linen parameters.

Names differ in how they count (`resnets.0` there, `resnets_0` here) and in what weights are called; convolutions are
[out, in, height, width] there and [height, width, in, out] here, dense layers transposed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import FileError, UserError
from tgdp_jax.interop.files import pickled

_LISTS = re.compile(
    r"\b(down_blocks|up_blocks|resnets|attentions|downsamplers|upsamplers|transformer_blocks|net|to_out|layers?|conv)_(\d+)\b"
)
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias", "weight": "weight"}
# Names of attention layers before diffusers 0.17, which the first published checkpoints carry.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_PRECISIONS = ("F16", "BF16", "F32", "F64")
# Headers of the largest models have a few hundred kilobytes and two thousand tensors of four axes.
_MAX_HEADER, _MAX_TENSORS, _MAX_NAME, _MAX_AXES = 2**24, 10_000, 200, 8


def their_name(path: tuple[str, ...]) -> str:
    """diffusers' name of the parameter at a Linen path."""
    return ".".join([*(_LISTS.sub(r"\1.\2", part) for part in path[:-1]), _LEAVES[path[-1]]])


def _axes(leaf: str, rank: int) -> tuple[int, ...]:
    """Axes of a parameter of ours in their order."""
    if leaf != "kernel":
        return tuple(range(rank))
    return (3, 2, 0, 1) if rank == 4 else (1, 0)


def to_tensors(params: Any) -> dict[str, np.ndarray]:
    """diffusers' tensors, float32, of Linen parameters."""
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(params)
    return {
        # A transposed view would be written in the order of its memory.
        their_name(path): np.ascontiguousarray(np.asarray(value, np.float32).transpose(_axes(path[-1], value.ndim)))
        for path, value in flat.items()
    }


def check_fit(found: Mapping[str, tuple[int, ...]], shapes: Any, where: str) -> None:
    """Refuses diffusers' tensors that are not those of a net.

    Args:
      found: shapes of the tensors, by name.
      shapes: parameters that the net expects, anything with a shape.
      where: the file's name, for messages.

    Raises:
      UserError: tensors are missing, left over or of another shape; they are named.
    """
    found = _renamed(found, where)
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(shapes)
    expected = {
        their_name(path): tuple(leaf.shape[axis] for axis in _axes(path[-1], leaf.ndim)) for path, leaf in flat.items()
    }
    _refuse(where, "lacks tensors that config.json calls for", sorted(expected.keys() - found.keys()))
    _refuse(where, "holds tensors that config.json does not call for", sorted(found.keys() - expected.keys()))
    wrong = [
        f"{name} (is {list(found[name])}, not {list(shape)})"
        for name, shape in expected.items()
        if found[name] != shape
    ]
    _refuse(where, "holds tensors of other shapes than config.json calls for", wrong)


def from_tensors(tensors: Mapping[str, np.ndarray], shapes: Any, where: str) -> dict[str, Any]:
    """Linen parameters, float32, of diffusers' tensors.

    Args:
      tensors: by name.
      shapes: parameters that the net expects, anything with a shape.
      where: the file's name, for messages.

    Raises:
      UserError: tensors do not fit, see `check_fit`, or are not finite; they are named.
    """
    check_fit({name: value.shape for name, value in tensors.items()}, shapes, where)
    tensors = _renamed(tensors, where)
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(shapes)

    def parameter(path: tuple[str, ...], rank: int) -> np.ndarray:
        name = their_name(path)
        return finite(tensors[name], name, where).transpose(np.argsort(_axes(path[-1], rank)))

    return flax.traverse_util.unflatten_dict({path: parameter(path, leaf.ndim) for path, leaf in flat.items()})


def finite(value: np.ndarray, name: str, where: str) -> np.ndarray:
    """A tensor in float32.

    Raises:
      UserError: it holds NaN, infinity or what is infinite in float32.
    """
    with np.errstate(over="ignore"):
        value = value.astype(np.float32, copy=False)
    if not np.isfinite(value).all():
        raise UserError(
            f"{where}: tensor {name} holds NaN or infinity, as of a training that diverged: use another checkpoint"
        )
    return value


def _refuse(where: str, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(f"{where} {what}: {', '.join(names[:3])}{more}; use the two files of one model")


def _renamed(tensors: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Tensors by their current names."""
    out = {_current_name(name): value for name, value in tensors.items()}
    if len(out) < len(tensors):
        twice = next(name for name in tensors if _current_name(name) != name and _current_name(name) in tensors)
        raise UserError(f"{where} holds {twice} under its former and its current name: use another copy of the model")
    return out


def _current_name(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and len(parts) > 1 and parts[-2] in _FORMER:
        parts[-2] = _FORMER[parts[-2]]
    return ".".join(parts)


def read_shapes(path: Path, skip: Callable[[str], bool] = lambda name: False) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a safetensors file, of which the header alone is read.

    Args:
      path: the file.
      skip: whether a tensor of this name is none of the model's parameters, and is left out.

    Raises:
      UserError: it can not be read, is something else or damaged, or holds tensors that are no floating point numbers,
        are empty, or have names or axes like no model's.
    """
    with _opened(path) as file:
        names = list(file.keys())
        if not 0 < len(names) <= _MAX_TENSORS:
            raise UserError(f"{path} holds {len(names)} tensors, where a model has 1 to {_MAX_TENSORS}: fetch it again")
        return {name: _shape(path, name, file.get_slice(name)) for name in names if not skip(name)}


def _shape(path: Path, name: str, tensor: Any) -> tuple[int, ...]:
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise UserError(f"{path} holds a tensor named {name[:40]!a}, like none of a model: fetch it again")
    if tensor.get_dtype() not in _PRECISIONS:
        raise UserError(
            f"{path}: tensor {name} is {tensor.get_dtype()}, which is not supported: {', '.join(_PRECISIONS)} are"
        )
    shape = tuple(tensor.get_shape())
    if len(shape) > _MAX_AXES or 0 in shape:
        fault = f"{len(shape)} axes" if len(shape) > _MAX_AXES else f"no numbers, being of shape {list(shape)}"
        raise UserError(f"{path}: tensor {name} has {fault}, like none of a model: fetch it again")
    return shape


def read_tensors(path: Path, skip: Callable[[str], bool] = lambda name: False) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file; arguments as of `read_shapes`.

    Raises:
      UserError: see `read_shapes`.
    """
    names = read_shapes(path, skip)
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in names}


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors.

    Raises:
      UserError: it can not be read, is something else or damaged.
    """
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    size = check_regular_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _MAX_HEADER):
            raise _no_safetensors(path, start)
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from error


def _no_safetensors(path: Path, start: bytes) -> UserError:
    """What is said of a file by its first bytes, which are not the length of a header."""
    # The archive that torch writes, or a pickle: its version, then something, where lengths of headers have zeros.
    if start[:4] == b"PK\3\4" or (start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and any(start[2:])):
        return pickled(path)
    if start == b"version ":
        return UserError(f"{path} is a pointer of Git LFS in the place of the file: fetch the file with git lfs pull")
    return _unreadable(path, "its header is missing or cut off")


def _unreadable(path: Path, reason: object) -> UserError:
    # Reasons quote what the file holds.
    reason = "".join(letter if letter.isprintable() else " " for letter in str(reason)[:200])
    return FileError(
        f"{path} can not be read ({reason}): it is not a safetensors file, or it is damaged or cut off; fetch it again"
    )
