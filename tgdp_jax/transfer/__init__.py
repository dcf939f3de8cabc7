"""Transfer methods, one protocol (`base`), one registry."""

from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.denoisers import FINETUNE, SCRATCH, SOURCE
from tgdp_jax.transfer.domain_guidance import DOMAIN_GUIDANCE
from tgdp_jax.transfer.dreambooth import DREAMBOOTH
from tgdp_jax.transfer.gan import GAN
from tgdp_jax.transfer.lora import LORA
from tgdp_jax.transfer.references import KDE_REFERENCE, SIR_REFERENCE
from tgdp_jax.transfer.textual_inversion import TEXTUAL_INVERSION
from tgdp_jax.transfer.tgdp import DISCRIMINATOR_GUIDANCE, TGDP

METHODS: dict[str, TransferMethod] = {
    method.name: method
    for method in (
        TGDP,
        DISCRIMINATOR_GUIDANCE,
        FINETUNE,
        LORA,
        DREAMBOOTH,
        TEXTUAL_INVERSION,
        DOMAIN_GUIDANCE,
        SCRATCH,
        SOURCE,
        GAN,
        KDE_REFERENCE,
        SIR_REFERENCE,
    )
}

__all__ = ["METHODS", "TransferMethod"]
