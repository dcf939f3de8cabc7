"""The source model: trained on the source rows, or a pretrained one taken as it is. As a method: no transfer."""

from __future__ import annotations

import functools
import warnings

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.prediction import ScoreFn
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import fingerprint, network_uses, source_uses, to_json
from tgdp_jax.train.denoiser import fit_denoiser
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import Task
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.reparam import Reparam
from tgdp_jax.train.representation import check_hidden
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network, params_of
from tgdp_jax.transfer.base import ScoreGenerator, Stage, StageResult, Trees
from tgdp_jax.transfer.label_classifier import label_stage
from tgdp_jax.transfer.networks import check_denoiser, denoiser, denoiser_score
from tgdp_jax.transfer.pretrained import forward_process, prediction, pretrained_model, pretrained_variables

Array = jax.Array


def denoising(
    config: TrainingConfig,
    problem: Problem,
    optimiser: OptimiserConfig,
    *,
    new_token: bool = False,
    reparam: Reparam | None = None,
) -> Task:
    """The denoising task of the run's network: all of it, or with a `reparam` what that trains."""
    return denoising_task(
        denoiser(config, problem, new_token=new_token),
        forward_process(config),
        prediction(config),
        optimiser.batch_size,
        problem.shape,
        optimiser.validation_rows,
        config.augment,
        reparam,
        config.source.weighting,
        problem.conditional,
        dropout=0.0 if problem.captions is None else problem.captions.dropout,
    )


def source_stage(config: TrainingConfig, problem: Problem, *, name: str = "source") -> Stage:
    """Trains the source model on the source rows, stopped on a held-out part; a pretrained one it takes as it is.

    With `source.self_supervised` the network learns a representation beside; what is left is a plain network too.

    Raises:
      UserError: the network does not fit the rows, or an objective would hide parts of rows that have none.
    """
    check_denoiser(config, problem)
    if config.source.self_supervised:
        check_hidden(problem.shape, config.representation)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        model = pretrained_model(config)
        if model is not None:
            with warnings.catch_warnings(record=True) as cut:
                warnings.simplefilter("always")
                variables = pretrained_variables(model, problem)
            said = {"warnings": [str(warning.message) for warning in cut]} if cut else {}
            return StageResult(Network(variables), {}, {"pretrained": str(config.pretrained), **said})
        settings = config.source
        fitted = fit_denoiser(
            key,
            denoiser(config, problem),
            forward_process(config),
            problem.source.arrays(problem.conditional),
            prediction=prediction(config),
            weighting=settings.weighting,
            held_out=settings.held_out,
            optimiser=settings.optimiser,
            augmentation=config.augment,
            representation=config.representation if settings.self_supervised else None,
            session=session,
        )
        return StageResult(Network(fitted.params), fitted.history, {"best_step": fitted.best_step})

    uses = {
        "process": to_json(config.process),
        "augment": config.augment,
        **network_uses(config),
        **source_uses(config),
    }
    if problem.captions is not None:
        uses["captions"] = [list(problem.shape), fingerprint(problem.classes)]
    if config.source.self_supervised:
        uses["representation"] = to_json(config.representation)
    return Stage(name, (), uses, uses_target=False, run=run)


def score_generator(config: TrainingConfig, problem: Problem, score: ScoreFn) -> ScoreGenerator:
    """Samples of a score, as the settings say."""
    return ScoreGenerator(score, forward_process(config), problem.shape, config.sampling)


def network_generator(config: TrainingConfig, problem: Problem, trees: Trees, *, stage: str) -> ScoreGenerator:
    """Samples of the network that a stage left."""
    return score_generator(config, problem, denoiser_score(config, problem, params_of(trees, stage)))


_ON_SOURCE_ROWS = {"source": source_stage, "label_classifier": label_stage}


def with_source_stages(config: TrainingConfig, problem: Problem, *stages: Stage) -> tuple[Stage, ...]:
    """Stages, after those on source rows that they need."""
    needed = {name for stage in stages for name in stage.needs}
    return (*(make(config, problem) for name, make in _ON_SOURCE_ROWS.items() if name in needed), *stages)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    return (source_stage(config, problem),)


generator = functools.partial(network_generator, stage="source")
