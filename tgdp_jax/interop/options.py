"""Options of diffusers' `UNet2DModel`, to and from this library's U-Net.

An option is read, must have the one value that is supported, or has no say in what the net computes. Whatever else a
file holds is refused by name: a net that was built otherwise would give wrong numbers without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import check_class, named, shown
from tgdp_jax.nets.blocks import TIME_NORMS
from tgdp_jax.nets.unet import DOWN_TYPES, SAMPLERS, TIME_KINDS, UP_TYPES, UNet

# What a U-Net must not differ in; the first value is what diffusers takes where the option is missing.
_FIXED = {
    "center_input_sample": (False,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "act_fn": ("silu", "swish"),
    "class_embed_type": (None,),
}
# What has no say in what a U-Net computes: dropout acts in diffusers' training alone; the number of timesteps is of
# nets with a learned time embedding; the rest tells how an average of weights was taken.
_SILENT = frozenset(
    {
        "dropout",
        "num_train_timesteps",
        "decay",
        "inv_gamma",
        "min_decay",
        "optimization_step",
        "power",
        "update_after_step",
        "use_ema_warmup",
    }
)


# A U-Net of as many levels halves images of 2,048 pixels down to one.
MAX_LEVELS = 12
_MAX_WHOLE, _MAX_NUMBER = 2**20, 1e6

Shape = tuple[int | None, int | None, int]  # height and width, None where a config does not say, and channels


class Options:
    """Options of a config file, read once each.

    Args:
      values: what the file holds.
      where: the file's name, for messages.
    """

    def __init__(self, values: dict[str, Any], where: str):
        self._values, self._where = values, where
        self._read: set[str] = set()

    def take(self, name: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
        """The option `name`; `expected` says what values fit.

        Raises:
          UserError: its value does not fit.
        """
        self._read.add(name)
        value = self._values.get(name, default)
        if not fits(value):
            raise UserError(f"{self._where}: {name} is {shown(value)}, which is not supported: {expected} is")
        return value

    def one_of(self, name: str, choices: tuple) -> Any:
        """The option `name`, one of `choices`, whose first is the default."""
        value = self.take(name, choices[0], lambda v: v in choices, " or ".join(map(repr, choices)))
        return choices[choices.index(value)]  # a file may hold 1.0 for 1

    def whole(self, name: str, default: int | None, *, most: int = _MAX_WHOLE, or_none: bool = False) -> Any:
        """The option `name`, an integer from 1 to `most`, or null where that is allowed."""
        words = f"an integer from 1 to {most}" + (" or null" if or_none else "")
        return self.take(name, default, lambda v: (v is None and or_none) or is_whole(v, most), words)

    def positive(self, name: str, default: float) -> float:
        """The option `name`, a positive number."""
        return self.take(name, default, lambda v: is_number(v) and v > 0, "a positive number")

    def refuse_others(self, silent: frozenset[str] = frozenset()) -> None:
        """Refuses options that were not read and are switched on.

        Raises:
          UserError: there is one.
        """
        for name, value in self._values.items():
            if name[:1] != "_" and name not in self._read | silent and value not in (None, False):
                raise UserError(f"{self._where}: {named(name)} is {shown(value)}, an option that is not supported")


def is_whole(value: Any, most: int = _MAX_WHOLE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def is_number(value: Any) -> bool:
    # False for NaN, which JSON files of Python may hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER


def are_names(known: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(v, str) and block_name(v) in known for v in value)


def block_name(name: str) -> str:
    # diffusers' first name of a block: UNetResDownBlock2D.
    return name.removeprefix("UNetRes")


def unet_of_options(values: dict[str, Any], where: str) -> tuple[UNet, Shape]:
    """(net, (height, width, channels) of its images) of a `UNet2DModel`'s config.

    Args:
      values: what the file holds.
      where: its name, for messages.

    Raises:
      UserError: another class, or an option or value that is not supported.
    """
    check_class(values, where, "UNet2DModel")
    options = Options(values, where)
    for name, allowed in _FIXED.items():
        options.one_of(name, allowed)
    channels = options.take(
        "block_out_channels",
        [224, 448, 672, 896],
        lambda v: isinstance(v, list) and 0 < len(v) <= MAX_LEVELS and all(map(is_whole, v)),
        f"a list of 1 to {MAX_LEVELS} channel counts",
    )
    down = ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]
    up = ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    down = options.take("down_block_types", down, are_names(DOWN_TYPES), f"a list of {', '.join(DOWN_TYPES)}")
    up = options.take("up_block_types", up, are_names(UP_TYPES), f"a list of {', '.join(UP_TYPES)}")
    groups, time_norm = options.whole("norm_num_groups", 32), options.one_of("resnet_time_scale_shift", TIME_NORMS)
    mid_groups = options.whole("attn_norm_num_groups", None, or_none=True)
    if mid_groups is None and time_norm == "default":
        mid_groups = groups
    rows = options.whole("num_class_embeds", None, or_none=True)
    net = UNet(
        channels=tuple(channels),
        layers=options.whole("layers_per_block", 2),
        down_types=tuple(map(block_name, down)),
        up_types=tuple(map(block_name, up)),
        out_channels=options.whole("out_channels", 3),
        groups=groups,
        mid_attention=options.one_of("add_attention", (True, False)),
        mid_groups=mid_groups,
        head_dim=options.whole("attention_head_dim", 8, or_none=True),
        eps=options.positive("norm_eps", 1e-5),
        time_norm=time_norm,
        downsample_padding=options.one_of("downsample_padding", (1, 0)),
        downsample=options.one_of("downsample_type", SAMPLERS),
        upsample=options.one_of("upsample_type", SAMPLERS),
        time_kind=options.one_of("time_embedding_type", TIME_KINDS),
        flip_sin_to_cos=options.one_of("flip_sin_to_cos", (True, False)),
        freq_shift=options.take("freq_shift", 0, is_number, "a number"),
        num_classes=rows or 0,
        null_label=False,
    )
    size = options.take(
        "sample_size",
        None,
        lambda v: v is None or is_whole(v) or (isinstance(v, list) and len(v) == 2 and all(map(is_whole, v))),
        "an integer, a pair of integers or null",
    )
    height, width = size if isinstance(size, list) else (size, size)
    inputs = options.whole("in_channels", 3)
    options.refuse_others(_SILENT)
    return net, (height, width, inputs)


def options_of_unet(net: UNet, shape: Shape) -> dict[str, Any]:
    """Inverse of `unet_of_options`. A row for "no label" becomes one class more, which is what it is to diffusers.

    Raises:
      UserError: diffusers has no such net.
    """
    if net.mid_attention and net.mid_groups is None and net.time_norm == "default":
        raise UserError("diffusers has no U-Net of time norm 'default' without a norm before its middle attention")
    if net.new_token:
        raise UserError(
            "diffusers has no U-Net with a new token: of textual inversion or DreamBooth keep the run's folder"
        )
    height, width, channels = shape
    return {
        "_class_name": "UNet2DModel",
        "sample_size": height if height == width else [height, width],
        "in_channels": channels,
        "out_channels": net.out_channels or channels,
        "block_out_channels": list(net.channels),
        "layers_per_block": net.layers,
        "down_block_types": list(net.down_types),
        "up_block_types": list(net.up_types),
        "add_attention": net.mid_attention,
        "attention_head_dim": net.head_dim,
        "norm_num_groups": net.groups,
        "attn_norm_num_groups": net.mid_groups,
        "norm_eps": net.eps,
        "resnet_time_scale_shift": net.time_norm,
        "downsample_padding": net.downsample_padding,
        "downsample_type": net.downsample,
        "upsample_type": net.upsample,
        "time_embedding_type": net.time_kind,
        "flip_sin_to_cos": net.flip_sin_to_cos,
        "freq_shift": net.freq_shift,
        "num_class_embeds": net.num_classes + net.null_label if net.num_classes else None,
    } | {name: allowed[0] for name, allowed in _FIXED.items() if name != "mid_block_type"}
