"""Small configs of diffusers' `UNet2DConditionModel`, each with something that published checkpoints have."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.interop.models import scaled_weight
from tgdp_jax.interop.latent_options import TIME_IDS, unet_of_options
from tgdp_jax.interop.latent_unet import expected_params
from tgdp_jax.nets.latent_unet import LatentUNet, Text

_SMALL: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "stable-diffusion-1": {},
    "stable-diffusion-2": {
        "use_linear_projection": True,
        "attention_head_dim": [2, 4],
        "upcast_attention": True,
        "down_block_types": ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2,
    },
    "stable-diffusion-xl": {
        "use_linear_projection": True,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2],
        "attention_head_dim": [1, 4],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 24 + 10,
    },
    "text alone at one level": {
        "only_cross_attention": [True, False],
        "down_block_types": ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "norm_eps": 1e-6,
    },
    "labels": {"num_class_embeds": 5, "resnet_time_scale_shift": "scale_shift", "sample_size": [8, 12]},
    "a number as a class": {
        "class_embed_type": "timestep",
        "act_fn": "gelu",
        "center_input_sample": True,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    },
    "a vector as a class": {
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 6,
        "mid_block_type": "UNetMidBlock2D",
        "downsample_padding": 0,
        "act_fn": "relu",
    },
    "another way up than down": {
        "layers_per_block": [1, 2],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"] * 2,
        "transformer_layers_per_block": [1, [1, 2]],
        "reverse_transformer_layers_per_block": [[1, 0, 2], 1],
        "act_fn": "mish",
        "in_channels": 5,
        "out_channels": 4,
    },
    "no middle": {"mid_block_type": None, "transformer_layers_per_block": 2},
}

# One level, since compiling takes nearly all the time.
ONE_LEVEL: dict[str, Any] = {
    "block_out_channels": [16],
    "down_block_types": ["CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D"],
    "mid_block_type": None,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 2,
}


def config(name: str, **changes: Any) -> dict[str, Any]:
    """A config file's contents."""
    return copy.deepcopy(_SMALL | CONFIGS[name]) | changes


def drawn(net: LatentUNet, seed: int = 0) -> Any:
    """Random variables of a net."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        weight = scaled_weight(rng, leaf.shape, int(np.prod(leaf.shape[:-1])), path[-1].key == "scale")
        return jnp.asarray(weight, jnp.float32)

    return {"params": jax.tree_util.tree_map_with_path(draw, expected_params(net))}


def model(name: str, **changes: Any) -> tuple[LatentUNet, Any]:
    """(net of a config, random variables), made without a folder."""
    net = unet_of_options(config(name, **changes), "config")
    return net, drawn(net)


def inputs(net: LatentUNet, num: int = 2, seed: int = 1) -> tuple[jax.Array, jax.Array, Text]:
    """(x, timesteps, text) for a net: the chain's first and last step."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=(num, *shape)), jnp.float32)

    pooled = ids = labels = None
    if net.pooled_dim is not None:
        pooled = normal(net.pooled_dim)
        ids = jnp.asarray(rng.integers(0, 1024, (num, TIME_IDS)), jnp.float32)
    if net.class_dim is not None:
        labels = normal(net.class_dim)
    elif net.class_kind is not None or net.num_classes:
        labels = jnp.arange(num) * 3
    height, width = net.size or (8, 8)
    t = jnp.asarray(np.linspace(0, 999, num).round(), jnp.float32)
    return normal(height, width, net.in_channels), t, Text(normal(7, net.text_dim), pooled, ids, labels)
