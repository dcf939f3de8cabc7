"""Textual inversion: embeddings of new tokens in files as diffusers writes them (`learned_embeds.safetensors`).

A file holds one tensor, [D] or [K, D] for K vectors that a prompt names as one, under the token's name. Files of web
interfaces are read too: "emb_params", or "clip_l" and "clip_g" for the two text encoders of Stable Diffusion XL; their
token is the file's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import PICKLES, pickled
from tgdp_jax.interop.tensors import finite, read_metadata, read_tensors
from tgdp_jax.interop.weights import write_tensors

NAME = "learned_embeds.safetensors"
TOKEN = "token"  # in the metadata, where no tensor has its name
_NAMELESS = {"emb_params": None, "clip_l": 0, "clip_g": 1}


def read_embedding(path: str | Path, widths: tuple[int, ...]) -> tuple[str, dict[int, np.ndarray]]:
    """Reads the embedding of a token.

    Args:
      path: a .safetensors file, or a folder that holds learned_embeds.safetensors.
      widths: features of a token in every text encoder of a pipeline.

    Returns:
      (token, {number of the encoder: vectors [K, D]}).

    Raises:
      UserError: the file can not be read or is pickled, holds something else, or is of another model.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if path.suffix in PICKLES:
        raise pickled(path)
    tensors = read_tensors(path)
    if len(tensors) > 1 and tensors.keys() != {"clip_l", "clip_g"}:
        raise UserError(
            f"{path} holds {len(tensors)} tensors, where an embedding is one: give one file for every token"
        )
    out: dict[int, np.ndarray] = {}
    token = read_metadata(path).get(TOKEN, path.stem)
    for name, value in tensors.items():
        if name not in _NAMELESS:
            token = name
        vectors = finite(value, name, str(path))
        vectors = vectors[None] if vectors.ndim == 1 else vectors
        place = _NAMELESS.get(name)
        fits = [i for i, width in enumerate(widths) if vectors.ndim == 2 and vectors.shape[1] == width]
        fits = [i for i in fits if place in (None, i)]
        if not fits:
            have = " and ".join(map(str, widths))
            raise UserError(
                f"{path} is an embedding of another model: it has shape {list(value.shape)}, and tokens of this one "
                f"have {have} features"
            )
        out[fits[0]] = vectors
    return token, out


def write_embedding(path: str | Path, token: str, vectors: Any) -> Path:
    """Writes a token's embedding as a file that diffusers' `load_textual_inversion` and `read_embedding` read.

    Args:
      path: a .safetensors file, or a folder, where it gets diffusers' name.
      token: what prompts name it by.
      vectors: [K, D], or a dict of them for the two text encoders of Stable Diffusion XL, "clip_l" and "clip_g", beside
        which the file's metadata say the token.

    Returns:
      The file.

    Raises:
      UserError: vectors of another shape, or a place that can not be written.
    """
    named = vectors if isinstance(vectors, Mapping) else {token: vectors}
    tensors = {name: np.ascontiguousarray(rows, np.float32) for name, rows in named.items()}
    for rows in tensors.values():
        if rows.ndim != 2 or not rows.size:
            raise UserError(
                f"the embedding of {token} has shape {list(rows.shape)}: give [K, D], a row for every vector"
            )
    path = Path(path)
    path = path if path.suffix == ".safetensors" else path / NAME
    write_tensors(path, tensors, {"format": "pt"} | ({} if token in tensors else {TOKEN: token}))
    return path
