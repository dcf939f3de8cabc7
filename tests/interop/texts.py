"""A tokenizer of single letters and a few words."""

from __future__ import annotations

import string
from typing import Any

from tgdp_jax.interop.tokenizer import SPECIAL_TOKENS, Tokenizer

_MERGES = ("c a", "ca t</w>", "d o", "do g</w>", "' s</w>", "p h")


def tiny_tokenizer(*, length: int = 12, **changes: Any) -> Tokenizer:
    """Of texts of `length` tokens; letters, digits and some signs have tokens, others are unknown."""
    letters = [*string.ascii_lowercase, *string.digits, *"!'<>_-.,?Ã©"]
    words = ["".join(pair.split()) for pair in _MERGES]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *words, *SPECIAL_TOKENS.values()]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    merges = [(first, second) for first, second in (pair.split() for pair in _MERGES)]
    values = {"vocab": vocab, "merges": merges, "special": dict(SPECIAL_TOKENS), "length": length}
    return Tokenizer(**values | changes)
