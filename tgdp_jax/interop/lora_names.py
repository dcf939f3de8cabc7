"""What tensors of low-rank adapters are called, in the ways that files of the web have, and which kernel each means.

unet.mid_block...to_q.lora_A.weight                 diffusers and peft today, with a prefix for the part
unet.mid_block...attn1.processor.to_q_lora.down.weight, ...to_q.lora.down.weight        former versions of diffusers
base_model.model.mid_block...to_q.lora_A.weight     peft alone
lora_unet_mid_block_...to_q.lora_down.weight        kohya's scripts, with .alpha beside; of Stable Diffusion XL also
lora_unet_middle_block_1_...to_q.lora_down.weight   by the blocks of the first implementation
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

UNET, TEXT, TEXT_2 = PARTS = ("unet", "text_encoder", "text_encoder_2")
PEFT = "base_model.model."
_KOHYA = {"lora_unet_": UNET, "lora_te_": TEXT, "lora_te1_": TEXT, "lora_te2_": TEXT_2}
_FACTOR = re.compile(r"(.+?)(?:\.lora_([AB])(?:\.\w+)?|(?:\.lora|\.lora_linear_layer|_lora)[._](down|up))\.weight")
_ALPHA = re.compile(r"(.+)\.alpha")
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


class Name(NamedTuple):
    """A tensor's name, taken apart.

    Attributes:
      part: one of `PARTS`, or None where the name does not say.
      module: of the part, as diffusers calls it; kohya's with underscores alone.
      factor: "a", "b" or "alpha".
    """

    part: str | None
    module: str
    factor: str


def taken_apart(name: str) -> Name | None:
    """Part, module and factor of a tensor's name; None: it is none of a low-rank adapter."""
    found = _FACTOR.fullmatch(name)
    if found:
        module, factor = found[1], "a" if "A" in (found[2] or "") or found[3] == "down" else "b"
    elif found := _ALPHA.fullmatch(name):
        module, factor = found[1], "alpha"
    else:
        return None
    for prefix, part in _KOHYA.items():
        if module.startswith(prefix):
            rest = module.removeprefix(prefix)
            return Name(part, rest.removeprefix("text_model_") if part != UNET else rest, factor)
    part, _, rest = module.partition(".")
    if part not in PARTS:
        return Name(None, _current(module.removeprefix(PEFT), None), factor)
    return Name(part, _current(rest, part), factor)


def _current(module: str, part: str | None) -> str:
    """A module's name today."""
    module = module.replace(".processor.", ".").removeprefix("text_model.")
    before, dot, last = module.rpartition(".")
    if part in (TEXT, TEXT_2) and last in _OLD_TEXT:
        return f"{before}{dot}{_OLD_TEXT[last]}"
    return f"{module}.0" if last == "to_out" else module


def with_aliases(modules: Iterable[str]) -> dict[str, str]:
    """Every name that a file may have for one of a part's modules -> the module."""
    known = list(modules)
    names = {module: module for module in known} | {module.replace(".", "_"): module for module in known}
    layers = 1 + max((int(found[1]) for name in known if (found := _DOWN_RESNET.match(name))), default=0)
    for module in known:
        alias = _first_name(module, layers, known)
        if alias is not None:
            names.setdefault(alias.replace(".", "_"), module)
    return names


_DOWN_RESNET = re.compile(r"down_blocks\.0\.resnets\.(\d+)\.")
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def _first_name(module: str, layers: int, known: list[str]) -> str | None:
    """A U-Net's module by the blocks of the first implementation, which counts them through; None: it has none."""
    if found := _MIDDLE.fullmatch(module):
        kind, number, rest = found.groups()
        return f"middle_block.1.{rest}" if kind == "attentions" else f"middle_block.{2 * int(number)}.{_RESNET[rest]}"
    if not (found := _BLOCK.fullmatch(module)):
        return _OUTER.get(module)
    way, level, kind, number, rest = found.groups()
    each = layers + 1
    blocks = f"{'input' if way == 'down' else 'output'}_blocks"
    place = int(level) * each + int(number) + (way == "down")
    if kind == "resnets":
        return f"{blocks}.{place}.0.{_RESNET[rest]}"
    if kind == "attentions":
        return f"{blocks}.{place}.1.{rest}"
    if kind == "downsamplers":
        return f"{blocks}.{(int(level) + 1) * each}.0.op"
    attention = any(name.startswith(f"up_blocks.{level}.attentions.") for name in known)
    return f"{blocks}.{(int(level) + 1) * each - 1}.{1 + attention}.conv"
