"""CLIP's text encoder (Radford et al. 2021): a causal transformer over tokens, layer for layer transformers' own.

Names of parameters are those of transformers' `CLIPTextModel`, so that its weights are carried over by renaming alone
(`interop.clip_text`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, choose
from tgdp_jax.nets.attention import attend, attend_in_parts

Array = jax.Array
ACTIVATIONS = {
    "quick_gelu": lambda h: h * nn.sigmoid(1.702 * h),
    "gelu": lambda h: nn.gelu(h, approximate=False),
}
# The token that ended a text in the first configs; no text has it, so that the end is where the largest token is.
LEGACY_END = 2


class TextFeatures(NamedTuple):
    """What an encoder says of texts.

    Attributes:
      tokens: of every token, [B, L, D].
      pooled: of every text, [B, D], or [B, projection] where there is one.
    """

    tokens: Array
    pooled: Array


class SelfAttention(nn.Module):
    """Attention of tokens h [B, L, D] to those before them and themselves, or to all where it is not causal."""

    heads: int
    dtype: Any = None
    causal: bool = True

    @nn.compact
    def __call__(self, h: Array) -> Array:
        batch, length, width = h.shape
        query, key, value = (
            nn.Dense(width, dtype=self.dtype, name=name)(h).reshape(batch, length, self.heads, -1)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        seen = attend(query, key, value, causal=True) if self.causal else attend_in_parts(query, key, value)
        h = seen.reshape(batch, length, width)
        return nn.Dense(width, dtype=self.dtype, name="out_proj")(h)


class FeedForward(nn.Module):
    """Two dense layers, [B, L, D] -> the same."""

    hidden: int
    activation: str
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array) -> Array:
        inner = ACTIVATIONS[self.activation](nn.Dense(self.hidden, dtype=self.dtype, name="fc1")(h))
        return nn.Dense(h.shape[-1], dtype=self.dtype, name="fc2")(inner)


class Layer(nn.Module):
    """One layer: attention and a feed-forward network, each behind a norm and beside its input."""

    heads: int
    hidden: int
    activation: str
    eps: float
    dtype: Any = None
    causal: bool = True

    @nn.compact
    def __call__(self, h: Array) -> Array:
        attention = SelfAttention(self.heads, self.dtype, self.causal, name="self_attn")
        h = h + attention(layer_norm(self.eps, "layer_norm1")(h))
        feed = FeedForward(self.hidden, self.activation, self.dtype, name="mlp")
        return h + feed(layer_norm(self.eps, "layer_norm2")(h))


class Embeddings(nn.Module):
    """Of tokens and of their places, [B, L] -> [B, L, D]."""

    vocab: int
    positions: int
    width: int

    def setup(self):
        self.token_embedding = nn.Embed(self.vocab, self.width)
        self.position_embedding = nn.Embed(self.positions, self.width)

    def __call__(self, ids: Array) -> Array:
        return self.token_embedding(ids) + self.position_embedding(jnp.arange(ids.shape[1]))


class Encoder(nn.Module):
    """The layers, of which the last `skip` are left out where only what is below them is asked for."""

    layers_count: int
    heads: int
    hidden: int
    activation: str
    eps: float
    dtype: Any = None

    def setup(self):
        layer = (self.heads, self.hidden, self.activation, self.eps, self.dtype)
        self.layers = [Layer(*layer) for _ in range(self.layers_count)]

    def __call__(self, h: Array, skip: int) -> tuple[Array, Array]:
        """(what all but the last `skip` layers make of h, what all do)."""
        kept = h
        for number, layer in enumerate(self.layers, 1):
            h = layer(h)
            kept = h if number == self.layers_count - skip else kept
        return kept, h


class CLIPText(nn.Module):
    """(ids [B, L] of tokens) -> `TextFeatures`.

    Attributes:
      vocab: how many tokens there are.
      width: D.
      layers: how many.
      heads: of every attention; must divide the width.
      hidden: width between the two dense layers of a feed-forward network.
      positions: tokens of the longest text.
      activation: a key of `ACTIVATIONS`.
      eps: added to the variances of the norms.
      end: token that ends a text, whose place is what is pooled; `LEGACY_END`: where the largest token is.
      projection: width of what is pooled; None: it is not projected.
      dtype: what attention and feed-forward layers compute in; None: float32. Norms and embeddings are float32.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int
    activation: str = "quick_gelu"
    eps: float = 1e-5
    end: int = 49407
    projection: int | None = None
    dtype: Any = None

    def setup(self):
        choose("activation", self.activation, ACTIVATIONS)
        if self.width % self.heads:
            raise UserError(f"{self.heads} attention heads do not fit {self.width} channels: choose a divisor of them")
        self.embeddings = Embeddings(self.vocab, self.positions, self.width)
        self.encoder = Encoder(self.layers, self.heads, self.hidden, self.activation, self.eps, self.dtype)
        self.final_layer_norm = layer_norm(self.eps)
        if self.projection is not None:
            self.text_projection = nn.Dense(self.projection, use_bias=False)

    def __call__(self, ids: Array, *, skip: int = 0, norm: bool = True) -> TextFeatures:
        """Encodes texts.

        Args:
          ids: of tokens, [B, L], L at most `positions`.
          skip: layers at the end that the features of tokens are taken before ("clip skip"; 1 is the penultimate).
          norm: whether the last norm is applied to them.

        Raises:
          UserError: a text that is too long, or a skip of as many layers as there are.
        """
        if ids.shape[1] > self.positions:
            raise UserError(f"texts of {ids.shape[1]} tokens are too long: this encoder takes {self.positions}")
        if not 0 <= skip < self.layers:
            raise UserError(f"clip skip is {skip}: choose one from 0 to {self.layers - 1}, as the encoder has layers")
        kept, last = self.encoder(self.embeddings(ids), skip)
        ends = ids if self.end == LEGACY_END else ids == self.end
        pooled = self.final_layer_norm(last)[jnp.arange(len(ids)), jnp.argmax(ends, -1)]
        if self.projection is not None:
            pooled = self.text_projection(pooled)
        return TextFeatures(self.final_layer_norm(kept) if norm else kept, pooled)


def layer_norm(eps: float, name: str | None = None) -> nn.LayerNorm:
    """The norm of these networks, whose statistics are float32."""
    # The difference of squares, Linen's faster variance, cancels.
    return nn.LayerNorm(epsilon=eps, use_fast_variance=False, name=name)
