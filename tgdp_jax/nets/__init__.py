"""Flax Linen networks; the only place where Linen is used."""

from tgdp_jax.nets.dit import EpsDiT
from tgdp_jax.nets.heads import ClassifierHead, GuidanceHead
from tgdp_jax.nets.image import EpsUNet
from tgdp_jax.nets.mlp import MLP, ClassifierMLP, EpsMLP, GuidanceMLP

__all__ = [
    "MLP",
    "ClassifierHead",
    "ClassifierMLP",
    "EpsDiT",
    "EpsMLP",
    "EpsUNet",
    "GuidanceHead",
    "GuidanceMLP",
]
