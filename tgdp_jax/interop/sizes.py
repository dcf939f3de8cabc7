"""What the header of a file of weights says of the sizes of a U-Net, before anything of that size is made.

A config is a few numbers, and each of them can ask for more memory or time than any machine has. The weights are as
large as they are: where a config's levels, layers and channels are those of the tensors, whatever is made of it is in
proportion to the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import shown
from tgdp_jax.nets.unet import UNet

Shapes = Mapping[str, tuple[int, ...]]


def check_sizes(net: UNet, inputs: int, shapes: Shapes, where: str) -> None:
    """Refuses a net whose sizes are not those of its tensors.

    Args:
      net: of the config.
      inputs: channels of its images.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """

    def first(level: int, layer: int = 0) -> str:
        return f"down_blocks.{level}.resnets.{layer}.conv1.weight"

    def axis(name: str, number: int) -> int:
        shape = shapes.get(name, ())
        return shape[number] if number < len(shape) else 0

    def check(option: str, said: object, found: object) -> None:
        if said != found:
            raise UserError(
                f"{where}: {option} is {shown(said)}, but the weights beside it have {shown(found)}: use the two files "
                "of one model"
            )

    missing = next((name for name in ("conv_in.weight", first(0), "conv_out.weight") if name not in shapes), None)
    if missing is not None:
        raise UserError(
            f"{where} is of a U-Net, but the weights beside it lack {missing}: use the two files of one model"
        )
    levels = count(lambda level: first(level) in shapes)
    check("block_out_channels", list(net.channels), [axis(first(level), 0) for level in range(levels)])
    for level in range(levels):
        check("layers_per_block", net.layers, count(lambda layer, level=level: first(level, layer) in shapes))
    check("in_channels", inputs, axis("conv_in.weight", 1))
    check("out_channels", net.out_channels, axis("conv_out.weight", 0))
    check("num_class_embeds", net.num_classes, axis("class_embedding.weight", 0))


def count(has: Callable[[int], bool]) -> int:
    """How many numbers from zero on `has` is true of."""
    number = 0
    while has(number):
        number += 1
    return number
