"""The command line. What a command needs is imported once it is known which one was asked for."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from tgdp_jax import __version__
from tgdp_jax.app.arguments import nearest, prepared
from tgdp_jax.errors import UserError, explained
from tgdp_jax.runtime.limits import check_address_space

# Every command with its line in the overview; what it takes and does stands in `entries`.
COMMANDS = {
    "run": "Train one method on a problem, sample, measure and report.",
    "compare": "Compare several methods on a problem, over target sizes and seeds.",
    "sample": "Draw more samples from a finished run.",
    "generate": "Make pictures from prompts with a text-to-image pipeline of diffusers.",
    "diagnose": "Say, before training, whether transfer by density ratio fits two data sets.",
    "methods": "Say what each method is: who proposed it, what it trains and needs, when it fails.",
    "probe": "Measure what the features of source models know of the labels, by layer and noise level.",
    "bench": "Measure samples per second and what training costs.",
    "devices": "Say which devices are found and used.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A `UserError`, and what is `explained`, print as one sentence and exit with code 2."""
    hush()
    try:
        try:
            with explained():
                _dispatch(prepared(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"tgdp: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # who reads this, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        sys.exit(141)  # as of a process that SIGPIPE ends
    except KeyboardInterrupt:  # before or after the work, which `running` ends
        print("tgdp: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def hush() -> None:
    """Keeps the storage layer's threads from printing tracebacks of what is raised here too, and said in a sentence."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    others = sys.unraisablehook

    def hook(found: Any) -> None:
        # A read that failed is over; parts of it that arrive afterwards find nobody.
        if str(found.exc_value) != "Event loop is closed":
            others(found)

    sys.unraisablehook = hook


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(_overview())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(f"tgdp {__version__}")
        return
    name, *rest = words
    if name not in COMMANDS:
        raise UserError(nearest("command", name, COMMANDS))
    check_address_space()
    from tgdp_jax.app.entries import ENTRIES

    ENTRIES[name](rest)


def _overview() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tgdp COMMAND [options]      tgdp COMMAND --help says what a command takes",
            "",
            "Carry a pretrained diffusion model over to a small target data set, and know whether it worked.",
            "",
            "commands:",
            *lines,
            "",
            "  --version  Print the version.",
        ]
    )


if __name__ == "__main__":
    main()
