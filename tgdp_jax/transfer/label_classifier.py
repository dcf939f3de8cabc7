"""A classifier of the source's labels, of images and series.

What tells a diagnosis or a digit is worth looking at when domains are told apart, too: the domain classifier can start
from its weights (`--classifier.pretrain`), and all heads can stand on its features (`--head.on labels`). No target row
is seen. It is not the classifier on whose features samples are judged, which has layers and a training of its own.
"""

from __future__ import annotations

import jax

from tgdp_jax.data.problem import Problem
from tgdp_jax.metrics.features import fit_features
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.settings.stored import to_json
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import Stage, StageResult, Trees
from tgdp_jax.transfer.heads import label_net

Array = jax.Array


def label_stage(config: TrainingConfig, problem: Problem) -> Stage:
    """Trains it, stopped on held-out source rows."""
    net = label_net(config, problem)

    def run(key: Array, trees: Trees, session: Session) -> StageResult:
        source = problem.source
        fitted = fit_features(key, source.x, source.y, num_classes=net.num_labels, net=net, session=session)
        return StageResult(Network(fitted.params), {}, {"accuracy": fitted.accuracy})

    uses = {
        "process": to_json(config.process),
        "channels": config.head.channels,
        "features": config.classifier.features,
    }
    return Stage("label_classifier", (), uses, uses_target=False, run=run)
