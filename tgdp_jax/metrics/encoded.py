"""Features of a pretrained image encoder in the place of learned ones: what images of any kind can be compared by.

Fréchet distances on features of DINOv2 rank models more as people do than those on features of a classifier of ImageNet
(Stein et al. 2023). Values depend on the encoder and on its preprocessing, and on the number of rows (`frechet`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

from tgdp_jax.interop.image_encoder import ImageEncoder
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.inputs import rows

_AT_ONCE = 64  # rows whose pixels are held at a time
_KEPT = 8  # sets of rows whose features are held


class Seen:
    """Features of the last sets of rows that one encoder saw: what cells of a comparison share, whose rows recur."""

    def __init__(self) -> None:
        self._features: dict[Hashable, np.ndarray] = {}

    def features(self, rows: Hashable, see: Callable[[], np.ndarray]) -> np.ndarray:
        """What `see` gave when these rows were asked for first, as long as they are among the last."""
        # What was asked for last stands at the end.
        self._features[rows] = self._features.pop(rows) if rows in self._features else see()
        while len(self._features) > _KEPT:
            del self._features[next(iter(self._features))]
        return self._features[rows]


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderFeatures:
    """Features of rows in the models' units by a pretrained encoder.

    Attributes:
      encoder: of pictures.
      to_user: maps rows to pictures [N, H, W, 1 or 3] in [0, 1].
      classifier: of the source's classes, where samples are asked for one.
      seen: what the encoder saw before.
    """

    encoder: ImageEncoder
    to_user: Callable[[np.ndarray], np.ndarray]
    classifier: Features | None = None
    seen: Seen = dataclasses.field(default_factory=Seen, repr=False)

    @property
    def classifies(self) -> bool:
        """Whether the classes of rows can be told."""
        return self.classifier is not None

    @property
    def reads_texts(self) -> bool:
        """Whether rows can be compared with captions."""
        return self.encoder.text is not None

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Features [N, F] of rows x [N, *D]; held-out rows, which all methods share, are seen once.

        Raises:
          UserError: rows with a NaN or infinity.
        """
        rows("what to see features of", x)
        return self.features_of(x, lambda: self._pictures(np.asarray(x, np.float32)))

    def features_of(self, x: np.ndarray, pictures: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
        """Features [N, F] of rows x [N, *D], of which the pictures are known: those of latents, before these were made.

        Args:
          x: the rows, which are not looked at; the same features are theirs from then on.
          pictures: gives [H, W, 1 or 3] for each, where they were not seen yet.
        """
        # The same rows are other pictures where they are in other units.
        rows = self.to_user, hashlib.sha256(np.ascontiguousarray(x, np.float32).data).digest()
        return self.seen.features(rows, lambda: self.encoder.embed(pictures()))

    def _pictures(self, x: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(x), _AT_ONCE):
            yield from self.to_user(x[start : start + _AT_ONCE])

    def classify(self, x: np.ndarray) -> np.ndarray:
        """Most likely classes [N] of rows x [N, *D]."""
        assert self.classifier is not None
        return self.classifier.classify(x)

    def agreement(self, x: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Cosines [N] between the features of rows x [N, *D] and those of their captions."""
        seen, read = (unit(features) for features in (self.embed(x), self.encoder.embed_texts(captions)))
        return np.sum(seen * read, -1)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows [N, F] of length one, whose products are cosines."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
