"""All pictures of a report, as drawings: see `drawing.Drawing`."""

from tgdp_jax.app.report.charts import bars, curves, fields, lines
from tgdp_jax.app.report.ecg import ecg_sheets
from tgdp_jax.app.report.grid import image_grids
from tgdp_jax.app.report.samples import histograms, project, samples, scatter_panels
from tgdp_jax.app.report.tradeoff import tradeoff

__all__ = [
    "bars",
    "curves",
    "ecg_sheets",
    "fields",
    "histograms",
    "image_grids",
    "lines",
    "project",
    "samples",
    "scatter_panels",
    "tradeoff",
]
