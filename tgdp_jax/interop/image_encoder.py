"""Folders of transformers' image encoders, whose features pictures are judged by: DINOv2 and CLIP.

A folder holds config.json, model.safetensors and preprocessor_config.json; that of a whole CLIP model with
its tokenizer's files embeds texts into the same space. Neither transformers nor torch is needed.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.interop import clip_text
from tgdp_jax.interop.files import CONFIG, check_home, named, read_json, readable, shown, weight_files
from tgdp_jax.interop.image_preparation import NAME as PREPROCESSOR
from tgdp_jax.interop.image_preparation import Preparation, read_preparation
from tgdp_jax.interop.options import Options, is_number
from tgdp_jax.interop.pipeline import TextEncoder
from tgdp_jax.interop.sizes import Shapes, Sizes
from tgdp_jax.interop.tokenizer import read_tokenizer
from tgdp_jax.interop.weights import params_of, read_part
from tgdp_jax.nets.clip_text import ACTIVATIONS, CLIPText
from tgdp_jax.nets.vision import CLIPVision, Dinov2
from tgdp_jax.runtime.parallel import in_chunks

Array = jax.Array
WEIGHTS = clip_text.WEIGHTS
DINO, WHOLE, PROJECTED, PLAIN = CLASSES = (
    "Dinov2Model",
    "CLIPModel",
    "CLIPVisionModelWithProjection",
    "CLIPVisionModel",
)
_KINDS = {"dinov2": DINO, "clip": WHOLE, "clip_vision_model": PROJECTED}  # where a config names no class
_AT_ONCE = 64  # pictures on the host in the encoder's size
_LARGER = 4  # sides of pictures, relative to those that places were learned of, at most
_MAX_LAYERS = 1000
_TEXT = ("text_model.", "text_projection.")
_VISION = ("vision_model.", "visual_projection.")
# Ends of names of tensors that features do not depend on; places are counted here.
UNUSED = ("logit_scale", "mask_token", "position_ids")
# What every config of transformers may say, which has no say in what an encoder computes.
_GENERAL = frozenset(
    "_commit_hash _name_or_path add_cross_attention architectures bad_words_ids begin_suppress_tokens bos_token_id "
    "chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout "
    "dtype early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task "
    "forced_bos_token_id forced_eos_token_id id2label initializer_factor initializer_range is_composition is_decoder "
    "is_encoder_decoder label2id length_penalty max_length min_length model_type no_repeat_ngram_size num_beam_groups "
    "num_beams num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix "
    "problem_type pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate "
    "sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder "
    "tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p "
    "use_bfloat16 use_cache".split()
)
_SILENT = _GENERAL | frozenset(
    "apply_layernorm attention_dropout attention_probs_dropout_prob drop_path_rate hidden_dropout_prob "
    "layerscale_value out_features out_indices reshape_hidden_states stage_names use_mask_token projection_dim".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageEncoder:
    """An image encoder with what is done to pictures before it sees them.

    Attributes:
      net: a `Dinov2` or a `CLIPVision`.
      params: its variables, {"params": ...}.
      prepare: how pictures are resized, cropped and standardised.
      text: of a whole CLIP model whose texts were asked for: the encoder that brings them into the same space.
    """

    net: Any
    params: Any
    prepare: Preparation
    text: TextEncoder | None = None

    def embed(self, images: Iterable[np.ndarray], *, chunk: int = 8) -> np.ndarray:
        """Features [N, F] of pictures, which may be of different sizes.

        Args:
          images: [H, W, 1 or 3] each, integers in 0..255 or floats in [0, 1]; few are held at a time.
          chunk: pictures that a device takes at a time.
        """
        out, left = [], iter(images)
        while some := list(itertools.islice(left, _AT_ONCE)):
            seen = np.stack([self.prepare(np.asarray(image)) for image in some])
            out.append(in_chunks(_features, seen, self.params, chunk=chunk, static={"net": self.net}))
        return np.concatenate(out) if out else np.empty((0, 0), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Where texts lie among the features of pictures, [N, F]. Texts that are too long are cut.

        Raises:
          UserError: the encoder is none of texts too.
        """
        if self.text is None:
            raise UserError(f"the image encoder reads no texts: give the folder of a whole {WHOLE}, with its tokenizer")
        different = list(dict.fromkeys(texts))
        ids = self.text.tokenizer(different).ids
        # One at a time: a text's features have the same bits whatever it is embedded with.
        net: Any = self.text.net
        made = in_chunks(_text_features, ids, self.text.params, chunk=1, static={"net": net})
        return made[[different.index(text) for text in texts]]


def _features(images: Array, params: Any, *, net: Any) -> Array:
    return net.apply(params, images)


def _text_features(ids: Array, params: Any, *, net: CLIPText) -> Array:
    made: Any = net.apply(params, ids)
    return made.pooled


def load_image_encoder(folder: str | Path, *, texts: bool = False) -> ImageEncoder:
    """Reads an image encoder from a folder of transformers.

    Args:
      folder: of a `Dinov2Model`, `CLIPModel`, `CLIPVisionModelWithProjection` or `CLIPVisionModel`: config.json,
        model.safetensors and preprocessor_config.json.
      texts: also read the text encoder and the tokenizer of a whole CLIP model; of others there is none.

    Raises:
      UserError: another model, a file that is missing, an option that is not supported, or weights that are pickled or
        do not fit.
    """
    folder = Path(folder)
    with readable(folder):
        kind = _class(folder)
        prepare = read_preparation(folder)
    net, params = read_part(
        folder,
        dinov2_of_options if kind == DINO else functools.partial(vision_of_options, kind=kind),
        check_sizes,
        expected,
        name=WEIGHTS,
        rename=dino_name if kind == DINO else vision_name,
        skip=lambda name: name.endswith(UNUSED) or name.startswith(_TEXT),
    )
    side = (net.size, net.size)
    if isinstance(net, CLIPVision) and prepare.shape != side:
        raise UserError(
            f"{folder / PREPROCESSOR} gives pictures of {_sides(prepare.shape)} pixels, and the model takes "
            f"{_sides(side)}: use the two files of one model"
        )
    most = _LARGER * net.size
    if prepare.shape is None or min(prepare.shape) < net.patch or max(prepare.shape) > most:
        raise UserError(
            f"{folder / PREPROCESSOR} brings pictures to {_sides(prepare.shape)}: they need one size, of at least "
            f"{net.patch} x {net.patch} and at most {most} x {most} pixels for this model"
        )
    text = _text_encoder(folder) if kind == WHOLE and texts else None
    return ImageEncoder(net=net, params=params, prepare=prepare, text=text)


def image_encoder_files(folder: str | Path) -> dict[str, Path]:
    """The files of a folder that `load_image_encoder` reads, by their names.

    Raises:
      UserError: the folder can not be read or has no weights.
    """
    folder = Path(folder)
    with readable(folder):
        check_home(folder, WEIGHTS)
        others = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt") and file.is_file())
        return {file.name: file for file in dict.fromkeys([*weight_files(folder, WEIGHTS), *others])}


def _class(folder: Path) -> str:
    """The class of a folder's model, one of `CLASSES`."""
    check_home(folder, WEIGHTS)
    values = read_json(folder / CONFIG)
    kinds = values.get("architectures")
    kind = kinds[0] if isinstance(kinds, list) and len(kinds) == 1 else _KINDS.get(str(values.get("model_type")))
    if kind not in CLASSES:
        said = values.get("_class_name") or kinds or values.get("model_type")
        what = "model without a class name" if said is None else named(said[0] if isinstance(said, list) else said)
        raise UserError(f"{folder / CONFIG} is of a {what}: image encoders are of {', '.join(CLASSES)}")
    return kind


def dino_name(name: str) -> str:
    """The current name of a tensor in a file of a `Dinov2Model`."""
    if name in ("embeddings.cls_token", "embeddings.position_embeddings"):
        return f"{name}.weight"
    return name.replace(".lambda1", ".weight")


def vision_name(name: str) -> str:
    """The current name of a tensor in a file of one of CLIP's classes."""
    name = name.removeprefix("vision_model.")
    return f"{name}.weight" if name == "embeddings.class_embedding" else name


def dinov2_of_options(values: dict[str, Any], where: str) -> Dinov2:
    """The module of a config of a `Dinov2Model`.

    Raises:
      UserError: an option or value that is not supported.
    """
    options = Options(values, where)
    width = options.whole("hidden_size", 768)
    ratio = options.take("mlp_ratio", 4, lambda v: is_number(v) and 0 < v <= 64, "a number")
    gated = options.one_of("use_swiglu_ffn", (False, True))
    hidden = int(width * ratio)
    net = Dinov2(
        width=width,
        layers=options.whole("num_hidden_layers", 12, most=_MAX_LAYERS),
        heads=_heads(options, width),
        # Two thirds of it, in multiples of eight.
        hidden=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden,
        patch=options.whole("patch_size", 14),
        size=options.whole("image_size", 224),
        channels=options.one_of("num_channels", (3,)),
        gated=gated,
        bias=options.one_of("qkv_bias", (True, False)),
        activation=options.one_of("hidden_act", tuple(ACTIVATIONS)[::-1]),
        eps=options.positive("layer_norm_eps", 1e-6),
    )
    options.refuse_others(_SILENT)
    _check_patch(net, where)
    return net


def vision_of_options(values: dict[str, Any], where: str, kind: str = PROJECTED) -> CLIPVision:
    """The module of a config of one of CLIP's classes.

    Raises:
      UserError: an option or value that is not supported.
    """
    own = _section(values, where, "vision_config") if kind == WHOLE else values
    options = Options(own, where)
    width = options.whole("hidden_size", 768)
    # Of a whole model, the common space is an option of both.
    common = Options(values, where).whole("projection_dim", 512)
    net = CLIPVision(
        width=width,
        layers=options.whole("num_hidden_layers", 12, most=_MAX_LAYERS),
        heads=_heads(options, width),
        hidden=options.whole("intermediate_size", 3072),
        patch=options.whole("patch_size", 32),
        size=options.whole("image_size", 224),
        channels=options.one_of("num_channels", (3,)),
        projection=None if kind == PLAIN else common,
        activation=options.one_of("hidden_act", tuple(ACTIVATIONS)),
        eps=options.positive("layer_norm_eps", 1e-5),
    )
    options.refuse_others(_SILENT)
    _check_patch(net, where)
    return net


def _heads(options: Options, width: int) -> int:
    return options.take(
        "num_attention_heads", 12, lambda v: isinstance(v, int) and v > 0 and not width % v, f"a divisor of {width}"
    )


def _check_patch(net: Dinov2 | CLIPVision, where: str) -> None:
    if net.size < net.patch:
        raise UserError(f"{where}: image_size is {net.size}, less than patch_size, {net.patch}: fetch it again")


def _section(values: dict[str, Any], where: str, name: str) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        raise UserError(f"{where}: {name} is {shown(found)}, and a {WHOLE} has one: fetch it again")
    return found


def check_sizes(net: Dinov2 | CLIPVision, shapes: Shapes, where: str) -> None:
    """Refuses an encoder whose sizes are not those of its tensors.

    Args:
      net: of the config.
      shapes: of the tensors, by name.
      where: the config's name, for messages.

    Raises:
      UserError: an option is another than the tensors say; it is named.
    """
    sizes, dino = Sizes(shapes, where), isinstance(net, Dinov2)
    if dino:
        first = "encoder.layer.{}." + ("mlp.weights_in.weight" if net.gated else "mlp.fc1.weight")
        patches, places = "embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings.weight"
    else:
        first = "encoder.layers.{}.mlp.fc1.weight"
        patches, places = "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight"
    sizes.need("an image encoder", patches, places, first.format(0))
    sizes.check("num_hidden_layers", net.layers, sizes.count(first))
    sizes.check("hidden_size", net.width, sizes.axis(patches, 0))
    sizes.check("patch_size", net.patch, sizes.axis(patches, 2))
    rows = sizes.axis(places, 1 if dino else 0)
    sizes.check("places by image_size", (net.size // net.patch) ** 2 + 1, rows)
    option = "mlp_ratio times hidden_size" if dino else "intermediate_size"
    sizes.check(option, net.hidden, sizes.axis(first.format(0), 0) // (2 if dino and net.gated else 1))
    if isinstance(net, CLIPVision) and net.projection is not None:
        sizes.check("projection_dim", net.projection, sizes.axis("visual_projection.weight", 0))


def expected(net: Dinov2 | CLIPVision) -> Any:
    """An encoder's parameters, as shapes alone."""
    return params_of(net, jax.ShapeDtypeStruct((1, net.size, net.size, net.channels), jnp.float32))


def _text_encoder(folder: Path) -> TextEncoder:
    """The half of a whole CLIP model that reads texts."""
    net, params = read_part(
        folder,
        clip_text_of_options,
        clip_text.check_sizes,
        clip_text.expected,
        name=WEIGHTS,
        rename=lambda name: name.removeprefix("text_model."),
        skip=lambda name: name.endswith(UNUSED) or name.startswith(_VISION),
    )
    return TextEncoder(net=net, params=params, tokenizer=read_tokenizer(folder, longest=net.positions))


def clip_text_of_options(values: dict[str, Any], where: str) -> CLIPText:
    """The text encoder of a config of a `CLIPModel`.

    Raises:
      UserError: an option or value that is not supported.
    """
    own = _section(values, where, "text_config")
    kept = {name: value for name, value in own.items() if name not in _GENERAL}
    kept |= {"architectures": [clip_text.PROJECTED], "projection_dim": values.get("projection_dim", 512)}
    return clip_text.text_encoder_of_options(kept | {"eos_token_id": own.get("eos_token_id", 49407)}, where)


def _sides(shape: tuple[int, int] | None) -> str:
    return "no one size" if shape is None else f"{shape[0]} x {shape[1]}"
