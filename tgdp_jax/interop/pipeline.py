"""A latent diffusion model with all its parts as one object, as diffusers' pipelines are.

A `Pipeline` has images in [0, 1] and prompts on one side, and on the other what samplers know: a score function of
latents, and its process.

    pipe = load_pipeline(folder)
    text = pipe.embed(["a cat"] * 4)
    latents = sample(key, pipe.score(scale=7.5), pipe.sde, 4, pipe.shape(), cond=text, chunk=1)
    images = pipe.decode(latents)
"""

from __future__ import annotations

import abc
import dataclasses
import difflib
import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.guidance import ClassifierFreeScore
from tgdp_jax.interop.embeddings import read_embedding
from tgdp_jax.interop.files import PIPELINES, named
from tgdp_jax.interop.latent_unet import latent_score
from tgdp_jax.interop.lora import merge, read_lora
from tgdp_jax.interop.lora_names import PARTS, UNET
from tgdp_jax.interop.tokenizer import Tokenizer
from tgdp_jax.nets.autoencoder import from_denoiser, to_denoiser
from tgdp_jax.nets.clip_text import CLIPText, TextFeatures
from tgdp_jax.nets.latent_dit import LatentDiT
from tgdp_jax.nets.latent_unet import LatentUNet, Text
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sde import DiscreteVP
from tgdp_jax.train.reparam import flat, nested

Array = jax.Array
PLAIN, XL, LABELS = PIPELINES
_TOKENS = "params/embeddings/token_embedding/embedding"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """A text encoder with its tokenizer.

    Attributes:
      net: the module.
      params: its variables, {"params": ...}.
      tokenizer: texts to tokens.
    """

    net: CLIPText
    params: Any
    tokenizer: Tokenizer

    def with_token(self, name: str, vectors: np.ndarray) -> TextEncoder:
        """With one token more, whose embedding is [K, D].

        Raises:
          UserError: there is such a token.
        """
        size, tokenizer = self.tokenizer.size, self.tokenizer.with_token(name, len(vectors))
        params = flat(self.params)
        params[_TOKENS] = jnp.concatenate([params[_TOKENS][:size], jnp.asarray(vectors, jnp.float32)])
        return TextEncoder(net=self.net.clone(vocab=tokenizer.size), params=nested(params), tokenizer=tokenizer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline(abc.ABC):
    """A latent diffusion model; a changed one is made with `dataclasses.replace`.

    Attributes:
      kind: diffusers' name of its class.
      net: the denoiser.
      params: its variables, {"params": ...}.
      vae: the autoencoder.
      vae_params: its variables.
      sde: the process of the latents.
      prediction: what the denoiser predicts, one of `prediction.PREDICTIONS`.
      scheduler: the scheduler's config as it was read, which is written back as long as it is of this process.
    """

    kind: str
    net: Any
    params: Any
    vae: Any
    vae_params: Any
    sde: DiscreteVP
    prediction: str
    scheduler: Mapping[str, Any] | None = None

    @property
    @abc.abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the denoiser was trained on."""

    @property
    @abc.abstractmethod
    def step(self) -> int:
        """What the sides of latents are multiples of."""

    @abc.abstractmethod
    def embed(self, prompts: Sequence[str], size: tuple[int, int] | None = None) -> Any:
        """What the denoiser is told of prompts: a tree with a row for each."""

    @abc.abstractmethod
    def negative(self, prompt: str | None = None, size: tuple[int, int] | None = None) -> Any:
        """What the denoiser is told of a negative prompt, one row; None: what it takes where there is none."""

    def shape(self, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
        """The shape (h, w, c) of one latent of images of a size (height, width), by default `size`.

        Raises:
          UserError: sides that do not fit autoencoder and denoiser.
        """
        step = self.vae.factor * self.step
        height, width = size or self.size
        if height < step or width < step or height % step or width % step:
            raise UserError(f"images of {height} x {width} pixels do not fit this model: give multiples of {step}")
        return height // self.vae.factor, width // self.vae.factor, self.net.in_channels

    def score(self, *, scale: float = 7.5, negative: Any = None, rescale: float = 0.0) -> ClassifierFreeScore:
        """The score function (x [B, h, w, c], t [B], cond) of latents, with classifier-free guidance.

        Another scale, negative prompt or cond never compiles anew.

        Args:
          scale: weight of guidance; 1 is none.
          negative: prompt that is guided away from, or what `negative` gives for it.
          rescale: see `guidance.classifier_free`.
        """
        away = self.negative(negative) if negative is None or isinstance(negative, str) else negative
        return latent_score(self.net, self.params, self.sde, self.prediction, None, away, scale, rescale)

    def encode(self, images: Any, key: Array | None = None, *, chunk: int = 1) -> np.ndarray:
        """Latents [N, h, w, c] of images [N, H, W, C] in [0, 1].

        Args:
          images: the images; sides are multiples of the autoencoder's factor.
          key: for draws from the distribution of latents, of which image i gets the i-th; None: its mean.
          chunk: images at a time.

        Raises:
          UserError: images of another shape or range.
        """
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[-1] != self.vae.in_channels:
            raise UserError(f"images have shape {images.shape}: give [N, H, W, {self.vae.in_channels}]")
        if images.size and not (images.min() >= 0 and images.max() <= 1):
            raise UserError(f"images have values from {images.min():g} to {images.max():g}: they lie in [0, 1]")
        factor = self.vae.factor
        if images.shape[1] % factor or images.shape[2] % factor:
            raise UserError(
                f"images are {images.shape[1]} x {images.shape[2]}: crop them to multiples of {factor} pixels"
            )
        if not len(images):
            return np.empty((0, *self.shape()), np.float32)
        ids = np.arange(len(images), dtype=np.uint32)
        static = {"net": self.vae, "drawn": key is not None}
        key = jax.random.key(0) if key is None else key
        return in_chunks(_encoded, (ids, images), self.vae_params, key, chunk=chunk, static=static)

    def decode(self, latents: Any, *, chunk: int = 1) -> np.ndarray:
        """Images [N, H, W, C] in [0, 1] of latents [N, h, w, c].

        Args:
          latents: such as samples.
          chunk: images at a time.
        """
        latents = np.asarray(latents, np.float32)
        if latents.ndim != 4 or latents.shape[-1] != self.vae.latents:
            raise UserError(f"latents have shape {latents.shape}: give [N, h, w, {self.vae.latents}]")
        if not len(latents):
            return np.empty((0, *self.size, self.vae.out_channels), np.float32)
        return in_chunks(decoded, latents, self.vae_params, chunk=chunk, static={"net": self.vae})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelPipeline(Pipeline):
    """A latent diffusion model of labels (diffusers' DiTPipeline).

    Attributes:
      net: see `Pipeline`.
      labels: numbers of the labels that have names.
    """

    net: LatentDiT
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the denoiser was trained on."""
        return self.net.size * self.vae.factor, self.net.size * self.vae.factor

    @property
    def step(self) -> int:
        """What the sides of latents are multiples of."""
        return self.net.patch

    def embed(self, prompts: Sequence[str], size: tuple[int, int] | None = None) -> Array:
        """Labels [N] of their names or numbers.

        Args:
          prompts: N names or numbers.
          size: of no account.

        Raises:
          UserError: a label that there is not.
        """
        return jnp.asarray([self._label(prompt) for prompt in prompts], jnp.int32)

    def negative(self, prompt: str | None = None, size: tuple[int, int] | None = None) -> Array:
        """One row of the label that stands for none, or of the one to be guided away from."""
        return jnp.asarray([self.net.num_classes if prompt is None else self._label(prompt)], jnp.int32)

    def label(self, name: str) -> int | None:
        """The label of a name or number; None: there is none."""
        number = self.labels.get(name.strip(), int(name) if name.strip().isdecimal() else -1)
        return number if 0 <= number < self.net.num_classes else None

    def _label(self, name: str) -> int:
        number = self.label(name)
        if number is None:
            close = ", ".join(difflib.get_close_matches(name, self.labels, n=3))
            have = (
                f"one of its names{f', such as {close},' if close else ''} or a number" if self.labels else "a number"
            )
            raise UserError(f"there is no label {named(name)}: give {have} from 0 to {self.net.num_classes - 1}")
        return number


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextPipeline(Pipeline):
    """A latent diffusion model of texts (diffusers' StableDiffusionPipeline and StableDiffusionXLPipeline).

    Attributes:
      net: see `Pipeline`.
      encoders: the text encoders, one or two.
      zeros: whether no negative prompt means an embedding of zeros, and not that of the empty prompt.
      clip_skip: layers of the text encoders that are left out at the end, beside those that the pipeline leaves out.
    """

    net: LatentUNet
    encoders: tuple[TextEncoder, ...]
    zeros: bool = False
    clip_skip: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the denoiser was trained on; of 64 places where none is known."""
        height, width = self.net.size or (64, 64)
        return height * self.vae.factor, width * self.vae.factor

    @property
    def step(self) -> int:
        """What the sides of latents are multiples of."""
        return 2 ** (len(self.net.channels) - 1)

    @property
    def bases(self) -> dict[str, Any]:
        """Variables of the parts that adapters change, by the names that files of adapters have for them."""
        return {UNET: self.params} | {part: one.params for part, one in zip(PARTS[1:], self.encoders, strict=False)}

    def embed(self, prompts: Sequence[str], size: tuple[int, int] | None = None) -> Text:
        """What the denoiser is told of prompts, with a row for each.

        A prompt that is too long is cut, as diffusers does, with a warning that says what of it is lost.

        Args:
          prompts: N texts.
          size: (height, width) of the images, which some models are told of; by default `size`.

        Raises:
          UserError: a prompt names a token that there is not.
        """
        return self._embed(prompts, size, self.clip_skip)

    def negative(self, prompt: str | None = None, size: tuple[int, int] | None = None) -> Text:
        """What the denoiser is told of a negative prompt, one row; None: what it takes where there is none."""
        # diffusers leaves out no further layers here.
        made = self._embed(["" if prompt is None else prompt], size, 0)
        if prompt is None and self.zeros and made.pooled is not None:
            return made._replace(tokens=jnp.zeros_like(made.tokens), pooled=jnp.zeros_like(made.pooled))
        return made

    def with_lora(self, path: str | Path, weight: float = 1.0) -> TextPipeline:
        """With the low-rank adapters of a file merged into its parameters; of several files, one call after the other.

        Nothing compiles anew.

        Args:
          path: see `lora.read_lora`.
          weight: their share; 1 is as they were trained.

        Raises:
          UserError: the file can not be read, is of another model, or does not say its alpha.
        """
        bases = self.bases
        new = bases | {part: merge(bases[part], own, weight) for part, own in read_lora(path, bases).items()}
        encoders = tuple(
            dataclasses.replace(one, params=new[part]) for part, one in zip(PARTS[1:], self.encoders, strict=False)
        )
        return dataclasses.replace(self, params=new[UNET], encoders=encoders)

    def with_embedding(self, path: str | Path, token: str | None = None) -> TextPipeline:
        """With one token more, as textual inversion makes it.

        Args:
          path: see `embeddings.read_embedding`.
          token: what prompts name it by; None: as the file says.

        Raises:
          UserError: the file can not be read or is of another model, or there is such a token.
        """
        name, vectors = read_embedding(path, tuple(one.net.width for one in self.encoders))
        encoders = list(self.encoders)
        for place, rows in vectors.items():
            encoders[place] = encoders[place].with_token(token or name, rows)
        return dataclasses.replace(self, encoders=tuple(encoders))

    def _embed(self, prompts: Sequence[str], size: tuple[int, int] | None, skip: int) -> Text:
        # SDXL takes what is below the last layer, without the last norm.
        skip, norm = (skip + 1, False) if self.kind == XL else (skip, True)
        different = list(dict.fromkeys(prompts))
        found = [self._features(prompt, skip, norm) for prompt in different]
        rows = [found[different.index(prompt)] for prompt in prompts]
        tokens = jnp.stack([jnp.concatenate([one.tokens for one in row], -1) for row in rows])
        if self.net.pooled_dim is None:
            return Text(tokens)
        height, width = size or self.size
        ids = jnp.tile(jnp.asarray([height, width, 0, 0, height, width], jnp.float32), (len(prompts), 1))
        return Text(tokens, jnp.stack([row[-1].pooled for row in rows]), ids)

    def check_tokens(self, prompt: str) -> None:
        """Refuses a prompt that names a token, such as <toy>, that there is not.

        Raises:
          UserError: it does.
        """
        unknown = set.intersection(*(set(encoder.tokenizer.unknown(prompt)) for encoder in self.encoders))
        if unknown:
            have = ", ".join(dict.fromkeys(token for one in self.encoders for token in one.tokenizer.added)) or "none"
            raise UserError(
                f"a prompt names {min(unknown)}, an unknown token (embeddings: {have}): give the file of its "
                "embedding, or leave it out"
            )

    def _features(self, prompt: str, skip: int, norm: bool) -> list[TextFeatures]:
        """Of one prompt, by every encoder."""
        self.check_tokens(prompt)
        out = []
        for encoder in self.encoders:
            ids, (cut,) = encoder.tokenizer([prompt])
            if cut:
                warnings.warn(
                    f"a prompt is longer than the {encoder.tokenizer.length} tokens that the text encoder takes, and "
                    f"this is left out: {cut}",
                    stacklevel=4,
                )
            # One at a time: a prompt's embedding has the same bits whatever it is embedded with.
            made = _text_features(encoder.net, skip, norm, encoder.params, ids)
            out.append(TextFeatures(made.tokens[0], made.pooled[0]))
        return out


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _text_features(net: CLIPText, skip: int, norm: bool, params: Any, ids: Array) -> TextFeatures:
    made: Any = net.apply(params, ids, skip=skip, norm=norm)
    return made


def _encoded(rows: tuple[Array, Array], params: Any, key: Array, *, net: Any, drawn: bool) -> Array:
    ids, images = rows
    mean, log_var = net.apply(params, 2.0 * images - 1.0, method="encode")
    if drawn and log_var is not None:
        noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), mean.shape[1:]))(ids)
        mean = mean + jnp.exp(0.5 * log_var) * noise
    return to_denoiser(net, mean)


def decoded(latents: Array, params: Any, *, net: Any) -> Array:
    """Images [B, H, W, C] in [0, 1] of latents [B, h, w, c]; a pure function of its arguments."""
    images = net.apply(params, from_denoiser(net, latents), method="decode")
    return jnp.clip(0.5 * images + 0.5, 0.0, 1.0)
