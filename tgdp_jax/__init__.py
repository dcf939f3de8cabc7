"""Transfer guided diffusion in JAX: carry a pretrained diffusion model over to a small target data set.

Every public name is reachable from here and imported when it is first used:

    import tgdp_jax as tg

    model = tg.transfer.run("tgdp", source_rows, target_rows)
    samples = model.sample(1000).x
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import public

__version__ = "0.1.0"

# Public names by the module that has them; modules of the package itself are public too.
_NAMES = {
    "data": (),
    "density_ratio": (),
    "errors": ("UserError",),
    "guidance": ("domain_guidance", "log_ratio_guidance"),
    "interop": (),
    "losses": (),
    "metrics": (),
    "nets": (),
    "prediction": ("network_score",),
    "sampling": ("log_likelihood", "sample"),
    "sde": (),
    "settings": (),
    "train": (),
    "transfer": (),
    "app.commands.compare": ("compare",),
    "app.model": ("load",),
    "data.registry": ("PROBLEMS",),
    "metrics.overlap": ("diagnose",),
    "settings.run": ("CompareConfig", "RunConfig", "TrainingConfig"),
    "train.classifier": ("fit_log_ratio",),
    "train.denoiser": ("fit_denoiser",),
    "train.guidance": ("fit_guidance",),
    "transfer.registry": ("METHODS",),
}
__all__ = [
    "__version__",
    *(module for module in _NAMES if "." not in module),
    *(name for names in _NAMES.values() for name in names),
]

if TYPE_CHECKING:
    from tgdp_jax import (
        data as data,
    )
    from tgdp_jax import (
        density_ratio as density_ratio,
    )
    from tgdp_jax import (
        errors as errors,
    )
    from tgdp_jax import (
        guidance as guidance,
    )
    from tgdp_jax import (
        interop as interop,
    )
    from tgdp_jax import (
        losses as losses,
    )
    from tgdp_jax import (
        metrics as metrics,
    )
    from tgdp_jax import (
        nets as nets,
    )
    from tgdp_jax import (
        prediction as prediction,
    )
    from tgdp_jax import (
        sampling as sampling,
    )
    from tgdp_jax import (
        sde as sde,
    )
    from tgdp_jax import (
        settings as settings,
    )
    from tgdp_jax import (
        train as train,
    )
    from tgdp_jax import (
        transfer as transfer,
    )
    from tgdp_jax.app.commands.compare import compare as compare
    from tgdp_jax.app.model import load as load
    from tgdp_jax.data.registry import PROBLEMS as PROBLEMS
    from tgdp_jax.errors import UserError as UserError
    from tgdp_jax.guidance import domain_guidance as domain_guidance
    from tgdp_jax.guidance import log_ratio_guidance as log_ratio_guidance
    from tgdp_jax.metrics.overlap import diagnose as diagnose
    from tgdp_jax.prediction import network_score as network_score
    from tgdp_jax.sampling import log_likelihood as log_likelihood
    from tgdp_jax.sampling import sample as sample
    from tgdp_jax.settings.run import (
        CompareConfig as CompareConfig,
    )
    from tgdp_jax.settings.run import (
        RunConfig as RunConfig,
    )
    from tgdp_jax.settings.run import (
        TrainingConfig as TrainingConfig,
    )
    from tgdp_jax.train.classifier import fit_log_ratio as fit_log_ratio
    from tgdp_jax.train.guidance import fit_guidance as fit_guidance
    from tgdp_jax.transfer.registry import METHODS as METHODS


__getattr__ = public(__name__, _NAMES)


def __dir__() -> list[str]:
    return __all__
