"""The verdict before training: thresholds on known calibrations, and end to end on three pairs of mixtures."""

import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import density, draw, mixture, paper_pair
from tgdp_jax.app.commands.diagnose import table_rows, to_dict
from tgdp_jax.data.gaussians import GaussiansConfig, load
from tgdp_jax.data.problem import Data
from tgdp_jax.density_ratio import Calibration, auc, calibrate
from tgdp_jax.errors import UserError
from tgdp_jax.metrics import overlap as module
from tgdp_jax.metrics.overlap import advise, diagnose, neighbour_overlap, null_auc_error

PAIRS = {
    "transfer": GaussiansConfig(),
    "finetune": GaussiansConfig(source_mean=(1.5, 1.5), target_mean=(1.5, -1.5)),
    "same": GaussiansConfig(source_mean=(0.5, 0.5), target_mean=(0.5, 0.5)),
}


def rows(kind, n, seed=0):
    problem = load(PAIRS[kind], n_target=n, seed=seed)
    return problem.source, problem.target


@pytest.fixture(scope="module")
def found():
    return {kind: diagnose(*rows(kind, 200)) for kind in PAIRS}


@pytest.fixture
def brief(monkeypatch):
    """Training too short to be any good: for what holds however good it is."""
    monkeypatch.setattr(module, "OPTIMISER", dataclasses.replace(module.OPTIMISER, steps=40))


def reading(auc, cross_entropy):
    return Calibration(auc, cross_entropy, effective_sample_size=100.0, mean_ratio=1.0, kl=1.0)


# From calibrations


def test_null_error_is_the_spread_of_the_auc_of_equal_distributions():
    rng = np.random.default_rng(0)
    values = [auc(rng.normal(size=12), rng.normal(size=30)) for _ in range(2000)]
    # The spread of 2,000 values is known to 1.6 %.
    assert null_auc_error(12, 30) == pytest.approx(np.std(values), rel=0.06)
    assert null_auc_error(12, 30) == pytest.approx(math.sqrt((12 + 30 + 1) / (12 * 12 * 30)), rel=1e-12)
    assert null_auc_error(12) == pytest.approx(null_auc_error(12, 10**12), rel=1e-9)


@pytest.mark.parametrize("num_target", [50, 200, 10_000])
@pytest.mark.parametrize(
    ("auc", "cross_entropy", "kind"),
    [
        (0.96, 0.24, "transfer"),
        (0.989, 0.051, "transfer"),
        (0.991, 0.2, "finetune"),
        (0.98, 0.049, "finetune"),
        (1.0, 0.003, "finetune"),
        (0.7, 0.6, "transfer"),
        (0.5, math.log(2), "same"),
        (0.3, 0.9, "same"),
    ],
)
def test_thresholds(auc, cross_entropy, kind, num_target):
    assert advise(reading(auc, cross_entropy), num_target=num_target).kind == kind


def test_same_is_judged_by_the_sampling_error():
    for num_target, num_source in ((20, 10_000), (200, 10_000), (200, 200), (5000, 10_000)):
        error = null_auc_error(num_target, num_source)
        for errors, kind in ((2.4, "same"), (2.6, "transfer")):
            found = advise(reading(0.5 + errors * error, 0.69), num_target=num_target, num_source=num_source)
            assert found.kind == kind
    # Fewer source rows leave more to chance.
    assert advise(reading(0.56, 0.69), num_target=200).kind == "transfer"
    assert advise(reading(0.56, 0.69), num_target=200, num_source=200).kind == "same"


def test_few_rows_allow_no_verdict_of_same_and_no_far_by_the_auc_alone():
    few, many = (advise(reading(0.55, 0.69), num_target=n) for n in (19, 20))
    assert few.kind == many.kind == "same"
    assert "19 target rows are too few for a verdict" in few.sentence and "too few" not in many.sentence
    assert advise(reading(0.995, 0.2), num_target=49).kind == "transfer"
    assert advise(reading(1.0, 0.01), num_target=2).kind == "finetune"
    assert "rough" in advise(reading(0.95, 0.3), num_target=10).sentence


def test_neighbours_overrule_a_classifier_of_few_rows_that_sees_no_difference():
    blind = reading(0.6, 0.7)
    assert advise(blind, num_target=5, neighbour_overlap=1.0).kind == "same"
    assert advise(blind, num_target=5, neighbour_overlap=0.2).kind == "transfer"
    assert advise(blind, num_target=5, neighbour_overlap=0.0).kind == "finetune"
    # One distribution puts 1 % of the rows off by definition; three of five are too many, one is not.
    assert advise(blind, num_target=5, neighbour_overlap=0.8).kind == "same"
    # Two rows say nothing, whatever they do.
    assert advise(blind, num_target=2, neighbour_overlap=0.0).kind == "same"


@pytest.mark.parametrize("n", [2, 5, 10, 50])
def test_exact_ratio_never_calls_the_standard_simulation_far_nor_the_far_one_near(n):
    far = [mixture([m, np.negative(m)], 0.1, [0.5, 0.5]) for m in ((1.5, 1.5), (1.5, -1.5))]
    for (source, target), kind in ((paper_pair(), None), (far, "finetune")):
        at_source, at_target = (
            jnp.asarray(np.log(density(target, x)) - np.log(density(source, x)), jnp.float32)
            for x in (draw(source, 5000, seed=n)[0], draw(target, 40 * n, seed=n + 1)[0])
        )
        for part in jnp.split(at_target, 40):
            found = advise(calibrate(part, at_source), num_target=n)
            assert (found.kind == kind) if kind else (found.kind != "finetune")


def test_bad_readings_are_refused():
    with pytest.raises(UserError, match="diverged"):
        advise(reading(math.nan, 0.3), num_target=10)
    with pytest.raises(UserError, match="num_target is 0"):
        advise(reading(0.9, 0.3), num_target=0)


# End to end


@pytest.mark.parametrize("kind", list(PAIRS))
def test_three_pairs(found, kind):
    assert found[kind].advice.kind == kind
    assert (found[kind].num_source, found[kind].num_target) == (10_000, 200)


def test_held_out_quality_is_near_that_of_the_exact_ratio(found):
    # Exact: AUC .9612 (standard error with 200 rows .006), cross-entropy .252 nats, KL 3.12.
    c = found["transfer"].calibration
    assert c.auc == pytest.approx(0.961, abs=0.02)
    assert 0.2 < c.cross_entropy < 0.32
    assert 2 < c.kl < 4
    c = found["finetune"].calibration
    assert c.auc > 0.999 and c.cross_entropy < 0.01 and c.mean_ratio < 0.05
    c = found["same"].calibration
    assert abs(c.auc - 0.5) < 0.06 and c.cross_entropy == pytest.approx(math.log(2), abs=0.02)


def test_five_rows_of_the_source_itself_get_a_careful_sentence():
    source, target = rows("same", 5)
    found = diagnose(source, target)
    assert found.advice.kind == "same"
    assert "5 target rows are too few for a verdict" in found.advice.sentence


def test_two_rows_are_enough_to_run_and_rows_may_have_any_shape(brief):
    rng = np.random.default_rng(0)
    found = diagnose({"x": rng.normal(size=(100, 2, 3))}, Data(rng.normal(size=(2, 2, 3)) + 1e12))
    assert found.num_target == 2 and found.neighbour_overlap == 0
    assert math.isfinite(found.calibration.cross_entropy)


def test_result_is_a_function_of_data_and_seed_and_progress_is_told(brief):
    source, target = rows("transfer", 200)
    calls = []
    again = diagnose({"x": source.x, "y": source.y}, target, progress=lambda *numbers: calls.append(numbers))
    assert again == diagnose(source, target)
    # A run that stops early says so by ending at its last step.
    assert all(total == module.OPTIMISER.steps for _, total, _, _ in calls[:-1])
    assert calls[-1][0] == calls[-1][1] <= module.OPTIMISER.steps
    assert diagnose(source, target, seed=1).calibration != again.calibration


def test_units_do_not_matter(brief):
    source, target = rows("transfer", 200)
    turned = [Data(d.x * np.array([1e-3, 1e4], np.float32)) for d in (source, target)]
    found, other = (diagnose(*pair).calibration.cross_entropy for pair in ((source, target), turned))
    assert 0 < found < 0.68 and other == pytest.approx(found, abs=0.01)


def test_many_source_rows_are_thinned(brief):
    # As many rows as the other tests have are left: no further program is compiled.
    source, target = rows("transfer", 200)
    found = diagnose(Data(np.concatenate([source.x, source.x])), target)
    assert found.num_source == module.MAX_ROWS and found.advice.kind == "transfer"


def test_bad_rows_are_refused():
    good = np.zeros((100, 2))
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(UserError, match=r"the source has NaN.* in 1 of 100 rows"):
        diagnose(Data(bad), Data(good))
    with pytest.raises(UserError, match="the target has NaN"):
        diagnose({"x": good}, Data(bad))
    with pytest.raises(UserError, match="both must agree"):
        diagnose(Data(good), Data(np.zeros((5, 3))))
    with pytest.raises(UserError, match="the target has 1 row"):
        diagnose(Data(good), Data(good[:1]))
    with pytest.raises(UserError, match="the source has 99 rows"):
        diagnose(Data(good[:99]), Data(good))
    with pytest.raises(UserError, match="no rows under 'x'"):
        diagnose({"rows": good}, Data(good))


# Neighbours


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_equal_distributions_overlap_up_to_the_quantile(dim):
    rng = np.random.default_rng(dim)
    source, target = rng.normal(size=(5000, dim)), rng.normal(size=(2000, dim))
    # Standard error .0022 of the share, and as much again of the quantile.
    assert neighbour_overlap(source, target) == pytest.approx(0.99, abs=0.0125)


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_disjoint_supports_do_not_overlap_and_a_share_of_strangers_shows(dim):
    rng = np.random.default_rng(dim)
    source, target = rng.uniform(size=(3000, dim)), rng.uniform(size=(1000, dim))
    assert neighbour_overlap(source, target + 3) == 0
    target[:300] += 3
    assert neighbour_overlap(source, target) == pytest.approx(0.7 * 0.99, abs=0.0125)


def test_overlap_on_a_grid_is_exact():
    # Neighbours are 1 apart: a target row 0.4 off the grid's end is near, one 1.5 off is not.
    grid = np.arange(200.0)[:, None]
    assert neighbour_overlap(grid, np.array([[0.0], [-0.4], [-1.0], [-1.5], [300.0]])) == 0.6


@pytest.mark.parametrize("step", [0.1, 0.3, 0.7])
def test_rounding_does_not_decide_on_a_grid(step):
    # One step beyond the end: as far as grid points are from one another, but for rounding.
    for n in range(5, 80):
        assert neighbour_overlap((step * np.arange(n))[:, None], np.array([[step * n]])) == 1


def test_repeated_and_constant_source_rows():
    rng = np.random.default_rng(0)
    once = rng.normal(size=(500, 2))
    assert neighbour_overlap(np.repeat(once, 4, axis=0), rng.normal(size=(500, 2))) > 0.95
    assert neighbour_overlap(rng.integers(3, size=(500, 2)), rng.integers(3, size=(50, 2))) == 1
    assert neighbour_overlap(np.zeros((100, 2)), np.array([[0.0, 0.0], [0.0, 1.0]])) == 0.5


# Output


def test_table_has_every_measure_with_its_caution(found):
    lines = {row.name: row for row in table_rows(found["transfer"])}
    assert list(lines) == [
        "held-out domain AUC",
        "cross-entropy (nats)",
        "estimated KL(q||p) (nats)",
        "mean ratio",
        "effective sample size",
        "nearest-neighbour overlap",
    ]
    assert float(lines["held-out domain AUC"].value) == pytest.approx(found["transfer"].calibration.auc, abs=1e-4)
    assert "never decide by it" in lines["effective sample size"].meaning
    assert all(row.meaning and len(row.meaning) < 100 for row in lines.values())


def test_dict_is_json_even_where_a_number_is_not_finite(found):
    plain = to_dict(found["finetune"])
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["advice"]["kind"] == "finetune" and plain["num_target"] == 200
    wild = found["same"]._replace(calibration=found["same"].calibration._replace(mean_ratio=math.inf))
    assert to_dict(wild)["mean_ratio"] is None
    assert json.dumps(to_dict(wild), allow_nan=False)


@pytest.mark.parametrize("kind", list(PAIRS))
def test_advice_is_one_sentence(found, kind):
    sentence = found[kind].advice.sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence
