"""Folders that diffusers' `UNet2DModel.save_pretrained` writes: loaded as a source model, and written back.

Neither diffusers nor torch is needed: a folder is `config.json`, `diffusion_pytorch_model.safetensors` and, for the
process, a scheduler's `scheduler_config.json` beside them, in `../scheduler` or, in a pipeline's folder, in
`scheduler/` (the net being in `unet/`). Pickled weights are refused, since loading a pickle can run code.

A model of a chain of T steps is called with t * T - 1 as its timestep (`DiscreteTime`), and `DiscreteVP` is the process
that has the chain's marginals, so that solvers and guidance see a model in continuous time like any other.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from tgdp_jax.errors import UserError, write_remedy
from tgdp_jax.interop import options, tensors
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.prediction import ScoreFn, network_score, to_eps
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.sde import DiscreteVP

Array = jax.Array
CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


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
    if not folder.is_dir():
        if folder.suffix in PICKLES:
            raise _pickled(folder)
        raise UserError(f"{folder} is not a folder: give the one that holds {CONFIG} and {WEIGHTS}")
    home = _home(folder)
    values = _read_json(home / CONFIG)
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
    side = 2 ** (len(unet.channels) - 1)
    labels = jnp.zeros((1,), jnp.int32) if unet.num_classes else None
    x = jnp.zeros((1, side, side, shape[-1]))
    expected = jax.eval_shape(net.init, jax.random.key(0), x, jnp.ones((1,)), labels)
    params = tensors.from_tensors(_read_weights(home), expected["params"]["net"], str(home / WEIGHTS))
    variables = {"params": {"net": jax.tree.map(jnp.asarray, params)}}
    return DiffusersUNet(net, variables, sde, prediction, shape)


def unet_files(folder: str | Path) -> dict[str, Path]:
    """The files of a U-Net's folder that `load_unet` reads, by name."""
    folder = Path(folder)
    home = _home(folder)
    files = {name: home / name for name in (CONFIG, WEIGHTS)}
    schedulers = [(SCHEDULER, place) for place in _scheduler_places(home, folder)]
    return {name: file for name, file in files.items() if file.exists()} | dict(schedulers[:1])


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
    folder = Path(folder).absolute()
    part = folder.with_name(f".{folder.name}.part")
    scheduler = options.options_of_process(model.sde, model.prediction)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists already: choose another folder or delete it")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir(parents=True)
        _write_json(part / CONFIG, options.options_of_unet(model.net.net, model.shape))
        _write_json(part / SCHEDULER, scheduler)
        # diffusers reads files that say what they were written from.
        arrays = tensors.to_tensors(model.variables["params"]["net"])
        safetensors.numpy.save_file(arrays, part / WEIGHTS, metadata={"format": "pt"})
        os.replace(part, folder)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} can not be written ({error}): {write_remedy(error)}") from error
    finally:
        # Gone already where all went well; an interrupt leaves nothing half-written either.
        shutil.rmtree(part, ignore_errors=True)


def _home(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet").is_dir() else folder


def _scheduler_places(home: Path, folder: Path) -> list[Path]:
    """Where a scheduler's file lies, if there is one; the first counts."""
    places = dict.fromkeys((home / SCHEDULER, home.absolute().parent / "scheduler" / SCHEDULER))
    if folder == home:
        places[folder / "scheduler" / SCHEDULER] = None
    return [place for place in places if place.exists()]


def _read_process(home: Path, folder: Path) -> tuple[DiscreteVP, str] | None:
    for place in _scheduler_places(home, folder):
        return options.process_of_options(_read_json(place), str(place))
    return None


def _read_weights(home: Path) -> dict[str, np.ndarray]:
    if (home / WEIGHTS).exists():
        return tensors.read_tensors(home / WEIGHTS)
    if (home / f"{WEIGHTS}.index.json").exists():
        raise UserError(f"{home} holds weights in several parts: save them in one, with a larger max_shard_size")
    for file in sorted(home.iterdir()):
        if file.suffix in PICKLES:
            raise _pickled(file)
    raise UserError(f"{home} has no {WEIGHTS}: fetch it")


def _pickled(file: Path) -> UserError:
    return UserError(
        f"{file} is a pickle, which can run code when it is loaded: convert it to {WEIGHTS} where you trust it, with "
        "diffusers' UNet2DModel.from_pretrained(...).save_pretrained(..., safe_serialization=True)"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: give the folder that holds {CONFIG} and {WEIGHTS}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can not be read ({error}): fetch it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object: fetch it again")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
