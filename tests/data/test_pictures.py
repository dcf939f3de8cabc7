"""One picture: the right way up, opaque, of one frame, and of a format that is known."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.image_writers import pixels
from tgdp_jax.data.pictures import check_background, read_picture
from tgdp_jax.errors import UserError

# What a camera's orientation tag asks for, as NumPy does it.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
def test_pictures_are_turned_upright(tmp_path, ending, orientation):
    # Blocks of 16 pixels, which JPEG keeps.
    x = np.kron(pixels(1, 3, channels=3)[0, :2], np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{ending}"
    Image.fromarray(x).save(path, exif=exif, quality=95, lossless=True)
    found, expected = read_picture(path), UPRIGHT[orientation](x)
    assert found.shape == expected.shape
    centres = np.s_[8::16, 8::16]
    assert np.abs(found[centres].astype(int) - expected[centres]).max() <= (60 if ending == ".jpg" else 0)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff", ".webp"])
def test_formats_without_loss_give_the_same_pixels(tmp_path, ending):
    x = pixels(1, channels=3)[0]
    Image.fromarray(x).save(tmp_path / f"a{ending}", lossless=True)
    np.testing.assert_array_equal(read_picture(tmp_path / f"a{ending}"), x)


def _seen(kind: str) -> tuple[Image.Image, dict, np.ndarray]:
    """(a picture of 2 x 2 pixels of which the right half is transparent, how it is saved, its pixels on white)."""
    grey = np.array([[10, 200], [90, 200]], np.uint8)
    white = np.array([[10, 255], [90, 255]], np.uint8)[..., None]
    if kind == "LA":
        return Image.fromarray(np.stack([grey, 255 * (grey < 200)], -1).astype(np.uint8)), {}, white
    if kind == "L":
        return Image.fromarray(grey), {"transparency": 200}, white
    if kind == "P":
        return Image.fromarray(grey).convert("P"), {"transparency": 200}, np.repeat(white, 3, -1)
    colour = np.repeat(grey[..., None], 3, -1)
    if kind == "RGB":
        return Image.fromarray(colour), {"transparency": (200, 200, 200)}, np.repeat(white, 3, -1)
    alpha = 255 * (grey[..., None] < 200)
    return Image.fromarray(np.concatenate([colour, alpha], -1).astype(np.uint8)), {}, np.repeat(white, 3, -1)


@pytest.mark.parametrize("kind", ["LA", "L", "P", "RGB", "RGBA"])
def test_transparency_of_any_kind_is_laid_over_the_background_or_refused(tmp_path, kind):
    image, options, white = _seen(kind)
    image.save(tmp_path / "a.png", **options)
    with pytest.raises(UserError, match=r"a\.png has transparent pixels: give --background"):
        read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", "white"), white)
    # The left half does not change.
    black, red = read_picture(tmp_path / "a.png", "black"), read_picture(tmp_path / "a.png", "#ff0000")
    np.testing.assert_array_equal(black, np.where(white == 255, 0, white))
    assert red[0, 1].tolist() == [255, 0, 0] and (red[:, 0] == white[:, 0]).all()


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.fromarray(np.full((2, 2, 4), (200, 100, 0, 51), np.uint8)).save(tmp_path / "a.png")
    expected = 0.2 * np.array([200, 100, 0]) + 0.8 * 255
    assert np.abs(read_picture(tmp_path / "a.png", "white")[0, 0] - expected).max() <= 1


def test_a_channel_that_hides_nothing_is_no_transparency(tmp_path):
    x = np.concatenate([pixels(1, channels=3)[0], np.full((8, 8, 1), 255, np.uint8)], -1)
    Image.fromarray(x).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), x[..., :3])


@pytest.mark.parametrize("background", ["", "grey", "#fff", "#gg0000", "rgb(1,2,3)", "white "])
def test_a_background_is_a_colour(background):
    with pytest.raises(UserError, match="give white, black or a colour such as"):
        check_background(background)


def test_other_formats_are_not_tried(tmp_path):
    # A GIF in name is one in kind; PostScript would start another program.
    image, out = Image.fromarray(pixels(1)[0]), io.BytesIO()
    for kind in ("GIF", "EPS", "PPM", "TGA", "ICO"):
        out.seek(0)
        image.save(out, kind)
        (tmp_path / "a.png").write_bytes(out.getvalue())
        with pytest.raises(UserError, match=r"a\.png can not be read as a picture \(it is none of PNG, JPEG"):
            read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("ending", [".tif", ".webp", ".png"])
def test_files_of_several_pictures_are_refused(tmp_path, ending):
    first, *others = (Image.fromarray(x) for x in pixels(3, channels=3))
    first.save(tmp_path / f"a{ending}", save_all=True, append_images=others)
    with pytest.raises(UserError, match="holds more than one picture"):
        read_picture(tmp_path / f"a{ending}")
