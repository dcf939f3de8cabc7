"""Text encoders and tokenizers against transformers itself, with random weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.interop.texts import tiny_tokenizer
from tests.interop.theirs import assert_close, randomised, torch
from tgdp_jax.interop.clip_text import read_text_encoder, write_text_encoder
from tgdp_jax.interop.tokenizer import read_tokenizer, write_tokenizer

transformers = pytest.importorskip(
    "transformers", reason="needs transformers: python -m pip install -e '.[interop-test]'"
)

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 9,
    "bos_token_id": 37,
    "eos_token_id": 38,
    "pad_token_id": 38,
}
CONFIGS = {
    "stable diffusion 1": {},
    "stable diffusion 2": {"hidden_act": "gelu", "pad_token_id": 0, "num_attention_heads": 4},
    "the first configs": {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "layer_norm_eps": 1e-3},
    "projected": {"hidden_act": "gelu", "projection_dim": 12},
    "projected, the first configs": {"eos_token_id": 2, "projection_dim": 20, "num_hidden_layers": 2},
}


def their_encoder(name):
    values = TINY | CONFIGS[name]
    config = transformers.CLIPTextConfig(**values)
    kind = "CLIPTextModelWithProjection" if "projection_dim" in CONFIGS[name] else "CLIPTextModel"
    return randomised(getattr(transformers, kind)(config), len(name))


def texts():
    """Ids of texts that end at different places, and of one that is filled to the end."""
    ids = np.random.default_rng(0).integers(3, 37, (3, 9))
    ids[:, 0] = 37
    for row, end in enumerate((4, 6, 8)):
        ids[row, end:] = 38
    return ids


def their_features(net, ids):
    """(hidden states, the last ones behind the norm, what is pooled)."""
    with torch.no_grad():
        out = net(torch.from_numpy(ids), output_hidden_states=True)
    pooled = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
    return [h.numpy() for h in out.hidden_states], out.last_hidden_state.numpy(), pooled.numpy()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_text_encoder_gives_its_numbers_both_ways(name, tmp_path):
    theirs, ids = their_encoder(name), texts()
    theirs.save_pretrained(tmp_path / "theirs")
    net, params = read_text_encoder(tmp_path / "theirs")

    @jax.jit
    def ours(ids):
        made = [net.apply(params, ids, skip=skip, norm=norm) for skip, norm in ((0, True), (1, True), (1, False))]
        return [out.tokens for out in made], [out.pooled for out in made]

    tokens, pooled = ours(jnp.asarray(ids))
    hidden, last, of_text = their_features(theirs, ids)
    assert_close(tokens[0], last)
    with torch.no_grad():
        norm = getattr(theirs, "text_model", theirs).final_layer_norm
        assert_close(tokens[1], norm(torch.from_numpy(hidden[-2])).numpy())
    assert_close(tokens[2], hidden[-2])
    for one in pooled:
        assert_close(one, of_text)
    write_text_encoder(tmp_path / "ours", net, params)
    back, info = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert back.config.eos_token_id == theirs.config.eos_token_id
    for one, other in zip(their_features(back.eval(), ids)[1:], (last, of_text), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["stable diffusion 1", "projected"])
def test_weights_are_read_with_the_prefix_and_without(name, tmp_path):
    theirs = their_encoder(name)
    theirs.save_pretrained(tmp_path)
    _, first = read_text_encoder(tmp_path)
    file = tmp_path / "model.safetensors"
    found = {key.removeprefix("text_model."): value for key, value in safetensors.numpy.load_file(file).items()}
    places = {"embeddings.position_ids": np.arange(9)[None]}  # as the first versions of transformers wrote them
    for prefix in ("", "text_model."):
        named = {key if key == "text_projection.weight" else prefix + key: v for key, v in (found | places).items()}
        safetensors.numpy.save_file(named, file)
        jax.tree.map(np.testing.assert_array_equal, read_text_encoder(tmp_path)[1], first)


PROMPTS = [
    "",
    "a photo of a cat",
    "A CAT's  dog,\n\tand\u3000dogs!!",
    "caf\u00e9 cafe\u0301 \u00fc \u4e2d 123 <3 <|endoftext|> x",
    "a very long prompt of many words, of which the end is cut",
    "exactly ten",
    "a <toy> near <toy>s, and <TWO>!",
]
PADS = {"the end": {}, "another": {"pad_token": "!"}}


@pytest.mark.parametrize("pad", PADS)
def test_token_numbers_are_those_of_transformers(pad, tmp_path):
    special = tiny_tokenizer().special | PADS[pad]
    ours = tiny_tokenizer(special=special).with_token("<toy>").with_token("<two>", 3)
    written, again = tmp_path / "ours", tmp_path / "theirs"
    write_tokenizer(written, ours)
    theirs = transformers.CLIPTokenizer.from_pretrained(written)
    assert len(theirs) == ours.size
    spread = [text.replace("<TWO>", "<two> <two>_1 <two>_2") for text in PROMPTS]
    wanted = theirs(spread, padding="max_length", max_length=12, truncation=True, return_tensors="np").input_ids
    tokens = ours(PROMPTS)
    np.testing.assert_array_equal(tokens.ids, wanted)
    whole = theirs(spread).input_ids
    assert [bool(text) for text in tokens.cut] == [len(ids) > 12 for ids in whole]
    assert tokens.cut[4] == theirs.decode(whole[4][11:-1])
    theirs.save_pretrained(again)
    assert (again / "tokenizer.json").exists() and not (again / "vocab.json").exists()
    for folder in (written, again):
        read = read_tokenizer(folder, longest=77)
        np.testing.assert_array_equal(read(PROMPTS).ids, wanted)
        assert read.added == ours.added


def test_files_of_former_versions_are_read(tmp_path):
    """Without a config, with added tokens in a file of their own."""
    ours = tiny_tokenizer().with_token("<toy>")
    write_tokenizer(tmp_path, ours)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<toy>": len(ours.vocab)}))
    special = {name: {"content": token, "lstrip": False} for name, token in ours.special.items()}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    read = read_tokenizer(tmp_path, longest=12)
    assert read.length == 12
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    wanted = theirs(PROMPTS[:-1], padding="max_length", max_length=12, truncation=True, return_tensors="np").input_ids
    np.testing.assert_array_equal(read(PROMPTS[:-1]).ids, wanted)
