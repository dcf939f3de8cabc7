"""Folders of transformers' CLIPTextModel and CLIPTextModelWithProjection, read and written.

Their weights are named with the prefix `text_model.` or without it, as the version of transformers has it; both are
read, and written is the former, which every version reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import named
from tgdp_jax.interop.options import Options
from tgdp_jax.interop.sizes import Shapes, Sizes
from tgdp_jax.interop.weights import params_of, read_part, write_part
from tgdp_jax.nets.clip_text import ACTIVATIONS, LEGACY_END, CLIPText

WEIGHTS = "model.safetensors"
PLAIN, PROJECTED = CLASSES = "CLIPTextModel", "CLIPTextModelWithProjection"
_PREFIX, _PROJECTION = "text_model.", "text_projection.weight"
# What has no say in what an encoder computes.
_SILENT = frozenset(
    {
        "architectures",
        "attention_dropout",
        "bos_token_id",
        "dropout",
        "dtype",
        "initializer_factor",
        "initializer_range",
        "model_type",
        "pad_token_id",
        "projection_dim",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
_MAX_LAYERS, _MAX_TOKEN = 1000, 2**31 - 1


def read_text_encoder(folder: str | Path, *, dtype: Any = None) -> tuple[CLIPText, dict[str, Any]]:
    """Reads a text encoder from a folder of transformers.

    Args:
      folder: with config.json and model.safetensors.
      dtype: what inner layers compute in, see `CLIPText`.

    Returns:
      (module, {"params": ...}), float32.

    Raises:
      UserError: another model, an option that is not supported, or weights that are missing, pickled or do not fit.
    """
    net, params = read_part(
        folder,
        text_encoder_of_options,
        check_sizes,
        expected,
        name=WEIGHTS,
        rename=lambda name: name.removeprefix(_PREFIX),
        # Places are counted; the first versions kept the numbers in the file.
        skip=lambda name: name.endswith(".position_ids"),
    )
    return net.clone(dtype=dtype), params


def write_text_encoder(folder: str | Path, net: CLIPText, params: Any) -> None:
    """Writes a folder that transformers and `read_text_encoder` read.

    Args:
      folder: a new or empty one; it appears when it is complete.
      net: the encoder.
      params: {"params": ...}.

    Raises:
      UserError: the folder holds something or can not be written.
    """
    write_part(folder, options_of_text_encoder(net), params, name=WEIGHTS, rename=_prefixed)


def _prefixed(name: str) -> str:
    return name if name == _PROJECTION else _PREFIX + name


def check_sizes(net: CLIPText, shapes: Shapes, where: str) -> None:
    """Refuses an encoder whose sizes are not those of its tensors.

    Args:
      net: of the config.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """
    sizes, tokens, first = Sizes(shapes, where), "embeddings.token_embedding.weight", "encoder.layers.{}.mlp.fc1.weight"
    sizes.need("a text encoder", tokens, first.format(0))
    sizes.check("num_hidden_layers", net.layers, sizes.count(first))
    sizes.check("vocab_size", net.vocab, sizes.axis(tokens, 0))
    sizes.check("hidden_size", net.width, sizes.axis(tokens, 1))
    sizes.check("max_position_embeddings", net.positions, sizes.axis("embeddings.position_embedding.weight", 0))
    sizes.check("intermediate_size", net.hidden, sizes.axis(first.format(0), 0))


def expected(net: CLIPText) -> Any:
    """An encoder's parameters, as shapes alone."""
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return params_of(net, ids)


def text_encoder_of_options(values: dict[str, Any], where: str) -> CLIPText:
    """The encoder of a config.

    Args:
      values: what the file holds.
      where: its name, for messages.

    Raises:
      UserError: another class, or an option or value that is not supported.
    """
    kinds = values.get("architectures") or [PLAIN]
    if kinds not in ([PLAIN], [PROJECTED]):
        kind = named(kinds[0]) if isinstance(kinds, list) else named(kinds)
        raise UserError(f"{where} is of a {kind}: {' and '.join(CLASSES)} are supported")
    options = Options(values, where)
    options.one_of("use_attention_mask", (None, False))
    width = options.whole("hidden_size", 512)
    net = CLIPText(
        vocab=options.whole("vocab_size", 49408),
        width=width,
        layers=options.whole("num_hidden_layers", 12, most=_MAX_LAYERS),
        heads=options.take(
            "num_attention_heads", 8, lambda v: isinstance(v, int) and v > 0 and not width % v, f"a divisor of {width}"
        ),
        hidden=options.whole("intermediate_size", 2048),
        positions=options.whole("max_position_embeddings", 77),
        activation=options.one_of("hidden_act", tuple(ACTIVATIONS)),
        eps=options.positive("layer_norm_eps", 1e-5),
        end=options.take(
            "eos_token_id",
            49407,
            lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= _MAX_TOKEN,
            "the number of a token",
        ),
        projection=options.whole("projection_dim", 512) if kinds == [PROJECTED] else None,
    )
    options.refuse_others(_SILENT)
    return net


def options_of_text_encoder(net: CLIPText) -> dict[str, Any]:
    """Inverse of `text_encoder_of_options`."""
    return {
        "architectures": [PLAIN if net.projection is None else PROJECTED],
        "model_type": "clip_text_model",
        "vocab_size": net.vocab,
        "hidden_size": net.width,
        "num_hidden_layers": net.layers,
        "num_attention_heads": net.heads,
        "intermediate_size": net.hidden,
        "max_position_embeddings": net.positions,
        "hidden_act": net.activation,
        "layer_norm_eps": net.eps,
        "eos_token_id": net.end,
        "bos_token_id": 0 if net.end == LEGACY_END else max(net.end - 1, 0),
        "pad_token_id": 1 if net.end == LEGACY_END else net.end,
        "torch_dtype": "float32",
    } | ({} if net.projection is None else {"projection_dim": net.projection})
