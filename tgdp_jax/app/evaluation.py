"""Samples of a trained method, and every metric that its problem allows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tgdp_jax.app.encoder import image_encoder
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.text_images import TextImages
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.closed_form import expected_density
from tgdp_jax.metrics.encoded import EncoderFeatures, Seen
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.features import Features, fit_features
from tgdp_jax.metrics.on_attributes import shares_right
from tgdp_jax.metrics.registry import measure
from tgdp_jax.metrics.spread import Value
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.settings.evaluation import EvaluationConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import fingerprint
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.session import Log, Session
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import Generator, StageResult
from tgdp_jax.transfer.captions import known_words
from tgdp_jax.transfer.latents import pictures
from tgdp_jax.transfer.pretrained import forward_process
from tgdp_jax.transfer.stages import Watch, named_key, rows_done, run_stage

_REMEDY = "more --sampling.steps, a smaller --guidance.scale, or --sampling.clip"
_TEXT_REMEDY = "more --sampling.steps, a smaller --text.scale, or a smaller learning rate"


def image_features(
    problem: Problem,
    identity: dict[str, Any],
    store: Store,
    watch: Watch,
    *,
    log: Callable[[str], Log] | None = None,
    evaluation: EvaluationConfig = EvaluationConfig(),
    seen: Seen | None = None,
) -> Features | EncoderFeatures | None:
    """What metrics of images and series compare: features of the encoder that the settings name, or of a classifier of
    the source's classes, one for all methods and numbers of target rows, and for all seeds that have the same source
    rows. None for other problems, and without an encoder for rows without labels or with captions. `seen` is what the
    encoder saw for others, whose held-out rows need not be seen again.

    Raises:
      UserError: see `encoder.image_encoder`.
    """
    encoder = image_encoder(evaluation, problem)
    if encoder is None:
        return _learned_features(problem, identity, store, watch, log)
    # Of the classes that samples are asked for, an encoder says nothing.
    asked = problem.conditional and problem.captions is None
    classifier = _learned_features(problem, identity, store, watch, log) if asked else None
    return EncoderFeatures(encoder, problem.scaler.to_user, classifier, Seen() if seen is None else seen)


def _learned_features(
    problem: Problem, identity: dict[str, Any], store: Store, watch: Watch, log: Callable[[str], Log] | None
) -> Features | None:
    source = problem.source
    if problem.kind == "vectors" or source.y is None or problem.captions is not None:
        return None
    num_classes = int(source.y.max()) + 1

    def run(session: Session) -> StageResult:
        fitted = fit_features(named_key(0, "features"), source.x, source.y, num_classes=num_classes, session=session)
        return StageResult(Network(fitted.params), {}, {"accuracy": fitted.accuracy})

    identity_of_stage = fingerprint(
        {"stage": "features", "problem": identity, "source_rows": source.digest, "num_classes": num_classes}
    )
    finished = run_stage("features", run, identity_of_stage, store, watch, log=log)
    params = Network.from_tree(finished.tree).params
    return Features(params, finished.report.info["accuracy"], FeatureCNN(num_classes), problem.shape)


def draw_samples(
    generator: Generator, problem: Problem, seed: int, num: int, watch: Watch
) -> tuple[np.ndarray, np.ndarray | None]:
    """(x [num, *D] in the models' units, labels [num] or None). Sample i is the same for every num.

    Raises:
      UserError: samples are not finite.
    """
    ids = np.arange(num)
    labels = problem.sample_labels(named_key(seed, "labels"), ids)
    progress = rows_done(watch, "sampling", num)
    x = generator.draw(named_key(seed, "sample"), ids, labels, progress=progress)
    check_drawn(x, _REMEDY if problem.captions is None else _TEXT_REMEDY)
    return x, labels


def check_drawn(x: np.ndarray, remedy: str) -> None:
    """Refuses samples x [N, *D] that are not finite; `remedy` names the options that help.

    Raises:
      UserError: some are not.
    """
    bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
    if bad.any():
        raise UserError(f"{int(bad.sum())} of {len(x)} samples are not finite: use {remedy}")


def evaluate_samples(
    config: TrainingConfig,
    problem: Problem,
    samples: np.ndarray,
    labels: np.ndarray | None,
    score: Any,
    seed: int,
    features: Features | EncoderFeatures | None = None,
) -> dict[str, Value]:
    """Every metric that the problem allows; empty where there is nothing to judge by."""
    reference = problem.reference
    captions = None
    if problem.captions is not None and labels is not None:
        words = known_words(problem)
        captions = [words[label] for label in labels]
    if isinstance(features, EncoderFeatures) and isinstance(problem, TextImages) and reference is not None:
        # Samples are compared with pictures, and not with what the autoencoder makes of these.
        for name, rows in (("target", problem.target), ("reference", reference)):
            features.features_of(rows.x, functools.partial(pictures, problem, name))
    evidence = Evidence(
        samples=samples,
        labels=labels,
        captions=captions,
        reference=None if reference is None else reference.x,
        reference_labels=None if reference is None else reference.y,
        train=problem.target.x,
        train_labels=problem.target.y,
        num_classes=problem.num_classes,
        features=features,
        target=None if problem.exact is None else problem.exact.target,
        score=score,
        sde=forward_process(config),
        to_user=problem.scaler.to_user,
        ecg_rate=problem.ecg_rate,
        drawn_style=problem.drawn_style,
        seed=seed,
        key=functools.partial(named_key, seed),
    )
    return measure(evidence)


def ideal_metrics(config: TrainingConfig, problem: Problem, seed: int) -> dict[str, Value]:
    """Metrics of fresh target samples: what a perfect sampler would read. Empty where the target is not known.

    Of pictures of shapes there is what is read of real ones of the target.
    """
    if problem.drawn_style is not None and isinstance(problem, TextImages):
        return _read_pictures(problem, problem.drawn_style)
    if problem.exact is None:
        return {}
    x, y = problem.exact.target.sample(named_key(seed, "fresh"), config.sampling.num)
    labels = np.asarray(y) if problem.conditional else None
    score = ExactScore(problem.exact.target, forward_process(config))
    values = evaluate_samples(config, problem, np.asarray(x), labels, score, seed)
    goal = expected_density(problem.exact.target)
    return values | {"avg_density": Value(goal, 0.0)}


def _read_pictures(problem: TextImages, style: str) -> dict[str, Value]:
    reference = problem.reference
    assert reference is not None and reference.y is not None
    drawn = np.stack(list(pictures(problem, "reference")))
    values = shares_right(drawn, [problem.classes[label] for label in reference.y], style)
    return {f"right_{name}": value for name, value in values.items()}
