"""The kinds of denoising network: one entry each. A new kind is its file, an entry here and its settings.

Looking names up imports no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tgdp_jax.errors import UserError
from tgdp_jax.runtime.lazy import Registry, late

if TYPE_CHECKING:
    from tgdp_jax.data.modalities import Modalities
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


NETWORKS: dict[str, NetworkKind] = {
    "mlp": NetworkKind(late("tgdp_jax.nets.mlp:build"), ("features", "embedding"), dense=True),
    "unet": NetworkKind(late("tgdp_jax.nets.image:build"), ("channels", "blocks", "attention", "remat"), rows="images"),
    "dit": NetworkKind(late("tgdp_jax.nets.dit:build"), ("patch", "width", "depth", "heads", "remat"), rows="images"),
    "multimodal": NetworkKind(
        late("tgdp_jax.nets.multimodal:build"), ("channels", "width", "depth", "embedding"), dense=True
    ),
    "sssd": NetworkKind(late("tgdp_jax.nets.sssd:build"), ("sssd", "remat"), rows="series"),
}

FORMS = {"series": "series [L, C]", "images": "images [H, W, C]", "vectors": "vectors [D]"}


def check_network(kind: str, rows: str, shape: tuple[int, ...] | None = None) -> None:
    """Says where a kind of network is for other rows.

    Args:
      kind: name in `NETWORKS`.
      rows: what the rows are, a key of `FORMS`.
      shape: of a row, where it is known.

    Raises:
      UserError: it is.
    """
    wanted = NETWORKS[kind].rows
    if wanted not in (None, rows):
        found = f"a row has shape {shape}" if shape is not None else f"the rows are {FORMS[rows]}"
        raise UserError(f"network {kind} is for {FORMS[wanted]} but {found}: use --network.kind mlp")


# Time features, see `nets.embedding.TimeFeatures`, and state space kernels, see `nets.s4.S4`.
EMBEDDINGS = ("compact", "sinusoidal", "fourier")
KERNELS = ("s4d_lin", "s4d_inv", "dplr")

# What networks compute in.
PRECISIONS: Mapping[str, Any] = Registry({"float32": "jax.numpy:float32", "bfloat16": "jax.numpy:bfloat16"})
