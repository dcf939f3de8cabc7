"""Image encoders and what is done to pictures before them, against transformers itself, with random weights."""

import json
import re

import jax
import numpy as np
import pytest

from tests.interop.texts import tiny_tokenizer
from tests.interop.theirs import assert_close, channels_first, randomised, torch
from tgdp_jax.errors import UserError
from tgdp_jax.interop import image_encoder, tensors
from tgdp_jax.interop.image_encoder import load_image_encoder
from tgdp_jax.interop.image_preparation import preparation_of_options
from tgdp_jax.interop.tokenizer import write_tokenizer

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: python -m pip install -e '.[interop-test]'"
)

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
DINOS = {
    "plain": SMALL | {"image_size": 16},
    # Pictures of another form than places were learned of, and the feed-forward networks of the giant.
    "gated, stretched": SMALL | {"image_size": 28, "use_swiglu_ffn": True, "qkv_bias": False, "mlp_ratio": 3},
}
CLIPS = {
    "CLIPVisionModelWithProjection": {"intermediate_size": 24, "image_size": 16, "projection_dim": 12},
    "CLIPVisionModel": {"intermediate_size": 24, "image_size": 16, "hidden_act": "gelu"},
}


def preprocessor(folder, height, width=None, **changes):
    """Writes what CLIP's processor does, for pictures of a size."""
    processor = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": height}, crop_size={"height": height, "width": width or height}, **changes
    )
    processor.save_pretrained(folder)
    return processor


def pictures(height, width, num=2):
    return np.random.default_rng(0).integers(0, 256, (num, height, width, 3)).astype(np.uint8)


def seen(encoder, images):
    return channels_first(np.stack([encoder.prepare(image) for image in images]))


@pytest.mark.parametrize("name", DINOS)
def test_dinov2_gives_its_features(name, tmp_path):
    theirs = randomised(transformers.Dinov2Model(transformers.Dinov2Config(**DINOS[name])))
    theirs.save_pretrained(tmp_path)
    preprocessor(tmp_path, 16, 16 if name == "plain" else 12)
    encoder, images = load_image_encoder(tmp_path), pictures(20, 24)
    with torch.no_grad():
        found = theirs(seen(encoder, images)).pooler_output.numpy()
    assert_close(encoder.embed(images), found)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_gives_its_features(name, tmp_path):
    config = transformers.CLIPVisionConfig(**SMALL | CLIPS[name])
    theirs = randomised(getattr(transformers, name)(config))
    theirs.save_pretrained(tmp_path)
    preprocessor(tmp_path, 16)
    encoder, images = load_image_encoder(tmp_path), pictures(16, 16)
    with torch.no_grad():
        out = theirs(seen(encoder, images))
    assert_close(encoder.embed(images), (out.image_embeds if "projection_dim" in CLIPS[name] else out[1]).numpy())


def test_a_whole_clip_model_compares_pictures_with_texts(tmp_path):
    tokenizer = tiny_tokenizer()
    end = tokenizer.vocab["<|endoftext|>"]
    small = SMALL | {"intermediate_size": 24}
    text = {name: value for name, value in small.items() if name != "patch_size"}
    text |= {"vocab_size": tokenizer.size, "max_position_embeddings": tokenizer.length, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config=text | {"bos_token_id": end - 1, "pad_token_id": end},
        vision_config=small | {"image_size": 16},
        projection_dim=10,
    )
    theirs = randomised(transformers.CLIPModel(config))
    theirs.save_pretrained(tmp_path)
    # As the first versions wrote it: options of other models, and sizes for a second time.
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["text_config"] |= {"top_k": 50, "id2label": {"0": "LABEL_0"}, "pruned_heads": {}, "return_dict": True}
    path.write_text(json.dumps(values | {"text_config_dict": {"hidden_size": 16}, "vision_config_dict": None}))
    preprocessor(tmp_path, 16)
    write_tokenizer(tmp_path, tokenizer)
    encoder, images, texts = load_image_encoder(tmp_path, texts=True), pictures(16, 16), ["a cat", "dogs", "a cat"]
    ids = torch.from_numpy(tokenizer(texts).ids.astype(np.int64))
    with torch.no_grad():
        out = theirs(input_ids=ids, pixel_values=seen(encoder, images))

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    ours = unit(encoder.embed(images)), unit(encoder.embed_texts(texts))
    assert_close(ours[0], out.image_embeds.numpy())
    assert_close(ours[1], out.text_embeds.numpy())
    with pytest.raises(UserError, match="reads no texts: give the folder of a whole CLIPModel"):
        load_image_encoder(tmp_path).embed_texts(texts)


@pytest.mark.parametrize("kind", ["CLIPImageProcessorPil", "BitImageProcessorPil"])
@pytest.mark.parametrize("resample", [2, 3])
def test_pictures_are_prepared_as_transformers_prepares_them(kind, resample, tmp_path):
    sizes = {"size": {"shortest_edge": 33}, "crop_size": {"height": 30, "width": 20}}
    theirs = getattr(transformers, kind)(resample=resample, image_std=[0.2, 0.3, 0.4], **sizes)
    theirs.save_pretrained(tmp_path)
    prepare = preparation_of_options(json.loads((tmp_path / "preprocessor_config.json").read_text()), "config")
    for height, width in ((50, 71), (71, 50), (20, 20)):
        image = pictures(height, width, 1)[0]
        wanted = theirs(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        np.testing.assert_allclose(prepare(image), wanted, atol=1e-6)
        np.testing.assert_array_equal(prepare(image / np.float32(255)), prepare(image))


FULL = {
    "dinov2-base": (transformers.Dinov2Model, {"image_size": 518}, 86_580_480 - 768),
    "dinov2-large": (
        transformers.Dinov2Model,
        {"image_size": 518, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
        304_368_640 - 1024,
    ),
    "clip-vit-large-patch14": (
        transformers.CLIPVisionModelWithProjection,
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "projection_dim": 768,
        },
        303_966_208,
    ),
}


# Names of modules where they are not those of files: transformers renames as it writes.
RENAMED = {r"attention\.([qkv])_proj": r"attention.attention.\1", r"attention\.o_proj": "attention.output.dense"}
PARTS = {".attention.q.": ".attention.query.", ".attention.k.": ".attention.key.", ".attention.v.": ".attention.value."}


def name_in_file(name):
    for pattern, new in RENAMED.items():
        name = re.sub(pattern, new, name)
    for short, new in PARTS.items():
        name = name.replace(short, new)
    return name


@pytest.mark.parametrize("name", FULL)
def test_every_tensor_of_a_published_encoder_has_its_place(name):
    kind, options, parameters = FULL[name]
    dino = kind is transformers.Dinov2Model
    config = (transformers.Dinov2Config if dino else transformers.CLIPVisionConfig)(**options)
    with torch.device("meta"):
        state = {key: tuple(value.shape) for key, value in kind(config).state_dict().items()}
    renamed, read = (
        (image_encoder.dino_name, image_encoder.dinov2_of_options)
        if dino
        else (image_encoder.vision_name, image_encoder.vision_of_options)
    )
    names = {key: name_in_file(key) if dino else key for key in state if not key.endswith(image_encoder.UNUSED)}
    found = {renamed(names[key]): state[key] for key in names}
    net = read(config.to_dict(), name)
    image_encoder.check_sizes(net, found, name)
    expected = image_encoder.expected(net)
    tensors.check_fit(found, expected, name)
    assert sum(leaf.size for leaf in jax.tree.leaves(expected)) == parameters
