"""What a row is made of: named modalities, each a run of the row's numbers.

A row stays one array, so that everything that takes rows takes these too. Text is a modality of numbers as well: a
character is a token, and a token its number in binary digits, written -1 and 1 (analog bits, Chen, Zhang and Hinton
2023).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tgdp_jax.errors import UserError, choose

UNKNOWN = "?"  # how bits that are no character read


@dataclasses.dataclass(frozen=True)
class Modality:
    """One modality of a row.

    Attributes:
      name: an identifier.
      shape: (H, W, C) of an image or spectrogram, (L, bits) of text, any other of a vector.
      alphabet: of text, its characters, the first being the blank that fills it up; empty for anything else.
    """

    name: str
    shape: tuple[int, ...]
    alphabet: str = ""

    @classmethod
    def text(cls, name: str, texts: Sequence[str]) -> Modality:
        """A modality that can hold each of the texts."""
        alphabet = " " + "".join(sorted(set("".join(texts)) - {" "}))
        bits = max(1, (len(alphabet) - 1).bit_length())
        return cls(name, (max(map(len, texts)), bits), alphabet)

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as analog bits, float32 [N, L, bits].

        Raises:
          UserError: a text is too long or has a character that is not in the alphabet.
        """
        length, bits = self.shape
        for text in texts:
            if len(text) > length or set(text) - set(self.alphabet):
                raise UserError(
                    f"{text!r} is no {self.name}: give at most {length} of the characters {self.alphabet.strip()!r}"
                )
        tokens = np.array([[self.alphabet.index(c) for c in text.ljust(length)] for text in texts])
        return (2.0 * (tokens.reshape(-1, length, 1) >> np.arange(bits) & 1) - 1.0).astype(np.float32)

    def decode(self, x: Any) -> list[str]:
        """The texts that analog bits [N, L, bits] read, by the sign of each; bits of no character read "?"."""
        tokens = ((np.asarray(x) > 0) << np.arange(self.shape[1])).sum(-1)
        known = self.alphabet.ljust(2 ** self.shape[1], UNKNOWN)
        return ["".join(known[token] for token in row).rstrip() for row in tokens]


@dataclasses.dataclass(frozen=True)
class Modalities:
    """The modalities of rows [*D], in the order in which they stand in a flattened row. Hashable."""

    parts: tuple[Modality, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return sum(part.size for part in self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def named(self, name: str) -> Modality:
        """Raises:
        UserError: there is none of this name."""
        choose("modality", name, self.names)
        return next(part for part in self.parts if part.name == name)

    def spread(self, t: Any, shape: tuple[int, ...]) -> Any:
        """Times of each modality [B, M] as times of each number of a row, [B, *shape].

        Processes, preconditioning and conversions of predictions take times of any shape: with these, every number of
        a row is noised and denoised at the time of its own modality.
        """
        number = np.repeat(np.arange(len(self)), [part.size for part in self.parts])
        return t[:, number].reshape(t.shape[0], *shape)

    def split(self, x: Any) -> dict[str, Any]:
        """Rows [B, *D] as their modalities [B, *shape] by name."""
        flat = x.reshape(x.shape[0], -1)
        ends = list(itertools.accumulate((part.size for part in self.parts), initial=0))
        return {
            part.name: flat[:, low:high].reshape(-1, *part.shape)
            for part, low, high in zip(self.parts, ends, ends[1:], strict=False)
        }

    def join(self, parts: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
        """Inverse of `split`: modalities [B, *their shape] by name as rows [B, *shape]."""
        import jax.numpy as jnp  # late: rows can be read without it

        flat = [parts[name].reshape(parts[name].shape[0], -1) for name in self.names]
        return jnp.concatenate(flat, 1).reshape(-1, *shape)


def halves(shape: tuple[int, ...]) -> Modalities:
    """The first and the second half of rows [*shape] along their first axis: of images the upper and the lower one.

    Raises:
      UserError: there is nothing to halve.
    """
    if shape[0] < 2:
        raise UserError(
            f"a row of shape {shape} has no two modalities: use a problem with named ones (digit-pairs), or rows of "
            "which the first axis can be halved"
        )
    middle = shape[0] // 2
    sizes = (middle, *shape[1:]), (shape[0] - middle, *shape[1:])
    names = ("upper", "lower") if len(shape) == 3 else ("first", "second")
    return Modalities(tuple(Modality(name, size) for name, size in zip(names, sizes, strict=True)))
