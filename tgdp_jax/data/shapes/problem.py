"""Generated pictures of shapes with captions: the source is a small pipeline of plain ones, the target is outlined.

Half of all combinations of attributes are for learning from the target, and samples are asked for the others, so that
nothing that judges was learned from. The rows of the problem are latents, as of `text_images`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tgdp_jax.data.captions import Stored
from tgdp_jax.data.problem import Captions, Data, check_n_target
from tgdp_jax.data.shapes.drawing import ALL, SIDE, STYLES, Drawing, any_picture, caption, render
from tgdp_jax.data.text_images import TextImages
from tgdp_jax.errors import UserError

PLAIN, OUTLINED = STYLES
WORDS = 0.1, 0.3  # shares of the source's captions that leave out an attribute, and the word for the style
_COPIES = 10  # target pictures of one combination at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """Pictures of one shape with captions such as "a plain large red circle at the left on white".

    Attributes:
      num_source: plain pictures that the source pipeline is trained on.
      width: channels of its U-Net and of its text encoder, a multiple of 8.
      autoencoder_steps: steps of training of its autoencoder. Those of the U-Net and the text encoder are
        --source.optimiser.steps.
      token: textual_inversion: new word that the target's captions name. Other methods read `initial` in its place.
      initial: word that the new one starts from.
      class_prompt: dreambooth: what the source's own pictures show, which are kept.
      dropout: share of the draws that see no caption, so that classifier-free guidance keeps its other half.
    """

    num_source: int = 4000
    width: int = 64
    autoencoder_steps: int = 2500
    token: str = "<new>"
    initial: str = PLAIN
    class_prompt: str = "a plain shape"
    dropout: float = 0.1

    def __post_init__(self):
        if self.num_source < 20:
            raise UserError(f"num-source is {self.num_source}: give at least 20 pictures to train the source on")
        if self.width < 8 or self.width % 8:
            raise UserError(f"width is {self.width}: give a multiple of 8")
        if self.autoencoder_steps < 1:
            raise UserError(f"autoencoder-steps is {self.autoencoder_steps}: give at least 1")
        for name in ("token", "initial"):
            word = getattr(self, name)
            if word.split() != [word]:
                raise UserError(f"{name} is {word!r}: give one word")
        if not self.class_prompt.strip():
            raise UserError("class-prompt is empty: say what pictures show")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}: give a share of at least 0 and below 1")


class Captioned(NamedTuple):
    """Pictures x [N, SIDE, SIDE, 3] in [0, 1], and what each shows."""

    x: np.ndarray
    captions: list[str]


def source_pictures(num: int, seed: int) -> Captioned:
    """Plain pictures of random combinations; captions leave out some attributes, so that short prompts work too."""
    rng = np.random.default_rng((seed, 0))
    drawings = [ALL[i] for i in rng.integers(len(ALL), size=num)]
    without, unnamed = WORDS
    texts = []
    for drawing in drawings:
        said = {name: value for name, value in drawing._asdict().items() if rng.random() >= without}
        texts.append(caption(said, PLAIN if rng.random() >= unnamed else None))
    return Captioned(np.stack([render(drawing, PLAIN, rng) for drawing in drawings]), texts)


def any_pictures(num: int, seed: int) -> np.ndarray:
    """Shapes of either style in any colours and anywhere, [num, SIDE, SIDE, 3]: what an autoencoder is trained on."""
    rng = np.random.default_rng((seed, 1))
    return np.stack([any_picture(rng) for _ in range(num)])


def load(config: ShapesConfig, *, n_target: int | None, seed: int, source_seed: int | None = None) -> TextImages:
    """Draws the target's pictures, nested in their number; the source's are drawn when it is trained.

    Raises:
      UserError: more target pictures than there are.
    """
    order = [ALL[i] for i in np.random.default_rng((seed, 2)).permutation(len(ALL))]
    shown, asked = order[: len(ALL) // 2], order[len(ALL) // 2 :]
    n_target = len(shown) if n_target is None else n_target
    check_n_target(n_target, _COPIES * len(shown))
    parts = {"target": [shown[i % len(shown)] for i in range(n_target)], "reference": asked}
    # Each picture has draws of its own, whatever their number.
    pictures = {
        name: tuple(_stored(drawing, (seed, 3 + part, i)) for i, drawing in enumerate(drawings))
        for part, (name, drawings) in enumerate(parts.items())
    }
    texts = {name: [caption(one._asdict(), config.token) for one in drawings] for name, drawings in parts.items()}
    of_class = " ".join(config.class_prompt.split())
    classes = tuple(dict.fromkeys([*texts["target"], *texts["reference"], of_class]))
    number = {text: label for label, text in enumerate(classes)}

    def data(name: str) -> Data:
        rows = np.broadcast_to(np.float32(0), (len(texts[name]), 0, 0, 0))
        return Data(rows, np.array([number[text] for text in texts[name]], np.int32))

    return TextImages(
        "shapes",
        Data(np.empty((0, 0, 0, 0), np.float32)),
        data("target"),
        data("reference"),
        num_classes=len(classes),
        classes=classes,
        captions=Captions(config.dropout, of_class, config.token, config.initial),
        asked=data("reference").y,
        drawn_style=OUTLINED,
        pictures=pictures,
        size=SIDE,
        background=None,
    )


def _stored(drawing: Drawing, seed: tuple[int, ...]) -> Stored:
    return Stored(" ".join(drawing), render(drawing, OUTLINED, np.random.default_rng(seed)))
