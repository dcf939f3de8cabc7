"""The command that a report gives makes the same config, whatever differs from the defaults."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from tests import tiny
from tgdp_jax.app.bench.settings import BenchConfig
from tgdp_jax.app.command_line import LONGEST, bench_line, command_line, versions
from tgdp_jax.app.commands.methods import trained_fact
from tgdp_jax.app.commands.pages import titled
from tgdp_jax.app.subcommands import config_class, problem_command
from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.ecg.folders import EcgConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.images import ImagesConfig
from tgdp_jax.data.registry import PROBLEMS
from tgdp_jax.data.text_images import TextImagesConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig


def parsed(line, command, kind):
    """The config that the words make."""
    found = []
    name, first, *rest = shlex.split(line.replace("\\\n", " "))
    assert (name, first) == ("tgdp", command)
    problem_command(command, kind, lambda config, out, engine: found.append(config), rest)
    return found[0]


def defaults(kind, name, problem):
    config = config_class(kind, name, PROBLEMS[name])(problem=problem)
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})


FILES = {"source": Path("/data/my source.npz"), "target": Path("t.npz")}
PROBLEM = {
    "arrays": ArraysConfig(**FILES, reference=Path("r.npz"), conditional=True),
    "images": ImagesConfig(**FILES),
    "ecg": EcgConfig(**FILES, seconds=2.5),
    "text-images": TextImagesConfig(target=Path("a folder"), prompt="a photo of sks dog", class_prompt="a dog"),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize(("command", "kind"), [("run", RunConfig), ("compare", CompareConfig), ("probe", ProbeConfig)])
def test_defaults_need_no_options(name, command, kind):
    problem = PROBLEM.get(name) or PROBLEMS[name].config()
    config = defaults(kind, name, problem)
    line = command_line(command, kind, config)
    assert parsed(line, command, kind) == config
    assert "." not in line.replace("my source.npz", "").replace("t.npz", "").replace("r.npz", "").replace("2.5", "")


def test_every_kind_of_option_comes_back():
    config = RunConfig(
        **{**vars(tiny.TRAINING), "source_seed": 3, "precision": "bfloat16"},
        problem=GaussiansConfig(conditional=True, variance=0.123456789, num_source=200),
        method="lora",
        n_target=8,
        seed=5,
    )
    config = dataclasses.replace(config, classifier=dataclasses.replace(config.classifier, exact=True))
    line = command_line("run", RunConfig, config)
    assert parsed(line, "run", RunConfig) == config
    assert all(len(part) <= LONGEST for part in line.splitlines())
    assert line.splitlines()[0] == "tgdp run gaussians \\"


def test_flags_that_are_on_by_default_and_lists():
    base = defaults(CompareConfig, "gaussians", GaussiansConfig())
    guidance = dataclasses.replace(base.guidance, pooled=not base.guidance.pooled)
    config = dataclasses.replace(base, guidance=guidance, methods=("kde", "gan"), n_targets=(5, 50), seeds=2)
    line = command_line("compare", CompareConfig, config)
    assert parsed(line, "compare", CompareConfig) == config and "--methods kde gan" in line


def test_bench():
    config = BenchConfig(quick=True, repeats=2)
    assert bench_line(config, BenchConfig()) == "tgdp bench --quick --repeats 2"
    assert bench_line(BenchConfig(), BenchConfig()) == "tgdp bench"


def test_versions_name_what_results_depend_on():
    assert all(name in versions() for name in ("tgdp_jax ", "jax ", "Python 3"))


def test_titles_name_the_users_files():
    assert titled("tgdp", PROBLEM["arrays"]) == "tgdp: t.npz from my source.npz"
    assert titled("gan", GaussiansConfig()) == "gan on gaussians"
    assert titled("lora", PROBLEM["text-images"]) == "lora: a folder"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (69_197, "69,197; 6.9 times the source model's 10,000"),
        (180_000, "180,000; 18 times the source model's 10,000"),
        (10_000, "10,000; 1.0 times the source model's 10,000"),
        (123, "123; 1.23% of the source model's 10,000"),
        (0, "0; 0.00% of the source model's 10,000"),
    ],
)
def test_shares_of_parameters_are_read_at_a_glance(count, text):
    assert trained_fact([count], 10_000) == {"parameters trained here": text}
