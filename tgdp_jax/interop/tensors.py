"""Weights of diffusers' `UNet2DModel` in a safetensors file, to and from Linen parameters.

Names differ in how they count (`resnets.0` there, `resnets_0` here) and in what weights are called; convolutions are
[out, in, height, width] there and [height, width, in, out] here, dense layers transposed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from tgdp_jax.errors import UserError

_LISTS = re.compile(r"\b(down_blocks|up_blocks|resnets|attentions|downsamplers|upsamplers|to_out)_(\d+)\b")
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias", "weight": "weight"}
# Names of attention layers before diffusers 0.17, which the first published checkpoints carry.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_PRECISIONS = ("F16", "BF16", "F32", "F64")


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


def from_tensors(tensors: dict[str, np.ndarray], shapes: Any, where: str) -> dict[str, Any]:
    """Linen parameters, float32, of diffusers' tensors.

    Args:
      tensors: by name.
      shapes: parameters that the net expects, anything with a shape.
      where: the file's name, for messages.

    Raises:
      UserError: tensors are missing, left over or of another shape; they are named.
    """
    tensors = {_current_name(name): value for name, value in tensors.items()}
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(shapes)
    expected = {
        their_name(path): tuple(leaf.shape[axis] for axis in _axes(path[-1], leaf.ndim)) for path, leaf in flat.items()
    }
    _refuse(where, "lacks tensors that config.json calls for", sorted(expected.keys() - tensors.keys()))
    _refuse(where, "holds tensors that config.json does not call for", sorted(tensors.keys() - expected.keys()))
    wrong = [
        f"{name} (is {list(tensors[name].shape)}, not {list(shape)})"
        for name, shape in expected.items()
        if tensors[name].shape != shape
    ]
    _refuse(where, "holds tensors of other shapes than config.json calls for", wrong)
    return flax.traverse_util.unflatten_dict(
        {
            path: tensors[their_name(path)].transpose(np.argsort(_axes(path[-1], leaf.ndim))).astype(np.float32)
            for path, leaf in flat.items()
        }
    )


def _refuse(where: str, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(f"{where} {what}: {', '.join(names[:3])}{more}; use the two files of one model")


def _current_name(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and len(parts) > 1 and parts[-2] in _FORMER:
        parts[-2] = _FORMER[parts[-2]]
    return ".".join(parts)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file.

    Raises:
      UserError: it can not be read, is damaged, or holds tensors that are no floating point numbers.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                if file.get_slice(name).get_dtype() not in _PRECISIONS:
                    raise UserError(
                        f"{path}: tensor {name} is {file.get_slice(name).get_dtype()}, which is not supported: "
                        f"{', '.join(_PRECISIONS)} are"
                    )
            return {name: file.get_tensor(name) for name in names}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} can not be read ({error}): it is damaged or cut off, fetch it again") from error
