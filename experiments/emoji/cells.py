"""Samples of one method for given captions, kept in files: a study that was cut off goes on where it stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.emoji.data import Pictures, to_unit
from experiments.emoji.settings import settings
from experiments.emoji.source import BLANK, SOURCE, Size
from tgdp_jax.app.console import Display
from tgdp_jax.app.evaluation import check_drawn
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data.registry import load_problem
from tgdp_jax.data.text_images import TextImagesConfig
from tgdp_jax.runtime.files import write_npz
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.latents import encoded, planned
from tgdp_jax.transfer.stages import named_key, rows_done, train_method

SCRATCH = "scratch"
DREAMBOOTH, INVERSION = "dreambooth", "textual_inversion"
RARE, TOKEN = "sks", "<new>"


class Words(NamedTuple):
    """How captions name what is new to the source.

    Attributes:
      place: word of a caption that the new word stands before (DreamBooth) or in the place of (textual inversion);
        None: they stand at the end, as a style.
      known: what textual inversion starts from.
      kept: what DreamBooth keeps the source's pictures of.
    """

    place: str | None
    known: str
    kept: str

    def told(self, method: str, caption: str) -> str:
        """A caption as a method is given it."""
        if method not in (DREAMBOOTH, INVERSION):
            return caption
        new = RARE if method == DREAMBOOTH else TOKEN
        if self.place is None:
            return f"{caption} {new}"
        said = f"{new} {self.place}" if method == DREAMBOOTH else new
        return " ".join(said if word == self.place else word for word in caption.split())


class Bench(NamedTuple):
    """Where cells are filled.

    Attributes:
      folder: of the results.
      size: of the study.
      pipelines: folders of the source and of the pipeline before training.
      store: of what is trained.
      display: shows progress.
    """

    folder: Path
    size: Size
    pipelines: Mapping[str, Path]
    store: Store
    display: Display

    def samples(
        self,
        name: str,
        method: str,
        learned: Pictures,
        asked: Pictures,
        words: Words,
        *,
        n: int,
        seed: int,
        each: int = 1,
    ) -> np.ndarray:
        """Pictures [each * len(asked), S, S, 3] in [-1, 1] of a method; the captions asked for follow one another.

        Args:
          name: of the data.
          method: a method that reads captions, or `SCRATCH`.
          learned: what it may be trained on, of which it sees n pictures.
          asked: whose captions are drawn; pictures are not looked at.
          words: how captions name what is new.
          n: number of pictures.
          seed: of the choice of pictures, training and samples.
          each: pictures of every caption.
        """
        # The source is the same whatever the number of pictures.
        label = f"{name}-{method}{'' if method == 'source' else f'-n{n}'}-seed{seed}"
        path = self.folder / "samples" / f"{label}.npz"
        if not path.exists():
            self.display.prefix = f"{label}: "
            write_npz(path, {"x": self._drawn(name, method, learned, asked, words, n, seed, each)})
        with np.load(path) as held:
            return to_unit(held["x"])

    def _drawn(
        self, name: str, method: str, learned: Pictures, asked: Pictures, words: Words, n: int, seed: int, each: int
    ) -> np.ndarray:
        scratch = method == SCRATCH
        problem = self.problem(name, method, learned, asked, words)
        config = RunConfig(
            **settings(self.size, self.pipelines[BLANK if scratch else SOURCE], scratch=scratch),
            problem=problem,
            # From nothing: the same training, of a pipeline that has learned nothing.
            method="finetune" if scratch else method,
            n_target=n,
            seed=seed,
        )
        identity = problem_identity(problem)
        loaded = planned(config, load_problem(problem, n_target=n, seed=seed))
        loaded = encoded(config, loaded, identity, self.store, self.display)
        trained = train_method(config, loaded, identity, config.method, seed, self.store, self.display)
        number = {text: label for label, text in enumerate(loaded.classes)}
        labels = np.repeat([number[words.told(method, text)] for text in asked.text], each).astype(np.int32)
        progress = rows_done(self.display, "sampling", len(labels))
        x = trained.generator.draw(named_key(seed, "sample"), np.arange(len(labels)), labels, progress=progress)
        check_drawn(x, "a smaller learning rate")
        return np.round(255 * loaded.scaler.to_user(x).clip(0.0, 1.0)).astype(np.uint8)

    def problem(self, name: str, method: str, learned: Pictures, asked: Pictures, words: Words) -> TextImagesConfig:
        """The two sets as files that `text-images` reads, with captions as the method is given them."""
        own = method if method in (DREAMBOOTH, INVERSION) else "plain"
        paths = {}
        for role, pictures in (("learned", learned), ("asked", asked)):
            paths[role] = self.folder / "data" / f"{name}-{own}-{role}.npz"
            text = np.array([words.told(method, caption) for caption in pictures.text])
            write_npz(paths[role], {"x": pictures.x, "text": text})
        problem = TextImagesConfig(target=paths["learned"], reference=paths["asked"])
        if method == DREAMBOOTH:
            return dataclasses.replace(problem, class_prompt=words.kept)
        return dataclasses.replace(problem, token=TOKEN, initial=words.known) if method == INVERSION else problem
