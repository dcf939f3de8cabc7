"""Folders of pipelines, adapters and embeddings without diffusers: they come back, and what is wrong is named."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.interop.pipelines import tiny_pipeline
from tests.interop.texts import tiny_tokenizer
from tgdp_jax.errors import UserError
from tgdp_jax.interop.embeddings import read_embedding, write_embedding
from tgdp_jax.interop.lora import METADATA, merge, read_lora, write_lora
from tgdp_jax.interop.pipeline_folder import load_pipeline, write_pipeline
from tgdp_jax.interop.tokenizer import read_tokenizer, write_tokenizer
from tgdp_jax.train.reparam import LowRank, flat, nested


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def whole(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    write_pipeline(folder, pipe)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """The folder anew, its large files linked."""
    for file in whole.rglob("*"):
        place = tmp_path / file.relative_to(whole)
        if file.is_dir():
            place.mkdir()
        elif file.suffix == ".safetensors":
            place.symlink_to(file)
        else:
            place.write_bytes(file.read_bytes())
    return tmp_path


def test_a_pipeline_comes_back(pipe, whole, tmp_path):
    back = load_pipeline(whole)
    assert (back.net, back.vae, back.sde, back.prediction) == (pipe.net, pipe.vae, pipe.sde, pipe.prediction)
    assert back.encoders[0].tokenizer == pipe.encoders[0].tokenizer and back.encoders[0].net == pipe.encoders[0].net
    for one, other in zip(
        (back.params, back.vae_params, *back.bases.values()),
        (pipe.params, pipe.vae_params, *pipe.bases.values()),
        strict=True,
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    # A process of its own goes before the scheduler that was read.
    other = dataclasses.replace(back, prediction="v")
    write_pipeline(tmp_path / "other", other)
    assert back.scheduler and load_pipeline(tmp_path / "other").prediction == "v"
    with pytest.raises(UserError, match="exists already"):
        write_pipeline(whole, other)


def test_latents_are_means_or_draws_of_their_distribution(pipe):
    images = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    mean, log_var = pipe.vae.apply(pipe.vae_params, 2 * images - 1, method="encode")
    np.testing.assert_allclose(pipe.encode(images), mean * pipe.vae.scale, rtol=1e-4, atol=1e-5)
    key = jax.random.key(5)
    drawn = pipe.encode(images, key)
    noise = (drawn / pipe.vae.scale - mean) / jnp.exp(0.5 * log_var)
    expected = np.stack([jax.random.normal(jax.random.fold_in(key, i), (8, 8, 4)) for i in range(3)])
    np.testing.assert_allclose(noise, expected, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(pipe.encode(images[:1], key), drawn[:1])
    for wrong, message in (
        (images[..., :1], "images have shape"),
        (2 * images, "they lie in"),
        (images[:, :15], "crop them to multiples of 2"),
    ):
        with pytest.raises(UserError, match=message):
            pipe.encode(wrong)
    with pytest.raises(UserError, match="latents have shape"):
        pipe.decode(images)


def changed(name, **values):
    def change(folder):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def removed(name):
    def change(folder):
        for file in sorted((folder / name).rglob("*"), reverse=True):
            file.unlink()
        (folder / name).rmdir()

    return change


def pickled(folder):
    (folder / "text_encoder" / "model.safetensors").unlink()
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")


def renamed(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def without(file, name):
    def change(folder):
        tensors = safetensors.numpy.load_file(folder / file)
        (folder / file).unlink()
        safetensors.numpy.save_file({key: value for key, value in tensors.items() if name not in key}, folder / file)

    return change


LEVELS = {
    "block_out_channels": [4] * 3,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
FLOW = "FlowMatchEulerDiscreteScheduler"
FAULTS = {
    "another pipeline": (
        changed("model_index.json", _class_name="StableDiffusion3Pipeline"),
        "is of a StableDiffusion3Pipeline: StableDiffusionPipeline or .* or DiTPipeline is expected here",
    ),
    "no pipeline": (
        renamed("model_index.json", "index.json"),
        "has no model_index.json: give the folder of a whole pipeline",
    ),
    "a part that is null": (
        changed("model_index.json", vae=[None, None]),
        "has no vae, without which a StableDiffusionPipeline makes no pictures",
    ),
    "a part that is missing": (removed("vae"), "vae is missing, a part that model_index.json names"),
    "a part of another kind": (
        changed("model_index.json", text_encoder=["transformers", "T5EncoderModel"]),
        "text_encoder is a T5EncoderModel, which is not supported: CLIPTextModel is",
    ),
    "another kind of config": (
        changed("text_encoder/config.json", architectures=["T5EncoderModel"]),
        "is of a T5EncoderModel: CLIPTextModel and CLIPTextModelWithProjection",
    ),
    "an option of the text encoder": (
        changed("text_encoder/config.json", use_attention_mask=True),
        "use_attention_mask is True, which is not supported",
    ),
    "more layers": (
        changed("text_encoder/config.json", num_hidden_layers=999),
        "num_hidden_layers is 999, but the weights beside it have 2",
    ),
    "a larger text encoder": (
        changed("text_encoder/config.json", hidden_size=2**20, num_attention_heads=1),
        "hidden_size is 1048576, but the weights beside it have 12",
    ),
    "heads": (
        changed("text_encoder/config.json", num_attention_heads=5),
        "num_attention_heads is 5, which is not supported: a divisor of 12",
    ),
    "another autoencoder": (
        changed("vae/config.json", _class_name="AutoencoderDC"),
        "is of a AutoencoderDC: AutoencoderKL or AutoencoderTiny is expected here",
    ),
    "an option of the autoencoder": (
        changed("vae/config.json", latents_mean=[0.0]),
        "latents_mean is .*, which is not supported",
    ),
    "more levels": (
        changed("vae/config.json", **LEVELS),
        r"block_out_channels is \[4, 4, 4\], but the weights beside it have \[4, 4\]",
    ),
    "weights that do not fit": (
        without("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out"),
        "lacks tensors that config.json calls for: decoder.conv_out.bias, decoder.conv_out.weight",
    ),
    "pickled weights": (pickled, "pytorch_model.bin is a pickle, which can run code"),
    "no weights": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
        "vae has no diffusion_pytorch_model.safetensors: fetch it",
    ),
    "parts of different models": (
        lambda folder: write_tokenizer(folder / "tokenizer", tiny_tokenizer().with_token("<toy>")),
        "1.. tokens and 1.. embeddings.: use the parts of one model",
    ),
    "no tokenizer": (
        lambda folder: [file.unlink() for file in (folder / "tokenizer").iterdir()],
        "has neither tokenizer.json nor vocab.json",
    ),
    "another tokenizer": (
        changed("tokenizer/tokenizer_config.json", tokenizer_class="T5Tokenizer"),
        "is of a T5Tokenizer: only CLIPTokenizer is supported",
    ),
    "a special token that there is not": (
        changed("tokenizer/tokenizer_config.json", pad_token="<pad>"),
        "pad_token is '<pad>', an unknown token",
    ),
    "tokens without numbers": (changed("tokenizer/vocab.json", a="b"), "vocab.json does not give every token a number"),
    "two tokens of one number": (changed("tokenizer/vocab.json", a=1), "gives two tokens one number"),
    "merges of three": (
        lambda folder: (folder / "tokenizer" / "merges.txt").write_text("a b c\n"),
        "where two tokens are merged",
    ),
    "merges of no tokens": (
        lambda folder: (folder / "tokenizer" / "merges.txt").write_text("x y\n"),
        "vocabulary and merges do not fit together",
    ),
    "merges that are no text": (
        lambda folder: (folder / "tokenizer" / "merges.txt").write_bytes(b"\xff\xfe"),
        "merges.txt can not be read .it is not UTF-8.",
    ),
    "a scheduler of flows": (
        changed("scheduler/scheduler_config.json", _class_name=FLOW),
        f"_class_name is '{FLOW}', which is not supported",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_with_a_pipeline_is_named(folder, fault):
    change, message = FAULTS[fault]
    change(folder)
    with pytest.raises(UserError, match=message):
        load_pipeline(folder).embed(["a cat"])


def test_prompts_without_the_library_say_what_to_install(pipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    encoder = dataclasses.replace(pipe.encoders[0], tokenizer=tiny_tokenizer())
    with pytest.raises(UserError, match=r"prompts need the package tokenizers: pip install 'tgdp-jax\[text\]'"):
        dataclasses.replace(pipe, encoders=(encoder,)).embed(["a cat"])


def test_a_tokenizer_comes_back_and_names_what_is_cut(tmp_path):
    tokenizer = tiny_tokenizer(length=8, special=tiny_tokenizer().special | {"pad_token": "!"}).with_token("<toy>", 2)
    write_tokenizer(tmp_path / "words", tokenizer)
    back = read_tokenizer(tmp_path / "words", longest=77)
    assert back == tokenizer and read_tokenizer(tmp_path / "words", longest=6).length == 6
    ids, cut = back(["cat", "a <toy> dog", "a dog a dog a dog a dog"])
    start, end, pad = (tokenizer.vocab[name] for name in ("<|startoftext|>", "<|endoftext|>", "!"))
    cat, first = tokenizer.vocab["cat</w>"], len(tokenizer.vocab)
    a, dog = tokenizer.vocab["a</w>"], tokenizer.vocab["dog</w>"]
    np.testing.assert_array_equal(ids[0], [start, cat, end, *[pad] * 5])
    np.testing.assert_array_equal(ids[1], [start, a, first, first + 1, dog, end, pad, pad])
    np.testing.assert_array_equal(ids[2], [start, a, dog, a, dog, a, dog, end])
    assert cut == ("", "", "a dog")


LOW = LowRank(3, 7.0, "(attn1/to_q|conv1)/kernel$")


@pytest.fixture(scope="module")
def adapters(pipe):
    key = jax.random.key(0)
    return {
        part: (low, jax.tree.map(lambda leaf: leaf + 0.1, low.init(key, pipe.bases[part])))
        for part, low in (("unet", LOW), ("text_encoder", LowRank(2, 1.0, "q_proj/kernel$")))
    }


def test_adapters_are_written_with_their_alpha_and_come_back(pipe, adapters, tmp_path):
    file = write_lora(tmp_path, adapters, pipe.bases)
    found = read_lora(file, pipe.bases)
    assert found.keys() == adapters.keys()
    for part, (low, tree) in adapters.items():
        base = pipe.bases[part]
        for weight in (1.0, -0.4):
            scaled = {path: leaf * (weight if path.endswith("/b") else 1) for path, leaf in flat(tree).items()}
            merged = merge(base, found[part], weight)
            expected = low.merge(base, jax.tree.map(jnp.asarray, nested(scaled)))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), merged, expected)
        changed = [path for path, leaf in flat(merged).items() if (leaf != flat(base)[path]).any()]
        assert set(changed) == {path.rpartition("/")[0] for path in flat(tree)}
    tensors, metadata = safetensors.numpy.load_file(file), read_json_metadata(file)
    assert metadata["unet.r"] == 3 and metadata["unet.lora_alpha"] == 7.0
    name = "unet.mid_block.resnets.0.conv1.lora_{}.weight"
    assert [tensors[name.format(factor)].shape for factor in "AB"] == [(3, 8, 3, 3), (8, 3, 1, 1)]
    with pytest.raises(UserError, match="there is no part vae"):
        write_lora(tmp_path, {"vae": adapters["unet"]}, pipe.bases)
    with pytest.raises(UserError, match=r"there are adapters of .*, which the base has not"):
        write_lora(tmp_path, {"text_encoder": adapters["unet"]}, pipe.bases)
    with pytest.raises(UserError, match="would hold no adapters"):
        write_lora(tmp_path, {}, pipe.bases)


def read_json_metadata(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        return json.loads(opened.metadata()[METADATA])


def lora_file(path, change=lambda tensors, metadata: None, *, adapters, pipe):
    """A file of adapters whose tensors and metadata are changed."""
    file = write_lora(path, adapters, pipe.bases)
    tensors, metadata = safetensors.numpy.load_file(file), read_json_metadata(file)
    change(tensors, metadata)
    about = {METADATA: json.dumps(metadata)} if metadata else {}
    safetensors.numpy.save_file(tensors, file, metadata=about)
    return file


Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def moved(old, new):
    return lambda tensors, metadata: tensors.update({new: tensors.pop(old)})


def added(name, value=np.ones(8)):
    return lambda tensors, metadata: tensors.update({name: np.asarray(value, np.float32)})


def told(**values):
    return lambda tensors, metadata: metadata.update({f"unet.{name}": value for name, value in values.items()})


def said_of_the_unet_alone(tensors, metadata):
    for name in [name for name in metadata if name.startswith("text_encoder.")]:
        del metadata[name]


A, B = f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"
LORA_FAULTS = {
    "a module of another model": (
        moved(A, "unet.down_blocks.7.to_q.lora_A.weight"),
        "is a LoRA of another model: it changes unet.down_blocks.7.to_q, which this one has not",
    ),
    "a part of another model": (
        moved(A, "text_encoder_2.text_model.x.lora_A.weight"),
        "it changes text_encoder_2.x, which this one has not",
    ),
    "other sizes": (
        added(A, np.ones((3, 99))),
        "attn1.to_q changes 99 inputs and 8 outputs where this one has 8 and 8",
    ),
    "half of a pair": (moved(B, f"{Q}.alpha"), "to_q one of two factors is missing"),
    "DoRA": (added(f"{Q}.lora_magnitude_vector.weight"), "as of DoRA: only low-rank adapters"),
    "DoRA by its metadata": (told(use_dora=True), "is of DoRA"),
    "LoHa": (added("lora_unet_x.hada_w1_a"), "as of LoHa"),
    "no adapter": (added("conv.weight"), "conv.weight, which is no tensor of a LoRA"),
    "no alpha of one part": (
        said_of_the_unet_alone,
        "its metadata say nothing of the alpha of text_encoder, whose adapters would have another strength",
    ),
    "alpha that is none": (told(lora_alpha="much"), "is 'much', no number"),
    "alpha without end": (added(f"{Q}.alpha", np.inf), "is inf, no number"),
}


@pytest.mark.parametrize("fault", LORA_FAULTS)
def test_whatever_is_wrong_with_adapters_is_named(pipe, adapters, tmp_path, fault):
    change, message = LORA_FAULTS[fault]
    file = lora_file(tmp_path, change, adapters=adapters, pipe=pipe)
    with pytest.raises(UserError, match=message):
        read_lora(file, pipe.bases)


def test_adapters_that_are_no_file_of_such_are_refused(pipe, tmp_path):
    with pytest.raises(UserError, match=r"has neither pytorch_lora_weights\.safetensors nor adapter_model"):
        read_lora(tmp_path, pipe.bases)
    (tmp_path / "pytorch_lora_weights.bin").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "pytorch_lora_weights.bin"):
        with pytest.raises(UserError, match="is a pickle"):
            read_lora(path, pipe.bases)


def test_embeddings_of_two_encoders_come_back_with_their_token(tmp_path):
    rows = {"clip_l": np.full((1, 8), 0.5), "clip_g": np.full((1, 4), 2.0)}
    token, found = read_embedding(write_embedding(tmp_path, "<toy>", rows), (8, 4))
    assert token == "<toy>" and found.keys() == {0, 1}
    np.testing.assert_array_equal(found[1], rows["clip_g"])


def test_embeddings_of_another_model_are_refused(pipe, tmp_path):
    file = write_embedding(tmp_path / "wide.safetensors", "<toy>", np.ones((2, 13)))
    with pytest.raises(UserError, match=r"of another model: it has shape \[2, 13\], and tokens of this one have 12"):
        pipe.with_embedding(file)
    with pytest.raises(UserError, match=r"give \[K, D\], a row for every vector"):
        write_embedding(tmp_path, "<toy>", np.ones(3))
    safetensors.numpy.save_file({"emb_params": np.ones((2, 12), np.float32)}, tmp_path / "toy.safetensors")
    assert pipe.with_embedding(tmp_path / "toy.safetensors").encoders[0].tokenizer.added == ("toy", "toy_1")
    with pytest.raises(UserError, match="is no word"):
        pipe.with_embedding(tmp_path / "toy.safetensors", "two words")
