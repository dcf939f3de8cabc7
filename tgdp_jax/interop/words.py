"""A tokenizer of CLIP's kind for a few words, each of which is one token. Other words are spelled."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from tgdp_jax.interop.tokenizer import SPECIAL_TOKENS, Tokenizer

_END = "</w>"
# What the printable characters of ASCII are as bytes: themselves.
_LETTERS = tuple(chr(code) for code in range(33, 127))


def word_tokenizer(words: Iterable[str], length: int) -> Tokenizer:
    """A tokenizer by byte pairs, which are merged until every word is one token.

    Args:
      words: of printable ASCII, in small letters.
      length: of all texts, in tokens.
    """
    spelled = {word: [*word[:-1], word[-1] + _END] for word in sorted(set(words))}
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for parts in spelled.values() for pair in itertools.pairwise(parts)):
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        spelled = {word: _merged(parts, merges[-1]) for word, parts in spelled.items()}
    tokens = (*_LETTERS, *(letter + _END for letter in _LETTERS), *map("".join, merges), *SPECIAL_TOKENS.values())
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return Tokenizer(vocab=vocab, merges=merges, special=dict(SPECIAL_TOKENS), length=length)


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out
