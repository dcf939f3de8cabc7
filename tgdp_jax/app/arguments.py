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
    "--tensorboard": "--log tensorboard",
}
# Options that take several values, which may also be given as one word with commas.
LISTS = ("--methods", "--n-targets", "--objectives", "--columns", "--log")
INTEGERS = "--n-targets"


def prepared(arguments: Sequence[str]) -> list[str]:
    """The words as the parser takes them: values of lists apart.

    Raises:
      UserError: an option that goes by another name now, or words where integers are listed.
    """
    out: list[str] = []
    values, listed = False, ""
    for word in arguments:
        option = word.partition("=")[0].replace("_", "-")
        if option in MOVED:
            raise UserError(f"{option} is {MOVED[option]} now: give that")
        if word.startswith("--"):
            values, listed = option in LISTS, option
            if values and "=" in word:
                out += [option, *_apart(word.partition("=")[2], option)]
                continue
        out += _apart(word, listed) if values and not word.startswith("--") else [word]
    return out


def _apart(word: str, option: str) -> list[str]:
    parts = [part.strip() for part in word.split(",") if part.strip()]
    if option == INTEGERS and not all(part.lstrip("+-").isdecimal() for part in parts):
        raise UserError(f"n-targets is {word!r}: give integers separated by commas, such as 10,100")
    return parts


def nearest(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the one that was probably meant, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean {close[0]!r}? There are" if close else "choose one of"
    return f"unknown {kind} {name!r}: {guess} {', '.join(names)}"
