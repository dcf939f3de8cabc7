"""The kinds of denoising network: one entry each. A new kind is its file, an entry here and its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from tgdp_jax.data.modalities import Modalities, halves
from tgdp_jax.nets.dit import EpsDiT
from tgdp_jax.nets.image import EpsUNet
from tgdp_jax.nets.mlp import EpsMLP
from tgdp_jax.nets.multimodal import EpsMultimodal
from tgdp_jax.nets.sssd import SSSD, EpsSSSD
from tgdp_jax.sde import SDE


class DenoiserSpec(NamedTuple):
    """What a denoiser is made of.

    Attributes:
      sde: forward process.
      settings: sizes, a `settings.networks.NetworkConfig`.
      features: widths of hidden layers, for networks of dense layers.
      embedding: kind of time features.
      shape: *D of a row.
      modalities: what a row is made of, where the problem says it.
      num_classes: number of labels; 0: unconditional.
      data_std: scale of the data.
      dtype: what inner layers compute in.
      new_token: whether it has a new token, see `nets.embedding.Prompt`.
    """

    sde: SDE
    settings: Any
    features: tuple[int, ...]
    embedding: str
    shape: tuple[int, ...]
    modalities: Modalities | None
    num_classes: int
    data_std: float
    dtype: Any
    new_token: bool


class NetworkKind(NamedTuple):
    """One kind of denoiser.

    Attributes:
      build: makes the Linen module.
      settings: fields of `NetworkConfig` that it depends on.
      rows: the rows it is for; None: any.
      dense: whether classifier, guidance network and GAN beside it are made of dense layers alone.
    """

    build: Callable[[DenoiserSpec], Any]
    settings: tuple[str, ...]
    rows: Literal["series", "images"] | None = None
    dense: bool = False


def _mlp(spec: DenoiserSpec) -> EpsMLP:
    return EpsMLP(spec.sde, spec.features, spec.embedding, spec.num_classes, spec.data_std, spec.dtype, spec.new_token)


def _unet(spec: DenoiserSpec) -> EpsUNet:
    return EpsUNet(
        spec.sde,
        spec.settings.channels,
        spec.settings.blocks,
        spec.settings.attention,
        num_classes=spec.num_classes,
        data_std=spec.data_std,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )


def _dit(spec: DenoiserSpec) -> EpsDiT:
    return EpsDiT(
        spec.sde,
        spec.settings.patch,
        spec.settings.width,
        spec.settings.depth,
        spec.settings.heads,
        spec.num_classes,
        spec.data_std,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )


def _multimodal(spec: DenoiserSpec) -> EpsMultimodal:
    return EpsMultimodal(
        spec.sde,
        spec.modalities or halves(spec.shape),
        spec.settings.channels,
        spec.settings.width,
        spec.settings.depth,
        spec.embedding,
        spec.num_classes,
        spec.data_std,
        spec.dtype,
        spec.new_token,
    )


def _sssd(spec: DenoiserSpec) -> EpsSSSD:
    layers = SSSD(
        **vars(spec.settings.sssd),
        num_classes=spec.num_classes,
        dtype=spec.dtype,
        remat=spec.settings.remat,
        new_token=spec.new_token,
    )
    return EpsSSSD(spec.sde, layers, spec.data_std)


NETWORKS: dict[str, NetworkKind] = {
    "mlp": NetworkKind(_mlp, ("features", "embedding"), dense=True),
    "unet": NetworkKind(_unet, ("channels", "blocks", "attention", "remat"), rows="images"),
    "dit": NetworkKind(_dit, ("patch", "width", "depth", "heads", "remat"), rows="images"),
    "multimodal": NetworkKind(_multimodal, ("channels", "width", "depth", "embedding"), dense=True),
    "sssd": NetworkKind(_sssd, ("sssd", "remat"), rows="series"),
}
