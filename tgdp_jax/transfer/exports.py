"""What a method learned of a text-to-image pipeline, as the files that diffusers and `tgdp generate` read."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.interop.embeddings import NAME as EMBEDDING
from tgdp_jax.interop.embeddings import write_embedding
from tgdp_jax.interop.files import INDEX
from tgdp_jax.interop.lora import NAME as LORA
from tgdp_jax.interop.lora import write_lora
from tgdp_jax.interop.lora_names import TEXT, TEXT_2, UNET
from tgdp_jax.interop.pipeline import LabelPipeline, TextPipeline
from tgdp_jax.interop.pipeline_folder import write_pipeline
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.reparam import LastRow, LowRank, flat, nested
from tgdp_jax.transfer.adaptation import Adaptation, all_weights
from tgdp_jax.transfer.artefacts import Adapted
from tgdp_jax.transfer.class_labels import with_classes
from tgdp_jax.transfer.dreambooth import dreambooth
from tgdp_jax.transfer.lora import lora
from tgdp_jax.transfer.pretrained import pretrained_model
from tgdp_jax.transfer.stacked import averaged_network
from tgdp_jax.transfer.textual_inversion import inversion

FOLDER = "pipeline"
# Ways of training the source's network, by the stage that leaves the result, which has the method's name.
WAYS: Mapping[str, Callable[[TrainingConfig, Problem], Adaptation]] = {
    "finetune": all_weights,
    "lora": lora,
    "dreambooth": dreambooth,
    "textual_inversion": inversion,
    "tgdp_denoising": lora,
}
STACKED = "stacked"


def export_names(config: TrainingConfig, problem: Problem, method: str) -> tuple[str, ...]:
    """The files that a method's results are written to, by their places in a run's folder; none for other problems."""
    if problem.captions is not None and method == STACKED:
        return (f"{FOLDER}/{INDEX}",)
    if problem.captions is None or method not in WAYS:
        return ()
    reparam = WAYS[method](config, problem).reparam
    # diffusers reads no adapters of a pipeline of labels: they are merged.
    if isinstance(reparam, LowRank) and not isinstance(pretrained_model(config), LabelPipeline):
        return (LORA,)
    return (EMBEDDING,) if isinstance(reparam, LastRow) else (f"{FOLDER}/{INDEX}",)


def write_exports(
    folder: Path, config: TrainingConfig, problem: Problem, method: str, trees: Mapping[str, Any]
) -> None:
    """Writes these files.

    Args:
      folder: of the run.
      config: its settings.
      problem: its problem.
      method: its method.
      trees: what the stages left.

    Raises:
      UserError: the place can not be written.
    """
    names, pipe = export_names(config, problem, method), pretrained_model(config)
    if not names or not isinstance(pipe, TextPipeline | LabelPipeline) or not is_primary():
        return
    if isinstance(pipe, LabelPipeline):
        pipe = with_classes(pipe, problem.classes)
    if method == STACKED:
        _write_pipeline(folder, pipe, averaged_network(config, problem, trees))
        return
    how, left = WAYS[method](config, problem), Adapted.from_tree(trees[method]).params
    if isinstance(pipe, LabelPipeline):
        _write_pipeline(folder, pipe, how.params(how.base(trees), left))
    elif isinstance(how.reparam, LowRank):
        parts = {UNET: "net", TEXT: "encoders_0", TEXT_2: "encoders_1"}
        found = {part: _of_part(left, name) for part, name in parts.items()}
        write_lora(folder / LORA, {part: (how.reparam, own) for part, own in found.items() if own}, pipe.bases)
    elif isinstance(how.reparam, LastRow) and problem.captions is not None and problem.captions.token is not None:
        rows = [np.atleast_2d(np.asarray(row)) for _, row in sorted(flat(left).items())]
        both = dict(zip(("clip_l", "clip_g"), rows, strict=False))
        write_embedding(folder / EMBEDDING, problem.captions.token, rows[0] if len(rows) == 1 else both)
    else:
        _write_pipeline(folder, pipe, left)


def _write_pipeline(folder: Path, pipe: TextPipeline | LabelPipeline, variables: Any) -> None:
    """Writes the pipeline with another denoiser, where there is none yet."""
    if not (folder / FOLDER / INDEX).exists():
        shutil.rmtree(folder / FOLDER, ignore_errors=True)  # what is left of it
        write_pipeline(folder / FOLDER, dataclasses.replace(pipe, params=_of_part(variables, "net")))


def _of_part(variables: Any, name: str) -> Any:
    """What a captioned network's variables have of one of its parts, as that has it; empty: nothing."""
    start, leaves = f"params/{name}/", flat(variables)
    return nested({f"params/{path.removeprefix(start)}": x for path, x in leaves.items() if path.startswith(start)})
