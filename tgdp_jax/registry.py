"""The mathematics by name: forward processes, predictions and losses. Looking names up imports none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tgdp_jax.bounds import check_betas, check_chain, check_sigmas
from tgdp_jax.runtime.lazy import Registry, late

if TYPE_CHECKING:
    from jax import Array

    from tgdp_jax.losses import AdversarialLoss
    from tgdp_jax.sde import SDE


class ProcessKind(NamedTuple):
    """One kind of forward process.

    Attributes:
      make: makes it of the settings that it depends on.
      settings: their names, fields of `settings.process.ProcessConfig`.
      check: refuses values of them without making anything.
    """

    make: Callable[..., SDE]
    settings: tuple[str, ...] = ()
    check: Callable[..., None] = lambda: None


PROCESSES: dict[str, ProcessKind] = {
    "vp": ProcessKind(late("tgdp_jax.sde:VP"), ("beta_min", "beta_max"), check_betas),
    "cosine": ProcessKind(late("tgdp_jax.sde:CosineVP")),
    "subvp": ProcessKind(late("tgdp_jax.sde:SubVP"), ("beta_min", "beta_max"), check_betas),
    "ve": ProcessKind(late("tgdp_jax.sde:VE"), ("sigma_min", "sigma_max"), check_sigmas),
    "discrete": ProcessKind(late("tgdp_jax.sde:DiscreteVP"), ("beta_start", "beta_end", "num_steps"), check_chain),
}


class Prediction(NamedTuple):
    """What a network may predict, by what it says of the noise. Arrays are [B, *D]; alpha and sigma broadcast to them.

    Attributes:
      to_eps: (out, x, alpha, sigma) -> the noise that an output implies.
      from_eps: (eps, x, alpha, sigma) -> its inverse, the output that stands for a noise.
      to_x0: (out, x, alpha, sigma) -> the clean data that it implies, where that is known better than through the
        noise, of which little signal is left to subtract where alpha is small.
    """

    to_eps: Callable[[Array, Array, Array, Array], Array]
    from_eps: Callable[[Array, Array, Array, Array], Array]
    to_x0: Callable[[Array, Array, Array, Array], Array] | None = None


PREDICTIONS: dict[str, Prediction] = {
    "eps": Prediction(lambda out, x, alpha, sigma: out, lambda eps, x, alpha, sigma: eps),
    "x0": Prediction(
        lambda out, x, alpha, sigma: (x - alpha * out) / sigma,
        lambda eps, x, alpha, sigma: (x - sigma * eps) / alpha,
        lambda out, x, alpha, sigma: out,
    ),
    "v": Prediction(
        lambda out, x, alpha, sigma: (alpha * out + sigma * x) / (alpha**2 + sigma**2),
        lambda eps, x, alpha, sigma: alpha * eps - sigma * (x - sigma * eps) / alpha,
        lambda out, x, alpha, sigma: (alpha * x - sigma * out) / (alpha**2 + sigma**2),
    ),
    "score": Prediction(
        lambda out, x, alpha, sigma: -sigma * out,
        lambda eps, x, alpha, sigma: -eps / sigma,
    ),
}

# (g, log_r, log_w), each [B], to the loss of each row.
GUIDANCE_LOSSES: Mapping[str, Callable[[Array, Array, Array], Array]] = Registry(
    {
        "logistic": "tgdp_jax.losses:logistic",
        "kl": "tgdp_jax.losses:kl",
        "mse": "tgdp_jax.losses:mse",
        "log_mse": "tgdp_jax.losses:log_mse",
        "cep": "tgdp_jax.losses:cep",
    }
)

ADVERSARIAL_LOSSES: Mapping[str, AdversarialLoss] = Registry(
    {
        "non_saturating": "tgdp_jax.losses:NON_SATURATING",
        "wasserstein": "tgdp_jax.losses:WASSERSTEIN",
    }
)
