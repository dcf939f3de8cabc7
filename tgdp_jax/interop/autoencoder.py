"""Folders of diffusers' AutoencoderKL and AutoencoderTiny, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.interop.files import check_class
from tgdp_jax.interop.options import Options
from tgdp_jax.interop.sizes import Shapes, Sizes
from tgdp_jax.interop.weights import params_of, read_part, write_part
from tgdp_jax.nets.autoencoder import AutoencoderKL, AutoencoderTiny

_MAX_LEVELS, _MAX_CHANNELS = 12, 2**20
# What has no say in what is computed; of the tiny one, what other code than its own looks at.
_SILENT = frozenset({"force_upcast", "sample_size"})
_SILENT_TINY = frozenset({"force_upcast", "block_out_channels", "latent_magnitude", "latent_shift"})


def read_autoencoder(folder: str | Path, *, dtype: Any = None) -> tuple[AutoencoderKL | AutoencoderTiny, Any]:
    """Reads an autoencoder from a folder of diffusers.

    Args:
      folder: with config.json and diffusion_pytorch_model.safetensors.
      dtype: what inner layers compute in, see `AutoencoderKL`.

    Returns:
      (module, {"params": ...}), float32.

    Raises:
      UserError: another model, an option that is not supported, or weights that are missing, pickled or do not fit.
    """
    net, params = read_part(folder, autoencoder_of_options, check_sizes, expected)
    return net.clone(dtype=dtype), params


def write_autoencoder(folder: str | Path, net: AutoencoderKL | AutoencoderTiny, params: Any) -> None:
    """Writes a folder that diffusers and `read_autoencoder` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      net: the autoencoder.
      params: {"params": ...}.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    write_part(folder, options_of_autoencoder(net), params)


def expected(net: AutoencoderKL | AutoencoderTiny) -> Any:
    """An autoencoder's parameters, as shapes alone."""
    images = jax.ShapeDtypeStruct((1, net.factor, net.factor, net.in_channels), jnp.float32)
    return params_of(net, images)


def autoencoder_of_options(values: dict[str, Any], where: str) -> AutoencoderKL | AutoencoderTiny:
    """The autoencoder of a config.

    Args:
      values: what the file holds.
      where: its name, for messages.

    Raises:
      UserError: another class, or an option or value that is not supported.
    """
    kind = check_class(values, where, "AutoencoderKL", "AutoencoderTiny")
    options = Options(values, where)
    return _kl(options) if kind == "AutoencoderKL" else _tiny(options)


def _kl(options: Options) -> AutoencoderKL:
    channels = _counts(options, "block_out_channels", [64])
    for name, block in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        options.one_of(name, ([block] * len(channels),))
    options.one_of("act_fn", ("silu", "swish"))
    for name in ("latents_mean", "latents_std"):
        options.one_of(name, (None,))
    groups = options.take(
        "norm_num_groups",
        32,
        lambda v: isinstance(v, int) and v > 0 and not any(features % v for features in channels),
        f"a divisor of the channel counts {list(channels)}",
    )
    net = AutoencoderKL(
        channels=channels,
        layers=options.whole("layers_per_block", 1),
        latents=options.whole("latent_channels", 4),
        in_channels=options.whole("in_channels", 3),
        out_channels=options.whole("out_channels", 3),
        groups=groups,
        mid_attention=options.one_of("mid_block_add_attention", (True, False)),
        quant=options.one_of("use_quant_conv", (True, False)),
        post_quant=options.one_of("use_post_quant_conv", (True, False)),
        scale=options.positive("scaling_factor", 0.18215),
        shift=_shift(options),
    )
    options.refuse_others(_SILENT)
    return net


def _tiny(options: Options) -> AutoencoderTiny:
    parts: dict[str, Any] = {}
    for side, blocks in (("encoder", [1, 3, 3, 3]), ("decoder", [3, 3, 3, 1])):
        parts[f"{side}_channels"] = channels = _counts(options, f"{side}_block_out_channels", [64] * 4, alike=True)
        parts[f"{side}_blocks"] = _counts(options, f"num_{side}_blocks", blocks, num=len(channels), least=0)
    options.one_of("act_fn", ("relu",))
    options.one_of("upsample_fn", ("nearest",))
    options.one_of("upsampling_scaling_factor", (2,))
    net = AutoencoderTiny(
        **parts,
        latents=options.whole("latent_channels", 4),
        in_channels=options.whole("in_channels", 3),
        out_channels=options.whole("out_channels", 3),
        scale=options.positive("scaling_factor", 1.0),
        shift=_shift(options),
    )
    options.refuse_others(_SILENT_TINY)
    return net


def _counts(
    options: Options, name: str, default: list[int], *, num: int | None = None, alike: bool = False, least: int = 1
) -> Any:
    """A list of numbers of at least 1 or 0, all alike if asked for."""

    def fits(value: Any) -> bool:
        whole = isinstance(value, list) and all(type(v) is int and least <= v <= _MAX_CHANNELS for v in value)
        return (
            whole
            and 0 < len(value) <= _MAX_LEVELS
            and (num in (None, len(value)) and (not alike or len(set(value)) == 1))
        )

    kind = "positive" if least else "non-negative"
    words = f"a list of {f'1 to {_MAX_LEVELS}' if num is None else num} {'equal ' if alike else ''}{kind} integers"
    return tuple(options.take(name, default, fits, words))


def _shift(options: Options) -> float:
    value = options.take("shift_factor", None, lambda v: v is None or type(v) in (int, float), "a number or null")
    return value or 0.0


def check_sizes(net: AutoencoderKL | AutoencoderTiny, shapes: Shapes, where: str) -> None:
    """Refuses an autoencoder whose sizes are not those of its tensors.

    Args:
      net: of the config.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """
    sizes = Sizes(shapes, where)
    if isinstance(net, AutoencoderTiny):
        for side, blocks in (("encoder", net.encoder_blocks), ("decoder", net.decoder_blocks)):
            residual = [name for name in shapes if name.startswith(f"{side}.layers.") and name.endswith("conv.4.bias")]
            sizes.check(f"the sum of num_{side}_blocks", sum(blocks), len(residual))
        return
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    sizes.need("an autoencoder", "encoder.conv_in.weight", first.format(0), "decoder.conv_in.weight")
    levels = range(sizes.count(first))
    sizes.check("block_out_channels", list(net.channels), [sizes.axis(first.format(i), 0) for i in levels])
    sizes.check("layers_per_block", net.layers, sizes.count("encoder.down_blocks.0.resnets.{}.conv1.weight"))
    sizes.check("in_channels", net.in_channels, sizes.axis("encoder.conv_in.weight", 1))
    sizes.check("latent_channels", net.latents, sizes.axis("decoder.conv_in.weight", 1))


def options_of_autoencoder(net: AutoencoderKL | AutoencoderTiny) -> dict[str, Any]:
    """Inverse of `autoencoder_of_options`."""
    common = {
        "in_channels": net.in_channels,
        "out_channels": net.out_channels,
        "latent_channels": net.latents,
        "scaling_factor": net.scale,
        "shift_factor": net.shift,
    }
    if isinstance(net, AutoencoderTiny):
        return common | {
            "_class_name": "AutoencoderTiny",
            "encoder_block_out_channels": list(net.encoder_channels),
            "decoder_block_out_channels": list(net.decoder_channels),
            "num_encoder_blocks": list(net.encoder_blocks),
            "num_decoder_blocks": list(net.decoder_blocks),
        }
    levels = len(net.channels)
    return common | {
        "_class_name": "AutoencoderKL",
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(net.channels),
        "layers_per_block": net.layers,
        "norm_num_groups": net.groups,
        "mid_block_add_attention": net.mid_attention,
        "use_quant_conv": net.quant,
        "use_post_quant_conv": net.post_quant,
        "shift_factor": net.shift or None,
    }
