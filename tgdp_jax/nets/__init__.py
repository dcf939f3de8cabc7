"""Flax Linen networks; the only place where Linen is used."""

from tgdp_jax.nets.mlp import MLP, ClassifierMLP, EpsMLP, GuidanceMLP

__all__ = ["MLP", "ClassifierMLP", "EpsMLP", "GuidanceMLP"]
