"""Options: they mean what the library means, and what is wrong with them is said in one line with the way out."""

import contextlib
import dataclasses
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.e2e.tools import GAUSSIANS, refused
from tgdp_jax.app import entries
from tgdp_jax.app.cli import main
from tgdp_jax.app.commands import compare as compare_command
from tgdp_jax.app.commands import diagnose as diagnose_command
from tgdp_jax.app.commands import run as run_command
from tgdp_jax.app.commands import sample as sample_command
from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.files import write_json
from tgdp_jax.runtime.settings import CompareEngineConfig, RunEngineConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig, TrainingConfig
from tgdp_jax.settings.sampling import SamplingChange, SamplingConfig
from tgdp_jax.settings.stored import fingerprint, from_json, to_json
from tgdp_jax.settings.training import ClassifierConfig, GuidanceConfig, RivalConfig
from tgdp_jax.train.optimiser import OptimiserConfig
from tgdp_jax.transfer import METHODS


@pytest.fixture
def asked(monkeypatch):
    """What a command line asks for, without doing it."""
    calls = []
    for check in ("check_exists", "check_named_paths", "check_run_folder"):
        monkeypatch.setattr(entries, check, lambda *_: None)  # the files of these tests are names alone
    monkeypatch.setattr(run_command, "run", lambda *a: calls.append(a))
    monkeypatch.setattr(sample_command, "sample_run", lambda *a, **more: calls.append((*a, more)))
    monkeypatch.setattr(compare_command, "compare", lambda *a: calls.append(a))
    monkeypatch.setattr(diagnose_command, "diagnose_files", lambda *a, **_: calls.append(a))

    def ask(*arguments):
        calls.clear()
        main([str(a) for a in arguments])
        (call,) = calls
        return call

    return ask


# Options


def test_without_options_the_librarys_defaults_apply(asked):
    assert asked("run", "gaussians") == (RunConfig(), Path("runs/gaussians-tgdp-seed0"), RunEngineConfig())
    assert asked("compare", "gaussians") == (CompareConfig(), Path("runs/compare-gaussians"), CompareEngineConfig())


def test_options_are_the_fields_of_the_settings(asked):
    config, *_ = asked(*GAUSSIANS)
    for field in dataclasses.fields(TrainingConfig):
        assert getattr(config, field.name) == getattr(tiny.TRAINING, field.name)
    assert config.problem == tiny.GAUSSIANS and config.n_target == tiny.N_TARGET
    config, *_ = asked(
        "compare", "gaussians", *tiny.OPTIONS, "--methods", "kde,tgdp", "--n-targets", "5", "--seeds", "2"
    )
    assert config == CompareConfig(**vars(tiny.TRAINING), methods=("kde", "tgdp"), n_targets=(5,), seeds=2)


def test_options_of_the_problem_need_no_prefix(asked):
    config, *_ = asked("run", "gaussians", "--dim", "3", "--conditional", "--target-mean", "1", "0", "-1")
    assert config.problem == GaussiansConfig(dim=3, conditional=True, target_mean=(1.0, 0.0, -1.0))
    config, out, _ = asked(
        "run", "arrays", "--source", "a.npz", "--target", "b.npz", "--method", "kde", "--n-target", "7"
    )
    assert config.problem == ArraysConfig(source=Path("a.npz"), target=Path("b.npz"))
    assert out.parent == Path("runs") and out.name.startswith("arrays-a-b-kde-n7-seed0-")


def test_methods_may_be_given_by_their_aliases(asked):
    config, out, _ = asked("run", "gaussians", "--method", "Fine-Tuning")
    assert config.method == "finetune" and out == Path("runs/gaussians-finetune-seed0")
    config, *_ = asked("compare", "gaussians", "--methods", "vanilla, DG,scratch")
    assert config.methods == ("scratch", "discriminator_guidance")


def test_the_other_commands_take_their_options(asked):
    more = {"change": SamplingChange(), "label": (), "modality": (), "given": (), "quiet": False}
    assert asked("sample", "folder") == (Path("folder"), 1000, Path("samples.npz"), more)
    assert asked("sample", "folder", "--num", "3", "--out", "a.npz") == (Path("folder"), 3, Path("a.npz"), more)
    *_, asked_for = asked("sample", "folder", "--modality", "a", "b", "--given", "c=d", "--label", "0", "--quiet")
    assert asked_for == more | {"modality": ("a", "b"), "given": ("c=d",), "label": ("0",), "quiet": True}
    assert asked("diagnose", "--source", "a", "--target", "b", "--seed", "2") == (Path("a"), Path("b"), 2, None)


def test_samples_are_drawn_otherwise_by_the_names_of_the_runs_settings(asked):
    words = "--solver heun --steps 3 --grid edm --scale 2 --clip 4 --seed 5".split()
    change = SamplingChange(solver="heun", steps=3, grid="edm", scale=2.0, clip=4.0, seed=5)
    assert asked("sample", "folder", *words)[-1]["change"] == change


@pytest.mark.parametrize(
    "options",
    [
        (),
        tiny.OPTIONS,
        ("--guidance.interval", "0.0", "0.5", "--sampling.clip", "3", "--guidance.cycle", "0.5"),
        ("--conditional", "--target-weight", "1", "--source-mean", "1", "2", "--process.kind", "ve"),
    ],
)
def test_settings_survive_the_disk(asked, options):
    config, *_ = asked("run", "gaussians", *options)
    assert from_json(RunConfig, to_json(config)) == config
    config, *_ = asked("run", "arrays", "--source", "a.npz", "--target", "b.npz", *tiny.OPTIONS)
    assert from_json(RunConfig, to_json(config)) == config


def test_the_fingerprint_knows_values_and_not_their_order():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert len({fingerprint(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": [1, 2]}, {"a": [2, 1]}, {"a": "1"})}) == 6


# What is wrong


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (("--method", "nope"), METHODS),
        (("--process.kind", "nope"), ("cosine", "subvp", "ve", "vp")),
        (("--source.prediction", "nope"), ("eps", "score", "v", "x0")),
        (("--source.optimiser.schedule", "nope"), ("constant", "cosine")),
        (("--classifier.regularisers", "mixup", "nope"), ("mixup", "noise_0.2", "weight_decay")),
        (("--guidance.loss", "nope"), ("cep", "kl", "log_mse", "logistic", "mse")),
        (("--sampling.solver", "nope"), ("ancestral", "ddim", "dpmpp_2m", "heun")),
        (("--sampling.grid", "nope"), ("edm", "log_snr", "quadratic", "uniform")),
    ],
)
def test_unknown_names_are_refused_with_the_list_before_anything_is_made(tmp_path, options, known):
    said = refused(*GAUSSIANS, *options, "--out", tmp_path / "run")
    assert "unknown" in said and "'nope'" in said
    assert all(name in said for name in known)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "seed is -1"),
        (("--seed", str(2**32)), "must lie in 0..2^32-1"),
        (("--source-seed", "-3"), "source-seed is -3: it must lie in 0..2^32-1"),
        (
            ("--source.optimiser.batch-size", str(2**31)),
            "source.optimiser.batch-size is 2147483648: give a number below",
        ),
        (("--num-source", "9" * 400), "give a number below 2^31"),
        (("--sampling.steps", "1000000000"), "sampling.steps is 1000000000: give at most 100000"),
        (("--network.depth", "1001"), "depth is 1001: give at most 1000 layers"),
        (("--network.sssd.layers", "1001"), "layers is 1001: give at most 1000 layers"),
        (("--dim", "0"), "dim is 0"),
        (("--variance", "0"), "variance is 0"),
        (("--n-target", "1"), "n-target is 1"),
        (("--target-mean", "1"), "target-mean has 1 numbers but dim is 2"),
        (("--sampling.num", "0"), "num, steps and chunk of at least 1"),
        (("--sampling.steps", "-3"), "num, steps and chunk of at least 1"),
        (("--source.held-out", "1"), "held-out is 1.0"),
        (("--source.optimiser.steps", "0"), "steps must be positive"),
        (("--source.optimiser.learning-rate", "nan"), "learning_rate must be positive"),
        (("--guidance.draws", "5"), "draws is 5: it must divide half the batch"),
        (("--guidance.consistency", "-1"), "non-negative"),
        (("--guidance.cycle", "-1"), "non-negative"),
        (("--process.beta-min", "30"), "increasing"),
        (("--rival.optimiser.clip-norm", "inf"), "rival.optimiser.clip-norm is inf: give a finite number"),
        (("--gan.source.weight-decay", "inf"), "gan.source.weight-decay is inf"),
        (("--guidance.scale", "nan"), "guidance.scale is nan"),
        (("--sampling.num", str(2**32)), "fewer than 2^32 samples"),
        (("--sampling.chunk", "100000000000000"), "sampling.chunk is 100000000000000: a launch takes memory"),
        (("--sampling.clip", "inf"), "sampling.clip is inf"),
        (("--guidance.interval", "0", "inf"), "guidance.interval is inf"),
        (("--guidance.consistency", "1", "nan"), "guidance.consistency is nan"),
        (("--checkpoint-seconds", "nan"), "checkpoint-seconds is nan"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_made(tmp_path, options, message):
    assert message in refused(*GAUSSIANS, *options, "--out", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["run", "compare", "probe"])
def test_networks_that_do_not_fit_are_refused_before_anything_is_made(tmp_path, command):
    said = refused(command, "digits", "--size", "9", "--out", tmp_path / "made")
    assert "images are 9 x 9: a U-Net of 3 levels needs sides that are multiples of 4" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "seed is -1: it must lie in"),
        (("--seed", str(2**64)), "it must lie in"),
        (("--out", "."), ". can not be written: give a file, such as diagnosis.json"),
        (("--out", "file/below.json"), "file/below.json can not be written: give a file"),
    ],
)
def test_a_diagnosis_that_can_not_be_made_or_kept_is_refused_at_once(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagnose_command, "diagnose", None)
    (tmp_path / "file").write_text("mine")
    np.savez("rows.npz", x=np.zeros((100, 2)))
    assert message in refused("diagnose", "--source", "rows.npz", "--target", "rows.npz", *options)


def test_data_that_are_gone_are_said_with_the_reason_that_they_are_needed(tmp_path):
    problem = ArraysConfig(source=Path("data/source.npz"), target=Path("data/target.npz"))
    for path, method, why, remedy in (
        (problem.source, "tgdp", "the run kept nothing of it", "call this from that folder"),
        (tmp_path / "source.npz", "tgdp", "the run kept nothing of it", "put it back"),
        (problem.source, "sir", "sir draws samples from the rows themselves", "call this from that folder"),
    ):
        config = RunConfig(problem=dataclasses.replace(problem, source=path), method=method)
        write_json(tmp_path / "config.json", {"command": "run", "config": to_json(config)})
        said = refused("sample", tmp_path, "--out", tmp_path / "x.npz")
        assert f"was made from {path}" in said and why in said and remedy in said
        assert (", a path relative to the folder that the run was started in" in said) == (path == problem.source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--solver", "nope"), "unknown solver 'nope': choose one of ancestral"),
        (("--grid", "nope"), "unknown time grid 'nope'"),
        (("--steps", "0"), "steps is 0: give at least 1"),
        (("--scale", "nan"), "scale is nan"),
        (("--clip", "-1"), "clip is -1.0: it must be positive"),
        (("--seed", "-1"), "seed is -1"),
    ],
)
def test_samples_can_not_be_drawn_in_ways_that_there_are_not(tmp_path, options, message):
    assert message in refused("sample", tmp_path, *options)


def test_numbers_of_samples_beyond_their_ids_are_refused(tmp_path):
    (tmp_path / "config.json").touch()
    said = refused("sample", tmp_path, "--num", "10000000000", "--out", tmp_path / "x.npz")
    assert said == "num is 10000000000: ask for at least one sample, and fewer than 2^32, which have an id each"


def test_memory_that_runs_out_is_no_traceback(monkeypatch):
    def run(*_):
        raise MemoryError("Unable to allocate 800 TiB")

    monkeypatch.setattr(run_command, "run", run)
    assert refused("run", "gaussians").startswith("out of memory (Unable to allocate 800 TiB): leave more of it")


@pytest.mark.parametrize(
    "settings",
    [
        lambda: NetworkConfig(embedding="nope"),
        lambda: GuidanceConfig(embedding="nope"),
        lambda: NetworkConfig(features=(0,)),
        lambda: RivalConfig(folds=1),
        lambda: RivalConfig(learning_rates=()),
        lambda: ClassifierConfig(folds=1),
        lambda: ClassifierConfig(regularisers=()),
        lambda: ClassifierConfig(optimiser=OptimiserConfig(batch_size=1)),
        lambda: GuidanceConfig(folds=1),
        lambda: GuidanceConfig(interval=(0.9, 0.1)),
        lambda: SamplingConfig(clip=-1.0),
        lambda: ProbeConfig(times=(0.1, math.nan)),
        lambda: ProbeConfig(times=(0.1, 1.5)),
    ],
)
def test_settings_that_can_not_work_are_refused(settings):
    with pytest.raises(UserError):
        settings()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nope"), ("nope", "gaussians", "arrays")),
        (("nope",), ("nope", "run", "compare", "sample", "diagnose")),
        (("run", "gaussians", "--nope", "3"), ("--nope",)),
        (("run", "gaussians", "--dim", "two"), ("--dim", "two")),
        (("run", "gaussians", "--sampling.steps", "2.5"), ("--sampling.steps", "2.5")),
        (("run", "arrays"), ("--source", "--target")),
        (("sample",), ("folder",)),
        (("diagnose",), ("--source", "--target")),
        ((), ("run", "compare", "sample", "diagnose")),
    ],
)
def test_what_can_not_be_parsed_is_refused_by_name(arguments, words):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err), pytest.raises(SystemExit) as exit:
        main(list(arguments))
    assert exit.value.code == 2
    assert "Traceback" not in err.getvalue() and all(word in err.getvalue() for word in words)


# Help


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("run", "compare", "sample", "diagnose")),
        (("run",), ("gaussians", "arrays")),
        (("run", "gaussians"), ("--out", "--method", "--n-target", "--seed", "--dim", "--sampling.steps", *METHODS)),
        (("run", "arrays"), ("--source", "--target", "--reference", "--conditional", ".npz", "--guidance.loss")),
        (("compare",), ("gaussians", "arrays")),
        (("compare", "gaussians"), ("--methods", "--n-targets", "--seeds", "--out")),
        (("compare", "arrays"), ("--methods", "--source", "--target")),
        (("methods",), ("--out", "side by side")),
        (("sample",), ("--num", "--out", "finished run")),
        (("diagnose",), ("--source", "--target", "--seed", "--out")),
    ],
)
def test_help_names_the_options(arguments, words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as exit:
        main([*arguments, "--help"])
    assert exit.value.code == 0
    assert all(word in out.getvalue() for word in words)


@pytest.mark.slow
def test_help_does_not_load_what_trains():
    # A shell that completes or asks for help should not wait for orbax and matplotlib.
    code = "import sys, tgdp_jax.app.cli; print([m for m in ('orbax', 'matplotlib', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
