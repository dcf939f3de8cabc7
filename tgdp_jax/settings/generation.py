"""How pictures are made from prompts."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from tgdp_jax.errors import UserError, check_finite, choose
from tgdp_jax.nets.registry import PRECISIONS
from tgdp_jax.settings.checks import check_seed
from tgdp_jax.settings.sampling import SamplingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How pictures are made from prompts.

    Attributes:
      prompt: what the pictures show; several are taken in turn.
      prompts: text file with a prompt on every line, in the place of --prompt.
      negative: what they are to have nothing of. Default: none.
      lora: files of low-rank adapters, FILE or FILE:WEIGHT, such as style.safetensors:0.8.
      embedding: files of textual inversion, whose tokens prompts may name.
      scale: weight of classifier-free guidance; 1 is none.
      rescale: share, from 0 to 1, of the change in contrast by guidance that is taken back.
      steps: steps of the solver.
      solver: integrator of the reverse process.
      grid: time grid.
      num: how many pictures.
      seed: of the noise. Picture i is the same however many are asked for.
      size: height and width in pixels. Default: as the model was trained.
      init: picture that the pictures are to be variations of.
      strength: with --init, how much is changed: at 1 little of it is left, at small values nearly all.
      clip_skip: layers of the text encoder that are left out at its end.
      chunk: pictures at a time: more take more memory, and on an accelerator less time each. Part of what fixes a
        picture's bits.
      precision: what networks compute in: float32 or bfloat16.
    """

    prompt: tuple[str, ...] = ()
    prompts: Path | None = None
    negative: str | None = None
    lora: tuple[str, ...] = ()
    embedding: tuple[Path, ...] = ()
    scale: float = 7.5
    rescale: float = 0.0
    steps: int = 25
    solver: str = "dpmpp_2m"
    grid: str = "trailing"
    num: int = 8
    seed: int = 0
    size: tuple[int, int] | None = None
    init: Path | None = None
    strength: float = 0.8
    clip_skip: int = 0
    chunk: int = 1
    precision: str = "float32"

    def __post_init__(self):
        check_finite(self)
        check_seed(self.seed)
        choose("precision", self.precision, PRECISIONS)
        SamplingConfig(num=self.num, solver=self.solver, grid=self.grid, steps=self.steps, chunk=self.chunk)
        if bool(self.prompt) == (self.prompts is not None):
            raise UserError("pictures need a prompt: give --prompt TEXT, or --prompts FILE with one on every line")
        if not 0 <= self.rescale <= 1:
            raise UserError(f"rescale is {self.rescale}: give a share from 0 to 1")
        if not 0 < self.strength <= 1:
            raise UserError(f"strength is {self.strength}: give a number above 0 and at most 1")
        if self.clip_skip < 0:
            raise UserError(f"clip-skip is {self.clip_skip}: give 0 or more")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"size is {self.size[0]} {self.size[1]}: give height and width in pixels")
        for file, weight in self.adapters:
            if not math.isfinite(weight):
                raise UserError(f"lora {file} has the weight {weight}: give a finite number")

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """Files of low-rank adapters with their weights."""
        out = []
        for text in self.lora:
            file, _, weight = text.rpartition(":")
            try:
                out.append((Path(file), float(weight)) if file else (Path(text), 1.0))
            except ValueError:  # a colon of the path
                out.append((Path(text), 1.0))
        return tuple(out)
