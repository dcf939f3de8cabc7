"""Networks that are told the number of a caption, as others are told a label: denoisers of latents and heads.

What the captions say is in variables of the network, in the collection "captions", which no training changes: their
embeddings, made once; their tokens together with the text encoders, where a token's embedding is trained; or, of a
network of labels, the labels that they are.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.nets.latent_dit import LatentDiT
from tgdp_jax.nets.latent_unet import LatentUNet, Text

Array = jax.Array
COLLECTION = "captions"

# Beside the square root of a mean of squares, which is zero of a single caption.
_SMALL = 1e-6


def has_embeddings(variables: Any) -> bool:
    """Whether a network's variables have embeddings of captions."""
    return "tokens" in variables.get(COLLECTION, {})


def caption_features(variables: Any) -> Array:
    """What heads are told of captions, [K + 1, F]: the embeddings that a `Captioned` network has of them, in short.

    They are mean and largest value over the tokens, and the pooled text where there is one. The mean of all captions is
    taken off, since it tells nothing, and the rest brought to unit scale. The last row is that of no caption.

    Args:
      variables: of the network, whose captions are embeddings.
    """
    known = variables[COLLECTION]
    tokens = jnp.asarray(known["tokens"])
    rows = jnp.concatenate([tokens.mean(1), tokens.max(1), *([known["pooled"]] if "pooled" in known else [])], -1)
    rows = rows - rows[:-1].mean(0)
    return rows / (jnp.sqrt(jnp.mean(rows[:-1] ** 2)) + _SMALL)


class CaptionFeatures(nn.Module):
    """`caption_features` [B, F] of captions [B], or of shares [B, num_classes] of them, which `train.classifier` mixes.

    They are a variable of the collection "source", which no training changes.

    Attributes:
      num_classes: captions.
      width: F.
    """

    num_classes: int
    width: int

    @nn.compact
    def __call__(self, cond: Any) -> Array:
        table = self.variable("source", "table", jnp.zeros, (self.num_classes + 1, self.width)).value
        cond = cond.labels if isinstance(cond, Prompt) else cond
        return table[cond] if jnp.issubdtype(cond.dtype, jnp.integer) else cond @ table[:-1]


class Captioned(nn.Module):
    """(x [B, h, w, c], t [B] in [1 / T, 1], captions [B]) -> prediction [B, h, w, c].

    Captions are numbers below `num_classes`; `num_classes` itself stands for none.

    Attributes:
      net: the denoiser, called with timesteps and texts.
      num_steps: T, of its chain.
      num_classes: how many captions there are.
      length: tokens of a text.
      encoders: text encoders that read the captions at every call, whose last token is a new one; none: embeddings are
        made once.
      skip: see `CLIPText`.
      norm: likewise.
    """

    net: LatentUNet
    num_steps: int
    num_classes: int
    length: int
    encoders: tuple[CLIPText, ...] = ()
    skip: int = 0
    norm: bool = True

    @property
    def constants(self) -> tuple[str, ...]:
        """See `protocols.HasConstants`."""
        return (COLLECTION,)

    @property
    def new_token(self) -> bool:
        """Whether a token's embedding can be trained."""
        return bool(self.encoders)

    def setup(self):
        def table(name: str, *shape: int, dtype: Any = jnp.float32) -> Any:
            return self.variable(COLLECTION, name, jnp.zeros, (self.num_classes + 1, *shape), dtype)

        pooled = self.net.pooled_dim
        if self.encoders:
            self.ids = [table(f"ids_{i}", self.length, dtype=jnp.int32) for i in range(len(self.encoders))]
            # Zero where a missing caption is zeros, and not the embedding of the empty one.
            self.kept = table("kept")
        else:
            self.tokens = table("tokens", self.length, self.net.text_dim)
            self.pooled = None if pooled is None else table("pooled", pooled)
        self.time_ids = None if pooled is None else table("time_ids", 6)

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        return self.net(x, t * self.num_steps - 1.0, self.text(cond))

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps, see `LatentUNet.encode`."""
        return self.net.encode(x, t * self.num_steps - 1.0, self.text(cond))

    def text(self, cond: Any) -> Text:
        """What the denoiser is told of captions [B]."""
        # They say themselves whether they are of the new domain.
        rows = cond.labels if isinstance(cond, Prompt) else cond
        ids = None if self.time_ids is None else self.time_ids.value[rows]
        if not self.encoders:
            return Text(self.tokens.value[rows], None if self.pooled is None else self.pooled.value[rows], ids)
        made = [
            encoder(tokens.value[rows], skip=self.skip, norm=self.norm)
            for encoder, tokens in zip(self.encoders, self.ids, strict=True)
        ]
        kept = self.kept.value[rows]
        tokens = kept[:, None, None] * jnp.concatenate([one.tokens for one in made], -1)
        return Text(tokens, None if self.net.pooled_dim is None else kept[:, None] * made[-1].pooled, ids)


class Labelled(nn.Module):
    """(x [B, h, w, c], t [B] in [1 / T, 1], captions [B]) -> prediction [B, h, w, c] of a network of labels.

    Captions are numbers below `num_classes`; `num_classes` itself stands for none.

    Attributes:
      net: the denoiser, called with timesteps and labels.
      num_steps: T, of its chain.
      num_classes: how many captions there are.
    """

    net: LatentDiT
    num_steps: int
    num_classes: int

    @property
    def constants(self) -> tuple[str, ...]:
        """See `protocols.HasConstants`."""
        return (COLLECTION,)

    def setup(self):
        self.labels = self.variable(COLLECTION, "labels", jnp.zeros, (self.num_classes + 1,), jnp.int32)

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        return self.net(x, t * self.num_steps - 1.0, self._labels(cond))

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Feature maps, see `LatentDiT.encode`."""
        return self.net.encode(x, t * self.num_steps - 1.0, self._labels(cond))

    def _labels(self, cond: Any) -> Array:
        return self.labels.value[cond.labels if isinstance(cond, Prompt) else cond]
