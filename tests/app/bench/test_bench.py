"""`tgdp bench` from the command line: what it writes is complete and agrees with itself."""

import dataclasses
import json
import math

import jax
import pytest

from tests import tiny
from tests.e2e.tools import call, refused, strict_json
from tgdp_jax.app.bench import measure, models, pages, sampler, suite
from tgdp_jax.app.bench.peaks import peak_flops
from tgdp_jax.app.bench.settings import QUICK, BenchConfig, Effort
from tgdp_jax.app.commands import bench as command
from tgdp_jax.app.folder import claim_folder
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data.registry import load_problem
from tgdp_jax.runtime import parallel
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json, to_json
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.stages import silent, train_method

TINY = dataclasses.replace(
    QUICK,
    seconds=0.0,
    first_batches=(1, 8),
    growth=8,
    max_batch=64,
    networks=("small",),
    ladder=(4, 8),
    quality_samples=200,
    cost_batches=(8,),
    cost_evaluations=(2,),
    train_steps=100,
    rival_samples=64,
    rival_quality_samples=8,
)


@pytest.fixture(scope="module", autouse=True)
def tiny_effort():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(measure, "_MATMUL_FLOPS", {"cpu": 1e7})
        patch.setattr(measure, "_COPY_BYTES", {"cpu": 2**20})
        patch.setattr(measure, "_SQUARE", {"cpu": 128})
        # Timing itself is not what is tested, and the paper's networks are large.
        patch.setattr(models, "EMBEDDED", models.EMBEDDED | {"paper": (2, (32, 16), (32,))})
        yield


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(folder, standard output) of a quick run."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    return folder, call("bench", "--quick", "--repeats", "2", "--out", folder)[0]


def test_it_leaves_json_a_page_and_pictures(quick):
    folder, out = quick
    record = strict_json(folder / "bench.json")
    assert set(record) == {"machine", "samplers", "devices", "solvers", "cost", "training", "settings"}
    assert from_json(BenchConfig, record["settings"]) == BenchConfig(quick=True, repeats=2)
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "samples-per-second-by-batch.png",
        "share-of-the-matrix-product-rate.png",
        "speed-and-quality.png",
    }
    page = (folder / "report.html").read_text()
    for title in ("Guided sampling", "Devices: small", "Solvers", "Cost with the default networks", "Training loop"):
        assert title in out and title in page
    assert str(folder / "report.html") in out
    kept = (folder / "bench.md").read_text()
    assert kept.startswith(f"# Throughput on {record['machine']['device']}\n") and record["machine"]["jax"] in kept
    for table in pages.tables(record):
        names = [row.name.replace("_", "\\_") for row in table.rows]
        assert f"\n## {table.title}\n\n| {table.names} | " in kept and all(f"| {name} | " in kept for name in names)


def test_utilisation_is_a_share_of_the_peak_that_is_known_or_given(quick):
    record = strict_json(quick[0] / "bench.json")
    assert record["samplers"][0]["peak_flops_per_s"] is None  # of a CPU nothing is known
    assert "MFU" not in quick[1] and "MFU" not in (quick[0] / "bench.md").read_text()
    given = suite.measure(BenchConfig(peak=0.5, repeats=1), TINY, cases=[models.sampler("small")], say=lambda _: None)
    (found,) = given["samplers"]
    assert found["peak_flops_per_s"] == 0.5e12
    assert [b["utilisation"] for b in found["batches"]] == [b["flops_per_s"] / 0.5e12 for b in found["batches"]]
    (table, *_) = pages.tables(given)
    shown = {column.label: column.key for column in pages.for_terminal(table)}
    assert [row.cells[shown["MFU %"]].value for row in table.rows] == [100 * b["utilisation"] for b in found["batches"]]


@pytest.mark.parametrize(
    ("device", "precision", "tflops"),
    [
        ("NVIDIA H200", "bfloat16", 989.4),
        ("NVIDIA H200 NVL", "bfloat16", 835.5),
        ("NVIDIA A100-SXM4-80GB", "float32", 156),
        ("NVIDIA L40S", "bfloat16", 362),
        ("NVIDIA L4", "bfloat16", 121),
        ("TPU v5 lite", "float32", 197),
        ("TPU v5p", "bfloat16", 459),
        ("TPU v4 lite", "bfloat16", 138),
        ("cpu", "float32", None),
    ],
)
def test_peaks_are_those_of_data_sheets(device, precision, tflops):
    assert peak_flops(device, precision) == (None if tflops is None else 1e12 * tflops)


def test_the_machine_is_named(quick):
    machine = strict_json(quick[0] / "bench.json")["machine"]
    assert machine["platform"] and machine["device"] and machine["jax"] and machine["cpus"] >= 1
    assert machine["memory_bound_bytes"] == 2**28
    assert machine["process_peak_bytes"] > 2**20


def test_rates_agree_with_times_and_work(quick):
    (found,) = strict_json(quick[0] / "bench.json")["samplers"]
    assert found["name"] == "small" and found["shape"] == [2] and found["precision"] == "float32"
    assert [b["batch"] for b in found["batches"]] == [1, 8, 64]
    assert found["largest_batch"] == 64 and found["stopped_by"] == "limit of 64 rows"
    assert found["guidance_floor"] > 1
    for b in found["batches"]:
        rows, seconds = b["batch"] * found["evaluations"], b["seconds"]
        assert seconds["low"] <= seconds["median"] <= seconds["high"]
        assert b["samples_per_s"] == pytest.approx(b["batch"] / seconds["median"])
        assert b["evaluations_per_s"] == pytest.approx(rows / seconds["median"])
        assert b["flops_per_s"] == pytest.approx(found["flops_per_evaluation"] * b["evaluations_per_s"])
        assert b["fraction_of_peak"] == pytest.approx(b["flops_per_s"] / b["matmul_flops_per_s"])
        assert b["matmul_flops_per_s"] >= b["layer_matmul_flops_per_s"] > 0
        over = b["guided_over_unguided"]["median"]
        assert b["guidance_over_floor"] == pytest.approx(over / found["guidance_floor"])
        by_bytes = b["bytes_per_s"] / b["copy_bytes_per_s"]
        assert b["memory_bound"] == (by_bytes > b["fraction_of_peak"])
        assert b["compile_seconds"] > 0 and b["program_bytes"] > 0 and b["rounds"] == 2
    sizes = [b["program_bytes"] for b in found["batches"]]
    assert sizes == sorted(sizes)


def test_solvers_cost_and_training_are_complete(quick):
    record = strict_json(quick[0] / "bench.json")
    solvers = {s["solver"]: s for s in record["solvers"]["solvers"]}
    assert set(solvers) == set(TINY.solvers)
    for s in solvers.values():
        assert [n for n, _ in s["curve"]] == list(TINY.ladder)
        assert (s["evaluations_needed"] is None) == (s["samples_per_s"] is None)
    assert solvers["dpmpp_2m"]["evaluations_needed"] == 25
    (cost,) = record["cost"]
    assert (cost["dim"], cost["batch"], cost["evaluations"]) == (2, 8, 2)
    assert cost["microseconds_per_evaluation"] == pytest.approx(1e6 * cost["seconds"]["median"] / 16)
    training = record["training"]
    assert training["steps"] == 100 and training["over_bare"]["median"] > 0
    first, *others = record["devices"]
    assert first["devices"] == 1 and first["speedup"]["median"] == 1
    assert [d["devices"] for d in others] == sorted({d["devices"] for d in others})
    assert parallel.devices() == tuple(jax.devices())  # the limits of its measurements are gone


def test_the_same_again_replaces_it_and_another_is_refused(quick):
    folder, _ = quick
    before = json.loads((folder / "config.json").read_text())
    assert "holds another bench" in refused("bench", "--quick", "--repeats", "3", "--out", folder)
    assert json.loads((folder / "config.json").read_text()) == before
    assert "peak" not in before["config"] and to_json(BenchConfig(peak=2.0))["peak"] == 2.0  # as before there was one


def test_memory_ends_the_growth_of_the_batch():
    effort = dataclasses.replace(TINY, max_batch=None)
    case = models.embedded("small").case()
    sizes = [sampler.sampler_program(case, case.guided, b, effort.steps).memory for b in (8, 64)]
    found = sampler.batch_scaling(case, effort, memory=sum(sizes) / 2, repeats=1, say=lambda _: None)
    assert [b["batch"] for b in found["batches"]] == [1, 8]
    assert found["stopped_by"].startswith("memory bound of ")


def test_against_torch_ratios_agree_with_times(tmp_path):
    pytest.importorskip("torch")
    out, _ = call("bench", "--quick", "--repeats", "1", "--against", "torch", "--out", tmp_path / "out")
    assert "Against PyTorch" in out
    against = strict_json(tmp_path / "out" / "bench.json")["against"]
    assert [(c["networks"], c["kind"]) for c in against["comparisons"]] == [
        ("small", "equal evaluations"),
        ("small", "equal evaluations"),
        ("small", "equal evaluations"),
        ("paper", "equal evaluations"),
        ("paper", "equal quality"),
    ]
    for c in against["comparisons"]:
        ours, theirs = c["seconds"]["ours"]["median"], c["seconds"]["plain"]["median"]
        assert c["ratio"]["median"] == pytest.approx(theirs / ours)
        assert c["ratio"]["median"] == pytest.approx(c["samples_per_s"] / c["rival_samples_per_s"])
        best = c["seconds"][c["best_variant"]]["median"]
        assert best == min(s["median"] for name, s in c["seconds"].items() if name != "ours")
        if c["kind"] == "equal evaluations":
            assert c["evaluations"] == c["rival_evaluations"]
    assert (tmp_path / "out" / "pictures" / "against-pytorch.png").exists()


def finished(folder, method):
    """A folder as `tgdp run` leaves it, without metrics."""
    config = RunConfig(**vars(tiny.TRAINING), problem=tiny.CONDITIONAL, method=method, n_target=tiny.N_TARGET)
    claim_folder(folder, "run", config)
    problem = load_problem(config.problem, n_target=config.n_target, seed=0)
    train_method(config, problem, problem_identity(config.problem), method, 0, Store(folder / "checkpoints"), silent)
    return folder


def test_the_sampler_of_a_run_is_measured(tmp_path):
    run = finished(tmp_path / "run", "discriminator_guidance")
    out, _ = call("bench", "--quick", "--repeats", "1", "--run", run, "--out", tmp_path / "out")
    assert "discriminator_guidance" in out
    record = strict_json(tmp_path / "out" / "bench.json")
    assert set(record) == {"machine", "samplers", "devices", "settings"}
    (found,) = record["samplers"]
    assert found["name"] == "discriminator_guidance" and found["shape"] == [2]
    assert found["parameters"] > 0 and found["guidance_floor"] > 1


def test_a_run_without_guidance_or_network(tmp_path):
    case = command.run_case(finished(tmp_path / "source", "source"))
    assert case.unguided is None
    found = sampler.batch_scaling(case, TINY, memory=math.inf, repeats=1, say=lambda _: None)
    assert math.isnan(found["guidance_floor"]) and found["batches"][0]["guided_over_unguided"] is None
    assert "another method" in refused("bench", "--quick", "--run", finished(tmp_path / "kde", "kde"))


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--against", "tensorflow"), "unknown rival of --against 'tensorflow': choose one of torch"),
        (("--precision", "float8"), "unknown precision 'float8': choose one of bfloat16, float32"),
        (("--memory", "0"), "it must be positive"),
        (("--repeats", "0"), "at least 1"),
        (("--peak", "0"), "it must be positive"),
        (("--run", "nowhere"), "nowhere is not a run folder"),
        (("--run", "nowhere", "--against", "torch"), "leave out either"),
        (("--run", "nowhere", "--precision", "bfloat16"), "embedded networks"),
    ],
)
def test_what_can_not_be_measured_is_refused(arguments, cause, tmp_path):
    out = tmp_path / "out"
    assert cause in refused("bench", "--quick", *arguments, "--out", out)
    assert not out.exists()


def test_a_missing_rival_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    out = tmp_path / "out"
    assert "pip install" in refused("bench", "--quick", "--against", "torch", "--out", out)
    assert not out.exists()


def test_settings_survive_json():
    config = BenchConfig(run=None, against="torch", memory=0.5)
    assert from_json(BenchConfig, to_json(config)) == config
    assert set(Effort().networks) == {*models.EMBEDDED, *models.IMAGES}
