"""What a diagnosis gains from samples: classifiers of target records, learned from samples, from rows, from both.

Train on synthetic, test on real (Esteban et al. 2017), by the measures of `diagnosis`. Rivals are a classifier of the
same few rows alone, from scratch and fine-tuned from that of the source's records: what would be done without samples.
"""

from __future__ import annotations

from typing import Any

import jax

from tgdp_jax.metrics.diagnosis import diagnosis_value
from tgdp_jax.metrics.features import CHUNK, HELD_OUT, Features, classifier_task
from tgdp_jax.metrics.spread import Value
from tgdp_jax.metrics.utility import filled_up, labelled_parts
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig

Array = jax.Array
# What a classifier is trained on; "tuned" is trained on the rows too, from the source's classifier.
KINDS = ("generated", "real", "both", "tuned")


def downstream(
    key: Array,
    real: tuple[Any, Any],
    samples: tuple[Any, Any],
    test: tuple[Any, Any],
    features: Features,
    *,
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=150, batch_size=32, learning_rate=2e-3, weight_decay=0.01, steps_per_launch=50
    ),
) -> dict[str, Value]:
    """Trains four classifiers the same number of steps, and diagnoses test rows.

    Of "both", half of every batch are rows, half samples, however many there are of either. Training ends after a fixed
    number of steps: fifty rows leave none to hold out.

    Args:
      key: typed PRNG key.
      real: target series [n, L, C] that the sampler was trained on, and their classes [n].
      samples: generated series [N, L, C], and the classes they were asked for [N].
      test: target series [M, L, C] of neither, and their classes [M].
      features: classifier of the source's series, which "tuned" starts from.
      optimiser: optimiser and length of each.

    Returns:
      "auc_generated", "f2_generated", "g2_generated" and so on for all `KINDS`, to (value, bootstrap standard error
      over the test rows). Rows, samples and the training's draws are held fixed.

    Raises:
      UserError: rows or labels of another form, or rows of different shapes.
    """
    net, task = features.net, classifier_task(features.net, optimiser.batch_size, features.shape)
    (x, y), (fake_x, fake_y), (test_x, test_y) = labelled_parts(real, samples, test, net.num_classes)
    # Filled up to one length, so that all kinds share a compiled program.
    length = max(len(x), len(fake_x))
    own, sampled = filled_up(x, y, length), filled_up(fake_x, fake_y, length)
    held = {"x": x[:HELD_OUT], "y": y[:HELD_OUT]}  # chooses nothing: its loss says that training has not diverged
    mixes = {"generated": (sampled, sampled), "real": (own, own), "both": (own, sampled), "tuned": (own, own)}
    out: dict[str, Value] = {}
    for kind, train in mixes.items():
        fitted = fit(
            key,
            task,
            optimiser,
            data={"train": list(train), "held": held},
            initial=features.params if kind == "tuned" else None,
            keep="last",
        )
        scores = in_chunks(_logits, test_x, fitted.params, chunk=CHUNK, static={"net": net})
        found = diagnosis_value(scores, test_y)
        out |= {f"{name}_{kind}": value for name, value in found._asdict().items()}
    return out


def _logits(x: Array, params: Any, *, net: Any) -> Array:
    return net.apply(params, x)[1]
