"""A picture as panels: side by side in one PNG file for slides, or one SVG each, which flow with a page."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from tgdp_jax.app.report import style, svg

# Inches of one panel on a page: it is shown about as large as it is drawn, on a phone and beside two others on a desk.
WIDTH = 3.4
# Inches of one mark of the key.
MARK = (0.32, 0.16)


class Panel(NamedTuple):
    """One panel.

    Attributes:
      title: above it; shown verbatim.
      draw: fills the axes, labels included.
    """

    title: str
    draw: Callable[[Axes], None]


class Mark(NamedTuple):
    """One entry of the key.

    Attributes:
      name: what has this look; shown verbatim.
      look: arguments of a matplotlib line, or of a patch.
      area: whether it is a patch.
    """

    name: str
    look: Mapping[str, Any]
    area: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that has not been drawn yet.

    Everything is drawn under the settings of `style`, whatever the user's matplotlibrc says, and without pyplot: no
    window system is needed and no figure stays in memory.

    Attributes:
      panels: in order.
      key: what the looks mean, the same in all panels.
      aspect: height of a panel over its width.
      extra: inches added to the height of a panel, for labels.
      columns: panels in a row of the PNG file at most.
      heading: above all panels of the PNG file; a page has its own headings.
      inked: whether what is rasterised is ink on the page, such as points, and not a picture with its own background.
      wide: whether a panel is too detailed to be shown as narrow as a phone: there it scrolls.
    """

    panels: Sequence[Panel]
    key: Sequence[Mark] = ()
    aspect: float
    extra: float = 0.0
    columns: int = 3
    heading: str = ""
    inked: bool = False
    wide: bool = False

    def figure(self) -> Figure:
        """All panels with their titles, the heading and the key, as wide as a slide."""
        with style.settings():
            figure, axes = style.grid_figure(
                len(self.panels), columns=self.columns, aspect=self.aspect, extra=self.extra + 0.3, widest=5.4
            )
            for panel, one in zip(axes, self.panels, strict=True):
                one.draw(panel)
                style.set_title(panel, one.title)
            if self.heading:
                figure.suptitle(self.heading, parse_math=False, fontsize=11)
            columns = max(2, int(figure.get_figwidth() // 1.6))
            handles = [_handle(mark) for mark in self.key]
            style.legend(figure, handles, [mark.name for mark in self.key], columns)
        return figure

    def part(self, panel: Panel) -> Figure:
        """One panel alone, without its title."""
        with style.settings():
            figure = Figure(figsize=(WIDTH, WIDTH * self.aspect + self.extra), layout="constrained")
            panel.draw(figure.subplots())
        return figure

    def png(self) -> bytes:
        """`figure` as a file."""
        with style.settings():
            out = io.BytesIO()
            # The library's version in the file would make equal pictures differ.
            self.figure().savefig(out, format="png", dpi=style.DPI, metadata={"Software": None})
        return out.getvalue()

    def svgs(self, prefix: str, title: str) -> list[str]:
        """Every panel as an element of a page.

        Args:
          prefix: begins the ids within, which must be unique on a page.
          title: of the picture; with a panel's own title it says what is seen to those who cannot see it.
        """
        labels = [": ".join(filter(None, (title, panel.title))) for panel in self.panels]
        return [_svg(self.part(p), f"{prefix}-{i}", labels[i]) for i, p in enumerate(self.panels)]

    def marks(self, prefix: str) -> list[tuple[str, str]]:
        """(element, name) of every entry of the key; `prefix` as in `svgs`."""
        return [(_svg(_mark(mark), f"{prefix}-key{i}"), mark.name) for i, mark in enumerate(self.key)]


def _svg(figure: Figure, prefix: str, label: str = "") -> str:
    with style.settings():
        return svg.element(figure, prefix, label)


def _handle(mark: Mark) -> Artist:
    return Patch(**mark.look) if mark.area else Line2D([], [], **mark.look)


def _mark(mark: Mark) -> Figure:
    with style.settings():
        figure = Figure(figsize=MARK)
        if mark.area:
            figure.add_artist(Rectangle((0.1, 0.1), 0.8, 0.8, **mark.look))
        else:
            figure.add_artist(Line2D([0.03, 0.5, 0.97], [0.5] * 3, markevery=[1], **mark.look))
    return figure
