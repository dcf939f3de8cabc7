"""Pages in a real browser, and what it measures of them.

A page stands in a frame of the size in question, as browsers make no window as narrow as a phone. The page itself runs
no script; one outside the frame measures what the browser laid out, and the browser prints that.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
PHONE, DESK, PAPER = (390, 844), (1280, 900), (1032, 703)  # in CSS pixels; paper: A4 landscape within its margins
FRAME = """<!doctype html><body style="margin: 0">
<iframe id="frame" style="border: 0; width: {width}px; height: {height}px"
srcdoc="{page}"></iframe><div id="measured"></div><script>
frame.onload = () => {{
  const page = frame.contentDocument, view = frame.contentWindow, all = (query) => [...page.querySelectorAll(query)];
  const box = (e) => e.getBoundingClientRect();
  const text = all("p, li, h1, h2, td, th, figcaption").filter((e) => !e.closest(".scroll, .hidden, thead, details"));
  const boxes = all("section, figure, details.config"), pictures = all(".panel .plot");
  measured.textContent = JSON.stringify({{
    width: view.innerWidth, content: page.documentElement.clientWidth, scroll: page.documentElement.scrollWidth,
    beyond: [...text, ...boxes].filter((e) => box(e).right > view.innerWidth + 1 || box(e).left < -1)
      .map((e) => e.outerHTML.slice(0, 80)),
    tables: Math.max(...all("table").map((e) => box(e).right)),
    clipped: all("tbody th, td, table:not(.sheet) thead th").filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.outerHTML.slice(0, 80)),
    sheets: Math.max(...all("table.sheet").map((e) => box(e).right)),
    pictures: pictures.length,
    outside: pictures.filter((e) => !e.closest(".scroll")).concat(all(".panel .scroll"))
      .filter((e) => box(e).right > view.innerWidth + 1 || box(e).left < -1 || box(e).width < 100).length,
    letters: Math.min(...all(".panels:not(.wide) .plot text").map((e) => e.getBoundingClientRect().height)),
    fetched: view.performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:")),
    small: Math.min(...text.map((e) => parseFloat(view.getComputedStyle(e).fontSize))),
    sticky: Math.max(...all("table:not(.sheet) th[scope=row]").map((e) => box(e).width)),
    overlap: boxes.map(box).some((b, i, others) => i && b.top < others[i - 1].bottom),
  }});
}};
</script></body>"""


DARK = "--blink-settings=preferredColorScheme=0"


class Browser:
    """Chromium without a window.

    Args:
      folder: for its files.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __call__(self, page: str, size: tuple[int, int], *options: str) -> str:
        """What the browser prints of a page in a frame of a size."""
        path = self._folder / "page.html"
        path.write_text(FRAME.format(page=html.escape(page), width=size[0], height=size[1]))
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={self._folder / 'profile'}", f"--window-size={max(size[0], 600)},{size[1]}"]
        done = subprocess.run(
            [*command, *options, path.as_uri()], capture_output=True, text=True, timeout=120, cwd=self._folder
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def measured(self, page: str, size: tuple[int, int]) -> dict[str, Any]:
        """What the script of `FRAME` found."""
        found = re.search(
            r'id="measured">(.*?)</div>', self(page, size, "--dump-dom", "--virtual-time-budget=5000"), re.S
        )
        assert found and found[1], "the page was not measured"
        return json.loads(html.unescape(found[1]))


def check_fits(found: dict[str, Any], size: tuple[int, int]) -> None:
    """Nothing is wider than the page, nothing is cut off or too small to read, and nothing comes from elsewhere."""
    assert found["width"] == size[0]
    assert found["scroll"] <= found["content"] <= size[0]
    assert found["beyond"] == [] and found["clipped"] == []
    assert found["pictures"] > 0 and found["outside"] == 0
    assert not found["overlap"] and found["small"] >= 13 and found["letters"] >= 10
    assert found["fetched"] == []
