"""Transfer methods: one protocol (`base`), one file a method, one registry."""

from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import public

if TYPE_CHECKING:
    from tgdp_jax.transfer.api import run
    from tgdp_jax.transfer.cards import Card, TransferMethod
    from tgdp_jax.transfer.registry import METHODS, method_name, method_names

__all__ = ["METHODS", "Card", "TransferMethod", "method_name", "method_names", "run"]

__getattr__ = public(
    __name__,
    {
        "api": ("run",),
        "cards": ("Card", "TransferMethod"),
        "registry": ("METHODS", "method_name", "method_names"),
    },
)
