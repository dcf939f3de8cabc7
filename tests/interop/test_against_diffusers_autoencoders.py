"""Autoencoders against diffusers itself, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.theirs import assert_close, channels_first, channels_last, diffusers, randomised, torch
from tgdp_jax.interop.autoencoder import read_autoencoder, write_autoencoder


def kl(channels, **changes):
    down, up = (f"{name}Block2D" for name in ("DownEncoder", "UpDecoder"))
    return {
        "block_out_channels": channels,
        "norm_num_groups": 4,
        "down_block_types": [down] * len(channels),
        "up_block_types": [up] * len(channels),
    } | changes


CONFIGS = {
    "stable diffusion": ("AutoencoderKL", kl([8, 12])),
    "shifted, without attention": (
        "AutoencoderKL",
        kl([8, 8, 16], layers_per_block=2, shift_factor=0.0609, mid_block_add_attention=False, latent_channels=6),
    ),
    "without further convolutions": (
        "AutoencoderKL",
        kl([4], use_quant_conv=False, use_post_quant_conv=False, in_channels=1, out_channels=1, scaling_factor=0.5),
    ),
    "tiny": (
        "AutoencoderTiny",
        {
            "encoder_block_out_channels": [8, 8, 8],
            "decoder_block_out_channels": [6, 6, 6],
            "num_encoder_blocks": [0, 2, 1],
            "num_decoder_blocks": [2, 1, 0],
        },
    ),
}


def their_model(name):
    kind, values = CONFIGS[name]
    return randomised(getattr(diffusers, kind)(**values), len(name))


def theirs(net, x, z):
    """(means, log variances or None, images) of images and latents with channels last."""
    with torch.no_grad():
        out = net.encode(channels_first(x))
        image = net.decode(channels_first(z)).sample
    parts = (out.latents, None) if hasattr(out, "latents") else (out.latent_dist.mean, out.latent_dist.logvar)
    return [part if part is None else channels_last(part) for part in (*parts, image)]


@pytest.mark.parametrize("name", CONFIGS)
def test_an_autoencoder_gives_its_numbers_both_ways(name, tmp_path):
    other = their_model(name)
    other.save_pretrained(tmp_path / "theirs")
    net, params = read_autoencoder(tmp_path / "theirs")
    assert net.scale == other.config.scaling_factor and net.shift == (other.config.shift_factor or 0)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(-1, 1, (2, 8, 16, net.in_channels)), jnp.float32)
    z = jnp.asarray(rng.normal(size=(2, 2, 4, net.latents)), jnp.float32)

    @jax.jit
    def ours(x, z):
        return *net.apply(params, x, method="encode"), net.apply(params, z, method="decode")

    wanted = theirs(other, x, z)
    for mine, one in zip(ours(x, z), wanted, strict=True):
        assert (mine is None) == (one is None)
        if one is not None:
            assert_close(mine, one)
    write_autoencoder(tmp_path / "ours", net, params)
    back, info = type(other).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    for key in ("scaling_factor", "shift_factor"):
        assert (back.config[key] or 0) == (other.config[key] or 0)
    for mine, one in zip(theirs(back.eval(), x, z), wanted, strict=True):
        assert one is None or np.array_equal(mine, one)
