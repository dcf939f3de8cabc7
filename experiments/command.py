"""How a study is called from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable

import tyro

from tgdp_jax.errors import UserError, explained


def command(study: Callable[..., None]) -> None:
    """Calls `study` with the options on the command line; a `UserError` is one sentence, and exit code 2."""
    try:
        with explained():
            tyro.cli(study)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
