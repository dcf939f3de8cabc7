"""Features of images and series, learned from labelled source rows: what their metrics compare instead of pixels.

Fréchet distance, precision and recall are customary on features of a network trained on ImageNet, which says little
about small or grey images and can not be bundled. Here a small convolutional classifier of the source's own classes
serves: its last hidden layer keeps what tells classes apart, and its predictions judge whether a sample shows what it
was asked to show. Values compare methods on one problem; published FID numbers are on another scale.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.model_selection import train_test_split

from tgdp_jax.data.augment import augment
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.inputs import rows
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.train.batches import Rows, draw_rows
from tgdp_jax.train.fit import Task, fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import QUIET, Session

Array = jax.Array
CHUNK = 512  # rows a device takes at a time
HELD_OUT = 1000  # rows held out of training at most
# Images are scaled to [-1, 1]; what lies beyond by more than rounding comes in other units.
IN_RANGE = 1.001
IMAGES = OptimiserConfig(
    steps=800, batch_size=128, learning_rate=2e-3, weight_decay=0.01, steps_per_launch=100, patience=300
)
# A row has thousands of numbers and many places that tell its class: fewer rows a step do.
SERIES = OptimiserConfig(
    steps=500, batch_size=32, learning_rate=2e-3, weight_decay=0.01, steps_per_launch=50, patience=150
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Features:
    """A trained classifier of images [N, H, W, C] in [-1, 1], or of series [N, L, C].

    Attributes:
      params: of the network.
      accuracy: share of held-out source rows that it classifies rightly.
      net: the network.
      shape: of a row.
    """

    params: Any
    accuracy: float
    net: Any = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def classifies(self) -> bool:
        """Whether the classes of rows can be told."""
        return True

    @property
    def reads_texts(self) -> bool:
        """Whether rows can be compared with captions."""
        return False

    def embed(self, x: Any) -> np.ndarray:
        """Features [N, F] of rows x [N, *shape].

        Raises:
          UserError: rows of another shape, or with a NaN or infinity.
        """
        return in_chunks(_embed, self._checked(x), self.params, chunk=CHUNK, static={"net": self.net})

    def classify(self, x: Any) -> np.ndarray:
        """Most likely classes [N] of rows x [N, *shape].

        Raises:
          UserError: as `embed`.
        """
        return in_chunks(_classify, self._checked(x), self.params, chunk=CHUNK, static={"net": self.net})

    def _checked(self, x: Any) -> np.ndarray:
        rows("what to see features of", x)
        x = np.asarray(x, np.float32)
        if x.shape[1:] != self.shape:
            raise UserError(
                f"rows of shape {x.shape[1:]} came to features of rows {self.shape}: compare rows of one shape"
            )
        return x


def _embed(x: Array, params: Any, *, net: Any) -> Array:
    return net.apply(params, x)[0]


def _classify(x: Array, params: Any, *, net: Any) -> Array:
    return jnp.argmax(net.apply(params, x)[1], -1)


def fit_features(
    key: Array,
    x: Any,
    y: Any,
    *,
    num_classes: int,
    net: Any = None,
    optimiser: OptimiserConfig | None = None,
    session: Session = QUIET,
) -> Features:
    """Trains the classifier on labelled rows; a tenth of them (at most 1,000) is held out and ends training.

    Args:
      key: typed PRNG key.
      x: source images [N, H, W, C] in [-1, 1], or source series [N, L, C]; N >= 2.
      y: their classes [N], integers in [0, num_classes).
      num_classes: classes.
      net: network x -> (features, class logits [N, num_classes]); default: a `FeatureCNN`.
      optimiser: optimiser and length; default: `IMAGES` or `SERIES`.
      session: what training reports to and continues from.

    Raises:
      UserError: rows or labels of another form, or training that diverged.
    """
    x, y = labelled_rows("x", x, "y", y, num_classes)
    optimiser = optimiser or (SERIES if x.ndim == 3 else IMAGES)
    if len(x) < 2:
        raise UserError("one row can not be trained on and held out: pass at least two")
    train, held = train_test_split(np.arange(len(x)), test_size=min(HELD_OUT, -(-len(x) // 10)), random_state=0)
    net = FeatureCNN(num_classes) if net is None else net
    shape = x.shape[1:]
    data = {
        "train": [{"x": x[train], "y": y[train], "count": len(train)}],
        "held": {"x": x[held], "y": y[held]},
    }
    fitted = fit(key, classifier_task(net, optimiser.batch_size, shape), optimiser, data=data, session=session)
    found = in_chunks(_classify, x[held], fitted.params, chunk=CHUNK, static={"net": net})
    return Features(fitted.params, float((found == y[held]).mean()), net, shape)


def labelled_rows(name: str, x: Any, name_labels: str, y: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, C] or series [N, L, C] as float32 and labels [N] as int32.

    Raises:
      UserError: neither finite images in [-1, 1] nor finite series, or not one label in [0, num_classes) for each.
    """
    rows(name, x)
    x, y = np.asarray(x, np.float32), np.asarray(y)
    if x.ndim not in (3, 4):
        raise UserError(
            f"{name} has shape {x.shape} but images are [N, H, W, C] and series [N, L, C]: reshape them, with C = 1 "
            "where there is one channel"
        )
    if x.ndim == 4 and np.abs(x).max() > IN_RANGE:
        raise UserError(f"{name} has values from {x.min():g} to {x.max():g}: scale images to [-1, 1]")
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"{name_labels} is {y.dtype} {y.shape} for {len(x)} rows: pass one integer class a row")
    if y.min() < 0 or y.max() >= num_classes:
        raise UserError(f"{name_labels} has classes {y.min()} to {y.max()}: number them from 0 to {num_classes - 1}")
    return x, y.astype(np.int32)


@functools.cache
def classifier_task(net: Any, batch_size: int, shape: tuple[int, ...]) -> Task:
    """Classification of shifted rows; data {"train": parts, "held": {"x", "y"}}.

    Every part {"x" [C, *shape], "y" [C], "count"}, of which the first `count` rows are real, gives as many to a batch.
    """

    def init(key: Array) -> Any:
        return net.init(key, jnp.zeros((1, *shape)))

    def draw(key: Array, data: Any, member: Any) -> Any:
        parts = data["train"]
        shift_key, *keys = jax.random.split(key, 1 + len(parts))
        picked = []
        for part, part_key in zip(parts, keys, strict=True):
            real = Rows(jnp.arange(len(part["y"])), part["count"])
            numbers = draw_rows(part_key, real, batch_size // len(parts))
            picked.append((part["x"][numbers], part["y"][numbers]))
        x, y = jax.tree.map(lambda *a: jnp.concatenate(a), *picked)
        return augment(shift_key, x, kind="shift"), y

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        return {"classification": evaluate(params, frozen, batch)}

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        x, y = data["held"]["x"], data["held"]["y"]
        return (x, y), jnp.full(len(y), 1 / len(y))

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, x)[1], y)

    return Task(init=init, draw=draw, loss=loss, held_out=held_out, evaluate=evaluate)
