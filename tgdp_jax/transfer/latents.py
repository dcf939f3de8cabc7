"""Pictures with captions as rows of latents, which the autoencoder of a pretrained pipeline makes.

A problem of pictures is planned first: its rows have the shape of latents and no picture is read, so that whatever does
not fit is said before anything is computed. Then its pictures are encoded once, as a stage like any other.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tgdp_jax.data.captions import Stored, picture
from tgdp_jax.data.problem import Data, Problem, Scaler
from tgdp_jax.data.registry import has_captions
from tgdp_jax.data.text_images import TextImages
from tgdp_jax.errors import UserError
from tgdp_jax.interop.pipeline import LabelPipeline, Pipeline, TextPipeline
from tgdp_jax.settings.run import RunConfig, TrainingConfig
from tgdp_jax.settings.stored import fingerprint, to_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log, Session
from tgdp_jax.transfer.artefacts import Encoded, Prior
from tgdp_jax.transfer.base import StageResult
from tgdp_jax.transfer.captions import check_captions
from tgdp_jax.transfer.class_labels import check_classes
from tgdp_jax.transfer.pretrained import model_digest, pretrained_model
from tgdp_jax.transfer.registry import METHODS
from tgdp_jax.transfer.stages import Watch, named_key, run_stage, silent, train_method

STAGE, DRAWN = "latents", "source_rows"


@dataclasses.dataclass(frozen=True)
class Autoencoder(Scaler):
    """Between latents and the user's units, which are pixels in [0, 1].

    Attributes:
      pipe: whose autoencoder it is.
    """

    pipe: Pipeline | None = None

    def to_model(self, x: np.ndarray) -> np.ndarray:
        """Pictures [N, H, W, 3] as latents [N, h, w, c]."""
        assert self.pipe is not None
        return self.pipe.encode(x)

    def to_user(self, x: np.ndarray) -> np.ndarray:
        """Latents as pictures."""
        assert self.pipe is not None
        return self.pipe.decode(x)


def refuse_captions(problem: Any, command: str) -> None:
    """Refuses the config of a problem of pictures with captions where a command takes rows as they are read.

    Raises:
      UserError: it is such a config.
    """
    if has_captions(problem):
        raise UserError(f"{command} takes no pictures with captions: use tgdp run or tgdp compare")


def planned(config: RunConfig, problem: Problem) -> Problem:
    """A problem of pictures with rows of the shape that the pretrained pipeline takes, all zero; others as they are.

    Raises:
      UserError: there is no pipeline, or one that does not fit, or a method that does not adapt any.
    """
    if problem.captions is None:
        return problem
    if pretrained_model(config) is None:
        raise UserError(
            f"{problem.name} is for a pretrained pipeline: give the folder of one that reads captions with --pretrained"
        )
    if not METHODS[config.method].captions:
        known = ", ".join(name for name, method in METHODS.items() if method.captions)
        raise UserError(f"{config.method} does not adapt text-to-image pipelines: choose one of {known}")
    if config.augment != "none":
        raise UserError("latents of a picture are not moved or mirrored as it is: leave out --augment")
    problem = in_pictures(config, problem)
    if not isinstance(problem, TextImages):
        return problem
    pipe = _pipeline(config)
    shape = pipe.shape(None if problem.size is None else (problem.size, problem.size))
    made = _with_rows(problem, lambda rows, name: np.broadcast_to(np.float32(0), (len(rows), *shape)))
    if isinstance(pipe, LabelPipeline):
        check_classes(pipe, made)
    else:
        check_captions(pipe, made)
    if METHODS[config.method].card.source_rows:
        num = config.text.num_source
        source = Data(np.broadcast_to(np.float32(0), (num, *shape)), np.zeros(num, np.int32))
        return dataclasses.replace(made, source=source)
    return made


def in_pictures(config: TrainingConfig, problem: Problem) -> Problem:
    """The problem with the user's units that the pretrained pipeline decodes latents to; others as they are."""
    if problem.captions is None:
        return problem
    return dataclasses.replace(problem, scaler=Autoencoder(np.zeros(()), np.ones(()), _pipeline(config)))


def encoded(
    config: RunConfig,
    problem: Problem,
    identity: dict[str, Any],
    store: Store,
    watch: Watch,
    *,
    log: Callable[[str], Log] | None = None,
    only_load: bool = False,
) -> Problem:
    """A planned problem with its pictures as latents, from the store where that is done already; others as they are.

    Methods that compare source rows with target rows are given samples of the pipeline, of the target's captions: the
    ratio of the joint of latent and caption then is that of latents given the caption.

    Args:
      config: settings of the run.
      problem: planned.
      identity: what fixes the data, see `problem_identity`.
      store, watch, log, only_load: see `run_stage`.

    Raises:
      UserError: a picture can not be read.
    """
    if not isinstance(problem, TextImages):
        return problem

    def run(session: Session) -> StageResult:
        done = _Counted(session, sum(map(len, problem.pictures.values())))
        latents = {name: _encode(config, problem, name, done) for name in problem.pictures}
        return StageResult(Encoded(**latents), {}, {"pictures": done.total})

    # Which pictures are taken depends on the number and the seed.
    uses = {"n_target": len(problem.target), "seed": config.seed, "shape": list(problem.shape)}
    mark = fingerprint({"stage": STAGE, "problem": identity, **uses, **model_digest(config)})
    tree: Mapping[str, Any] = run_stage(STAGE, run, mark, store, watch, log=log, only_load=only_load).tree
    made = _with_rows(problem, lambda rows, name: np.asarray(tree[name]))
    if not METHODS[config.method].card.source_rows:
        return made
    # The ratio is to the density that the network was trained on, which guidance would sharpen.
    plain = dataclasses.replace(config, text=dataclasses.replace(config.text, scale=1.0))

    def draw(session: Session) -> StageResult:
        ids = np.arange(config.text.num_source)
        source = train_method(plain, made, identity, "source", config.seed, store, silent, only_load=only_load)
        labels = made.target_labels(named_key(config.seed, "source captions"), ids)
        done = _Counted(session, len(ids))
        x = source.generator.draw(named_key(config.seed, "source rows"), ids, labels, progress=done)
        return StageResult(Prior(x, labels), {}, {"samples": len(ids)})

    uses |= {"num": config.text.num_source, "sampling": to_json(dataclasses.replace(config.sampling, num=1))}
    mark = fingerprint({"stage": DRAWN, "problem": identity, **uses, **model_digest(config)})
    drawn = Prior.from_tree(run_stage(DRAWN, draw, mark, store, watch, log=log, only_load=only_load).tree)
    return dataclasses.replace(made, source=Data(np.asarray(drawn.x), np.asarray(drawn.y)))


class _Counted:
    """Reports pictures of several parts as one piece of work, with their rate."""

    def __init__(self, session: Session, total: int):
        self.session, self.total, self.before, self.start = session, total, 0, time.perf_counter()

    def __call__(self, done: int) -> None:
        if self.session.progress is not None:
            done = self.before + done
            self.session.progress(done, self.total, math.nan, done / max(time.perf_counter() - self.start, 1e-9))


def pictures(problem: TextImages, name: str) -> Iterator[np.ndarray]:
    """The pictures [H, W, 3] in [0, 1] behind the latents of a planned problem, one by one.

    Args:
      problem: the problem.
      name: of its rows, target or reference.

    Raises:
      UserError: a picture can not be read.
    """
    assert isinstance(problem.scaler, Autoencoder) and problem.scaler.pipe is not None
    factor, (height, width, _) = problem.scaler.pipe.vae.factor, problem.shape
    for stored in problem.pictures[name]:
        yield picture(stored, (height * factor, width * factor), problem.background)


def _encode(config: RunConfig, problem: TextImages, name: str, done: _Counted) -> np.ndarray:
    pipe, latents = _pipeline(config), []
    # One by one: pixels are many times as large as latents.
    for pixels in pictures(problem, name):
        latents.append(pipe.encode(pixels[None]))
        done(len(latents))
    done.before += len(latents)
    return np.concatenate(latents)


def _with_rows(problem: TextImages, rows: Callable[[tuple[Stored, ...], str], np.ndarray]) -> TextImages:
    target = Data(rows(problem.pictures["target"], "target"), problem.target.y)
    reference = problem.reference
    if reference is not None:
        reference = Data(rows(problem.pictures["reference"], "reference"), reference.y)
    source = Data(np.empty((0, *target.x.shape[1:]), np.float32))
    return dataclasses.replace(problem, source=source, target=target, reference=reference)


def _pipeline(config: TrainingConfig) -> TextPipeline | LabelPipeline:
    pipe = pretrained_model(config)
    if not isinstance(pipe, TextPipeline | LabelPipeline):
        raise UserError(f"{config.pretrained} reads no captions: give the folder of a text-to-image pipeline")
    return pipe
