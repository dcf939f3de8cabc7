"""The transfer methods: a method is its file and one line here. Their order is that of tables."""

from collections.abc import Iterable

from tgdp_jax.errors import choose
from tgdp_jax.transfer.base import TransferMethod
from tgdp_jax.transfer.discriminator_guidance import DISCRIMINATOR_GUIDANCE
from tgdp_jax.transfer.domain_guidance import DOMAIN_GUIDANCE
from tgdp_jax.transfer.dreambooth import DREAMBOOTH
from tgdp_jax.transfer.finetune import FINETUNE
from tgdp_jax.transfer.gan import GAN
from tgdp_jax.transfer.kde import KDE
from tgdp_jax.transfer.lora import LORA
from tgdp_jax.transfer.multimodal import MULTIMODAL
from tgdp_jax.transfer.scratch import SCRATCH
from tgdp_jax.transfer.self_supervised import SELF_SUPERVISED
from tgdp_jax.transfer.sir import SIR
from tgdp_jax.transfer.source import SOURCE
from tgdp_jax.transfer.stacked import STACKED
from tgdp_jax.transfer.textual_inversion import TEXTUAL_INVERSION
from tgdp_jax.transfer.tgdp import TGDP
from tgdp_jax.transfer.tgdp_denoising import TGDP_DENOISING

ALL = "all"


METHODS: dict[str, TransferMethod] = {
    method.name: method
    for method in (
        TGDP,
        TGDP_DENOISING,
        STACKED,
        DISCRIMINATOR_GUIDANCE,
        FINETUNE,
        LORA,
        DREAMBOOTH,
        TEXTUAL_INVERSION,
        DOMAIN_GUIDANCE,
        SELF_SUPERVISED,
        SCRATCH,
        SOURCE,
        GAN,
        MULTIMODAL,
        KDE,
        SIR,
    )
}


def method_name(name: str) -> str:
    """The registry's name of a method that is given by name or alias, in any case, with or without hyphens and blanks.

    Raises:
      UserError: there is no such method.
    """
    wanted = _bare(name)
    for known, method in METHODS.items():
        if wanted in {_bare(text) for text in (known, *method.card.aliases)}:
            return known
    choose("method", name, METHODS)
    return name


def method_names(names: Iterable[str]) -> tuple[str, ...]:
    """The registry's names of methods given by name or alias, each once, in order; "all" stands for every one.

    Raises:
      UserError: there is no such method.
    """
    found = [known for name in names for known in (METHODS if _bare(name) == ALL else (method_name(name),))]
    return tuple(dict.fromkeys(found))


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
