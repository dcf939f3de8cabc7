"""Pixels of images: from what files hold to the models' range [-1, 1], at one size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tgdp_jax.data.memory import check_fits
from tgdp_jax.data.problem import Scaler

# The user's units are [0, 1], the models' [-1, 1].
UNIT = Scaler(np.full((), 0.5), np.full((), 0.5))


def check_size(rows: int, size: int, channels: int) -> None:
    """Raises:
    UserError: so many images of size x size pixels do not fit into memory."""
    needed = rows * size**2 * channels * np.dtype(np.float32).itemsize
    check_fits(needed, f"{rows} images of {size} x {size} pixels", "lower --size or give fewer images")


def to_model(x: np.ndarray, size: int) -> np.ndarray:
    """Images [N, H, W, C], integers in 0..255 or floats in [0, 1], as float32 [N, size, size, C] in [-1, 1].

    Another size is made with Pillow's Lanczos filter, which is widened for shrinking so that nothing aliases; what it
    overshoots at edges is cut off. Image by image, so that no second copy of the whole is held.
    """
    white = 1.0 if x.dtype.kind in "fb" else 255.0
    out = np.empty((len(x), size, size, x.shape[3]), np.float32)
    if x.shape[1:3] == (size, size):
        out[...] = x
    else:
        for i, image in enumerate(x):
            for channel in range(x.shape[3]):
                out[i, :, :, channel] = _resized(image[:, :, channel], size)
    out /= white / 2.0
    out -= 1.0
    return np.clip(out, -1.0, 1.0, out=out)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    # As floats: 8-bit images would be rounded to 256 grey values once more.
    grey = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(grey.resize((size, size), Image.Resampling.LANCZOS))
