"""Folders of small image encoders with random weights, as transformers writes them, made without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tests.interop.pipelines import drawn
from tests.interop.texts import tiny_tokenizer
from tgdp_jax.interop import clip_text, image_encoder, tensors
from tgdp_jax.interop.image_encoder import clip_text_of_options, dinov2_of_options, vision_of_options
from tgdp_jax.interop.tokenizer import write_tokenizer

_SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
_PICTURES = {"patch_size": 4, "image_size": 8}


def write_dinov2(folder: Path) -> Path:
    """A folder of a `Dinov2Model` of pictures of 8 x 8 pixels."""
    config = {"architectures": ["Dinov2Model"], "model_type": "dinov2", **_SMALL, **_PICTURES, "mlp_ratio": 2}
    net = dinov2_of_options(config, "config")
    found = tensors.to_tensors(drawn(image_encoder.expected(net), 5)["params"])
    names = {name: name.replace(".weight", ".lambda1") if "layer_scale" in name else name for name in found}
    ends = ("cls_token.weight", "position_embeddings.weight")
    names = {name: new.removesuffix(".weight") if new.endswith(ends) else new for name, new in names.items()}
    mask = {"embeddings.mask_token": np.zeros((1, 8), np.float32)}
    return _write(folder, config, {names[name]: value for name, value in found.items()} | mask)


def write_clip(folder: Path) -> Path:
    """A folder of a whole `CLIPModel` of pictures of 8 x 8 pixels, with the tokenizer of `texts`."""
    tokenizer = tiny_tokenizer()
    end = tokenizer.vocab["<|endoftext|>"]
    small = _SMALL | {"intermediate_size": 12}
    text = {"vocab_size": tokenizer.size, "max_position_embeddings": tokenizer.length, "eos_token_id": end}
    config: dict[str, Any] = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": 6,
        "text_config": small | text,
        "vision_config": small | _PICTURES,
    }
    net, words = vision_of_options(config, "config", "CLIPModel"), clip_text_of_options(config, "config")
    seen = tensors.to_tensors(drawn(image_encoder.expected(net), 6)["params"])
    read = tensors.to_tensors(drawn(clip_text.expected(words), 7)["params"])
    found = {"logit_scale": np.float32(2.0)}
    for prefix, part, out in (("vision_model.", seen, "visual_projection"), ("text_model.", read, "text_projection")):
        found |= {name if name.startswith(out) else prefix + name: value for name, value in part.items()}
    token = "vision_model.embeddings.class_embedding"
    found[token] = found.pop(f"{token}.weight")
    write_tokenizer(folder, tokenizer)
    return _write(folder, config, found)


def _write(folder: Path, config: dict[str, Any], found: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    prepare = {"size": {"shortest_edge": 8}, "crop_size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare | {"resample": 3}))
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in found.items()}, folder / "model.safetensors")
    return folder
