"""Folders without --out: their names say the data, and no two configs have the same."""

import dataclasses
import re
from pathlib import Path

import pytest

from tgdp_jax.app.names import compare_folder, probe_folder, run_folder
from tgdp_jax.app.subcommands import config_class
from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.digit_pairs import DigitPairsConfig
from tgdp_jax.data.digits import DigitsConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.registry import PROBLEMS, problem_name
from tgdp_jax.settings.process import ProcessConfig
from tgdp_jax.settings.run import CompareConfig, ProbeConfig, RunConfig


def config(kind, problem, **changes):
    name = problem_name(problem)
    of_name = config_class(kind, name, PROBLEMS[name])(problem=problem, **changes)
    return kind(**{field.name: getattr(of_name, field.name) for field in dataclasses.fields(kind)})


def files(source, target):
    return ArraysConfig(source=Path(source), target=Path(target))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (run_folder(config(RunConfig, GaussiansConfig())), "gaussians-tgdp-seed0"),
        (run_folder(config(RunConfig, DigitsConfig(), method="lora", n_target=50, seed=3)), "digits-lora-n50-seed3"),
        (run_folder(config(RunConfig, DigitPairsConfig())), "digit-pairs-multimodal-seed0"),
        (compare_folder(config(CompareConfig, DigitsConfig())), "compare-digits"),
        (probe_folder(config(ProbeConfig, DigitsConfig(), seed=2)), "probe-digits-seed2"),
    ],
)
def test_defaults_have_plain_names(folder, name):
    assert folder == Path("runs") / name


def test_files_are_told_by_their_names():
    for source, target, told in (
        ("data/mice.npz", "data/men.npz", "mice-men"),
        ("/x/train-images-idx3-ubyte.gz", "ptb xl/", "train-images-idx3-ubyte-ptb_xl"),
        ("a" * 90 + ".csv", ".npz", "a" * 40 + "-npz"),
    ):
        for folder, prefix in (
            (run_folder(config(RunConfig, files(source, target))), f"arrays-{told}-tgdp-seed0"),
            (compare_folder(config(CompareConfig, files(source, target))), f"compare-arrays-{told}"),
        ):
            assert re.fullmatch(re.escape(prefix) + "-[0-9a-f]{6}", folder.name), folder


def test_no_two_configs_share_a_folder_and_the_same_one_finds_it_again():
    def folders():
        plain = config(RunConfig, GaussiansConfig())
        return [
            run_folder(plain),
            run_folder(dataclasses.replace(plain, process=ProcessConfig(kind="cosine"))),
            run_folder(dataclasses.replace(plain, augment="shift")),
            run_folder(config(RunConfig, GaussiansConfig(dim=3))),
            run_folder(config(RunConfig, files("a/source.npz", "a/target.npz"))),
            run_folder(config(RunConfig, files("b/source.npz", "b/target.npz"))),
            run_folder(config(RunConfig, files("b/source.npz", "b/target.npz"), n_target=10)),
            compare_folder(config(CompareConfig, GaussiansConfig(), seeds=2)),
            compare_folder(config(CompareConfig, GaussiansConfig(), seeds=4)),
            probe_folder(config(ProbeConfig, GaussiansConfig(), times=(0.1,))),
            probe_folder(config(ProbeConfig, GaussiansConfig(), times=(0.2,))),
        ]

    found = folders()
    assert len(set(found)) == len(found) and found == folders()
