"""What networks are made of."""

from __future__ import annotations

import dataclasses

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.registry import NETWORKS
from tgdp_jax.settings.checks import check_layers, check_network
from tgdp_jax.settings.sssd import SSSDConfig

HEADS = ("own", "source", "labels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of the denoising network.

    Attributes:
      kind: mlp (any rows), unet or dit (images), sssd (series [L, C]), or multimodal (rows of several modalities, each
        with a time of its own).
      features: mlp: widths of the hidden layers; the paper's are 512 512 512 512 256.
      embedding: mlp, multimodal: time features: compact, sinusoidal or fourier.
      channels: unet, multimodal: widths of its levels, each of half the resolution of the one before.
      blocks: unet: residual blocks a level.
      attention: unet: levels with self-attention, counted from 0.
      patch: dit: side of a patch.
      width: dit: of a token; multimodal: of what joins the modalities.
      depth: dit: blocks; multimodal: those that join.
      heads: dit: attention heads.
      sssd: sizes of sssd.
      remat: recompute blocks in the backward pass instead of keeping what they computed: less memory, more time.
    """

    kind: str = "mlp"
    features: tuple[int, ...] = (128, 128, 128)
    embedding: str = "compact"
    channels: tuple[int, ...] = (16, 32, 32)
    blocks: int = 1
    attention: tuple[int, ...] = (2,)
    patch: int = 2
    width: int = 128
    depth: int = 4
    heads: int = 4
    sssd: SSSDConfig = SSSDConfig()
    remat: bool = False

    def __post_init__(self):
        choose("network", self.kind, NETWORKS)
        check_network(self.features, self.embedding)
        numbers = (*self.channels, self.blocks, self.patch, self.width, self.depth, self.heads)
        if not self.channels or min(numbers) < 1:
            raise UserError("a network needs at least one channel width, and sizes of at least 1")
        for name in ("blocks", "depth"):
            check_layers(name, getattr(self, name))
        if any(not 0 <= level < len(self.channels) for level in self.attention):
            raise UserError(f"attention is at levels {self.attention}: there are levels 0..{len(self.channels) - 1}")
        if self.width % 4 or self.width % self.heads:
            raise UserError(f"width is {self.width}: give a multiple of 4 and of the {self.heads} heads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What classifier and guidance network stand on.

    Attributes:
      on: own layers; source, for frozen features of the source model, which costs a pass through half of it; or labels,
        for those of a classifier of the source's labels (images and series), which is trained first. The guidance
        network of images has layers of its own in any case, which such features join.
      channels: images and series: widths of their own convolutions, and of the classifier of labels.
    """

    on: str = "own"
    channels: tuple[int, ...] = (16, 32)

    def __post_init__(self):
        choose("ground of heads", self.on, HEADS)
        if not self.channels or min(self.channels) < 1:
            raise UserError(f"head channels is {self.channels}: give at least one width of at least 1")
