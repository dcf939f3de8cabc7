"""Folders that diffusers' `UNet2DModel.save_pretrained` writes: loaded as a source model, and written back.

Neither diffusers nor torch is needed: a folder is `config.json`, `diffusion_pytorch_model.safetensors` (or its parts,
or a variant such as `diffusion_pytorch_model.fp16.safetensors`) and, for the process, a scheduler's
`scheduler_config.json` beside them, in `../scheduler` or, in a pipeline's folder, in `scheduler/` (the net being in
`unet/`). Pickled weights are refused, since loading a pickle can run code.

Whatever can be wrong with a folder is found before anything as large as a config asks for is made: the header of the
weights is read first, a config must have its sizes, and only where every shape fits are the weights themselves read.

A model of a chain of T steps is called with t * T - 1 as its timestep (`DiscreteTime`), and `DiscreteVP` is the process
that has the chain's marginals, so that solvers and guidance see a model in continuous time like any other.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.interop import options, schedulers
from tgdp_jax.interop.files import CONFIG, SCHEDULER, read_json, readable, unet_config, weight_files
from tgdp_jax.interop.sizes import check_sizes
from tgdp_jax.interop.weights import new_folder, params_of, read_weights, write_json, write_model
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.prediction import ScoreFn, network_score, to_eps
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.sde import DiscreteVP

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class DiffusersUNet:
    """A U-Net of diffusers with its process.

    Attributes:
      net: network (x [B, H, W, C], t [B] in [1 / T, 1], cond) -> prediction [B, H, W, C]; `net.net` is the U-Net.
      variables: of `net`, {"params": ...}, float32.
      sde: the process.
      prediction: what `net` predicts, one of `prediction.PREDICTIONS`.
      shape: (H, W, C) of the images it was trained on; H and W are None where the folder does not say.
    """

    net: DiscreteTime
    variables: Any
    sde: DiscreteVP
    prediction: str
    shape: options.Shape

    def score(self) -> ScoreFn:
        """The score function (x [B, H, W, C], t [B], cond) -> [B, H, W, C]; cond are labels, where it has classes."""
        return network_score(self.net, self.variables, self.sde, prediction=self.prediction)

    def eps(self, x: Array, t: Array, cond: Array | None = None) -> Array:
        """The noise that it sees in x [B, H, W, C] at t [B]."""
        out: Any = self.net.apply(self.variables, x, t, cond)
        return to_eps(self.prediction, out, x, t, self.sde)


def load_unet(
    folder: str | Path, *, sde: DiscreteVP | None = None, prediction: str = "eps", dtype: Any = jnp.float32
) -> DiffusersUNet:
    """Reads a U-Net from a diffusers folder.

    Args:
      folder: of a `UNet2DModel`, or of a pipeline with `unet/` and `scheduler/`.
      sde: the process, only for a folder without a scheduler.
      prediction: what the net predicts, one of `prediction.PREDICTIONS`, only for such a folder.
      dtype: what inner layers compute in, see `UNet`.

    Raises:
      UserError: a file is missing or damaged, the weights are pickled or do not fit the config, or an option is not
        supported.
    """
    folder = Path(folder)
    with readable(folder):
        return _loaded(folder, sde, prediction, dtype)


def _loaded(folder: Path, sde: DiscreteVP | None, prediction: str, dtype: Any) -> DiffusersUNet:
    home, values = unet_config(folder)
    unet, shape = options.unet_of_options(values, str(home / CONFIG))
    if unet.time_kind == "fourier":
        raise UserError(
            f"{home / CONFIG}: time_embedding_type is 'fourier', whose timesteps are noise scales; a chain's first "
            "timestep is 0, where such a net is infinite: use one of type 'positional'"
        )
    if unet.out_channels != shape[-1]:
        raise UserError(
            f"{home / CONFIG}: out_channels is {unet.out_channels} and in_channels {shape[-1]}: a net that predicts "
            "noise has as many of both"
        )
    found = _read_process(home, folder)
    if found is not None:
        if sde is not None:
            raise UserError(f"{home} has a scheduler, so that its process is known: leave out sde")
        sde, prediction = found
    elif sde is None:
        raise UserError(f"{home} has no {SCHEDULER} beside it or in ../scheduler: add it, or give sde and prediction")
    net = DiscreteTime(unet.clone(dtype=dtype), sde.num_steps)
    params = read_weights(
        home,
        check=lambda shapes: check_sizes(unet, shape[-1], shapes, str(home / CONFIG)),
        expected=lambda: _expected(net, shape[-1]),
    )
    return DiffusersUNet(net, {"params": {"net": params}}, sde, prediction, shape)


def _expected(net: DiscreteTime, channels: int) -> Any:
    """The U-Net's parameters, as shapes alone: nothing is computed, and no image is made."""
    side = 2 ** (len(net.net.channels) - 1)
    x, t = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32) if net.num_classes else None
    return params_of(net, x, t, labels)["net"]


def unet_files(folder: str | Path) -> dict[str, Path]:
    """The files of a U-Net's folder that `load_unet` reads, by name.

    Raises:
      UserError: the folder can not be read, or has no weights or several to choose from.
    """
    folder = Path(folder)
    with readable(folder):
        home, _ = unet_config(folder)
        schedulers = [(SCHEDULER, place) for place in _scheduler_places(home, folder)]
        return {file.name: file for file in (home / CONFIG, *weight_files(home))} | dict(schedulers[:1])


def save_unet(folder: str | Path, model: DiffusersUNet) -> None:
    """Writes a folder that `UNet2DModel.from_pretrained`, `DDPMScheduler.from_pretrained` and `load_unet` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      model: what to write, such as a loaded one with new variables (`dataclasses.replace`).

    Raises:
      UserError: the folder holds something or can not be written, or diffusers has no such model.
    """
    if not is_primary():
        return
    scheduler = schedulers.options_of_process(model.sde, model.prediction)
    with new_folder(folder) as part:
        write_model(part, options.options_of_unet(model.net.net, model.shape), model.variables["params"]["net"])
        write_json(part / SCHEDULER, scheduler)


def _scheduler_places(home: Path, folder: Path) -> list[Path]:
    """Where a scheduler's file lies, if there is one; the first counts."""
    places = dict.fromkeys((home / SCHEDULER, home.absolute().parent / "scheduler" / SCHEDULER))
    if folder == home:
        places[folder / "scheduler" / SCHEDULER] = None
    return [place for place in places if place.exists()]


def _read_process(home: Path, folder: Path) -> tuple[DiscreteVP, str] | None:
    for place in _scheduler_places(home, folder):
        return schedulers.process_of_options(read_json(place), str(place))
    return None
