"""Networks that do not fit the rows are refused before a stage runs."""

import dataclasses

import numpy as np
import pytest

from tests import tiny
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.settings.methods import LoraConfig
from tgdp_jax.settings.networks import HeadConfig, NetworkConfig
from tgdp_jax.settings.sssd import SSSDConfig
from tgdp_jax.train.settings import RepresentationConfig
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.heads import guidance_net
from tgdp_jax.transfer.networks import check_denoiser


def rows(*shape: int) -> Problem:
    x = np.random.default_rng(0).uniform(-1, 1, (8, *shape)).astype(np.float32)
    return Problem("rows", Data(x), Data(x[:4]), None)


def with_network(**settings):
    return dataclasses.replace(tiny.TRAINING, network=NetworkConfig(width=8, depth=1, **settings))


MISFITS = [
    (with_network(kind="dit", patch=3), (8, 8, 1), "patches of 3 must divide both sides"),
    (with_network(kind="unet"), (9, 9, 1), "needs sides that are multiples of 4"),
    (with_network(kind="sssd", sssd=SSSDConfig(patch=7)), (50, 8), "patches of 7 must divide them"),
    (with_network(kind="sssd"), (7, 2), "patches of 10 must divide them"),
]


@pytest.mark.parametrize(("config", "shape", "message"), MISFITS)
def test_rows_that_a_network_can_not_divide_are_refused(config, shape, message):
    with pytest.raises(UserError, match=message):
        check_denoiser(config, rows(*shape))
    for name in ("source", "scratch", "tgdp", "finetune"):
        with pytest.raises(UserError, match=message):
            METHODS[name].stages(config, rows(*shape))


LATE = {
    "lora": ({"lora": LoraConfig(targets="nothing")}, "no parameters match 'nothing'"),
    "tgdp_denoising": ({"lora": LoraConfig(targets="nothing")}, "no parameters match 'nothing'"),
    "gan": ({"gan": dataclasses.replace(tiny.TRAINING.gan, freeze=9)}, "freeze is 9"),
    "self_supervised": (
        {"representation": RepresentationConfig(objective="masked")},
        "shape .1,. have nothing to hide",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_what_a_later_stage_would_refuse_is_refused_before_the_first(name):
    settings, message = LATE[name]
    with pytest.raises(UserError, match=message):
        METHODS[name].stages(dataclasses.replace(tiny.TRAINING, **settings), rows(1))


def test_methods_of_other_networks_do_not_mind():
    config = with_network(kind="unet")
    assert METHODS["kde"].stages(config, rows(9, 9, 1)) and METHODS["multimodal"].stages(config, rows(9, 9, 1))


@pytest.mark.parametrize("method", ["tgdp", "discriminator_guidance", "sir"])
def test_heads_can_not_stand_on_a_network_without_features(method):
    config = dataclasses.replace(with_network(kind="multimodal"), head=HeadConfig(on="source"))
    with pytest.raises(UserError, match="kind multimodal has no features for heads to stand on"):
        METHODS[method].stages(config, rows(4))


@pytest.mark.parametrize(("shape", "kind", "free"), [((8, 8, 1), "unet", True), ((20, 2), "sssd", False)])
def test_guidance_of_images_alone_is_free_and_no_classifier_is(shape, kind, free):
    config = with_network(kind=kind, sssd=SSSDConfig(layers=1, width=4, states=4, hidden=8, label_dim=4))
    assert guidance_net(config, rows(*shape)).free == free
    assert not guidance_net(config, rows(*shape), classifies=True).free
