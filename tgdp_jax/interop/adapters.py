"""Low-rank adapters alone in a safetensors file: what an adapted model is beside a source that others have already.

A tensor is named as the kernel that it changes, `params/MLP_0/Dense_0/kernel/a` and `.../b`. The file's metadata say
rank, alpha and targets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.interop.tensors import finite, read_metadata, read_tensors
from tgdp_jax.interop.weights import write_tensors
from tgdp_jax.train.reparam import LowRank, flat, matrix_shape, nested

FORMAT = "tgdp_jax.lora"


def save_adapters(path: str | Path, reparam: LowRank, adapters: Any) -> None:
    """Writes adapters, atomically.

    Args:
      path: the file; one that is there is replaced.
      reparam: what they are adapters of.
      adapters: a trainable tree of it.

    Raises:
      UserError: the place can not be written.
    """
    metadata = {"format": FORMAT, **{name: str(value) for name, value in vars(reparam).items()}}
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in flat(adapters).items()}
    write_tensors(Path(path), arrays, metadata)


def load_adapters(path: str | Path, base: Any) -> tuple[LowRank, Any]:
    """(reparametrisation, adapters) of a file of `save_adapters`; `reparam.merge(base, adapters)` is the adapted model.

    Args:
      path: the file.
      base: parameters that the adapters change, anything with their shapes.

    Raises:
      UserError: the file can not be read, is damaged or something else, or its adapters do not fit `base`.
    """
    path = Path(path)
    tensors = read_tensors(path)
    reparam = _reparam(path)
    shapes = {name: tuple(leaf.shape) for name, leaf in flat(base).items()}
    out = {}
    for name, value in tensors.items():
        kernel, _, factor = name.rpartition("/")
        other = f"{kernel}/{'b' if factor == 'a' else 'a'}"
        if factor not in ("a", "b") or other not in tensors or kernel not in shapes:
            raise UserError(f"{path} holds {name}, which fits no kernel of the base: use the source that it is of")
        inputs, outputs = matrix_shape(kernel, shapes[kernel])
        rank = min(reparam.rank, inputs, outputs)
        if value.shape != ((inputs, rank) if factor == "a" else (rank, outputs)):
            raise UserError(
                f"{path}: {name} is {list(value.shape)}, which at rank {reparam.rank} does not fit the base's kernel "
                f"{list(shapes[kernel])}: use the source that it is of"
            )
        out[name] = finite(value, name, str(path))
    return reparam, nested(out)


def _reparam(path: Path) -> LowRank:
    """What the metadata of a file say."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} holds no low-rank adapters of tgdp_jax: give a file that save_adapters wrote")
    try:
        reparam = LowRank(int(metadata["rank"]), float(metadata["alpha"]), metadata["targets"])
        if reparam.rank < 1 or not abs(reparam.alpha) <= float(np.finfo(np.float32).max):
            raise ValueError(f"rank {reparam.rank}, alpha {reparam.alpha}")
        re.compile(reparam.targets)
    except (KeyError, ValueError, OverflowError, RecursionError, re.error) as error:
        raise UserError(f"{path} does not say its rank, alpha and targets: write it anew with save_adapters") from error
    return reparam
