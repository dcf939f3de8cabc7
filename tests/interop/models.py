"""Small configs of diffusers' `UNet2DModel`, each with something that published checkpoints have; random weights."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.interop import DiffusersUNet, options
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.sde import DiscreteVP

_DDPM = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
_ADM = {
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "ddpm-cifar10-32": _DDPM
    | {
        "block_out_channels": [16, 32, 32, 32],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 8,
        "sample_size": 16,
    },
    "ddpm-celebahq-256": _DDPM
    | {
        "block_out_channels": [8, 8, 16, 16, 24, 24],
        "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
        "norm_num_groups": 4,
        "sample_size": 32,
    },
    "defaults of the library": {
        "block_out_channels": [16, 16, 32, 32],
        "norm_num_groups": 16,
        "layers_per_block": 1,
        "sample_size": 16,
    },
    "no attention, odd layers": {
        "block_out_channels": [12, 24],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "add_attention": False,
        "layers_per_block": 3,
        "norm_num_groups": 3,
        "sample_size": [8, 12],
        "in_channels": 1,
        "out_channels": 1,
    },
    "classes": {
        "block_out_channels": [16, 48],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 16,
        "num_class_embeds": 5,
        "norm_num_groups": 16,
        "sample_size": 8,
    },
    "adm": _ADM
    | {
        "block_out_channels": [8, 16, 24],
        "attention_head_dim": 8,
        "norm_num_groups": 4,
        "attn_norm_num_groups": 8,
        "num_class_embeds": 3,
        "layers_per_block": 3,
        "sample_size": 8,
    },
    "adm without a norm in the middle": _ADM
    | {
        "block_out_channels": [8, 16, 16],
        "norm_num_groups": 8,
        "layers_per_block": 1,
        "sample_size": 8,
    },
}
FOURIER = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "time_embedding_type": "fourier",
    "sample_size": 8,
}


def config(name: str, **changes: Any) -> dict[str, Any]:
    """A config file's contents."""
    return copy.deepcopy(CONFIGS[name]) | {"_class_name": "UNet2DModel"} | changes


def image_shape(values: dict[str, Any]) -> tuple[int, int, int]:
    size = values["sample_size"]
    return (*(size if isinstance(size, list) else (size, size)), values.get("in_channels", 3))


def scaled_weight(rng: np.random.Generator, shape: tuple[int, ...], inputs: int, norm: bool) -> np.ndarray:
    """A weight away from any special value, that keeps the scale of what passes through."""
    if len(shape) > 1:
        return rng.normal(size=shape) / np.sqrt(inputs)
    return norm + 0.3 * rng.normal(size=shape)


def model(name: str, *, seed: int = 0, prediction: str = "eps", **changes: Any) -> DiffusersUNet:
    """A net of the config with random weights, made without a folder."""
    values = config(name, **changes)
    unet, shape = options.unet_of_options(values, "config")
    sde = DiscreteVP(num_steps=100)
    net = DiscreteTime(unet, sde.num_steps)
    labels = jnp.zeros((1,), jnp.int32) if unet.num_classes else None
    x = jnp.zeros((1, *shape))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, jnp.ones((1,)), labels)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        weight = scaled_weight(rng, leaf.shape, int(np.prod(leaf.shape[:-1])), path[-1].key == "scale")
        return jnp.asarray(weight, jnp.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return DiffusersUNet(net, variables, sde, prediction, shape)


def inputs(found: DiffusersUNet, num: int = 3, seed: int = 1) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """(x, t, labels) for a net: the chain's first and last step, and one between."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(num, *found.shape)), jnp.float32)
    steps = found.sde.num_steps
    t = jnp.asarray(np.linspace(1, steps, num).round() / steps, jnp.float32)
    labels = jnp.arange(num) % found.net.num_classes if found.net.num_classes else None
    return x, t, labels


def sssd_state(*, layers: int = 2, length: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict with the names and layouts of SSSD-ECG's, small and random, with labels and weight norm."""
    leads, width, skip, half, classes, embedded, hidden = 3, 4, 5, 3, 7, 8, 9
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        out[name] = rng.normal(size=shape).astype(np.float32)

    def dense(name: str, outputs: int, *inputs: int, norm: bool = False) -> None:
        if norm:
            add(f"{name}.weight_g", outputs, *(1 for _ in inputs))
        add(f"{name}.weight_v" if norm else f"{name}.weight", outputs, *inputs)
        add(f"{name}.bias", outputs)

    dense("init_conv.0.conv", width, leads, 1, norm=True)
    add("embedding.weight", classes, embedded)
    dense("residual_layer.fc_t1", hidden, 128)
    dense("residual_layer.fc_t2", hidden, hidden)
    roots = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    for layer in range(layers):
        block = f"residual_layer.residual_blocks.{layer}"
        dense(f"{block}.fc_t", width, hidden)
        dense(f"{block}.fc_label", 2 * width, embedded)
        dense(f"{block}.conv_layer.conv", 2 * width, width, 3, norm=True)
        dense(f"{block}.res_conv", width, width, 1, norm=True)
        dense(f"{block}.skip_conv", skip, width, 1, norm=True)
        for space in (f"{block}.S41", f"{block}.S42"):
            kernel, features = f"{space}.s4_layer.kernel.kernel", 2 * width
            add(f"{kernel}.C", 2, features, half, 2)
            for name in ("P", "B"):
                add(f"{kernel}.{name}", 1, features, half, 2)
            out[f"{kernel}.Q"] = out[f"{kernel}.P"] * np.float32([1, -1])
            add(f"{kernel}.w", features, half, 2)
            out[f"{kernel}.w"][..., 0] = -0.5
            add(f"{kernel}.log_dt", features)
            out[f"{kernel}.omega"] = np.stack([roots.real, roots.imag], -1).astype(np.float32)
            out[f"{kernel}.z"] = np.full_like(out[f"{kernel}.omega"], np.inf)
            add(f"{space}.s4_layer.D", 1, features)
            add(f"{space}.s4_layer.output_linear.weight", features, features)
            add(f"{space}.s4_layer.output_linear.bias", features, 1)
            add(f"{space}.norm_layer.weight", features)
            add(f"{space}.norm_layer.bias", features)
    dense("final_conv.0.conv", skip, skip, 1, norm=True)
    dense("final_conv.2.conv", leads, skip, 1)
    return out
