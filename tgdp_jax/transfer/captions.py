"""A text-to-image pipeline as the source model: its denoiser, told captions by their numbers (`nets.captioned`)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop.pipeline import XL, TextEncoder, TextPipeline
from tgdp_jax.nets.captioned import COLLECTION, Captioned
from tgdp_jax.train.reparam import flat

_TOKENS = "params/embeddings/token_embedding/embedding"


def captioned_net(
    pipe: TextPipeline, problem: Problem, *, dtype: Any, remat: bool, new_token: bool, vectors: int = 1
) -> Captioned:
    """The network of a pipeline for a problem's captions.

    Args:
      pipe: the pipeline.
      problem: with captions.
      dtype: what inner layers compute in.
      remat: whether the denoiser's blocks are recomputed on the way back.
      new_token: whether it reads captions at every call, so that a new word or its text encoders can be trained.
      vectors: of that word; 0: there is none.

    Raises:
      UserError: the problem has none, or a word was asked for and it names none.
    """
    if problem.captions is None:
        raise UserError(f"a {pipe.kind} makes pictures of captions: use the problem text-images")
    own: dict[str, Any] = {}
    if new_token:
        if vectors:
            _words(pipe, problem, vectors)
        own["encoders"] = tuple(one.net.clone(vocab=one.tokenizer.size + vectors) for one in pipe.encoders)
        # SDXL takes what is below the last layer, without the last norm.
        own |= {"skip": 1, "norm": False} if pipe.kind == XL else {}
    return Captioned(
        net=pipe.net.clone(dtype=dtype, remat=remat or pipe.net.remat),
        num_steps=pipe.sde.num_steps,
        num_classes=problem.num_classes,
        length=pipe.encoders[0].tokenizer.length,
        **own,
    )


def captioned_variables(pipe: TextPipeline, problem: Problem) -> Any:
    """Variables of `captioned_net`: the pipeline's weights, and the embeddings of all captions.

    Raises:
      UserError: a caption names a token that there is not.
    """
    size = _size(pipe, problem)
    told, none = (text._asdict() for text in (pipe.embed(known_words(problem), size), pipe.negative(None, size)))
    table = {name: jnp.concatenate([value, none[name]]) for name, value in told.items() if value is not None}
    return {"params": {"net": pipe.params["params"]}, COLLECTION: table}


def with_new_token(pipe: TextPipeline, problem: Problem, variables: Any, vectors: int = 1) -> Any:
    """Variables of the `captioned_net` with a new token, all of whose vectors start from its initial word's."""
    encoders = _with_token(pipe, problem, vectors) if vectors else pipe.encoders
    texts = [*(problem.classes if vectors else known_words(problem)), ""]
    ids = [encoder.tokenizer(texts).ids for encoder in encoders]
    kept = np.ones(len(texts), np.float32)
    kept[-1] = 0.0 if pipe.zeros and pipe.kind == XL else 1.0
    table = {f"ids_{i}": jnp.asarray(value) for i, value in enumerate(ids)} | {"kept": jnp.asarray(kept)}
    known = variables[COLLECTION]
    table |= {"time_ids": known["time_ids"]} if "time_ids" in known else {}
    own = {f"encoders_{i}": encoder.params["params"] for i, encoder in enumerate(encoders)}
    return {"params": {"net": variables["params"]["net"], **own}, COLLECTION: table}


def check_captions(pipe: TextPipeline, problem: Problem) -> None:
    """Says what of the captions a pipeline can not read; nothing is computed.

    Raises:
      UserError: a caption names a token that there is not, or the new one does not start from one that there is.
    """
    captions = problem.captions
    if captions is not None and captions.token is not None:
        _words(pipe, problem)
    for text in known_words(problem):
        pipe.check_tokens(text)


def known_words(problem: Problem) -> list[str]:
    """The captions, with the word that a new one starts from in its place."""
    captions = problem.captions
    if captions is None or captions.token is None or captions.initial is None:
        return list(problem.classes)
    return [text.replace(captions.token, captions.initial) for text in problem.classes]


def _with_token(pipe: TextPipeline, problem: Problem, vectors: int) -> tuple[TextEncoder, ...]:
    """The text encoders with one token more, whose vectors are all that of the word that it starts from."""
    name, words = _words(pipe, problem, vectors)
    pairs = zip(pipe.encoders, words, strict=True)
    return tuple(
        one.with_token(name, np.tile(np.asarray(flat(one.params)[_TOKENS][word]), (vectors, 1))) for one, word in pairs
    )


def _words(pipe: TextPipeline, problem: Problem, vectors: int = 1) -> tuple[str, list[int]]:
    """The new word, and the token that it starts from in every text encoder.

    Raises:
      UserError: there is none, it is a token already, or starts from several.
    """
    captions, found = problem.captions, []
    if captions is None or captions.token is None or captions.initial is None:
        raise UserError("textual_inversion needs a new word: give --token and --initial, such as <toy> and toy")
    for encoder in pipe.encoders:
        tokenizer = encoder.tokenizer
        tokenizer.with_token(captions.token, vectors)
        row = tokenizer([captions.initial]).ids[0].tolist()
        # Between the start and the end.
        word = row[1 : row.index(tokenizer.vocab[tokenizer.special["eos_token"]], 1)]
        if len(word) != 1:
            raise UserError(
                f"initial is {captions.initial!r}, which is {len(word)} tokens: give a word that is one token"
            )
        found += word
    return captions.token, found


def _size(pipe: TextPipeline, problem: Problem) -> tuple[int, int]:
    """(height, width) of the pictures."""
    height, width, _ = problem.shape
    return height * pipe.vae.factor, width * pipe.vae.factor
