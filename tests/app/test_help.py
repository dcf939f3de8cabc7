"""`--help` shows what the method, the network and the process use, and what there is to choose from."""

import dataclasses
import typing

import pytest

from tests import tiny
from tgdp_jax.app.cli import main
from tgdp_jax.app.help import CHOICES, sections
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig
from tgdp_jax.transfer import METHODS


def shown(*words):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0


def test_only_what_is_used_is_shown(capsys):
    shown("run", "gaussians", "--help")
    few = capsys.readouterr().out
    assert "--guidance.scale" in few and "--network.features" in few and "--process.beta-min" in few
    for unused in ("--gan.", "--lora.", "--rival.", "--network.channels", "--process.sigma-min"):
        assert unused not in few
    shown("run", "gaussians", "--method", "lora", "--network.kind", "multimodal", "--help")
    other = capsys.readouterr().out
    assert "--lora.rank" in other and "--network.channels" in other and "--guidance.scale" not in other
    shown("run", "gaussians", "--help-all")
    everything = capsys.readouterr().out
    for used_elsewhere in ("--gan.penalty", "--lora.rank", "--network.channels", "--process.sigma-min"):
        assert used_elsewhere in everything


def test_choices_are_listed(capsys):
    shown("run", "digits", "--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--sampling.grid {uniform,trailing,quadratic,log_snr,blend,edm" in text
    assert "--network.kind {mlp,unet,dit" in text


def test_every_choice_is_an_option():
    def options(kind, path=""):
        for name, hint in typing.get_type_hints(kind).items():
            yield f"{path}{name}"
            if dataclasses.is_dataclass(hint):
                yield from options(hint, f"{path}{name}.")

    known = {name for kind in (RunConfig, CompareConfig, ProbeConfig) for name in options(kind)}
    assert set(CHOICES) <= known and known >= sections()


# A setting of each section whose change shows in what a stage depends on.
CHANGED = {
    "source": {"held_out": 0.2, "prediction": "v"},
    "head": {"channels": (4,)},
    "classifier": {"features": (3,)},
    "guidance": {"features": (3,)},
    "rival": {"optimiser": dataclasses.replace(tiny.OPTIMISER, ema=0.5)},
    "lora": {"rank": 3},
    "dreambooth": {"prior_weight": 0.5},
    "textual_inversion": {"learning_rates": (0.5,)},
    "domain_guidance": {"scale": 2.0},
    "tgdp_denoising": {"share": 0.25},
    "stacked": {"knots": 3},
    "representation": {"objective": "masked"},
    "gan": {"penalty": 3.0, "folds": 3},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_depends_on_the_settings_that_it_names_and_on_no_others(name):
    method, problem = METHODS[name], tiny.problem()

    def identity(config):
        return [(stage.name, stage.uses) for stage in method.stages(config, problem)]

    assert set(CHANGED) == sections() and set(method.settings) <= sections()
    before, moved = identity(tiny.TRAINING), set()
    for section, change in CHANGED.items():
        part = dataclasses.replace(getattr(tiny.TRAINING, section), **change)
        if identity(dataclasses.replace(tiny.TRAINING, **{section: part})) != before:
            moved.add(section)
    assert moved <= set(method.settings)
    # What counts only when samples are drawn, or only with another option.
    idle = {"domain_guidance", "lora", "head"}
    assert set(method.settings) - moved <= idle
