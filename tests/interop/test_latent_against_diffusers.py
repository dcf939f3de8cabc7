"""The U-Net that looks at a text against diffusers itself, with random weights."""

import inspect
import json

import jax
import numpy as np
import pytest

from tests.interop.latents import CONFIGS, config, inputs
from tests.interop.theirs import assert_close, channels_first, channels_last, diffusers, randomised, torch
from tgdp_jax.errors import UserError
from tgdp_jax.interop.latent_options import unet_of_options
from tgdp_jax.interop.latent_unet import read_unet, write_unet


def their_model(values):
    return randomised(diffusers.UNet2DConditionModel(**{key: v for key, v in values.items() if key[0] != "_"}))


def their_output(net, x, t, text):
    def tensor(value):
        return None if value is None else torch.from_numpy(np.array(value))

    added = {} if text.pooled is None else {"text_embeds": tensor(text.pooled), "time_ids": tensor(text.time_ids)}
    with torch.no_grad():
        out = net(
            channels_first(x),
            tensor(t),
            tensor(text.tokens),
            class_labels=tensor(text.labels),
            added_cond_kwargs=added,
        )
    return channels_last(out.sample)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_of_diffusers_gives_its_numbers_and_goes_back(name, tmp_path):
    theirs = their_model(config(name))
    theirs.save_pretrained(tmp_path / "theirs")
    net, variables = read_unet(tmp_path / "theirs")
    x, t, text = inputs(net)
    expected = their_output(theirs, x, t, text)
    assert_close(jax.jit(net.apply)(variables, x, t, text), expected)

    write_unet(tmp_path / "ours", net, variables)
    back, info = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items())
    np.testing.assert_array_equal(their_output(back.eval(), x, t, text), expected)
    assert read_unet(tmp_path / "ours")[0] == net


def test_parts_and_variants_are_read(tmp_path):
    theirs = their_model(config("stable-diffusion-1"))
    theirs.half().save_pretrained(tmp_path, variant="fp16", max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    net, variables = read_unet(tmp_path)
    write_unet(tmp_path / "ours", net, variables)
    back = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(value, theirs.state_dict()[key].float()) for key, value in back.state_dict().items())


def test_every_option_of_diffusers_is_known(tmp_path):
    """A new one, switched on by default, must be looked at before its nets are loaded."""
    their_model(config("stable-diffusion-1")).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    names = set(inspect.signature(diffusers.UNet2DConditionModel.__init__).parameters) - {"self"}
    assert names == {name for name in written if name[0] != "_"}
    unet_of_options(written, "config")
    silent = {"dropout", "addition_embed_type_num_heads", "mid_block_only_cross_attention"}
    for name in names - silent:
        with pytest.raises(UserError, match=name):
            unet_of_options(written | {name: "unheard of"}, "config")
