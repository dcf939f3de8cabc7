"""What transformers does to a picture before an image encoder sees it, by the folder's preprocessor_config.json.

Pictures are resized with Pillow's filters on 8-bit pixels, whose antialiasing is that of transformers' own processors
to the bit; another library's bicubic filter moves Fréchet distances by more than methods differ (Parmar et al. 2022).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import read_json, shown
from tgdp_jax.interop.options import Options, is_number, is_whole

NAME = "preprocessor_config.json"
# Pillow's filters by their numbers.
_FILTERS = 3, 2, 1, 0, 4, 5
_MAX_SIDE = 4096
# What has no say in it: names of classes, and what follows from how pictures come here.
_SILENT = frozenset(
    {"do_convert_rgb", "image_processor_type", "feature_extractor_type", "processor_class", "data_format"}
    | {"input_data_format", "default_to_square", "device", "disable_grouping", "return_tensors"}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures are resized, cropped and standardised.

    Attributes:
      size: (height, width) that they are brought to, or one number for the shorter side; None: as they are.
      crop: (height, width) of the middle that is taken; None: all of it.
      mean: that is taken off every channel of pixels in [0, 1].
      std: that these are divided by.
      resample: number of Pillow's filter.
    """

    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int = 3

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of what comes out, where it does not depend on what goes in."""
        return self.crop or (None if isinstance(self.size, int) else self.size)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """What the encoder sees, float32 [h, w, 3].

        Args:
          image: [H, W, 1 or 3], integers in 0..255, or floats in [0, 1], which are rounded to 8 bits as in a PNG file.

        Raises:
          UserError: a picture is smaller than what is cut out of it.
        """
        pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
        height, width = self._resized(*pixels.shape[:2])
        if (height, width) != pixels.shape[:2]:
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling(self.resample))
            pixels = np.asarray(picture)
        if self.crop is not None:
            top, left = height - self.crop[0], width - self.crop[1]
            if top < 0 or left < 0:
                raise UserError(
                    f"{NAME} cuts {self.crop[0]} x {self.crop[1]} pixels out of pictures of {height} x {width}: give "
                    "larger pictures, or the preprocessor of the model"
                )
            pixels = pixels[top // 2 : top // 2 + self.crop[0], left // 2 : left // 2 + self.crop[1]]
        mean, std = (np.asarray(one, np.float32) for one in (self.mean, self.std))
        return (pixels.astype(np.float32) / np.float32(255) - mean) / std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size or (height, width)
        long = int(self.size * max(height, width) / min(height, width))
        return (long, self.size) if width <= height else (self.size, long)


def read_preparation(folder: Path) -> Preparation:
    """The preparation that a folder's preprocessor_config.json says.

    Raises:
      UserError: the file is missing or damaged, or asks for something else.
    """
    path = folder / NAME
    if not path.exists():
        raise UserError(f"{path} is missing, which says how pictures are resized: fetch it from where the model is")
    return preparation_of_options(read_json(path), str(path))


def preparation_of_options(values: dict[str, Any], where: str) -> Preparation:
    """The preparation of a config.

    Raises:
      UserError: an option or value that is not supported.
    """
    options = Options(values, where)

    def flag(name: str) -> bool:
        return bool(options.one_of(name, (True, False)))

    def numbers(name: str) -> Any:
        return options.take(
            name,
            None,
            lambda v: isinstance(v, list) and len(v) == 3 and all(is_number(x) for x in v) and _useful(name, v),
            "a list of 3 numbers",
        )

    resizes, crops = flag("do_resize"), flag("do_center_crop")
    for name in ("do_normalize", "do_rescale"):
        options.one_of(name, (True,))
    options.take("rescale_factor", 1 / 255, lambda v: is_number(v) and abs(v * 255 - 1) < 1e-6, "1/255")
    size, crop = (options.take(name, None, _is_size, "a size in pixels") for name in ("size", "crop_size"))
    mean, std = numbers("image_mean"), numbers("image_std")
    resample = options.one_of("resample", _FILTERS)
    options.refuse_others(_SILENT)
    if (resizes and size is None) or (crops and crop is None):
        raise UserError(f"{where} does not say the size that pictures are brought to: fetch it again")
    if crops and isinstance(crop, dict) and "shortest_edge" in crop:
        raise UserError(f"{where}: crop_size is {shown(crop)}, which is not supported: a height and a width are")
    return Preparation(
        # A single number is the shorter side where pictures are resized, and both where they are cropped.
        size=_size(size) if resizes else None,
        crop=_pair(crop) if crops else None,
        mean=tuple(mean),
        std=tuple(std),
        resample=resample,
    )


def _useful(name: str, values: list[float]) -> bool:
    return name != "image_std" or all(value > 0 for value in values)


def _is_size(value: Any) -> bool:
    if isinstance(value, dict):
        whole = all(is_whole(side, _MAX_SIDE) for side in value.values())
        return whole and value.keys() in ({"shortest_edge"}, {"height", "width"})
    return value is None or is_whole(value, _MAX_SIDE)


def _size(value: Any) -> tuple[int, int] | int:
    if isinstance(value, dict) and "shortest_edge" in value:
        return value["shortest_edge"]
    return value if isinstance(value, int) else (value["height"], value["width"])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value["height"], value["width"])
