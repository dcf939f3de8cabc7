"""Your own pictures with captions, for a pretrained text-to-image pipeline: the source is the pipeline itself.

The rows of the problem are latents, which only the pipeline's autoencoder can make. So what is loaded here has its
captions, and says where the pictures are; `transfer.latents` makes the rows. A caption is a class: its label is its
number in `Problem.classes`, and one label more than there are classes stands for no caption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tgdp_jax.data.captions import Stored, caption_files, read_captioned
from tgdp_jax.data.copies import copy_notes
from tgdp_jax.data.pictures import check_background
from tgdp_jax.data.problem import Captions, Data, Problem, split_target
from tgdp_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextImagesConfig:
    """Your own pictures with captions.

    A folder has metadata.jsonl or metadata.csv with `file_name` and `text` of every picture (as of Hugging Face's
    ImageFolder), a .txt file beside each, or one sub-folder a class, whose name is the caption; a .npz file has
    pictures under `x` and captions under `text`; a .parquet file has columns `image` and `text`.

    Attributes:
      target: folder or file of pictures.
      reference: further ones, used only to judge samples. Default: those of `target` beyond n-target; without n-target
        all are learned from.
      prompt: caption of all pictures, such as "a photo of sks dog"; files of captions are not needed then. Empty: no
        caption, and for a pipeline of labels no label.
      class_prompt: dreambooth: what the source's own pictures show, which are kept, such as "a photo of a dog".
      token: textual_inversion: new word that captions name, such as <toy>. Other methods read `initial` in its place.
      initial: word that the new one starts from, such as toy.
      dropout: share of the draws that see no caption, so that classifier-free guidance keeps its other half.
      size: height and width in pixels that the middle of every picture is brought to. Default: as the model was
        trained.
      background: what transparent pictures are laid over: white, black or a colour such as #80ff00. Default: they are
        refused.
    """

    target: Path
    reference: Path | None = None
    prompt: str | None = None
    class_prompt: str | None = None
    token: str | None = None
    initial: str | None = None
    dropout: float = 0.1
    size: int | None = None
    background: str | None = None

    def __post_init__(self):
        for name in ("prompt", "class_prompt"):
            text = getattr(self, name)
            if text is not None and not text.strip() and (text or name != "prompt"):
                raise UserError(f"{name.replace('_', '-')} is empty: say what pictures show, or leave it out")
        if (self.token is None) != (self.initial is None):
            raise UserError(
                "a new word starts from a known one: give both --token and --initial, such as <toy> and toy"
            )
        for name in ("token", "initial"):
            word = getattr(self, name)
            if word is not None and word.split() != [word]:
                raise UserError(f"{name} is {word!r}: give one word")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}: give a share of at least 0 and below 1")
        if self.size is not None and self.size < 1:
            raise UserError(f"size is {self.size}: pictures need at least one pixel")
        check_background(self.background)

    def data_files(self) -> dict[str, dict[str, Path]]:
        """The files of every option that names some, by a name that does not depend on where they lie."""
        paths = {"target": self.target, "reference": self.reference}
        return {name: caption_files(path) for name, path in paths.items() if path is not None and path.exists()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextImages(Problem):
    """A problem whose rows are still pictures: its data have labels alone.

    Attributes:
      pictures: of "target" and, where there are any, "reference".
      size: see `TextImagesConfig`.
      background: likewise.
    """

    pictures: Mapping[str, tuple[Stored, ...]]
    size: int | None
    background: str | None


def load(config: TextImagesConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> TextImages:
    """Reads captions and chooses pictures, by (file, n_target, seed) alone.

    Raises:
      UserError: see `read_captioned`; also too few pictures, or captions without the new word.
    """
    pool = read_captioned(config.target, config.prompt)
    fresh = None if config.reference is None else read_captioned(config.reference, config.prompt)
    if len(pool.pictures) < 2:
        raise UserError(f"{config.target} has 1 picture: at least 2 are needed")
    groups = _copies(pool.pictures)
    learned, spare = split_target(groups, n_target, all_to_learn=fresh is not None or n_target is None, seed=seed)
    parts = {"target": ([pool.pictures[i] for i in learned], [pool.captions[i] for i in learned])}
    if fresh is not None:
        parts["reference"] = list(fresh.pictures), list(fresh.captions)
    elif spare is not None:
        parts["reference"] = [pool.pictures[i] for i in spare], [pool.captions[i] for i in spare]
    if config.token is not None and not any(config.token in text for text in parts["target"][1]):
        raise UserError(
            f'no caption of {config.target} names {config.token}: name it, or give --prompt "a photo of {config.token}"'
        )
    said: list[str] = [text for _, texts in parts.values() for text in texts]
    of_class = None if config.class_prompt is None else " ".join(config.class_prompt.split())
    said += [] if of_class is None else [of_class]
    classes = tuple(dict.fromkeys(said))
    number = {text: label for label, text in enumerate(classes)}

    def data(name: str) -> Data:
        rows = np.broadcast_to(np.float32(0), (len(parts[name][0]), 0, 0, 0))
        return Data(rows, np.array([number[text] for text in parts[name][1]], np.int32))

    notes = [*pool.notes, *(() if fresh is None else fresh.notes)]
    notes += copy_notes(groups, "pictures", split=spare is not None)
    return TextImages(
        "text-images",
        Data(np.empty((0, 0, 0, 0), np.float32)),
        data("target"),
        data("reference") if "reference" in parts else None,
        num_classes=len(classes),
        classes=classes,
        captions=Captions(config.dropout, of_class, config.token, config.initial),
        notes=tuple(notes),
        pictures={name: tuple(pictures) for name, (pictures, _) in parts.items()},
        size=config.size,
        background=config.background,
    )


def _copies(pictures: tuple[Stored, ...]) -> np.ndarray:
    """Number of the first picture that each is a copy of, or its own; int [N]."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(stored.digest, i) for i, stored in enumerate(pictures)])
