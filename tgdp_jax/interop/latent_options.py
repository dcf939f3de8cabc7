"""Options of diffusers' `UNet2DConditionModel`, to and from this library's U-Net that looks at a text.

See `options` for what is read and what is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import check_class, shown
from tgdp_jax.interop.options import MAX_LEVELS, Options, is_number, is_whole
from tgdp_jax.nets.blocks import ACTIVATIONS, TIME_NORMS
from tgdp_jax.nets.latent_unet import CLASS_KINDS, LatentUNet

NAME = "UNet2DConditionModel"
TIME_IDS = 6
PROJECTION = "projection_class_embeddings_input_dim"
DEPTHS, UP_DEPTHS = "transformer_layers_per_block", "reverse_transformer_layers_per_block"
_MAX_LAYERS = 1000
_CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
_PLAIN = ("DownBlock2D", "UpBlock2D")
_MIDDLES = {"UNetMidBlock2DCrossAttn": "attention", "UNetMidBlock2D": "resnet", None: "none"}
# What such a net must not differ in; the first value is what diffusers takes where the option is missing.
_FIXED: dict[str, tuple] = {
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "mid_block_scale_factor": (1,),
    "resnet_out_scale_factor": (1,),
    "time_embedding_type": ("positional",),
    "attention_type": ("default",),
    "num_attention_heads": (None,),
    "addition_embed_type": (None, "text_time"),
}
# What has no say in what it computes: dropout acts in diffusers' training alone, and the heads of an embedding of text
# that is none of those here.
_SILENT = frozenset({"dropout", "addition_embed_type_num_heads"})


def unet_of_options(values: dict[str, Any], where: str) -> LatentUNet:
    """The module of a config.

    Args:
      values: what the file holds.
      where: its name, for messages.

    Raises:
      UserError: another class, or an option or value that is not supported.
    """
    check_class(values, where, NAME)
    options = Options(values, where)
    fixed = {name: options.one_of(name, allowed) for name, allowed in _FIXED.items()}
    channels = options.take(
        "block_out_channels",
        [320, 640, 1280, 1280],
        lambda v: isinstance(v, list) and 0 < len(v) <= MAX_LEVELS and all(map(is_whole, v)),
        f"a list of 1 to {MAX_LEVELS} channel counts",
    )
    levels = len(channels)
    layers = _by_level(options, "layers_per_block", 2, levels, lambda v: is_whole(v, _MAX_LAYERS), "an integer")
    down, up = (_kinds(options, name, way, levels) for way, name in enumerate(("down_block_types", "up_block_types")))
    depths, up_depths, mid_depth = _depths(options, layers, where)
    text = _by_level(options, "cross_attention_dim", 1280, levels, is_whole, "an integer")
    if len(set(text)) > 1:
        raise UserError(f"{where}: cross_attention_dim is {text}: a text whose tokens have one length is supported")
    heads = _by_level(options, "attention_head_dim", 8, levels, is_whole, "a number of heads")
    only_text = _by_level(
        options, "only_cross_attention", False, levels, lambda v: isinstance(v, bool), "true or false"
    )
    class_kind = options.one_of("class_embed_type", (None, *CLASS_KINDS))
    rows = options.whole("num_class_embeds", None, or_none=True)
    ids = options.whole("addition_time_embed_dim", None, or_none=True)
    inputs = options.whole(PROJECTION, None, or_none=True)
    added = fixed["addition_embed_type"] is not None
    if added and not (ids and inputs and ids % 2 == 0 and inputs > TIME_IDS * ids):
        raise UserError(
            f"{where}: addition_embed_type is 'text_time', for which addition_time_embed_dim must be even and "
            f"projection_class_embeddings_input_dim more than {TIME_IDS} times that: they are {ids} and {inputs}"
        )
    if class_kind == "projection" and (added or inputs is None):
        raise UserError(
            f"{where}: class_embed_type is 'projection', which needs projection_class_embeddings_input_dim and no "
            "addition_embed_type"
        )
    size = options.take(
        "sample_size",
        None,
        lambda v: v is None or is_whole(v) or (isinstance(v, list) and len(v) == 2 and all(map(is_whole, v))),
        "an integer, a pair of integers or null",
    )
    middle = _MIDDLES[options.one_of("mid_block_type", tuple(_MIDDLES))]
    net = LatentUNet(
        channels=tuple(channels),
        layers=tuple(layers),
        depths=tuple(depth if cross else () for depth, cross in zip(depths, down, strict=True)),
        up_depths=tuple(depth if cross else () for depth, cross in zip(up_depths, up, strict=True)),
        heads=tuple(heads),
        text_dim=text[0],
        in_channels=options.whole("in_channels", 4),
        out_channels=options.whole("out_channels", 4),
        size=(size, size) if isinstance(size, int) else size and tuple(size),
        middle=middle,
        mid_depth=mid_depth if middle == "attention" else 1,
        own=tuple(not only for only in only_text),
        linear=options.one_of("use_linear_projection", (False, True)),
        upcast=options.one_of("upcast_attention", (False, True, None)) or False,
        groups=options.whole("norm_num_groups", 32),
        eps=options.positive("norm_eps", 1e-5),
        time_norm=options.one_of("resnet_time_scale_shift", TIME_NORMS),
        act=options.one_of("act_fn", tuple(ACTIVATIONS)),
        downsample_padding=options.one_of("downsample_padding", (1, 0)),
        flip_sin_to_cos=options.one_of("flip_sin_to_cos", (True, False)),
        freq_shift=options.take("freq_shift", 0, is_number, "a number"),
        centre=options.one_of("center_input_sample", (False, True)),
        num_classes=0 if class_kind else rows or 0,
        class_kind=class_kind,
        class_dim=inputs if class_kind == "projection" else None,
        time_id_dim=ids if added else None,
        pooled_dim=inputs - TIME_IDS * ids if added else None,
    )
    options.refuse_others(_SILENT | {"mid_block_only_cross_attention"})
    _check_heads(net, where)
    return net


def _by_level(
    options: Options, name: str, default: Any, levels: int, fits: Callable[[Any], bool], words: str
) -> list[Any]:
    """An option that is one value for all levels, or a list of one for each, from the finest."""
    value = options.take(
        name,
        default,
        lambda v: fits(v) or (isinstance(v, list) and len(v) == levels and all(map(fits, v))),
        f"{words} or a list of {levels}",
    )
    return value if isinstance(value, list) else [value] * levels


def _kinds(options: Options, name: str, way: int, levels: int) -> list[bool]:
    """Whether the levels look at the text."""
    known = (_CROSS[way], _PLAIN[way])
    default = [known[0]] * 3 + [known[1]] if way == 0 else [known[1]] + [known[0]] * 3
    kinds = options.take(
        name,
        default,
        lambda v: isinstance(v, list) and len(v) == levels and all(kind in known for kind in v),
        f"a list of {levels}, each {' or '.join(known)}",
    )
    return [kind == known[0] for kind in kinds]


def _depths(
    options: Options, layers: list[int], where: str
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], int]:
    """Transformer blocks after every residual block: (on the way down, up from the coarsest level, in the middle)."""
    up_layers = [count + 1 for count in reversed(layers)]

    def fits(counts: list[int]) -> Callable[[Any], bool]:
        def one(value: Any, count: int) -> bool:
            return _is_depth(value) or (isinstance(value, list) and len(value) == count and all(map(_is_depth, value)))

        return lambda v: isinstance(v, list) and len(v) == len(layers) and all(map(one, v, counts))

    words = f"a list of {len(layers)} integers, or of lists of one for each residual block,"
    down = options.take(DEPTHS, 1, lambda v: _is_depth(v) or fits(layers)(v), f"an integer or {words}")
    down = down if isinstance(down, list) else [down] * len(layers)
    up = options.take(UP_DEPTHS, None, lambda v: v is None or fits(up_layers)(v), f"null or {words}")
    if up is None:
        up = down[::-1]
        if any(isinstance(value, list) for value in up):
            raise UserError(f"{where}: {DEPTHS} is {shown(down)}, lists for which {UP_DEPTHS} must say the way up")
    middle = down[-1][0] if isinstance(down[-1], list) else down[-1]
    return _spread(down, layers), _spread(up, up_layers), middle


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_depth(value: Any) -> bool:
    return (value == 0 and isinstance(value, int) and not isinstance(value, bool)) or is_whole(value, _MAX_LAYERS)


def _spread(values: list[Any], counts: list[int]) -> list[tuple[int, ...]]:
    """For every level a number for each of its residual blocks."""
    return [tuple(v) if isinstance(v, list) else (v,) * count for v, count in zip(values, counts, strict=True)]


def _check_heads(net: LatentUNet, where: str) -> None:
    last = len(net.channels) - 1
    for level, (channels, heads) in enumerate(zip(net.channels, net.heads, strict=True)):
        looks = net.depths[level] or net.up_depths[last - level] or (level == last and net.middle == "attention")
        if looks and channels % heads:
            raise UserError(
                f"{where}: attention_head_dim is {heads} heads for {channels} channels: it must divide them"
            )


def options_of_unet(net: LatentUNet) -> dict[str, Any]:
    """Inverse of `unet_of_options`."""
    added = net.time_id_dim is not None and net.pooled_dim is not None
    inputs = net.pooled_dim + TIME_IDS * net.time_id_dim if added else net.class_dim  # pyright: ignore
    return {
        "_class_name": NAME,
        "sample_size": None if net.size is None else net.size[0] if len(set(net.size)) == 1 else list(net.size),
        "in_channels": net.in_channels,
        "out_channels": net.out_channels,
        "block_out_channels": list(net.channels),
        "layers_per_block": _one(list(net.layers)),
        "down_block_types": [_CROSS[0] if level else _PLAIN[0] for level in net.depths],
        "up_block_types": [_CROSS[1] if level else _PLAIN[1] for level in net.up_depths],
        "mid_block_type": {ours: theirs for theirs, ours in _MIDDLES.items()}[net.middle],
        **_depth_options(net),
        "attention_head_dim": _one(list(net.heads)),
        "cross_attention_dim": net.text_dim,
        "only_cross_attention": _one([not own for own in net.own]),
        "use_linear_projection": net.linear,
        "upcast_attention": net.upcast,
        "norm_num_groups": net.groups,
        "norm_eps": net.eps,
        "resnet_time_scale_shift": net.time_norm,
        "act_fn": net.act,
        "downsample_padding": net.downsample_padding,
        "flip_sin_to_cos": net.flip_sin_to_cos,
        "freq_shift": net.freq_shift,
        "center_input_sample": net.centre,
        "num_class_embeds": net.num_classes or None,
        "class_embed_type": net.class_kind,
        "addition_embed_type": "text_time" if added else None,
        "addition_time_embed_dim": net.time_id_dim,
        PROJECTION: inputs,
    }


def _depth_options(net: LatentUNet) -> dict[str, Any]:
    """Inverse of `_depths`: a number for every level where that says all, and lists for both ways where not."""
    middle = {net.mid_depth} if net.middle == "attention" else set()
    if middle and net.depths[-1] and net.depths[-1][0] not in middle:
        raise UserError(
            f"diffusers has no U-Net whose middle is {net.mid_depth} transformer blocks deep and its coarsest level "
            f"{net.depths[-1][0]}: make them alike"
        )
    found = [set(down) | set(up) for down, up in zip(net.depths, reversed(net.up_depths), strict=True)]
    found[-1] |= middle
    if all(len(level) <= 1 for level in found):
        return {DEPTHS: _one([min(level, default=1) for level in found])}
    down, up = ([list(level) or 1 for level in way] for way in (net.depths, net.up_depths))
    down[-1] = list(net.depths[-1]) or min(middle, default=1)
    return {DEPTHS: down, UP_DEPTHS: up}


def _one(values: list[Any]) -> Any:
    """What all levels have in common, or the list."""
    return values[0] if all(value == values[0] for value in values) else values
