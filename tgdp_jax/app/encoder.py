"""The image encoder that samples are judged by, where the settings name one."""

from __future__ import annotations

import functools
from pathlib import Path

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop.image_encoder import ImageEncoder, image_encoder_files, load_image_encoder
from tgdp_jax.settings.evaluation import EvaluationConfig
from tgdp_jax.transfer.pretrained import files_digest


def image_encoder(evaluation: EvaluationConfig, problem: Problem) -> ImageEncoder | None:
    """The image encoder that the settings name, if any; with texts where rows have captions.

    Raises:
      UserError: it can not be loaded, see `load_image_encoder`, or rows are no images.
    """
    if evaluation.encoder is None:
        return None
    if problem.kind != "images":
        raise UserError(
            f"an image encoder judges images, which the rows of {problem.name} are not: leave out --evaluation.encoder"
        )
    return _loaded(evaluation.encoder, problem.captions is not None)


# Loaded once a process: it is first asked for before anything is written, and then for every cell of a comparison.
@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, texts: bool) -> ImageEncoder:
    return load_image_encoder(folder, texts=texts)


def encoder_digest(evaluation: EvaluationConfig) -> dict[str, str]:
    """Hash of the encoder's files under the name of its option; empty where there is none."""
    if evaluation.encoder is None:
        return {}
    return {"evaluation.encoder": files_digest(image_encoder_files(evaluation.encoder))}
