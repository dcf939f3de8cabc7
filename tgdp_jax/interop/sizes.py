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


class Sizes:
    """Sizes that tensors have, which a config's are held against.

    Args:
      shapes: of the tensors, by name.
      where: the config's name, for messages.
    """

    def __init__(self, shapes: Shapes, where: str):
        self._shapes, self._where = shapes, where

    def need(self, kind: str, *names: str) -> None:
        """Refuses weights that lack a tensor which every model of the kind has.

        Raises:
          UserError: the first one that is missing.
        """
        missing = next((name for name in names if name not in self._shapes), None)
        if missing is not None:
            raise UserError(
                f"{self._where} is of {kind}, but the weights beside it lack {missing}: use the two files of one model"
            )

    def axis(self, name: str, number: int) -> int:
        """The length of a tensor's axis, 0 where there is none."""
        shape = self._shapes.get(name, ())
        return shape[number] if number < len(shape) else 0

    def count(self, name: str) -> int:
        """How many numbers from zero on have a tensor of this name, in which {} stands for the number."""
        return count(lambda number: name.format(number) in self._shapes)

    def check(self, option: str, said: object, found: object) -> None:
        """Refuses an option that is another than the tensors say.

        Raises:
          UserError: it is, with the names of config and option.
        """
        if said != found:
            raise UserError(
                f"{self._where}: {option} is {shown(said)}, but the weights beside it have {shown(found)}: use the two "
                "files of one model"
            )


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
    sizes, first = Sizes(shapes, where), "down_blocks.{}.resnets.0.conv1.weight"
    sizes.need("a U-Net", "conv_in.weight", first.format(0), "conv_out.weight")
    levels = sizes.count(first)
    sizes.check("block_out_channels", list(net.channels), [sizes.axis(first.format(i), 0) for i in range(levels)])
    for level in range(levels):
        sizes.check("layers_per_block", net.layers, sizes.count(f"down_blocks.{level}.resnets.{{}}.conv1.weight"))
    sizes.check("in_channels", inputs, sizes.axis("conv_in.weight", 1))
    sizes.check("out_channels", net.out_channels, sizes.axis("conv_out.weight", 0))
    sizes.check("num_class_embeds", net.num_classes, sizes.axis("class_embedding.weight", 0))


def count(has: Callable[[int], bool]) -> int:
    """How many numbers from zero on `has` is true of."""
    number = 0
    while has(number):
        number += 1
    return number
