"""Configs of diffusers' schedulers, to and from this library's process.

A scheduler is a chain and a way to sample it. The chain is read; how to sample is ours to choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import SCHEDULER, read_json, readable
from tgdp_jax.interop.options import Options, is_number
from tgdp_jax.sde import BETA_SCHEDULES, DiscreteVP

_USUAL, _LATENT = (1e-4, 0.02), (0.00085, 0.012)
# Schedulers whose chain is x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, with the betas that they begin and end
# with where a config does not say.
SCHEDULERS = {
    "DDPMScheduler": _USUAL,
    "DDPMParallelScheduler": _USUAL,
    "DDIMScheduler": _USUAL,
    "DDIMParallelScheduler": _USUAL,
    "PNDMScheduler": _USUAL,
    "LMSDiscreteScheduler": _USUAL,
    "EulerDiscreteScheduler": _USUAL,
    "EulerAncestralDiscreteScheduler": _USUAL,
    "HeunDiscreteScheduler": _LATENT,
    "KDPM2DiscreteScheduler": _LATENT,
    "KDPM2AncestralDiscreteScheduler": _LATENT,
    "DPMSolverMultistepScheduler": _USUAL,
    "DPMSolverSinglestepScheduler": _USUAL,
    "DPMSolverSDEScheduler": _LATENT,
    "DEISMultistepScheduler": _USUAL,
    "SASolverScheduler": _USUAL,
    "UniPCMultistepScheduler": _USUAL,
}
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Chains are of 1,000 steps, of 4,000 at most.
_MAX_STEPS = 100_000


def read_scheduler(folder: str | Path, *, learned_variance: bool = False) -> tuple[DiscreteVP, str]:
    """Reads the process and what its net predicts from a folder with a scheduler's config.

    Args:
      folder: with scheduler_config.json.
      learned_variance: whether the net outputs a variance as well, which its reader leaves out.

    Returns:
      (process, one of `prediction.PREDICTIONS`).

    Raises:
      UserError: the config is missing or damaged, or can not be expressed, see `process_of_options`.
    """
    path = Path(folder) / SCHEDULER
    with readable(path.parent):
        return process_of_options(read_json(path), str(path), learned_variance=learned_variance)


def process_of_options(values: dict[str, Any], where: str, *, learned_variance: bool = False) -> tuple[DiscreteVP, str]:
    """(process, what the net predicts, one of `prediction.PREDICTIONS`) of a scheduler's config.

    Args:
      values: what the file holds.
      where: its name, for messages.
      learned_variance: see `read_scheduler`.

    Raises:
      UserError: another kind of scheduler, or an option or value that is not supported.
    """
    options = Options(values, where)
    name = options.take("_class_name", None, lambda v: v in tuple(SCHEDULERS), f"one of {', '.join(SCHEDULERS)}")
    options.one_of("use_flow_sigmas", (False,))
    options.one_of("timestep_type", ("discrete",))
    options.take(
        "variance_type",
        "fixed_small",
        lambda v: v is None or (isinstance(v, str) and (learned_variance or not v.startswith("learned"))),
        "a net that predicts no variance, such as one of variance_type 'fixed_small',",
    )
    kind = options.one_of("beta_schedule", BETA_SCHEDULES)
    prediction = options.one_of("prediction_type", tuple(PREDICTIONS))
    start, end = (
        options.take(option, default, lambda v: is_number(v) and 0 < v < 1, "a number in (0, 1)")
        for option, default in zip(("beta_start", "beta_end"), SCHEDULERS[name], strict=True)
    )
    steps = options.whole("num_train_timesteps", 1000, most=_MAX_STEPS)
    betas = options.take(
        "trained_betas",
        None,
        lambda v: v is None or (isinstance(v, list) and len(v) == steps and all(is_number(b) and 0 < b < 1 for b in v)),
        f"a list of num_train_timesteps = {steps} numbers in (0, 1), or null,",
    )
    zero_snr = options.one_of("rescale_betas_zero_snr", (False, True))
    if zero_snr and prediction == "epsilon":
        raise UserError(
            f"{where}: rescale_betas_zero_snr is True and prediction_type 'epsilon', but where no signal is left, the "
            "noise tells nothing of the picture: use a net of 'v_prediction' or 'sample'"
        )
    if betas is None:
        return DiscreteVP(kind, start, end, steps, zero_snr), PREDICTIONS[prediction]
    return DiscreteVP("trained", num_steps=steps, zero_snr=zero_snr, betas=tuple(betas)), PREDICTIONS[prediction]


def options_of_process(sde: DiscreteVP, prediction: str) -> dict[str, Any]:
    """Inverse of `process_of_options`, as a DDPM scheduler's config.

    Raises:
      UserError: diffusers has no such prediction.
    """
    names = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    if prediction not in names:
        raise UserError(f"a net that predicts {prediction!r} can not be exported: choose one of {', '.join(names)}")
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": sde.num_steps,
        "beta_start": sde.beta_start,
        "beta_end": sde.beta_end,
        "beta_schedule": BETA_SCHEDULES[0] if sde.betas else sde.kind,
        "prediction_type": names[prediction],
        "clip_sample": False,
    } | _rarely(sde)


def _rarely(sde: DiscreteVP) -> dict[str, Any]:
    """Options that few chains need."""
    found: dict[str, Any] = {"trained_betas": list(sde.betas)} if sde.betas else {}
    # Sampling that starts anywhere but at the last step misses what its zero is for.
    return found | ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if sde.zero_snr else {})
