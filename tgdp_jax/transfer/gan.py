"""A GAN carried over: generator and discriminator trained on the source both go on on the target (TransferGAN, Wang et
al. 2018), where the discriminator's first layers may be kept from training (FreezeD, Mo et al. 2020).

The rule for the step count is that of the other rivals: cross-validated on the target rows, by the energy score of the
rows held out, with averaged weights; then all rows train for so many steps. The source stops at the best energy score
of held-out source rows.

A GAN can collapse: the generator turns out a few rows whatever its latent vector. Both stages measure how far samples
reach beside the rows that trained (`train.gan.Spread`), and say so where it is too little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.coverage import expected_coverage
from tgdp_jax.nets.gan import LAYER, DiscriminatorConv, DiscriminatorMLP, GeneratorConv, GeneratorMLP
from tgdp_jax.nets.registry import check_network
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sampling.loop import checked_ids
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.batches import split_rows
from tgdp_jax.train.cross_validation import fit_cross_validated
from tgdp_jax.train.fit import Task, fit
from tgdp_jax.train.gan import DISCRIMINATOR, NEIGHBOURS, Game, Players, gan_task, shown_rows, shown_samples, spread
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network, params_of
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.networks import is_dense

Array = jax.Array
SOURCE, TARGET = "gan_source", "gan_target"
# Below half of what equal distributions read.
LEAST = 0.5


def gan_players(config: TrainingConfig, problem: Problem) -> Players:
    """Generator and discriminator: convolutional wherever the denoiser is an image network, dense otherwise.

    Raises:
      UserError: a network for images or series and rows that are none, or more frozen layers than there are.
    """
    gan, common = config.gan, (problem.num_classes, problem.data_std, config.dtype)
    if config.pretrained is None and not is_dense(config):
        check_network(config.network.kind, problem.kind, problem.shape)
    if is_dense(config) or problem.kind != "images":
        generator: Any = GeneratorMLP(problem.shape, gan.latent, gan.features, *common)
        discriminator: Any = DiscriminatorMLP(gan.features, *common)
    else:
        generator = GeneratorConv(problem.shape, gan.latent, gan.channels, *common)
        discriminator = DiscriminatorConv(gan.channels, *common)
    if gan.freeze > discriminator.num_layers:
        raise UserError(f"freeze is {gan.freeze}: the discriminator has {discriminator.num_layers} layers to freeze")
    return Players(generator, discriminator)


def _task(config: TrainingConfig, problem: Problem, optimiser: OptimiserConfig) -> Task:
    gan = config.gan
    game = Game(loss=gan.loss, penalty=gan.penalty, discriminator_steps=gan.discriminator_steps)
    return gan_task(gan_players(config, problem), game, optimiser.batch_size, problem.shape, config.augment)


def _reach(stage: str, players: Players, params: Any, data: dict[str, Any]) -> dict[str, Any]:
    """How far the samples reach, with a warning where the generator has collapsed; JSON-able."""
    fake, _ = shown_samples(players, params, data)
    found = spread(data["x"][data["shown"]], fake)
    diversity, coverage = (float(value) for value in found)
    rows = len(data["shown"])
    expected = expected_coverage(rows, len(fake), min(NEIGHBOURS, rows - 1))
    facts: dict[str, Any] = {"diversity": diversity, "coverage": coverage, "expected_coverage": expected}
    if min(diversity, coverage / expected) < LEAST:
        facts["warnings"] = [
            f"the generator of {stage} has collapsed: its samples lie {diversity:.2f} times as far apart as the rows "
            f"that it learned from and come near {coverage:.0%} of them ({expected:.0%} for equal distributions); try "
            "a larger --gan.penalty, a lower learning rate or more discriminator steps"
        ]
    return facts


def gan_source_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains both players on the source rows, stopped on a held-out part.

    Raises:
      UserError: see `gan_players`.
    """
    players = gan_players(config, problem)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        settings = config.gan
        data = {
            **split_rows(problem.source.arrays(problem.conditional), settings.held_out),
            "shown": shown_rows(len(problem.source)),
        }
        task = _task(config, problem, settings.source)
        fitted = fit(key, task, settings.source, data=data, frozen={}, session=session)
        info = {
            "best_step": int(fitted.best_step[0]),
            "held_out_energy_score": float(fitted.best_value[0]),
            **_reach(SOURCE, players, fitted.params, data),
        }
        return StageResult(Network(fitted.params), fitted.history, info)

    settings = to_json(config.gan)
    for name in ("target", "folds", "freeze", "from_scratch"):
        del settings[name]
    uses = {"gan": settings, "network": config.network.kind, "augment": config.augment}
    return Stage(SOURCE, (), uses, uses_target=False, run=run)


def gan_target_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains both players on the target rows, from where the source left them.

    Raises:
      UserError: see `gan_players`.
    """
    settings, players = config.gan, gan_players(config, problem)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        data = jax.device_put(problem.target.arrays(problem.conditional))
        data["shown"] = shown_rows(len(problem.target))
        initial, frozen = None, {}
        if not settings.from_scratch:
            initial = dict(params_of(trees, SOURCE))
            layers = dict(initial[DISCRIMINATOR])
            frozen = {name: layers.pop(name) for name in map(LAYER.format, range(settings.freeze))}
            initial[DISCRIMINATOR] = layers
        fitted = fit_cross_validated(
            key,
            _task(config, problem, settings.target),
            settings.target,
            data=data,
            learning_rates=(settings.target.learning_rate,),
            folds=settings.folds,
            frozen=frozen,
            initial=initial,
            session=session,
        )
        params = {**fitted.params, DISCRIMINATOR: {**fitted.params[DISCRIMINATOR], **frozen}}
        info = {**fitted.info, **_reach(TARGET, players, params, data)}
        return StageResult(Network(params), fitted.history, info)

    names = ("loss", "penalty", "latent", "features", "channels", "discriminator_steps", "freeze", "folds", "target")
    values = to_json(settings)
    uses = {"gan": {name: values[name] for name in names}, "network": config.network.kind, "augment": config.augment}
    return Stage(TARGET, () if settings.from_scratch else (SOURCE,), uses, uses_target=True, run=run)


def stages(config: TrainingConfig, problem: Problem) -> tuple[Stage, ...]:
    """The training stages in order."""
    target = gan_target_stage(config, problem)
    return (gan_source_stage(config, problem), target) if target.needs else (target,)


@dataclasses.dataclass(frozen=True)
class GanGenerator:
    """Sample i is the generator's output for a latent vector of its own."""

    params: Any
    players: Players
    chunk: int
    clip: float | None
    score: None = None

    def draw(
        self, key: Array, ids: Any, cond: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        rows = checked_ids(ids, cond), cond
        static = {"players": self.players, "clip": self.clip}
        return in_chunks(_generate, rows, key, self.params, chunk=self.chunk, static=static, progress=progress)


def _generate(rows: tuple[Array, Any], key: Array, params: Any, *, players: Players, clip: float | None) -> Array:
    """One chunk of samples [B, *D] for rows (ids [B], labels)."""
    ids, cond = rows
    shape = (players.generator.latent,)
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), shape))(ids)
    x = players.generate(params, z, cond)
    return x if clip is None else jnp.clip(x, -clip, clip)


def generator(config: TrainingConfig, problem: Problem, trees: Trees) -> GanGenerator:
    """The trained method."""
    sampling = config.sampling
    return GanGenerator(params_of(trees, TARGET), gan_players(config, problem), sampling.chunk, sampling.clip)
