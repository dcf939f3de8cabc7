"""`tgdp sample`: more samples of a finished run, as it drew them or in another way. Nothing is trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgdp_jax.app.commands.modalities import draw_modalities
from tgdp_jax.app.commands.run import read_run
from tgdp_jax.app.console import Display
from tgdp_jax.app.evaluation import check_drawn
from tgdp_jax.app.folder import check_not_own, labelled
from tgdp_jax.app.model import load
from tgdp_jax.app.sample_table import check_table, is_sample_table, write_sample_table
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.files import write_npz
from tgdp_jax.runtime.parallel import is_primary
from tgdp_jax.settings.sampling import SamplingChange
from tgdp_jax.transfer.model import TrainedModel, resampled
from tgdp_jax.transfer.stages import rows_done

Changed = Mapping[str, Mapping[str, Any]]
REMEDY = "more --steps, a smaller --scale, or --clip"


def sample_run(
    folder: Path,
    num: int,
    out: Path,
    *,
    change: SamplingChange = SamplingChange(),
    label: Sequence[str] = (),
    modality: Sequence[str] = (),
    given: Sequence[str] = (),
    quiet: bool = False,
) -> None:
    """Draws `num` samples from a finished run into a file; sample i is the same for every num.

    Args:
      folder: of the run.
      num: how many samples.
      out: an .npz file, with x [num, *D] and labels y [num] of a conditional run, or with modalities by name, see
        `draw_modalities`. Where something is not as in the run it has `about` too: JSON that says what. Or a table, of
        rows alone.
      change: how samples are drawn otherwise; with modalities `scale` is of classifier-free guidance.
      label: names or numbers of labels, taken in turn; empty: drawn as the target's are.
      modality: names of the modalities to draw.
      given: values of others, NAME=VALUE.
      quiet: show no progress.

    Raises:
      UserError: not a finished run, a setting that there is not, a damaged checkpoint, or a place that can not be
        written.
    """
    of_parts, table = bool(modality or given), is_sample_table(out)
    if out.suffix != ".npz" and not table:
        raise UserError(f"{out} does not end in .npz: samples are written as .npz, or as a table (.csv, .parquet)")
    if table and of_parts:
        raise UserError(f"{out} does not end in .npz: samples of modalities are written as .npz")
    check_not_own(out)
    of_model = dataclasses.replace(change, scale=None) if of_parts else change
    config = read_run(folder)
    resampled(config, config.method, of_model)  # says what does not fit before anything is loaded
    with Display(quiet=quiet) as display:
        own = load(folder)
        if table:
            check_table(out, own.problem)
        model = own.with_sampling(**vars(of_model))
        cond = np.array(label)[np.arange(num) % len(label)] if label else None
        changed = _changed(own, model) | ({"label": {"run": None, "here": list(label)}} if label else {})
        if of_parts:
            scale = 1.0 if change.scale is None else change.scale
            content = draw_modalities(model, num, drawn=modality, given=given, scale=scale, cond=cond, watch=display)
            changed |= {} if scale == 1.0 else {"scale": {"run": 1.0, "here": scale}}
            what = f"of {', '.join(content)}"
        else:
            drawn = model.sample(num, cond=cond, progress=rows_done(display, "sampling", num))
            check_drawn(drawn.x, REMEDY)
            content = {"x": drawn.x} | labelled(model.problem, drawn.y)
            what = f"of shape {drawn.x.shape[1:]}"
    if table:
        write_sample_table(out, model.problem, content["x"], content.get("y"))
    else:
        about = {"about": np.array(json.dumps({"method": model.method, "changed": changed}))} if changed else {}
        write_npz(out, {**content, **about})
    if is_primary():
        print(f"{num} samples {what}{_said(changed)}: {out}")


def _changed(own: TrainedModel, model: TrainedModel) -> dict[str, dict[str, Any]]:
    """Option -> its value in the run and here, of those that differ."""
    return {
        name: {"run": before, "here": model.sampling[name]}
        for name, before in own.sampling.items()
        if model.sampling[name] != before
    }


def _said(changed: Changed) -> str:
    parts = [
        f"{name} {_word(value['here'])}" + ("" if value["run"] is None else f" (the run: {value['run']})")
        for name, value in changed.items()
    ]
    return f" with {', '.join(parts)}" if parts else ""


def _word(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
