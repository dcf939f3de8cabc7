"""The source model of the study: a pipeline of diffusers' form that makes 32 x 32 pictures of names.

Its latents are the pixels. The autoencoder is one of diffusers' AutoencoderTiny whose weights are chosen so that it
gives every pixel back: a convolution of one pixel brings each channel to a scale at which what follows does nothing.
So `tgdp run text-images`, `tgdp generate` and diffusers take the folder as they take any other.

U-Net and text encoder are trained together. Every word of the source's names is a token; other words are spelled.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.emoji.data import Pictures
from tgdp_jax.data.problem import Data
from tgdp_jax.errors import UserError
from tgdp_jax.interop import autoencoder
from tgdp_jax.interop.files import INDEX
from tgdp_jax.interop.pipeline import PLAIN, TextEncoder, TextPipeline
from tgdp_jax.interop.pipeline_folder import write_pipeline
from tgdp_jax.interop.tokenizer import SPECIAL_TOKENS, Tokenizer
from tgdp_jax.nets.autoencoder import AutoencoderTiny
from tgdp_jax.nets.captioned import COLLECTION, Captioned
from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.latent_unet import LatentUNet
from tgdp_jax.sde import DiscreteVP
from tgdp_jax.settings.stored import fingerprint, to_json
from tgdp_jax.train.batches import split_rows
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import fit
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.train.reparam import Chosen, flat, nested, started
from tgdp_jax.train.session import Session
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import StageResult
from tgdp_jax.transfer.stages import Watch, named_key, run_stage

STAGE, SOURCE, BLANK = "text_to_image", "source", "blank"
# At the last step of this chain no picture shines through, not even as its mean brightness.
PROCESS, PREDICTION = DiscreteVP("linear", 1e-4, 0.02), "v"
LENGTH = 20  # tokens of a text
DROPOUT = 0.1  # of captions
HELD_OUT = 0.02
_RANGE = 0.03  # of latents: 3 tanh(z / 3), with which the decoder begins, is z to a thirty-thousandth of it
_WEIGHTS = Chosen("^params/")
_END = "</w>"

Size = Literal["tiny", "cpu"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the networks, and how they are trained.

    Attributes:
      channels: of the U-Net's levels, from the finest.
      groups: of its group norms.
      width: of the text encoder.
      layers: of the text encoder.
      optimiser: of both together.
    """

    channels: tuple[int, ...]
    groups: int
    width: int
    layers: int
    optimiser: OptimiserConfig


SIZES: dict[Size, Sizes] = {
    "tiny": Sizes(
        channels=(8,),
        groups=4,
        width=8,
        layers=1,
        optimiser=OptimiserConfig(steps=4, batch_size=4, steps_per_launch=2, validation_rows=4),
    ),
    # 8.2 million parameters, of which the text encoder has 0.7.
    "cpu": Sizes(
        channels=(32, 64, 128, 144),
        groups=16,
        width=128,
        layers=2,
        optimiser=OptimiserConfig(
            steps=12_000,
            batch_size=32,
            learning_rate=1e-3,
            warmup=200,
            ema=0.999,
            steps_per_launch=50,
            validation_rows=256,
        ),
    ),
}


def blank_pipeline(pictures: Pictures, size: Size) -> TextPipeline:
    """The pipeline before it is trained, its weights drawn.

    Args:
      pictures: of the source, which say the vocabulary and the scale of pixels.
      size: a key of `SIZES`.
    """
    sizes = SIZES[size]
    width, channels = sizes.width, sizes.channels
    tokenizer = word_tokenizer(word for text in pictures.text for word in text.split())
    text = CLIPText(
        vocab=tokenizer.size,
        width=width,
        layers=sizes.layers,
        heads=4,
        hidden=2 * width,
        positions=LENGTH,
        end=tokenizer.vocab[tokenizer.special["eos_token"]],
    )
    levels, side = len(channels), pictures.x.shape[1]
    sees = [level >= levels // 2 for level in range(levels)]  # the coarser levels look at the text, and at themselves
    net = LatentUNet(
        channels=channels,
        in_channels=3,
        out_channels=3,
        layers=(1,) * levels,
        depths=tuple((1,) if one else () for one in sees),
        up_depths=tuple((1, 1) if one else () for one in reversed(sees)),
        heads=(4,) * levels,
        own=(True,) * levels,
        text_dim=width,
        groups=sizes.groups,
        size=(side, side),
    )
    vae, vae_params = pixels_as_latents(pictures.x)
    keys = jax.random.split(jax.random.key(0))
    x, t, tokens = jnp.zeros((1, side, side, 3)), jnp.ones(1), jnp.zeros((1, LENGTH), jnp.int32)
    encoder = jax.jit(text.init)(keys[0], tokens)
    params = jax.jit(net.init)(keys[1], x, t, jnp.zeros((1, LENGTH, width)))
    return TextPipeline(
        kind=PLAIN,
        net=net,
        params=params,
        vae=vae,
        vae_params=vae_params,
        encoders=(TextEncoder(net=text, params=encoder, tokenizer=tokenizer),),
        sde=PROCESS,
        prediction=PREDICTION,
    )


def trained_source(
    pictures: Pictures, size: Size, seed: int, folder: Path, store: Store, watch: Watch
) -> dict[str, Path]:
    """Trains the source, or goes on where it stopped, and writes two pipelines: it, and the one before training.

    Args:
      pictures: of the source.
      size: see `blank_pipeline`.
      seed: of training.
      folder: of the pipelines.
      store: of what is trained.
      watch: opens progress displays.

    Returns:
      Folders by `SOURCE` and `BLANK`.

    Raises:
      UserError: training diverged, or the folder can not be written.
      Preempted: the process was asked to stop; training is saved.
    """
    uses = {"sizes": to_json(SIZES[size]), "process": repr(PROCESS), "dropout": DROPOUT, "held_out": HELD_OUT}
    uses |= {"rows": Data(pictures.x).digest, "text": pictures.text.tolist(), "seed": seed}
    mark = fingerprint({"stage": STAGE, **uses})
    places = {name: folder / mark[:16] / name for name in (SOURCE, BLANK)}
    if all((place / INDEX).exists() for place in places.values()):
        return places
    pipe = blank_pipeline(pictures, size)

    def run(session: Session) -> StageResult:
        return _fit(named_key(seed, STAGE), pipe, pictures, SIZES[size].optimiser, session)

    found = run_stage(STAGE, run, mark, store, watch, log=None).tree["params"]["params"]
    (encoder,) = pipe.encoders
    encoder = dataclasses.replace(encoder, params={"params": found["encoders_0"]})
    made = {
        SOURCE: dataclasses.replace(pipe, params={"params": found["net"]}, encoders=(encoder,)),
        # What learns from nothing is told captions as the source is.
        BLANK: dataclasses.replace(pipe, encoders=(encoder,)),
    }
    for name, one in made.items():
        if not (places[name] / INDEX).exists():
            shutil.rmtree(places[name], ignore_errors=True)  # what is left of it
            write_pipeline(places[name], one)
    return places


def _fit(key: jax.Array, pipe: TextPipeline, pictures: Pictures, how: OptimiserConfig, session: Session) -> StageResult:
    """Trains U-Net and text encoder together, as a denoiser that reads captions."""
    (encoder,), classes = pipe.encoders, sorted(set(pictures.text.tolist()))
    net: Any = Captioned(
        net=pipe.net,
        num_steps=pipe.sde.num_steps,
        num_classes=len(classes),
        length=LENGTH,
        encoders=(encoder.net,),
    )
    # What no caption says is what the empty one says.
    ids = encoder.tokenizer([*classes, ""]).ids
    base = {
        "params": {"net": pipe.params["params"], "encoders_0": encoder.params["params"]},
        COLLECTION: {"ids_0": jnp.asarray(ids), "kept": jnp.ones(len(ids))},
    }
    task = denoising_task(
        net,
        pipe.sde,
        pipe.prediction,
        how.batch_size,
        pipe.shape(),
        how.validation_rows,
        reparam=_WEIGHTS,
        # What a caption tells is decided at large times, which this counts in full.
        weighting="edm",
        labelled=True,
        dropout=DROPOUT,
    )
    x = pipe.encode(pictures.x / np.float32(255), chunk=64)
    labels = np.searchsorted(classes, pictures.text).astype(np.int32)
    data = split_rows(jax.device_put({"x": x, "y": labels}), HELD_OUT)
    initial = started(_WEIGHTS, key, base)
    fitted = fit(key, task, how, data=data, initial=initial, frozen=base, session=session)
    return StageResult(Network(fitted.params), fitted.history, {"best_step": int(fitted.best_step[0])})


def pixels_as_latents(x: np.ndarray) -> tuple[AutoencoderTiny, Any]:
    """An autoencoder whose latents are pixels of mean zero and unit scale, and its variables.

    Args:
      x: pictures [N, S, S, 3], uint8, that say mean and scale.
    """
    mean, std = (float(value) for value in (x.mean(dtype=np.float64) / 127.5 - 1.0, x.std(dtype=np.float64) / 127.5))
    # So few digits that files say them in full.
    net = AutoencoderTiny(
        (3,), (3,), (1,), (1,), latents=3, scale=round(1.0 / (_RANGE * std), 4), shift=round(_RANGE * mean, 6)
    )
    # In residual blocks nothing is added; first and last layers of either half are affine maps of a pixel. Encoder:
    # x in [0, 1] to _RANGE (2 x - 1). Decoder: back to [0, 1], which relu leaves as it is.
    affine = {"encoder": ((1.0, 0.0), (2.0 * _RANGE, -_RANGE)), "decoder": ((0.5 / _RANGE, 0.5), (1.0, 0.0))}
    params = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flat(autoencoder.expected(net)).items()}
    for half, maps in affine.items():
        outer = sorted(
            {path.rpartition("/")[0] for path in params if re.match(rf"{half}/layers_\d+/(kernel|bias)", path)}
        )
        for layer, (slope, offset) in zip(sorted(outer, key=_number), maps, strict=True):
            params[f"{layer}/kernel"][1, 1] = slope * np.eye(3)
            params[f"{layer}/bias"][:] = offset
    return net, {"params": nested({path: jnp.asarray(leaf) for path, leaf in params.items()})}


def _number(path: str) -> int:
    return int(path.rpartition("_")[2])


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer of CLIP's kind for which each of these words is one token; others are spelled.

    Args:
      words: small letters and digits.

    Raises:
      UserError: the package tokenizers is not installed.
    """
    try:
        import tokenizers as lib
    except ImportError as error:
        raise UserError("captions need the package tokenizers: pip install 'tgdp-jax[text]'") from error
    # As CLIP's tokenizer takes words apart: every digit is a word.
    known = sorted({part for word in words for part in re.findall(r"[a-z]+|[^a-z]", word)})
    made = lib.Tokenizer(lib.models.BPE(end_of_word_suffix=_END))
    made.pre_tokenizer = lib.pre_tokenizers.WhitespaceSplit()
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    trainer = lib.trainers.BpeTrainer(
        vocab_size=2**16, min_frequency=1, initial_alphabet=letters, end_of_word_suffix=_END, show_progress=False
    )
    made.train_from_iterator(known, trainer)
    model = json.loads(made.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].__getitem__), *(letter + _END for letter in letters)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys([*tokens, *SPECIAL_TOKENS.values()]))}
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = [(first, second) for first, second in pairs]
    return Tokenizer(vocab=vocab, merges=merges, special=dict(SPECIAL_TOKENS), length=LENGTH)
