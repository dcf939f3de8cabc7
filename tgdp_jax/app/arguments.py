"""What is done to the words of a command line before they are parsed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from tgdp_jax.errors import UserError

# Options that went elsewhere, and where.
MOVED = {
    "--sampling.scale": "--guidance.scale",
    "--sampling.interval": "--guidance.interval",
    "--source.features": "--network.features",
    "--source.embedding": "--network.embedding",
}
# Options that take several values, which may also be given as one word with commas.
LISTS = ("--methods", "--n-targets", "--objectives")


def prepared(arguments: Sequence[str]) -> list[str]:
    """The words as the parser takes them: values of lists apart, `--a_b` written `--a-b`.

    Raises:
      UserError: an option that goes by another name now.
    """
    out: list[str] = []
    values = False
    for word in arguments:
        option = word.partition("=")[0].replace("_", "-")
        if option in MOVED:
            raise UserError(f"{option} is {MOVED[option]} now: give that")
        if word.startswith("--"):
            values = option in LISTS
            if values and "=" in word:
                out += [option, *_apart(word.partition("=")[2])]
                continue
        out += _apart(word) if values and not word.startswith("--") else [word]
    return out


def _apart(word: str) -> list[str]:
    return [part.strip() for part in word.split(",") if part.strip()]


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the one that was probably meant, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {close[0]!r}? There are" if close else "choose one of"
    return f"unknown {kind} {name!r}: {guess} {', '.join(names)}"
