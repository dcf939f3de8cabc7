"""`tgdp methods`: what each method is, as cards, or several side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from tgdp_jax.app.report import html
from tgdp_jax.app.report.sheet import Sheet, panels, sheet, side_by_side
from tgdp_jax.transfer import METHODS

WIDE = 120  # characters a line where nobody's terminal says how many


def card_sheet(names: Iterable[str], measured: Mapping[str, Mapping[str, str]] | None = None) -> Sheet:
    """The cards of methods, each followed by what a run measured of it (heading to text)."""
    facts = {name: METHODS[name].card.facts() | dict((measured or {}).get(name, {})) for name in names}
    return sheet("Method" if len(facts) == 1 else "Methods", facts)


def trained_fact(counts: Iterable[int], source: int) -> dict[str, str]:
    """For a card: how many numbers were learned from target rows, beside those of the source model (0: not known)."""
    found = sorted(set(counts))
    text = " or ".join(f"{count:,}" for count in found) or "not known: it failed"
    if found and source:
        shares = " or ".join(_share(count / source) for count in found)
        text += f"; {shares} the source model's {source:,}"
    return {"parameters trained here": text}


def _share(ratio: float) -> str:
    """A fraction below one as a percentage, above as a multiple."""
    if ratio < 0.995:
        return f"{ratio:.2%} of"
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"


def show_methods(names: tuple[str, ...], out: Path | None) -> None:
    """Prints cards of all methods, or of those in `names`; two or more of these side by side. Writes them to `out` too.

    Raises:
      UserError: a place that can not be written.
    """
    data = card_sheet(names or METHODS)
    if out is not None:
        html.write(out, html.render(title="Transfer methods", sheets=[data]))
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(side_by_side(data, console.width) if len(names) > 1 else panels(data))
    if out is not None:
        print(f"cards: {out}")
