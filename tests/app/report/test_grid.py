"""What the grids of images show. What is looked at is the figure of all panels."""

import io

import numpy as np
import pytest
from PIL import Image

from tgdp_jax.app.report import style
from tgdp_jax.app.report.grid import image_grids
from tgdp_jax.errors import UserError


def flat(values, size=3, channels=1):
    """One image of a single value for each."""
    return np.tile(np.asarray(values, float)[:, None, None, None], (1, size, size, channels))


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def cells(axes, size=3):
    """The value in the middle of every cell."""
    return shown(axes)[1 + size // 2 :: size + 1, 1 + size // 2 :: size + 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_grids_are_png_and_repeat(channels):
    rng = np.random.default_rng(0)
    panels = {name: rng.uniform(-1, 1, (20, 8, 8, channels)) for name in ("source", "target", "tgdp")}
    labels = {name: rng.integers(3, size=20) for name in panels}
    png = image_grids(panels, labels=labels).png()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.size[0] <= style.PAGE * style.DPI + 1
    assert np.asarray(image.convert("L")).std() > 1
    assert image_grids(panels, labels=labels).png() == png


def test_nothing_to_show_is_still_a_picture():
    for panels in ({}, {"source": np.zeros((0, 4, 4, 1))}):
        assert image_grids(panels).png()[:4] == b"\x89PNG"


def test_images_stand_in_order_on_one_scale():
    named = {"source": flat([-1, 0, 1, 0.5]), "target": flat([0]), "tgdp": flat([5, -5, 0])}
    figure = image_grids(named).figure()
    np.testing.assert_allclose(cells(figure.axes[0]), [[0, 0.5], [1, 0.75]])
    # What lies beyond is cut off, and a cell without an image is white.
    np.testing.assert_allclose(cells(figure.axes[2]), [[1, 0], [0.5, 1]])
    assert shown(figure.axes[0]).shape == (9, 9)
    assert [axes.get_title() for axes in figure.axes] == ["source", "target", "tgdp"]


def test_source_and_target_set_the_scale():
    named = {"source": flat([0, 0.5]), "target": flat([2.0]), "tgdp": flat([-0.2, 1.0])}
    figure = image_grids(named).figure()
    np.testing.assert_allclose(cells(figure.axes[0])[0], [0, 0.25])
    np.testing.assert_allclose(cells(figure.axes[2])[0], [0, 0.5])


def test_a_row_holds_one_class_in_all_panels():
    x = np.linspace(-1, 1, 6)
    named = {"source": flat(x), "target": flat(x[:2]), "tgdp": flat(x)}
    labels = {"source": [7, 2, 7, 2, 7, 7], "target": [2, 9], "tgdp": [9] * 6}
    figure = image_grids(named, labels={n: np.array(y) for n, y in labels.items()}, side=3).figure()
    grey, white = (x + 1) / 2, 1
    source, target, tgdp = map(cells, figure.axes)
    np.testing.assert_allclose(source, [[grey[1], grey[3], white], grey[[0, 2, 4]], [white] * 3])
    np.testing.assert_allclose(target, [[grey[0], white, white], [white] * 3, [grey[1], white, white]])
    np.testing.assert_allclose(tgdp, [[white] * 3, [white] * 3, grey[:3]])
    ticks = [[t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes]
    assert ticks == [["2", "7", "9"]] * 3  # each panel may stand alone
    # Each label stands at the middle of its row.
    np.testing.assert_allclose(figure.axes[0].get_yticks(), [2, 6, 10])


def test_unlabelled_panels_stand_beside_labelled_ones():
    named = {"source": flat(np.zeros(4)), "gan": flat(np.ones(4))}
    figure = image_grids(named, labels={"source": np.array([0, 1, 1, 0]), "other": np.arange(3)}, side=2).figure()
    assert cells(figure.axes[1]).shape == (2, 2)


def test_colours_are_kept():
    image = np.zeros((1, 3, 3, 3))
    image[..., 0] = 1.0
    figure = image_grids({"source": image}).figure()
    np.testing.assert_allclose(shown(figure.axes[0])[2, 2], [1, 0, 0, 1])
    # Between images the page shows, whatever its colour.
    np.testing.assert_allclose(shown(figure.axes[0])[0, 0, 3], 0)
    grey = image_grids({"source": flat([0.5])}).figure().axes[0].images[0].get_array()
    assert np.ma.getmaskarray(grey)[0, 0] and not np.ma.getmaskarray(grey)[2, 2]


def test_lines_between_wide_images_are_wider():
    figure = image_grids({"source": np.zeros((4, 32, 32, 1))}).figure()
    assert shown(figure.axes[0]).shape == (70, 70)


def test_broken_images_are_counted():
    x = flat([0.0, 0.5, 1.0])
    x[0, 0, 0] = np.nan
    figure = image_grids({"source": flat([-1.0, 1.0]), "wild": x}).figure()
    assert [[t.get_text() for t in axes.texts if t.get_text()] for axes in figure.axes] == [[], ["1 not finite"]]


def test_bad_inputs_are_refused():
    with pytest.raises(UserError, match=r"'a' has shape \(2, 3\)"):
        image_grids({"a": np.zeros((2, 3))})
    with pytest.raises(UserError, match=r"'a' has shape \(2, 3, 3, 2\)"):
        image_grids({"a": np.zeros((2, 3, 3, 2))})
    with pytest.raises(UserError, match="one problem"):
        image_grids({"a": np.zeros((2, 3, 3, 1)), "b": np.zeros((2, 4, 4, 1))})
    with pytest.raises(UserError, match="one label an image"):
        image_grids({"a": np.zeros((2, 3, 3, 1))}, labels={"a": np.zeros(3, int)})
    with pytest.raises(UserError, match="side"):
        image_grids({"a": np.zeros((2, 3, 3, 1))}, side=0)
