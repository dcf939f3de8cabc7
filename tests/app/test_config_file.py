"""Settings from files: what a file leaves out has the problem's defaults, and what is wrong is said with its place."""

import json

import pytest

from tgdp_jax.app.config_file import read_config
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.errors import UserError
from tgdp_jax.settings.presets.images import ImageTrainingConfig
from tgdp_jax.settings.run import CompareConfig, RunConfig
from tgdp_jax.settings.stored import to_json


def written(tmp_path, text, name="settings.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_is_left_out_has_the_defaults_of_the_problem(tmp_path):
    text = "problem: {problem: digits, shift: inverted}\nmethod: lora\nguidance: {optimiser: {steps: 7}}\n"
    config = read_config(written(tmp_path, text), RunConfig, "run")
    images = ImageTrainingConfig()
    assert config.problem == DigitsConfig(shift="inverted") and config.method == "lora"
    assert config.network == images.network and config.sampling == images.sampling
    assert config.guidance.optimiser.steps == 7
    assert config.guidance.optimiser.learning_rate == images.guidance.optimiser.learning_rate


def test_a_runs_own_file_gives_the_same_run(tmp_path):
    config = RunConfig(problem=GaussiansConfig(dim=3), method="kde", seed=4)
    text = json.dumps({"command": "run", "config": to_json(config)})
    assert read_config(written(tmp_path, text, "config.json"), RunConfig, "run") == config
    with pytest.raises(UserError, match="is of `tgdp run`: give it to that command"):
        read_config(written(tmp_path, text, "config.json"), CompareConfig, "compare")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no settings"),
        ("- a\n- b\n", "holds no settings"),
        ("{", "can not be read as settings"),
        ("method: tgdp\n", "names no problem"),
        ("problem: gausians\n", "unknown problem 'gausians': did you mean 'gaussians'"),
        ("problem: gaussians\nguidance: {los: kl}\n", "unknown setting of guidance 'los': did you mean 'loss'"),
        ("problem: gaussians\nguidance: kl\n", "guidance is 'kl': write its settings with their values"),
        ("problem: gaussians\nguidance: {loss: kll}\n", "unknown guidance loss 'kll'"),
        ("problem: gaussians\nseed: -1\n", "seed is -1"),
        ("problem: !!python/object/apply:os.system ['true']\n", "can not be read as settings"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, text, said):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_config(path, RunConfig, "run")
    assert str(error.value).startswith(str(path)) and said in str(error.value)
    assert str(error.value).count(str(path)) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist: check the path"):
        read_config(tmp_path / "none.yaml", RunConfig, "run")
