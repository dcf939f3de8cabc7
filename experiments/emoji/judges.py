"""Dual encoders of pictures and names: what pictures are compared by, and what judges whether they show their names.

A picture and a name are each brought to a direction, and the picture's own name is told from all others by the angle
between them (as CLIP does, with all names in the place of those of a batch). A name is the mean of its words' vectors.
Two are trained. One sees the source's pictures alone: distances are between its features. The other sees none of the
rows that judge, and none that a method is trained on but the source's: it says which name a picture fits best.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.emoji.data import Pictures, to_unit
from experiments.emoji.source import Size
from tgdp_jax.data.problem import Data
from tgdp_jax.metrics.features import IMAGES, Features, fit_features
from tgdp_jax.nets.features import FeatureCNN
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.settings.stored import fingerprint, to_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import StageResult
from tgdp_jax.transfer.stages import Watch, named_key, run_stage

Array = jax.Array
CHUNK = 128


class DualEncoder(nn.Module):
    """(features [B, width], scores of every name [B, K]) of pictures x [B, H, W, C] in [-1, 1].

    Attributes:
      names: the numbers of every name's words.
      words: how many words there are.
      channels: see `FeatureCNN`.
      width: of the features.
      directions: dimension of the space in which pictures and names meet.
    """

    names: tuple[tuple[int, ...], ...]
    words: int
    channels: tuple[int, ...]
    width: int
    directions: int = 64

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        features, picture = FeatureCNN(self.directions, self.channels, self.width)(x)
        table = self.param("words", nn.initializers.normal(1.0), (self.words, self.directions))
        sharpness = self.param("sharpness", nn.initializers.constant(np.log(10.0)), ())
        shares = np.zeros((len(self.names), self.words), np.float32)
        for row, numbers in enumerate(self.names):
            for number in numbers:
                shares[row, number] += 1 / len(numbers)
        return features, jnp.exp(sharpness) * _direction(picture) @ _direction(jnp.asarray(shares) @ table).T


def _direction(x: Any) -> Array:
    return x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-6)


class Judge(NamedTuple):
    """A trained dual encoder.

    Attributes:
      features: what pictures are compared by.
      words: number of every word.
    """

    features: Features
    words: dict[str, int]

    def places(self, x: np.ndarray, names: np.ndarray, own: np.ndarray) -> np.ndarray:
        """How many of the names fit a picture better than its own, [N] from 0.

        Args:
          x: pictures [N, S, S, 3] in [-1, 1].
          names: to choose among [K], without repeats.
          own: numbers of the pictures' own names [N].
        """
        net = self.features.net.clone(names=_numbers(names, self.words))
        scores = in_chunks(_scores, np.asarray(x, np.float32), self.features.params, chunk=CHUNK, static={"net": net})
        return (scores > np.take_along_axis(scores, own[:, None], 1)).sum(1)


def _scores(x: Array, params: Any, *, net: Any) -> Array:
    return net.apply(params, x)[1]


def trained_judge(name: str, pictures: Pictures, size: Size, store: Store, watch: Watch) -> Judge:
    """Trains a dual encoder, or takes it from the store.

    Args:
      name: of the stage.
      pictures: all that it sees; a tenth of them ends its training.
      size: of the study.
      store: of what is trained.
      watch: opens progress displays.
    """
    names, labels = np.unique(pictures.text, return_inverse=True)
    words = {word: number for number, word in enumerate(sorted({word for text in names for word in text.split()}))}
    channels, width, how = _sizes(size)
    net = DualEncoder(_numbers(names, words), len(words), channels, width)
    x, labels = to_unit(pictures.x), labels.astype(np.int32)

    def run(session: Session) -> StageResult:
        key = named_key(0, name)
        made = fit_features(key, x, labels, num_classes=len(names), net=net, optimiser=how, session=session)
        return StageResult(Network(made.params), {}, {"accuracy": made.accuracy})

    uses = {"channels": channels, "width": width, "optimiser": to_json(how), "names": names.tolist()}
    mark = fingerprint({"stage": name, "rows": Data(x, labels).digest, **uses})
    done = run_stage(name, run, mark, store, watch, log=None)
    params = Network.from_tree(done.tree).params
    return Judge(Features(params, done.report.info["accuracy"], net, x.shape[1:]), words)


def _sizes(size: Size) -> tuple[tuple[int, ...], int, OptimiserConfig]:
    """(channels, width, optimiser)."""
    if size == "tiny":
        return (4, 8), 8, dataclasses.replace(IMAGES, steps=4, batch_size=8, steps_per_launch=2)
    return (32, 64, 128), 128, dataclasses.replace(IMAGES, steps=2000, batch_size=64)


def _numbers(names: np.ndarray, words: dict[str, int]) -> tuple[tuple[int, ...], ...]:
    """The numbers of the words of every name; words that no trained name has are left out."""
    return tuple(tuple(words[word] for word in name.split() if word in words) for name in names.tolist())
