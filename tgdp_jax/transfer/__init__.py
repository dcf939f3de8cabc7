"""Transfer methods: one protocol (`base`), one file a method, one registry."""

from tgdp_jax.transfer.api import run
from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.cards import Card
from tgdp_jax.transfer.registry import METHODS, method_name, method_names

__all__ = ["METHODS", "Card", "TransferMethod", "method_name", "method_names", "run"]
