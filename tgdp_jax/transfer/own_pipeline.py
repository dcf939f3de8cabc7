"""Training the text-to-image pipeline of the problem `shapes`, as two stages: its autoencoder, then all that is told
captions.

U-Net and text encoder are trained together, as a denoiser that reads captions (`nets.captioned`): the loss is that of
any other source model. The result is a folder of diffusers in the run's, and from there on a pretrained pipeline.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.shapes.drawing import SIDE
from tgdp_jax.data.shapes.problem import ShapesConfig, any_pictures, source_pictures
from tgdp_jax.interop.files import INDEX
from tgdp_jax.interop.pipeline import TextPipeline
from tgdp_jax.interop.pipeline_folder import write_pipeline
from tgdp_jax.nets.captioned import COLLECTION, Captioned
from tgdp_jax.runtime.parallel import barrier, is_primary
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import fingerprint, to_json
from tgdp_jax.train.autoencoder import autoencoder_task
from tgdp_jax.train.batches import split_rows
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.reparam import Chosen, started
from tgdp_jax.train.session import Log, Session
from tgdp_jax.train.settings import OptimiserConfig
from tgdp_jax.transfer.artefacts import Network, ScaledNetwork
from tgdp_jax.transfer.base import StageResult
from tgdp_jax.transfer.blueprint import blueprint, trains_own
from tgdp_jax.transfer.stages import Watch, named_key, run_stage

FOLDER = "source"
AUTOENCODER, DENOISER = "autoencoder", "text_to_image"
_CHUNK = 100  # pictures that are encoded at a time
_WEIGHTS = Chosen("^params/")


def located(config: RunConfig, folder: Path) -> RunConfig:
    """The settings of a finished run with the pipeline that it trained, if it trained one; others as they are."""
    return dataclasses.replace(config, pretrained=folder / FOLDER) if trains_own(config) else config


def with_own_pipeline(
    config: RunConfig, folder: Path, store: Store, watch: Watch, *, log: Callable[[str], Log] | None = None
) -> RunConfig:
    """Trains the pipeline of a run that needs one of its own, and writes it into the run's folder.

    Args:
      config: settings of the run.
      folder: of the run.
      store, watch, log: see `run_stage`.

    Returns:
      `located` settings.

    Raises:
      UserError: training diverged, or the folder can not be written.
      Preempted: the process was asked to stop; training is saved.
    """
    if not trains_own(config):
        return config
    pipe, place = _trained(config, store, watch, log), folder / FOLDER
    if is_primary() and not (place / INDEX).exists():
        shutil.rmtree(place, ignore_errors=True)  # what is left of it
        write_pipeline(place, pipe)
    barrier(f"own pipeline {place}")
    return located(config, folder)


def _trained(config: RunConfig, store: Store, watch: Watch, log: Callable[[str], Log] | None) -> TextPipeline:
    own = config.problem
    assert isinstance(own, ShapesConfig)
    seed = config.seed if config.source_seed is None else config.source_seed
    pipe = blueprint(config)

    def train_autoencoder(session: Session) -> StageResult:
        return _fit_autoencoder(named_key(seed, AUTOENCODER), pipe, own, seed, session)

    uses = {"num_source": own.num_source, "seed": seed, "steps": own.autoencoder_steps}
    mark = fingerprint({"stage": AUTOENCODER, "net": repr(pipe.vae), **uses})
    tree: dict[str, Any] = run_stage(AUTOENCODER, train_autoencoder, mark, store, watch, log=log).tree
    pipe = dataclasses.replace(pipe, vae=pipe.vae.clone(scale=float(tree["scale"])), vae_params=tree["params"])

    def train_denoiser(session: Session) -> StageResult:
        return _fit_text_to_image(named_key(seed, DENOISER), pipe, config, own, seed, session)

    uses |= {"width": own.width, "dropout": own.dropout, "source": to_json(config.source)}
    nets = repr((pipe.net, [encoder.net for encoder in pipe.encoders], pipe.sde))
    mark = fingerprint({"stage": DENOISER, "needs": mark, "nets": nets, "precision": config.precision, **uses})
    found = run_stage(DENOISER, train_denoiser, mark, store, watch, log=log).tree["params"]["params"]
    (encoder,) = pipe.encoders
    encoder = dataclasses.replace(encoder, params={"params": found["encoders_0"]})
    return dataclasses.replace(pipe, params={"params": found["net"]}, encoders=(encoder,))


def _fit_autoencoder(key: jax.Array, pipe: TextPipeline, own: ShapesConfig, seed: int, session: Session) -> StageResult:
    """Trains the autoencoder, and finds what brings latents of the source's pictures to unit scale."""
    settings = OptimiserConfig(
        steps=own.autoencoder_steps,
        batch_size=16,
        learning_rate=3e-3,
        warmup=min(50, own.autoencoder_steps - 1),
        ema=0.99,
        steps_per_launch=50,
    )
    task = autoencoder_task(pipe.vae, settings.batch_size, SIDE, noise=0.07)
    data = split_rows({"x": jax.device_put(2.0 * any_pictures(own.num_source, seed) - 1.0)}, 0.05)
    fitted = fit(key, task, settings, data=data, session=session)
    made = dataclasses.replace(pipe, vae_params=fitted.params)
    latents = made.encode(source_pictures(own.num_source, seed).x, chunk=_CHUNK)
    # So few digits that files say them in full. Their mean stays: diffusers' pipelines of this kind read no shift.
    scale = np.round(1.0 / max(latents.std(), 1e-3), 4)
    return StageResult(ScaledNetwork(fitted.params, scale), fitted.history, {"best_step": int(fitted.best_step[0])})


def _fit_text_to_image(
    key: jax.Array, pipe: TextPipeline, config: RunConfig, own: ShapesConfig, seed: int, session: Session
) -> StageResult:
    """Trains U-Net and text encoder together on the source's captioned pictures."""
    pictures, (encoder,) = source_pictures(own.num_source, seed), pipe.encoders
    classes = tuple(dict.fromkeys(pictures.captions))
    number = {text: label for label, text in enumerate(classes)}
    net: Any = Captioned(
        net=pipe.net.clone(dtype=config.dtype, remat=config.network.remat),
        num_steps=pipe.sde.num_steps,
        num_classes=len(classes),
        length=encoder.tokenizer.length,
        encoders=(encoder.net,),
    )
    shape, optimiser = pipe.shape(), config.source.optimiser
    init_key, key = jax.random.split(key)
    base = jax.jit(net.init)(init_key, jnp.zeros((1, *shape)), jnp.ones(1), jnp.zeros(1, jnp.int32))
    # What no caption says is what the empty one says.
    ids = encoder.tokenizer([*classes, ""]).ids
    base = {**base, COLLECTION: {"ids_0": jnp.asarray(ids), "kept": jnp.ones(len(ids))}}
    task = denoising_task(
        net,
        pipe.sde,
        pipe.prediction,
        optimiser.batch_size,
        shape,
        optimiser.validation_rows,
        reparam=_WEIGHTS,
        weighting=config.source.weighting,
        labelled=True,
        dropout=own.dropout,
    )
    labels = np.array([number[text] for text in pictures.captions], np.int32)
    data = split_rows(jax.device_put({"x": pipe.encode(pictures.x, chunk=_CHUNK), "y": labels}), config.source.held_out)
    fitted = fit(
        key, task, optimiser, data=data, initial=started(_WEIGHTS, init_key, base), frozen=base, session=session
    )
    return StageResult(Network(fitted.params), fitted.history, {"best_step": int(fitted.best_step[0])})
