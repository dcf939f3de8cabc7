"""What the pictures show. What is looked at is the figure of all panels."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tgdp_jax.app.report import plots, style
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.errors import UserError

SOURCE = np.array([[0.5, 0.5], [-0.5, -0.5]])
TARGET = np.array([[0.5, -0.5], [-0.5, 0.5]])
LOWER = Column("m", "measure", "lower")


def draw(means, count, seed=0, dim=2):
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=count)
    x = 0.3 * rng.normal(size=(count, dim))
    x[:, :2] += means[y] + (np.sqrt(0.1) - 0.3) * rng.normal(size=(count, 2))
    return x, y


def panels(dim=2, extra=()):
    named = {"source": draw(SOURCE, 5000, 0, dim)[0], "target": draw(TARGET, 20, 1, dim)[0]}
    return named | {name: draw(TARGET, 300, 2, dim)[0] for name in extra}


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def legend_texts(owner):
    boxes = owner.legends if hasattr(owner, "legends") else [owner.get_legend()]
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


def decode(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def grid(low=-2.0, high=2.0):
    xs = np.linspace(low, high, 41)
    ys = np.linspace(low, high, 31)
    points = np.stack(np.meshgrid(xs, ys), -1)
    density = sum(np.exp(-((points - m) ** 2).sum(-1) / 0.2) / (0.2 * np.pi) / 2 for m in TARGET)
    return xs, ys, density


ROWS = [
    Row("fresh", {"m": Cell(0.01)}, reference=True),
    Row("tgdp", {"m": Cell(0.2, 0.02)}),
    Row("scratch", {"m": Cell(0.6, 0.05)}),
    Row("gan", {"m": Cell(float("nan"))}),
]
HISTORY = {
    "ratio": {
        "loss": (np.arange(1, 401), np.exp(-np.arange(1, 401) / 50.0) + 0.3),
        "validation": (np.arange(40, 401, 40), np.linspace(0.6, 0.35, 10)),
    }
}


@pytest.mark.parametrize(
    "make",
    [
        lambda: plots.scatter_panels(panels(), contours=grid()),
        lambda: plots.samples(panels(dim=5)),
        lambda: plots.histograms({"a": np.arange(50.0), "b": np.zeros((0, 1))}),
        lambda: plots.image_grids({"a": np.random.default_rng(0).normal(size=(9, 8, 8))}),
        lambda: plots.fields(grid()[2] - 0.1, None, *grid()[:2], title="t"),
        lambda: plots.curves(HISTORY, chosen={"ratio": 120}),
        lambda: plots.bars(ROWS, LOWER),
        lambda: plots.lines({10: ROWS, 100: ROWS}, LOWER),
    ],
)
def test_pictures_are_png_repeat_and_leave_no_trace(make):
    before = dict(matplotlib.rcParams)
    png, page = make().png(), make().svgs("p", "t")
    image = decode(png)
    assert image.format == "PNG"
    assert image.size[0] <= style.PAGE * style.DPI + 1
    assert np.asarray(image.convert("L")).std() > 1
    assert make().png() == png and make().svgs("p", "t") == page
    assert dict(matplotlib.rcParams) == before


def test_pictures_ignore_the_users_settings():
    png, page = plots.bars(ROWS, LOWER).png(), plots.bars(ROWS, LOWER).svgs("p", "t")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 20}):
        again = plots.bars(ROWS, LOWER)
        assert again.png() == png and again.svgs("p", "t") == page


@pytest.mark.parametrize("make", [plots.scatter_panels, plots.histograms, plots.image_grids, plots.curves])
def test_nothing_to_show_is_still_a_picture(make):
    assert decode(make({}).png()).format == "PNG"


def test_scatter_panels_share_limits_and_scale():
    figure = plots.scatter_panels(panels(extra=["tgdp", "scratch", "lora"])).figure()
    assert titles(figure) == ["source", "target", "tgdp", "scratch", "lora"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    assert all(axes.get_box_aspect() == 1.0 for axes in figure.axes)
    assert all((axes.get_xlabel(), axes.get_ylabel()) == ("x1", "x2") for axes in figure.axes)
    (low, high), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert high - low == pytest.approx(top - bottom)
    low, high = figure.axes[0].get_xlim()
    assert -2.5 < low < -1 < 1 < high < 2.5


def test_a_runaway_method_does_not_set_the_limits_and_is_reported():
    wild = panels() | {"wild": 1000.0 + draw(TARGET, 300)[0]}
    wild["wild"][:7] = np.nan
    figure = plots.scatter_panels(wild).figure()
    assert figure.axes[2].get_xlim()[1] < 3
    assert [text.get_text() for text in figure.axes[2].texts] == ["293 outside, 7 not finite"]


def test_axes_of_other_units_have_their_own_scales():
    wide = {name: x * [1.0, 1e4] for name, x in panels().items()}
    axes = plots.scatter_panels(wide).figure().axes[0]
    # Both fill the square, as they would in common units.
    assert np.ptp(axes.get_xlim()) < 5 and 2e4 < np.ptp(axes.get_ylim()) < 5e4


def test_an_outlier_in_the_source_does_not_set_the_limits():
    named = panels()
    named["source"][0] = 1e6
    assert plots.scatter_panels(named).figure().axes[0].get_xlim()[1] < 3


def test_points_are_thinned_together_with_their_labels():
    x, y = draw(SOURCE, 9000)
    figure = plots.scatter_panels({"source": x}, labels={"source": y, "not shown": np.array([7])}).figure()
    (points,) = figure.axes[0].collections
    shown = np.asarray(points.get_offsets())
    assert len(shown) == 4000
    colours = points.get_facecolors()[:, :3]
    of_class = [matplotlib.colors.to_rgb(style.colour(i)) for i in (0, 1)]
    where = {tuple(row): label for row, label in zip(x.tolist(), y, strict=True)}
    expected = np.array([of_class[where[tuple(row)]] for row in shown.tolist()])
    np.testing.assert_allclose(colours, expected)
    assert legend_texts(figure) == ["label 0", "label 1"]


def test_thinning_takes_from_the_whole_set():
    x = np.sort(draw(SOURCE, 9000)[0], axis=0)
    (points,) = plots.scatter_panels({"source": x}).figure().axes[0].collections
    shown = np.asarray(points.get_offsets())
    np.testing.assert_allclose(shown.mean(0), x.mean(0), atol=0.05)


def test_more_classes_than_colours_stay_distinct():
    y = np.arange(20) % 10
    figure = plots.scatter_panels({"digits": draw(SOURCE, 20)[0]}, labels={"digits": y}).figure()
    keys = [(h.get_color(), h.get_marker()) for h in figure.legends[0].legend_handles]
    assert len(set(keys)) == len(keys) == 10


def test_contours_enclose_the_stated_mass():
    density = grid()[2]
    levels = style.mass_levels(density)
    assert np.all(np.diff(levels) > 0)
    inside = [density[density >= level].sum() / density.sum() for level in levels]
    np.testing.assert_allclose(inside, [0.95, 0.75, 0.5, 0.25], atol=0.03)
    assert style.mass_levels(np.zeros((3, 3))).size == 0


def test_names_are_shown_verbatim():
    figure = plots.scatter_panels({"$a_{b": draw(SOURCE, 9)[0], "_c": draw(SOURCE, 9)[0]}).figure()
    assert titles(figure) == ["$a_{b", "_c"]
    drawing = plots.scatter_panels({"$a_{b$": draw(SOURCE, 9)[0]}, axis_names=("$x", "_y"))
    assert "$x" in drawing.svgs("p", "t")[0]
    assert decode(drawing.png()).format == "PNG"
    lines = plots.lines({10: [Row("_x", {"m": Cell(1.0)}), Row("$y", {"m": Cell(2.0)})]}, LOWER).figure()
    assert legend_texts(lines) == ["_x", "$y"]


def test_projection_of_planar_points_is_the_identity():
    named = panels()
    for name, values in plots.project(named).items():
        np.testing.assert_array_equal(values, named[name])
    assert plots.project({"a": np.arange(3.0)})["a"].shape == (3, 1)


def test_projection_keeps_distances_of_points_in_a_plane():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(7, 2)))[0].T
    flat = {"source": draw(SOURCE, 50)[0], "target": draw(TARGET, 20)[0], "tgdp": draw(TARGET, 30, 3)[0]}
    lifted = {name: x @ axes + 5.0 for name, x in flat.items()}
    projected = plots.project(lifted)
    whole = np.concatenate(list(flat.values()))
    found = np.concatenate(list(projected.values()))
    distance = np.linalg.norm(whole[:, None] - whole, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found, axis=-1), distance, atol=1e-9)


@pytest.mark.parametrize("dim", [5, 1200])
def test_projection_finds_the_plane_of_source_and_target(dim):
    """Few target points weigh as much as many source points, and later panels do not turn the axes."""
    rng = np.random.default_rng(0)
    source, target = 0.01 * rng.normal(size=(2000, dim)), 0.01 * rng.normal(size=(10, dim))
    source[:, 3] += rng.normal(size=2000)
    target[:, 1] += 4.0
    method = np.zeros((50, dim))
    method[:, 4] = 100.0 * rng.normal(size=50)
    projected = plots.project({"source": source, "target": target, "method": method})
    gap = projected["target"].mean(0) - projected["source"].mean(0)
    np.testing.assert_allclose(gap, [4.0, 0.0], atol=0.3)
    assert np.ptp(projected["source"][:, 1]) > 3
    assert projected["method"].std() < 5


def test_projection_weighs_sets_and_not_points():
    rng = np.random.default_rng(0)
    source, target = np.zeros((2000, 6)), np.zeros((10, 6))
    source[:, [3, 5]] = rng.normal(size=(2000, 2)) * [2.0, 0.3]
    target[:, 1] = np.linspace(-1.5, 1.5, 10)
    projected = plots.project({"source": source, "target": target})
    np.testing.assert_allclose(projected["source"][:, 0], source[:, 3] - source[:, 3].mean() / 2, atol=0.05)
    np.testing.assert_allclose(projected["target"][:, 1], target[:, 1], atol=0.05)


def test_projection_flattens_and_survives_bad_rows():
    values = np.random.default_rng(0).normal(size=(20, 4, 3))
    bad = values.copy()
    bad[0], bad[1] = np.nan, np.inf
    projected = plots.project({"source": values, "target": bad, "none": np.zeros((0, 12))})
    assert projected["source"].shape == (20, 2)
    assert np.isfinite(projected["source"]).all()
    assert np.isnan(projected["target"][0]).all()
    assert projected["none"].shape == (0, 2)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(UserError, match=r"different dimensions \[3, 4\]"):
        plots.project({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))})
    with pytest.raises(UserError, match="dimension 3"):
        plots.scatter_panels({"a": np.zeros((2, 3))})


def test_histograms_share_axes_and_show_the_mass_in_view():
    rng = np.random.default_rng(0)
    values = {"source": rng.normal(size=4000), "target": rng.normal(size=12), "far": rng.normal(size=100) + 50}
    xs = np.linspace(-3, 3, 50)
    figure = plots.histograms(values, density=(xs, np.exp(-(xs**2) / 2) / np.sqrt(2 * np.pi))).figure()
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    masses = []
    for axes in figure.axes:
        data = axes.patches[0].get_data()
        masses.append(float(np.sum((data.values) * np.diff(data.edges))))
    np.testing.assert_allclose(masses, [1.0, 1.0, 0.0], atol=0.01)
    assert [t.get_text() for t in figure.axes[2].texts] == ["100 outside"]
    assert legend_texts(figure) == ["exact target density"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((), "lines"), ((1,), "lines"), ((2,), "points"), ((6,), "points"), ((8, 8), "images"), ((8, 8, 3), "images")],
)
def test_samples_choose_the_picture_by_shape(shape, kind, monkeypatch):
    from tgdp_jax.app.report import samples as module

    called = []
    for name, of in (("histograms", "lines"), ("scatter_panels", "points"), ("image_grids", "images")):
        monkeypatch.setattr(module, name, lambda *a, of=of, **k: called.append((of, k.get("contours"))))
    rng = np.random.default_rng(0)
    plots.samples({name: rng.normal(size=(12, *shape)) for name in "ab"}, contours=grid())
    assert called == [(kind, called[0][1])]
    # The exact density belongs on the points themselves, not on their projection.
    assert (called[0][1] is not None) == (shape == (2,))


def test_sequences_of_unusual_shape_are_projected():
    rng = np.random.default_rng(0)
    assert decode(plots.samples({name: rng.normal(size=(12, 3, 2, 2)) for name in "ab"}).png()).format == "PNG"


def test_fields_share_one_symmetric_scale_and_show_the_difference():
    xs, ys, density = grid()
    exact = np.log(density + 1e-3)
    learned = exact + 0.3
    figure = plots.fields(learned, exact, xs, ys, title="log $h").figure()
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["learned", "exact", "learned - exact"]
    (learned_mesh, exact_mesh, gap_mesh) = [axes.collections[0] for axes in maps]
    assert learned_mesh.get_clim() == exact_mesh.get_clim()
    assert learned_mesh.get_clim()[0] == -learned_mesh.get_clim()[1]
    np.testing.assert_allclose(gap_mesh.get_array(), 0.3, atol=1e-12)
    assert gap_mesh.get_clim() == pytest.approx((-0.3, 0.3))
    alone = plots.fields(learned, None, xs, ys, title="t").figure()
    assert [axes.get_title() for axes in alone.axes if axes.get_title()] == ["learned"]
    with pytest.raises(UserError, match=r"\(31, 41\)"):
        plots.fields(learned.T, None, xs, ys, title="t")


def test_fields_with_holes():
    xs, ys, density = grid()
    learned = np.log(density)
    learned[:3] = -np.inf
    learned[5] = np.nan
    assert decode(plots.fields(learned, learned + 1, xs, ys, title="t").png()).format == "PNG"
    assert decode(plots.fields(learned * np.nan, learned, xs, ys, title="t").png()).format == "PNG"


def test_curves_show_every_stage_and_the_chosen_step():
    two = HISTORY | {"guidance": {"loss": (np.arange(5), np.ones(5))}}
    figure = plots.curves(two, chosen={"ratio": 120}).figure()
    assert titles(figure) == ["ratio", "guidance"]
    first, second = figure.axes
    # One key for all panels, beneath them: it covers no curve.
    assert legend_texts(figure) == ["loss", "validation", "chosen step"]
    assert first.get_legend() is None and second.get_legend() is None
    assert (first.get_xlabel(), second.get_xlabel()) == ("step (chosen: 120)", "step")
    vertical = [line for line in first.lines if len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in vertical] == [120]
    # One axis for both: the loss falls to 0.3, validation starts at 0.6.
    assert first.get_ylim()[0] < 0.3 < 0.6 < first.get_ylim()[1]
    # Raw, smoothed, validation: the validation values are drawn as measured.
    raw, smooth, validation = first.lines[:3]
    assert raw.get_alpha() < 0.5
    np.testing.assert_array_equal(validation.get_ydata(), HISTORY["ratio"]["validation"][1])
    assert len(smooth.get_ydata()) == 400


def test_smoothing_averages_noise_and_keeps_lines_and_gaps():
    from tgdp_jax.app.report.charts import _smooth

    noise = np.random.default_rng(0).normal(size=1000)
    assert _smooth(noise)[100:].std() < 0.25
    np.testing.assert_allclose(_smooth(np.arange(100.0))[:90], np.arange(90.0), atol=1e-9)
    assert np.isfinite(_smooth(np.array([1.0, np.nan, 3.0]))).all()
    assert np.isnan(_smooth(np.full(4, np.nan))).all()
    np.testing.assert_allclose(_smooth(np.array([2.0])), [2.0])


def test_validation_of_another_size_gets_its_own_axis():
    history = {"g": {"loss": (np.arange(50), np.linspace(0.03, 0.02, 50)), "validation": ([10, 40], [0.95, 0.9])}}
    figure = plots.curves(history).figure()
    left, right = figure.axes
    assert left.get_ylim()[1] < 0.1 < 0.8 < right.get_ylim()[0]
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "validation")


def test_curves_without_finite_values():
    history = {"s": {"loss": (np.arange(3), np.full(3, np.nan)), "validation": ([], [])}, "empty": {}}
    assert decode(plots.curves(history, chosen={"s": 1}).png()).format == "PNG"


def test_bars_show_numbers_marks_and_dashes():
    figure = plots.bars(ROWS, LOWER).figure()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fresh (ref)", "tgdp", "scratch", "gan"]
    assert [t.get_text() for t in axes.texts] == ["0.01000", "0.200 ± 0.020*", "0.600 ± 0.050", "—"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.01, 0.2, 0.6, 0.0])
    assert matplotlib.colors.to_hex(axes.patches[0].get_facecolor()).upper() == style.FAINT


def test_bars_of_groups_share_the_scale():
    values = {"few": {"a": 5, "b": 6}, "many": {"a": 1, "b": -2}}
    grouped = [Row(n, {"m": Cell(v)}, group=group) for group, named in values.items() for n, v in named.items()]
    figure = plots.bars(grouped, LOWER).figure()
    assert titles(figure) == ["few", "many"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlim()[0] < -2


def test_many_lines_look_different():
    looks = {(look["color"], look["marker"]) for look in map(style.look, range(30))}
    assert len(looks) == 30


def test_lines_by_size():
    groups = {
        100: [Row("tgdp", {"m": Cell(0.05, 0.01)}), Row("fresh", {"m": Cell(0.004)}, reference=True)],
        10: [Row("tgdp", {"m": Cell(0.2, 0.01)}), Row("gan", {"m": Cell(0.5)}), Row("nan", {"m": Cell(float("nan"))})],
    }
    figure = plots.lines(groups, LOWER).figure()
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend_texts(figure) == ["tgdp", "fresh", "gan"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100"]
    np.testing.assert_allclose(np.asarray(axes.containers[0].lines[0].get_ydata(), float), [0.2, 0.05])
    assert axes.containers[1].lines[0].get_linestyle() == "--"
    groups[100][1].cells["m"], groups[10][1].cells["m"] = Cell(0.0), Cell(0.6)
    none = plots.lines(groups, LOWER).figure()
    assert (none.axes[0].get_yscale(), legend_texts(none)) == ("log", ["tgdp", "gan"])  # zero has no place on it
    goal = plots.lines(groups, Column("m", "d", "target", goal=0.4)).figure()
    assert legend_texts(goal)[-1] == "goal: 0.4000"
    with pytest.raises(UserError, match="must be positive"):
        plots.lines({0: []}, LOWER)
