"""CLIP's tokenizer: texts to the numbers that a text encoder takes, as transformers' `CLIPTokenizer` gives them.

A folder has tokenizer.json, or vocab.json and merges.txt, and says its special tokens and length in
tokenizer_config.json and special_tokens_map.json. The work is done by the library `tokenizers`, an optional extra.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import named, read_json, readable, shown
from tgdp_jax.interop.weights import write_json

JSON, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
# What a token stands for, and its default.
SPECIAL_TOKENS = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
_END_OF_WORD = "</w>"
_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
# How a prompt names an embedding by custom; what else stands between the two signs is text.
_PLACEHOLDER = re.compile(r"<[A-Za-z][\w-]*>")
# CLIP's vocabulary has 49,408 tokens in less than a megabyte, and half a megabyte of merges.
_MAX_BYTES = 2**25


class Tokens(NamedTuple):
    """Texts as a text encoder takes them.

    Attributes:
      ids: [B, length], int32: a start, the text, an end, and padding.
      cut: what of each text was too long, "" where nothing was.
    """

    ids: np.ndarray
    cut: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """Texts -> `Tokens`.

    Attributes:
      vocab: number of every token.
      merges: pairs of tokens that become one, the first pair first.
      special: the tokens of `SPECIAL_TOKENS`.
      added: tokens that are no part of words, in the order of their numbers, which go on from the vocabulary's.
      length: of all texts, in tokens.
    """

    vocab: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    special: Mapping[str, str]
    added: tuple[str, ...] = ()
    length: int = 77

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokens of texts; what is too long is cut at the end, as diffusers does."""
        end, pad = (self._number(self.special[name]) for name in ("eos_token", "pad_token"))
        ids, cut = np.full((len(texts), self.length), pad, np.int32), []
        for row, text in enumerate(texts):
            found = self._backend.encode(self._spread(text)).ids
            cut.append("" if len(found) <= self.length else self._text(found[self.length - 1 : -1]))
            found = found if len(found) <= self.length else [*found[: self.length - 1], end]
            ids[row, : len(found)] = found
        return Tokens(ids, tuple(cut))

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self._backend.get_vocab_size()

    def unknown(self, text: str) -> list[str]:
        """Names such as <toy> in a text, by which prompts call embeddings, that are no token."""
        known = {token.lower() for token in (*self.added, *self.special.values())}
        return [name for name in _PLACEHOLDER.findall(text) if name.lower() not in known]

    def with_token(self, name: str, vectors: int = 1) -> Tokenizer:
        """With one token more, or several that a text names by the first: name, name_1, name_2, ...

        Raises:
          UserError: there is such a token.
        """
        names = [name, *(f"{name}_{i}" for i in range(1, vectors))]
        known = next((token for token in names if token in self.vocab or token in self.added), None)
        if known is not None or not name.strip() or name.split() != [name]:
            fault = f"{named(known)} is a token already" if known else f"{shown(name)} is no word"
            raise UserError(f"an embedding can not be added ({fault}): give its token another name")
        return dataclasses.replace(self, added=(*self.added, *names))

    def _spread(self, text: str) -> str:
        """With all tokens of an embedding where a text names the first."""
        named_here = set(self._backend.encode(text, add_special_tokens=False).tokens)
        for token in sorted(named_here & set(self.added)):
            names = [token]
            while f"{token}_{len(names)}" in self.added:
                names.append(f"{token}_{len(names)}")
            text = text.replace(token, " ".join(names))
        return text

    def _number(self, token: str) -> int:
        return self._backend.token_to_id(token)

    def _text(self, ids: list[int]) -> str:
        return self._backend.decode(ids).replace(_END_OF_WORD, " ").strip()

    @functools.cached_property
    def _backend(self) -> Any:
        """Of `tokenizers`.

        Raises:
          UserError: the library is not installed, or the vocabulary and the merges do not fit together.
        """
        try:
            import tokenizers as lib
        except ImportError as error:
            raise UserError("prompts need the package tokenizers: pip install 'tgdp-jax[text]'") from error
        special = self.special
        try:
            made = lib.Tokenizer(
                lib.models.BPE(
                    vocab=dict(self.vocab),
                    merges=list(self.merges),
                    continuing_subword_prefix="",
                    end_of_word_suffix=_END_OF_WORD,
                    unk_token=special["unk_token"],
                )
            )
        # The library raises plain exceptions.
        except Exception as error:
            raise UserError(
                f"the tokenizer's vocabulary and merges do not fit together ({str(error)[:100]}): fetch them again"
            ) from error
        made.normalizer = lib.normalizers.Sequence(
            [
                lib.normalizers.NFC(),
                lib.normalizers.Replace(lib.Regex(r"\s+"), " "),
                lib.normalizers.Lowercase(),
            ]
        )
        made.pre_tokenizer = lib.pre_tokenizers.Sequence(
            [
                lib.pre_tokenizers.Split(lib.Regex(_WORDS), behavior="removed", invert=True),
                lib.pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        made.decoder = lib.decoders.ByteLevel()
        made.add_special_tokens(list(dict.fromkeys(special.values())))
        made.add_tokens(list(self.added))
        end, start = ((special[name], self.vocab[special[name]]) for name in ("eos_token", "bos_token"))
        made.post_processor = lib.processors.RobertaProcessing(end, start, False, False)
        return made


def read_tokenizer(folder: str | Path, *, longest: int) -> Tokenizer:
    """Reads a tokenizer from a folder of transformers.

    Args:
      folder: with tokenizer.json, or vocab.json and merges.txt.
      longest: tokens that the text encoder takes, where the folder does not say fewer.

    Raises:
      UserError: a file is missing or damaged, or it is another kind of tokenizer.
    """
    folder = Path(folder)
    with readable(folder):
        if not any((folder / name).exists() for name in (JSON, VOCAB)):
            raise UserError(f"{folder} has neither {JSON} nor {VOCAB} and {MERGES}: fetch the tokenizer's files")
        config = read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
        kind = config.get("tokenizer_class", "CLIPTokenizer")
        if kind not in ("CLIPTokenizer", "CLIPTokenizerFast"):
            raise UserError(f"{folder / CONFIG} is of a {named(kind)}: only CLIPTokenizer is supported")
        if (folder / JSON).exists():
            vocab, merges, added = _of_json(folder / JSON)
        else:
            vocab, merges, added = *_of_files(folder), {}
        if "added_tokens_decoder" in config:
            added |= _added(config["added_tokens_decoder"], folder / CONFIG)
        else:
            config |= read_json(folder / SPECIAL) if (folder / SPECIAL).exists() else {}
            if (folder / ADDED).exists():
                added |= _checked_vocab(read_json(folder / ADDED), folder / ADDED)
    special = {name: _content(config.get(name) or default) for name, default in SPECIAL_TOKENS.items()}
    for name, token in special.items():
        if token not in vocab:
            raise UserError(f"{folder}: {name} is {shown(token)}, an unknown token: fetch the tokenizer's files again")
    new = {token: number for token, number in added.items() if vocab.get(token) != number}
    names = tuple(sorted(new, key=new.__getitem__))
    if [new[name] for name in names] != list(range(len(vocab), len(vocab) + len(names))) or set(names) & vocab.keys():
        raise UserError(f"{folder} adds {named(names[0])} to the vocabulary, and not at its end: fetch it again")
    length = config.get("model_max_length", longest)
    if not isinstance(length, (int, float)) or not 3 <= length:
        raise UserError(f"{folder / CONFIG}: model_max_length is {shown(length)}: a text has at least 3 tokens")
    return Tokenizer(vocab=vocab, merges=merges, special=special, added=names, length=int(min(length, longest)))


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Writes the files that every version of transformers reads, into a folder that is made where it is missing."""
    folder.mkdir(exist_ok=True)
    write_json(folder / VOCAB, dict(tokenizer.vocab))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges)]
    (folder / MERGES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {token: tokenizer.vocab[token] for token in tokenizer.special.values()}
    added = {token: len(tokenizer.vocab) + i for i, token in enumerate(tokenizer.added)}
    decoder = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": token in added,
            "rstrip": False,
            "single_word": False,
            "special": token in special,
        }
        for token, number in (special | added).items()
    }
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.length, "do_lower_case": True}
    write_json(folder / CONFIG, config | dict(tokenizer.special) | {"added_tokens_decoder": decoder})
    write_json(folder / SPECIAL, dict(tokenizer.special))


def _of_json(path: Path) -> tuple[dict[str, int], list[tuple[str, str]], dict[str, int]]:
    """(vocabulary, merges, added tokens) of a tokenizer.json."""
    values = read_json(path, _MAX_BYTES)
    model, added = values.get("model"), values.get("added_tokens")
    if not isinstance(model, dict) or model.get("end_of_word_suffix") != _END_OF_WORD:
        raise UserError(f"{path} is no tokenizer of CLIP: give the files of a CLIPTokenizer")
    lines = model.get("merges")
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in _list(lines, path, "merges")]
    tokens = {
        str(_content(token)): token.get("id") for token in _list(added, path, "added_tokens") if isinstance(token, dict)
    }
    return _checked_vocab(model.get("vocab"), path), _checked_merges(merges, path), _checked_vocab(tokens, path)


def _of_files(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(vocabulary, merges) of vocab.json and merges.txt."""
    path = folder / MERGES
    if check_regular_file(path) > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES} bytes, more than any of its kind: fetch it again")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} can not be read (it is not UTF-8): fetch it again") from error
    pairs = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    return _checked_vocab(read_json(folder / VOCAB, _MAX_BYTES), folder / VOCAB), _checked_merges(pairs, path)


def _added(values: Any, path: Path) -> dict[str, int]:
    """Of a tokenizer_config.json: by number there."""
    if not isinstance(values, dict) or not all(str(key).isdecimal() and len(str(key)) < 10 for key in values):
        raise UserError(f"{path}: added_tokens_decoder is {shown(values)}: fetch it again")
    return _checked_vocab({str(_content(token)): int(number) for number, token in values.items()}, path)


def _content(token: Any) -> Any:
    """A token's text, which files have alone or in a dict of what it does."""
    return token.get("content") if isinstance(token, dict) else token


def _list(value: Any, path: Path, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise UserError(f"{path}: {name} is {shown(value)}: fetch it again")
    return value or []


def _checked_vocab(vocab: Any, path: Path) -> dict[str, int]:
    numbers = list(vocab.values()) if isinstance(vocab, dict) else []
    if not isinstance(vocab, dict) or not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
        raise UserError(f"{path} does not give every token a number: fetch it again")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{path} gives two tokens one number: fetch it again")
    return vocab


def _checked_merges(merges: list[Any], path: Path) -> list[tuple[str, str]]:
    for pair in merges:
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise UserError(f"{path} holds {shown(pair)} where two tokens are merged: fetch it again")
    return [(first, second) for first, second in merges]
