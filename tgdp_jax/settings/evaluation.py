"""What samples are judged by."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What samples are judged by.

    Attributes:
      encoder: images, and pictures with captions: folder of transformers with an image encoder (DINOv2 or CLIP), on
        whose features samples and target are compared, in the place of a classifier of the source's classes or of
        latents. A whole CLIP model also says how well pictures show their captions. Probes of its features stand beside
        those of source models.
    """

    encoder: Path | None = None
