"""Reading one picture: the right way up, of one frame, with nothing transparent left."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.data.memory import check_unpacked
from tgdp_jax.errors import UserError

# Endings, and the formats that are tried, whatever the ending says.
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
# What Pillow's modes become, and those with transparency over a background; others (16 bits, printing colours) are left
# to the user.
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
TRANSPARENT_MODES = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "PA": "RGB"}
BACKGROUNDS = "white, black or a colour such as #80ff00"


def check_background(background: str | None) -> None:
    """Raises:
    UserError: it is no colour."""
    if background is not None and not re.fullmatch(r"white|black|#[0-9a-fA-F]{6}", background):
        raise UserError(f"background is {background!r}: give {BACKGROUNDS}")


def read_picture(path: Path, background: str | None = None) -> np.ndarray:
    """Pixels [H, W, C], uint8, C being 1 for grey and 3 for colour.

    Args:
      path: the file.
      background: what transparent pixels are laid over; None refuses them.

    Raises:
      UserError: no such picture, of another format, of several frames, damaged, too large, or transparent.
    """
    check_regular_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} can not be read as a picture ({reason}): replace or remove it") from error
    return decode_picture(content, str(path), background)


def decode_picture(content: bytes, what: str, background: str | None = None) -> np.ndarray:
    """Pixels [H, W, C], uint8, of what a picture's file holds.

    Args:
      content: the bytes.
      what: the file's name, for messages.
      background: see `read_picture`.

    Raises:
      UserError: see `read_picture`.
    """
    try:
        # From memory, where a read of as much as a damaged header says gets no more than there is.
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.mode not in MODES | TRANSPARENT_MODES:
                raise UserError(f"{what} has pixels of kind {image.mode}: save it as 8-bit grey or RGB")
            # Phones put a thumbnail behind a JPEG, which is then of format MPO.
            if image.format in FORMATS and getattr(image, "n_frames", 1) > 1:
                raise UserError(f"{what} holds more than one picture: save each to a file of its own")
            check_unpacked(image.width * image.height * len(image.getbands()), len(content), what)
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(_opaque(image, what, background))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{what} can not be read as a picture (it is none of {', '.join(FORMATS)}): replace or remove it"
        ) from error
    # Decoders of damaged bytes raise whatever they stumble over.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{what} can not be read as a picture ({reason}): replace or remove it") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fitted(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture [h, w, 1 or 3] in the format and size of (height, width), float32 [H, W, 3] in [0, 1].

    Pixels are integers in 0..255.
    """
    image = Image.fromarray(np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels)
    brought = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(brought, np.float32) / 255.0


def _opaque(image: Image.Image, what: str, background: str | None) -> Image.Image:
    """Without transparency, be it a channel or one colour that stands for it."""
    if image.mode in MODES and "transparency" not in image.info:
        return image.convert(MODES[image.mode])
    plain = (MODES | TRANSPARENT_MODES)[image.mode]
    whole = image.convert("RGBA")
    if whole.getchannel("A").getextrema() == (255, 255):
        return whole.convert("RGB").convert(plain)
    if background is None:
        raise UserError(f"{what} has transparent pixels: give --background, {BACKGROUNDS}, to lay them over")
    colour = ImageColor.getrgb(background)
    if len(set(colour)) > 1:
        plain = "RGB"
    return Image.alpha_composite(Image.new("RGBA", whole.size, (*colour, 255)), whole).convert("RGB").convert(plain)
