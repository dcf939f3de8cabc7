"""Transfer methods, one protocol (`base`), one registry."""

from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.denoisers import FINETUNE, SCRATCH, SOURCE
from tgdp_jax.transfer.references import KDE_REFERENCE, SIR_REFERENCE
from tgdp_jax.transfer.tgdp import DISCRIMINATOR_GUIDANCE, TGDP

METHODS: dict[str, TransferMethod] = {
    method.name: method
    for method in (TGDP, DISCRIMINATOR_GUIDANCE, FINETUNE, SCRATCH, SOURCE, KDE_REFERENCE, SIR_REFERENCE)
}

__all__ = ["METHODS", "TransferMethod"]
