"""Accuracy of probes over the noise level, a line a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from tgdp_jax.app.report import style


@style.picture
def accuracies(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    times: Sequence[float],
    *,
    baselines: Mapping[str, float],
    baseline: str,
    columns: int,
) -> Figure:
    """Panels of accuracies in [0, 1] over times, on a logarithmic axis of time.

    Args:
      panels: heading to layer to one accuracy a time. A layer has one colour and marker in all panels.
      times: increasing, positive.
      baselines: heading to the accuracy without a model, a dashed line.
      baseline: what that is.
      columns: panels in a row.

    Returns:
      PNG bytes.
    """
    names = list(dict.fromkeys(layer for layers in panels.values() for layer in layers))
    figure, axes = style.grid_figure(len(panels), columns=columns, aspect=0.8, extra=0.5, widest=4.6, sharey=True)
    keys = {}
    for panel, (title, layers) in zip(axes, panels.items(), strict=True):
        for layer, values in layers.items():
            look = style.look(names.index(layer))
            (keys[layer],) = panel.plot(times, [100 * value for value in values], markersize=4, **look)
        keys[baseline] = panel.axhline(100 * baselines[title], color=style.NEUTRAL, linewidth=1.0, linestyle="dashed")
        panel.set_xscale("log")
        panel.set_xticks(list(times))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("time t of the noise")
        panel.grid(True)
        style.set_title(panel, title)
    for panel in axes[::columns]:
        panel.set_ylabel("accuracy in %")
    style.legend(figure, list(keys.values()), list(keys), loc="outside lower center", ncols=min(len(keys), 8))
    return figure
