"""A matplotlib figure as an `<svg>` element of a page: no ids that clash, and colours that follow light and dark."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from tgdp_jax.app.report import style

# Dots an inch of what is rasterised: points need no more.
RASTER = 144
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LINK = "{http://www.w3.org/1999/xlink}href"
_URL = re.compile(r"url\(#([^)]*)\)")
# A hundredth of a point is finer than any screen; matplotlib writes six decimals.
_TAIL = re.compile(r"(\.\d\d)\d+")
_ROUNDED = ("d", "x", "y")


def element(figure: Figure, prefix: str, label: str = "") -> str:
    """The figure as one element that grows and shrinks with what it stands in.

    Text stays text, in the fonts of the page. A colour in `style.DARK` becomes a variable of the style sheet, named
    after itself.

    Args:
      figure: drawn on no background.
      prefix: begins all ids.
      label: for those who cannot see it; without one it is taken for decoration.
    """
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, dpi=RASTER, metadata={"Date": None})
    root = ElementTree.fromstring(out.getvalue())
    for above in list(root.iter()):
        for part in list(above):
            # Facts about the file, and rules that would hold for the whole page: the page has its own.
            if part.tag.endswith(("metadata", "style")):
                above.remove(part)
    used = {name for part in root.iter() for name in _links(part)}
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        part.attrib = {name: value for name, value in part.attrib.items() if name != "id" or value in used}
        for name, value in part.attrib.items():
            part.attrib[name] = _attribute(name, value, prefix)
        if _LINK in part.attrib:
            part.attrib["href"] = part.attrib.pop(_LINK)
    for name in ("version", "width", "height"):
        root.attrib.pop(name, None)
    root.attrib |= {"class": "plot"} | ({"role": "img", "aria-label": label} if label else {"aria-hidden": "true"})
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))


def _links(part: ElementTree.Element) -> list[str]:
    """Ids that an element points to."""
    of_attributes = [name for value in part.attrib.values() for name in _URL.findall(value)]
    return [*of_attributes, part.get(_LINK, "").removeprefix("#")]


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == _LINK:
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value
    if name in _ROUNDED:
        return _TAIL.sub(r"\1", " ".join(value.split()))
    if name == "style":
        value = value.replace(f"'{style.FONT}'", "var(--font)")
    return _URL.sub(rf"url(#{prefix}-\1)", _COLOUR.sub(_variable, value))


def _variable(found: re.Match[str]) -> str:
    colour = found[0]
    return f"var(--ink-{colour[1:]}, {colour})" if colour in style.DARK else colour
