"""Are samples of use? Accuracy on real target data of a classifier that was trained on them.

Train on synthetic, test on real (Esteban et al. 2017; Ravuri & Vinyals 2019, "Classification accuracy score"), here in
the form that few target rows call for: does a classifier of n labelled target rows get better when it sees labelled
samples too? Samples that are copies of the rows, of the wrong class or off the target do not help it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.metrics.features import CHUNK, HELD_OUT, classifier_task, labelled_rows
from tgdp_jax.metrics.inputs import positive
from tgdp_jax.metrics.spread import Value, mean_value
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.runtime.parallel import in_chunks, over_members
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array


class Utility(NamedTuple):
    """Accuracies on real target data, each a mean over seeds of training with its standard error.

    Attributes:
      alone: of classifiers trained on the target rows.
      augmented: of classifiers trained on target rows and samples.
      gain: the difference; above 0 the samples help.
    """

    alone: Value
    augmented: Value
    gain: Value


def utility(
    key: Array,
    real: tuple[Any, Any],
    samples: tuple[Any, Any],
    test: tuple[Any, Any],
    *,
    num_classes: int,
    seeds: int = 3,
    optimiser: OptimiserConfig = OptimiserConfig(
        steps=200, batch_size=128, learning_rate=2e-3, weight_decay=0.01, steps_per_launch=100
    ),
    session: Session = QUIET,
) -> Utility:
    """Trains classifiers of images or series with and without the samples, the same number of steps.

    Half of every batch are target rows, half samples, however many there are of either. Training ends after a fixed
    number of steps: ten rows leave none to hold out.

    Args:
      key: typed PRNG key.
      real: target images [n, H, W, C] in [-1, 1], or series [n, L, C], that the sampler was trained on, and their
        classes [n].
      samples: generated rows [N, *D], and the classes they were asked for [N].
      test: target rows [M, *D] of neither, and their classes [M].
      num_classes: classes.
      seeds: classifiers of each kind, which differ in initial weights and batches.
      optimiser: optimiser and length of each.
      session: what training reports to and continues from.

    Returns:
      Accuracies. Their spread is that of training alone: rows, samples and test rows are held fixed.

    Raises:
      UserError: samples without labels, rows or labels of another form, or no seeds.
    """
    if samples[1] is None:
        raise UserError(
            "utility needs the classes that samples were asked for, not a classifier's guesses: run with --conditional"
        )
    positive("seeds", seeds)
    (x, y), (fake_x, fake_y), (test_x, test_y) = labelled_parts(real, samples, test, num_classes)
    net: Any = FeatureCNN(num_classes)
    task = classifier_task(net, optimiser.batch_size, x.shape[1:])

    # Filled up to one length, so that both kinds share a compiled program.
    length = max(len(x), len(fake_x))
    own, sampled = filled_up(x, y, length), filled_up(fake_x, fake_y, length)

    def accuracies(other: dict[str, Any], part: Session) -> np.ndarray:
        fitted = fit(
            key,
            task,
            optimiser,
            # What is "held out" chooses nothing here: its loss says that training has not diverged.
            data={"train": [own, other], "held": {"x": x[:HELD_OUT], "y": y[:HELD_OUT]}},
            members={"seed": np.arange(seeds)},
            keep="last",
            session=part,
        )
        found = in_chunks(_member_classes, test_x, fitted.params, chunk=CHUNK, static={"net": net})
        return (found == test_y[:, None]).mean(0)

    alone = accuracies(own, session.part("utility_alone", index=0, parts=2))
    augmented = accuracies(sampled, session.part("utility_augmented", index=1, parts=2))
    return Utility(mean_value(alone), mean_value(augmented), mean_value(augmented - alone))


def labelled_parts(
    real: tuple[Any, Any], samples: tuple[Any, Any], test: tuple[Any, Any], num_classes: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Target rows, samples and test rows [., *D] as float32, each with its labels [.] as int32.

    Raises:
      UserError: rows or labels of another form, or rows of different shapes.
    """
    fake = np.asarray(samples[0], np.float32)
    # A sampler may overshoot the range of images, which tells a classifier nothing.
    fake = np.clip(fake, -1, 1) if fake.ndim == 4 else fake
    named = {"real rows": real, "samples": (fake, samples[1]), "test rows": test}
    out = tuple(labelled_rows(name, x, "their labels", y, num_classes) for name, (x, y) in named.items())
    shapes = [x.shape[1:] for x, _ in out]
    if len(set(shapes)) > 1:
        raise UserError(
            f"target, sampled and test rows have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}: use rows of one shape"
        )
    return out


def filled_up(x: np.ndarray, y: np.ndarray, length: int) -> dict[str, Any]:
    """Rows of a training part, see `classifier_task`."""
    rows = np.resize(np.arange(len(x)), length)
    return {"x": x[rows], "y": y[rows], "count": len(x)}


def _member_classes(x: Array, params: Any, *, net: Any) -> Array:
    """[B, M] for rows x [B, *D] and parameters with leading axis M."""
    return over_members(lambda p: jnp.argmax(net.apply(p, x)[1], -1), (0,))(params).T
