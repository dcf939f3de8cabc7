"""A pipeline of labels (DiT) as the source model: its denoiser, told captions by their numbers (`nets.captioned`).

Here a caption is the name of a class. One that the pipeline has a label for is that label; an empty one is no label.
Any other takes the place of a label that no caption names, and starts from what the network knows of no label: so the
source is the unconditional model for it, and what is written has as many labels as before, which diffusers reads.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop.pipeline import LabelPipeline
from tgdp_jax.nets.captioned import COLLECTION, Labelled
from tgdp_jax.train.reparam import flat, nested

# The embeddings of labels, which every block has for itself.
TABLES = "class_embedder/embedding_table/embedding"


class Rows(NamedTuple):
    """Where captions are among a pipeline's labels.

    Attributes:
      labels: of every caption, and at the end that of no caption.
      new: captions that the pipeline did not know, by their labels.
    """

    labels: np.ndarray
    new: dict[int, str]


def label_rows(pipe: LabelPipeline, captions: tuple[str, ...]) -> Rows:
    """The labels of captions.

    Raises:
      UserError: there are more captions than labels.
    """
    num = pipe.net.num_classes
    labels = [num if not text else pipe.label(text) for text in captions]
    free = iter(sorted(set(range(num)) - set(labels)))
    if len({text for text in captions if text}) > num:
        raise UserError(f"there are {len(captions)} classes, and the pipeline has {num} labels: merge some")
    # By name, so that a class has the same label in whatever order pictures are drawn.
    new = {next(free): text for text in sorted({t for t, label in zip(captions, labels, strict=True) if label is None})}
    taken = {text: label for label, text in new.items()}
    found = [taken[text] if label is None else label for text, label in zip(captions, labels, strict=True)]
    return Rows(np.array([*found, num], np.int32), new)


def labelled_net(pipe: LabelPipeline, problem: Problem, *, dtype: Any, remat: bool, new_token: bool) -> Labelled:
    """The network of a pipeline for a problem's classes.

    Args:
      pipe: the pipeline.
      problem: with captions.
      dtype: what inner layers compute in.
      remat: whether blocks are recomputed on the way back.
      new_token: refused: there are no words.

    Raises:
      UserError: the problem has no captions, or words or text encoders are to be trained.
    """
    if problem.captions is None:
        raise UserError(f"a {pipe.kind} makes pictures of classes: use the problem text-images")
    if new_token:
        raise UserError(
            f"a {pipe.kind} reads labels and no words: leave out --lora.text-encoder, and choose another method than "
            "textual_inversion"
        )
    net = pipe.net.clone(dtype=dtype, remat=remat or pipe.net.remat)
    return Labelled(net=net, num_steps=pipe.sde.num_steps, num_classes=problem.num_classes)


def labelled_variables(pipe: LabelPipeline, problem: Problem) -> Any:
    """Variables of `labelled_net`: the pipeline's weights, in which new classes are no label, and the captions' labels.

    Raises:
      UserError: see `label_rows`.
    """
    rows, leaves = label_rows(pipe, problem.classes), flat(pipe.params["params"])
    new = np.array(list(rows.new), np.int32)
    for path, leaf in leaves.items():
        if path.endswith(TABLES):
            leaves[path] = leaf.at[new].set(leaf[-1])
    return {"params": {"net": nested(leaves)}, COLLECTION: {"labels": jnp.asarray(rows.labels)}}


def with_classes(pipe: LabelPipeline, captions: tuple[str, ...]) -> LabelPipeline:
    """The pipeline with names for the labels that captions have."""
    new = label_rows(pipe, captions).new
    kept = {name: label for name, label in pipe.labels.items() if label not in new}
    return dataclasses.replace(pipe, labels=kept | {text: label for label, text in new.items()})


def check_classes(pipe: LabelPipeline, problem: Problem) -> None:
    """Says what of the captions are no classes.

    Raises:
      UserError: see `label_rows`; or there is a new word.
    """
    if problem.captions is not None and problem.captions.token is not None:
        raise UserError(f"a {pipe.kind} reads labels and no words: leave out --token and --initial")
    label_rows(pipe, problem.classes)
