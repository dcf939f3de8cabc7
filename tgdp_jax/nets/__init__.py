"""Flax Linen networks; the only place where Linen is used."""

from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import public

if TYPE_CHECKING:
    from tgdp_jax.nets.dit import EpsDiT
    from tgdp_jax.nets.gan import DiscriminatorConv, DiscriminatorMLP, GeneratorConv, GeneratorMLP
    from tgdp_jax.nets.heads import ClassifierHead, GuidanceHead, LabelHead
    from tgdp_jax.nets.image import EpsUNet
    from tgdp_jax.nets.mlp import MLP, ClassifierMLP, EpsMLP, GuidanceMLP
    from tgdp_jax.nets.multimodal import EpsMultimodal
    from tgdp_jax.nets.sssd import SSSD, EpsSSSD

__all__ = [
    "MLP",
    "SSSD",
    "ClassifierHead",
    "ClassifierMLP",
    "DiscriminatorConv",
    "DiscriminatorMLP",
    "EpsDiT",
    "EpsMLP",
    "EpsMultimodal",
    "EpsSSSD",
    "EpsUNet",
    "GeneratorConv",
    "GeneratorMLP",
    "GuidanceHead",
    "GuidanceMLP",
    "LabelHead",
]

__getattr__ = public(
    __name__,
    {
        "dit": ("EpsDiT",),
        "gan": ("DiscriminatorConv", "DiscriminatorMLP", "GeneratorConv", "GeneratorMLP"),
        "heads": ("ClassifierHead", "GuidanceHead", "LabelHead"),
        "image": ("EpsUNet",),
        "mlp": ("MLP", "ClassifierMLP", "EpsMLP", "GuidanceMLP"),
        "multimodal": ("EpsMultimodal",),
        "sssd": ("SSSD", "EpsSSSD"),
    },
)
