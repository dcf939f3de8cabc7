"""Accuracy of probes over the noise level, a line a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from tgdp_jax.app.report import style
from tgdp_jax.app.report.drawing import Drawing, Mark, Panel


def accuracies(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    times: Sequence[float],
    *,
    baselines: Mapping[str, float],
    baseline: str,
    columns: int,
) -> Drawing:
    """Panels of accuracies in [0, 1] over times, on a logarithmic axis of time and one axis of accuracy.

    Args:
      panels: heading to layer to one accuracy a time. A layer has one colour and marker in all panels.
      times: increasing, positive.
      baselines: heading to the accuracy without a model, a dashed line.
      baseline: what that is.
      columns: panels in a row.
    """
    names = list(dict.fromkeys(layer for layers in panels.values() for layer in layers))
    dashes = {"color": style.NEUTRAL, "linewidth": 1.0, "linestyle": "dashed"}
    seen = [value for layers in panels.values() for values in layers.values() for value in values]
    low, high = style.widened(*style.robust_range(100 * np.array([*seen, *baselines.values()]), 0.0), 0.08)

    def draw(axes: Axes, title: str) -> None:
        for layer, values in panels[title].items():
            axes.plot(times, [100 * value for value in values], markersize=4, **style.look(names.index(layer)))
        axes.axhline(100 * baselines[title], **dashes)
        axes.set_xscale("log")
        axes.set_ylim(low, high)
        axes.set_xticks(list(times))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("time t of the noise")
        axes.set_ylabel("accuracy in %")
        axes.grid(True)

    return Drawing(
        panels=[Panel(title, lambda axes, title=title: draw(axes, title)) for title in panels],
        key=[*(Mark(n, {"markersize": 4, **style.look(i)}) for i, n in enumerate(names)), Mark(baseline, dashes)],
        aspect=0.75,
        columns=columns,
    )
