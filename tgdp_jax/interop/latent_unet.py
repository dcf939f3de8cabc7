"""Folders of diffusers' `UNet2DConditionModel`: the U-Net of Stable Diffusion and its kin, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.guidance import ClassifierFreeScore, classifier_free
from tgdp_jax.interop.latent_options import DEPTHS, PROJECTION, TIME_IDS, options_of_unet, unet_of_options
from tgdp_jax.interop.sizes import Shapes, Sizes
from tgdp_jax.interop.weights import params_of, read_part, write_part
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.nets.latent_unet import LatentUNet, Text
from tgdp_jax.prediction import Prediction
from tgdp_jax.sde import DiscreteVP

Array = jax.Array
_QUERY = "transformer_blocks.{}.attn1.to_q.weight"


def read_unet(folder: str | Path, *, dtype: Any = jnp.float32, remat: bool = False) -> tuple[LatentUNet, Any]:
    """Reads a text-conditioned U-Net from its folder.

    Args:
      folder: with config.json and the weights, such as `unet/` of a pipeline.
      dtype: what inner layers compute in, see `LatentUNet`.
      remat: see there.

    Returns:
      (module, its variables {"params": ...}, float32).

    Raises:
      UserError: a file is missing or damaged, the weights are pickled or do not fit the config, or an option is not
        supported.
    """
    net, variables = read_part(folder, unet_of_options, check_sizes, expected_params)
    return net.clone(dtype=dtype, remat=remat), variables


def write_unet(folder: str | Path, net: LatentUNet, variables: Any) -> None:
    """Writes a folder that `UNet2DConditionModel.from_pretrained` and `read_unet` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      net: the module.
      variables: its variables, {"params": ...}.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    write_part(folder, options_of_unet(net), variables)


def latent_score(
    net: Any,
    variables: Any,
    sde: DiscreteVP,
    prediction: str | Prediction,
    text: Any = None,
    uncond: Any = None,
    scale: Any = 7.5,
    rescale: Any = 0.0,
) -> ClassifierFreeScore:
    """The score function (x [B, H, W, C], t [B], text) of a latent model with classifier-free guidance.

    Another text, negative text, scale or rescale, and other parameters, never compile anew.

    Args:
      net: a `LatentUNet` (or a net of labels), called with timesteps.
      variables: its variables, {"params": ...}.
      sde: the process.
      prediction: what the net predicts, one of `prediction.PREDICTIONS`.
      text: for whoever calls without one: a `Text`, or tokens [B, L, D], of one row for all or as many as x has.
      uncond: likewise, the empty or the negative text; None: no guidance.
      scale: see `guidance.classifier_free`.
      rescale: see there.
    """
    return classifier_free(
        DiscreteTime(net, sde.num_steps),
        {"params": {"net": variables["params"]}},
        sde,
        prediction=prediction,
        uncond=uncond,
        scale=scale,
        rescale=rescale,
        cond=text,
    )


def check_sizes(net: LatentUNet, shapes: Shapes, where: str) -> None:
    """Refuses a net whose sizes are not those of its tensors.

    Args:
      net: of the config.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """
    sizes, first = Sizes(shapes, where), "down_blocks.{}.resnets.0.conv1.weight"
    sizes.need("a U-Net", "conv_in.weight", first.format(0), "conv_out.weight")
    levels = range(sizes.count(first))
    sizes.check("block_out_channels", list(net.channels), [sizes.axis(first.format(i), 0) for i in levels])
    sizes.check("in_channels", net.in_channels, sizes.axis("conv_in.weight", 1))
    sizes.check("out_channels", net.out_channels, sizes.axis("conv_out.weight", 0))
    sizes.check("num_class_embeds", net.num_classes, sizes.axis("class_embedding.weight", 0))
    for way, ours, layers in (
        ("down", net.depths, net.layers),
        ("up", net.up_depths, [count + 1 for count in reversed(net.layers)]),
    ):
        blocks = [f"{way}_blocks.{level}" for level in levels]
        found = [sizes.count(f"{block}.resnets.{{}}.conv1.weight") for block in blocks]
        sizes.check("layers_per_block", list(layers), found)
        for block, depths in zip(blocks, ours, strict=True):
            found = [sizes.count(f"{block}.attentions.{i}.{_QUERY}") for i in range(len(depths))]
            sizes.check(DEPTHS, list(depths), found)
            if sum(depths):
                place = next(i for i, depth in enumerate(depths) if depth)
                text = sizes.axis(f"{block}.attentions.{place}.transformer_blocks.0.attn2.to_k.weight", 1)
                sizes.check("cross_attention_dim", net.text_dim, text)
    if net.middle == "attention":
        sizes.check(DEPTHS, net.mid_depth, sizes.count(f"mid_block.attentions.0.{_QUERY}"))
    if net.time_id_dim is not None and net.pooled_dim is not None:
        inputs = net.pooled_dim + TIME_IDS * net.time_id_dim
        sizes.check(PROJECTION, inputs, sizes.axis("add_embedding.linear_1.weight", 1))
    if net.class_dim is not None:
        sizes.check(PROJECTION, net.class_dim, sizes.axis("class_embedding.linear_1.weight", 1))


def expected_params(net: LatentUNet) -> Any:
    """The parameters of a net as shapes alone: nothing is computed."""
    side = 2 ** (len(net.channels) - 1)

    def like(*shape: int) -> Any:
        return jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    pooled: Any = None
    ids: Any = None
    labels: Any = None
    if net.pooled_dim is not None:
        pooled, ids = like(net.pooled_dim), like(TIME_IDS)
    if net.class_dim is not None:
        labels = like(net.class_dim)
    elif net.class_kind is not None or net.num_classes:
        labels = like() if net.class_kind else jax.ShapeDtypeStruct((1,), jnp.int32)
    text = Text(like(1, net.text_dim), pooled, ids, labels)
    return params_of(net, like(side, side, net.in_channels), like(), text)
