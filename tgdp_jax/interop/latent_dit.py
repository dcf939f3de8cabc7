"""Folders of diffusers' `DiTTransformer2DModel`, the diffusion transformer of labelled latents, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import check_class
from tgdp_jax.interop.options import Options, is_whole
from tgdp_jax.interop.sizes import Shapes, Sizes
from tgdp_jax.interop.weights import params_of, read_part, write_part
from tgdp_jax.nets.latent_dit import LatentDiT

NAME, FORMER = "DiTTransformer2DModel", "Transformer2DModel"
# What such a net must not differ in; the first value is what diffusers takes where the option is missing.
_FIXED: dict[str, tuple] = {
    "norm_type": ("ada_norm_zero",),
    "norm_elementwise_affine": (False,),
    "use_linear_projection": (False,),
}
_ACTIVATIONS = {"gelu-approximate": False, "geglu": True}
# What has no say in what it computes: the softmax is float32 in any case, and there are no group norms.
_SILENT = frozenset({"dropout", "norm_num_groups", "upcast_attention"})
_MAX_LAYERS = 1000


def read_dit(folder: str | Path, *, dtype: Any = jnp.float32, remat: bool = False) -> tuple[LatentDiT, Any]:
    """Reads a diffusion transformer from its folder.

    Args:
      folder: with config.json and the weights, such as `transformer/` of a pipeline.
      dtype: what blocks compute in, see `LatentDiT`.
      remat: see there.

    Returns:
      (module, its variables {"params": ...}, float32).

    Raises:
      UserError: a file is missing or damaged, the weights are pickled or do not fit the config, or an option is not
        supported.
    """
    net, variables = read_part(folder, dit_of_options, check_sizes, expected_params)
    return net.clone(dtype=dtype, remat=remat), variables


def write_dit(folder: str | Path, net: LatentDiT, variables: Any) -> None:
    """Writes a folder that `DiTTransformer2DModel.from_pretrained` and `read_dit` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      net: the module.
      variables: its variables, {"params": ...}.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    write_part(folder, options_of_dit(net), variables)


def dit_of_options(values: dict[str, Any], where: str) -> LatentDiT:
    """The module of a config.

    Args:
      values: what the file holds.
      where: its name, for messages.

    Raises:
      UserError: another class, or an option or value that is not supported.
    """
    # Its name before diffusers 0.30, when it had to say that it is of this kind.
    if not (values.get("_class_name") == FORMER and values.get("norm_type") == "ada_norm_zero"):
        check_class(values, where, NAME)
    options = Options(values, where)
    for name, allowed in _FIXED.items():
        options.one_of(name, allowed)
    heads, head = options.whole("num_attention_heads", 16), options.whole("attention_head_dim", 72)
    patch, inputs = options.whole("patch_size", 2), options.whole("in_channels", 4)
    size = options.take(
        "sample_size", 32, lambda v: is_whole(v) and v % patch == 0, f"a multiple of patch_size = {patch}"
    )
    outputs = options.take(
        "out_channels",
        None,
        lambda v: v is None or v in (inputs, 2 * inputs),
        f"in_channels = {inputs}, or twice that for a net with a variance,",
    )
    if heads * head % 4:
        raise UserError(
            f"{where}: num_attention_heads times attention_head_dim is {heads * head}: places need a multiple of 4"
        )
    net = LatentDiT(
        width=heads * head,
        depth=options.whole("num_layers", 28, most=_MAX_LAYERS),
        heads=heads,
        patch=patch,
        num_classes=options.whole("num_embeds_ada_norm", 1000),
        in_channels=inputs,
        out_channels=outputs or inputs,
        size=size,
        bias=options.one_of("attention_bias", (True, False)),
        gated=_ACTIVATIONS[options.one_of("activation_fn", tuple(_ACTIVATIONS))],
        eps=options.positive("norm_eps", 1e-5),
    )
    options.refuse_others(_SILENT)
    return net


def options_of_dit(net: LatentDiT) -> dict[str, Any]:
    """Inverse of `dit_of_options`."""
    return {
        "_class_name": NAME,
        "num_attention_heads": net.heads,
        "attention_head_dim": net.width // net.heads,
        "in_channels": net.in_channels,
        "out_channels": net.out_channels,
        "num_layers": net.depth,
        "attention_bias": net.bias,
        "sample_size": net.size,
        "patch_size": net.patch,
        "activation_fn": {gated: name for name, gated in _ACTIVATIONS.items()}[net.gated],
        "num_embeds_ada_norm": net.num_classes,
        "norm_eps": net.eps,
        "norm_type": "ada_norm_zero",
        "norm_elementwise_affine": False,
    }


def check_sizes(net: LatentDiT, shapes: Shapes, where: str) -> None:
    """Refuses a net whose sizes are not those of its tensors.

    Args:
      net: of the config.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """
    sizes, query = Sizes(shapes, where), "transformer_blocks.{}.attn1.to_q.weight"
    patches, table = "pos_embed.proj.weight", "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    sizes.need("a diffusion transformer", patches, query.format(0), table, "proj_out_2.weight")
    sizes.check("num_layers", net.depth, sizes.count(query))
    sizes.check("num_attention_heads times attention_head_dim", net.width, sizes.axis(query.format(0), 0))
    sizes.check("in_channels", net.in_channels, sizes.axis(patches, 1))
    sizes.check("patch_size", net.patch, sizes.axis(patches, 2))
    sizes.check("num_embeds_ada_norm", net.num_classes, sizes.axis(table, 0) - 1)
    sizes.check("out_channels", net.out_channels, sizes.axis("proj_out_2.weight", 0) // net.patch**2)


def expected_params(net: LatentDiT) -> Any:
    """The parameters of a net as shapes alone: nothing is computed."""
    x = jax.ShapeDtypeStruct((1, net.patch, net.patch, net.in_channels), jnp.float32)
    t, labels = jax.ShapeDtypeStruct((1,), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    return params_of(net, x, t, labels)
