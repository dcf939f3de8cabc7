"""The two entry points that tables are made from."""

import inspect
import math

import jax
import numpy as np
import pytest

from tests.helpers import paper_pair
from tests.metrics import tied
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.metrics import evidence
from tgdp_jax.metrics.coverage import density_coverage, expected_coverage
from tgdp_jax.metrics.evaluate import evaluate, evaluate_closed_form
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.memorisation import memorisation_ratio
from tgdp_jax.metrics.registry import METRICS, measure
from tgdp_jax.metrics.two_sample import median_bandwidth, mmd2_value, sliced_wasserstein2, wasserstein2_value
from tgdp_jax.sde import VP

DATA_ONLY = {"sw2", "w2", "mmd2", "memorisation", "coverage", "density"}
CLOSED_FORM = {"avg_density", "mode_balance", "path_kl", "nll"}


@pytest.fixture(scope="module")
def problem():
    source, target = paper_pair()
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = {
        "source": source.sample(keys[0], 600),
        "fresh": target.sample(keys[1], 600),
        "reference": target.sample(keys[2], 500),
        "train": target.sample(keys[3], 60),
    }
    return {name: tuple(map(np.asarray, pair)) for name, pair in drawn.items()}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_how_it_is_shown_and_when_it_applies(name):
    metric = METRICS[name]
    assert metric.better in {"lower", "higher", "target", "none"}
    assert metric.label and metric.description.endswith(".")
    # Of samples alone nothing is known.
    assert not metric.applies(Evidence(samples=np.zeros((4, 2))))


def test_what_metrics_share_is_computed_once(problem):
    x, y, train = (problem[name][0] for name in ("fresh", "reference", "train"))
    seen = []

    def shared(e):
        seen.append(e)
        return len(seen)

    given = Evidence(samples=x, reference=y, train=train)
    assert [given.once(shared), given.once(shared)] == [1, 1] and seen == [given]
    both = measure(given, ("density", "coverage"))
    alone = [measure(Evidence(samples=x, reference=y, train=train), (name,))[name] for name in both]
    assert list(both.values()) == alone


def test_values_are_those_of_the_single_metrics(problem):
    x, y, train = problem["source"][0], problem["reference"][0], problem["train"][0]
    got = evaluate(x, y, train, seed=3)
    assert set(got) == DATA_ONLY
    expected = {
        "sw2": sliced_wasserstein2(x, y, seed=3),
        "w2": wasserstein2_value(x, y, seed=3).value,
        "mmd2": mmd2_value(x, y, bandwidth=median_bandwidth(y, seed=3)).value,
        "memorisation": memorisation_ratio(x, train, reference=y),
    }
    expected["density"], expected["coverage"] = density_coverage(y, x)
    for name, value in expected.items():
        assert got[name].value == pytest.approx(value, abs=1e-6), name
        assert 0 < got[name].spread < 0.25 * abs(value), name
    assert evaluate(x, y, train, seed=3) == got


def test_of_many_rows_metrics_of_pairs_see_those_that_the_seed_draws(problem, monkeypatch):
    (x, labels), (y, of_y), (train, _) = (problem[name] for name in ("fresh", "reference", "train"))
    whole = evaluate(x, y, train, labels=labels, reference_labels=of_y, seed=3)
    monkeypatch.setattr(evidence, "MOST_ROWS", 550)
    few, fixed = Evidence(samples=x, reference=y, seed=3).drawn
    assert fixed == slice(None)  # 500 rows are not too many
    assert len(x[few]) == len(np.unique(few)) == 550 and (np.diff(few) > 0).all()
    assert (few != Evidence(samples=x, reference=y, seed=4).drawn[0]).any()
    monkeypatch.setattr(evidence, "MOST_ROWS", 200)
    i, j = Evidence(samples=x, reference=y, seed=3).drawn
    got = evaluate(x, y, train, labels=labels, reference_labels=of_y, seed=3)
    bandwidth = median_bandwidth(y, seed=3)
    monkeypatch.undo()
    of_drawn = {"labels": labels[i], "reference_labels": of_y[j], "seed": 3, "bandwidth": bandwidth}
    alone = evaluate(x[i], y[j], train, **of_drawn)
    pairs = {name for name in got if METRICS[name].pairs}
    assert pairs == {"mmd2", "coverage", "density"}
    for name in got:
        assert got[name] == (alone if name in pairs else whole)[name] != (whole if name in pairs else alone)[name], name


def test_every_metric_prefers_the_target_over_the_source_and_over_copies(problem):
    y, train = problem["reference"][0], problem["train"][0]
    copies = train[np.random.default_rng(0).integers(60, size=600)]
    fresh, source, copied = (evaluate(x, y, train) for x in (problem["fresh"][0], problem["source"][0], copies))

    def regret(found, name):
        value, better = found[name].value, METRICS[name].better
        return {"lower": value, "higher": -value, "target": abs(value - (METRICS[name].ideal or 0))}[better]

    for name in DATA_ONLY:
        assert regret(fresh, name) < regret(source, name), name
    assert copied["memorisation"].value == 0
    assert copied["coverage"].value < fresh["coverage"].value - 0.1


def test_labels_find_out_a_sampler_that_ignores_them(problem):
    (x, labels), (y, reference_labels), (train, _) = problem["fresh"], problem["reference"], problem["train"]
    right = evaluate(x, y, train, labels=labels, reference_labels=reference_labels)
    shuffled = np.random.default_rng(0).permutation(labels)
    ignoring = evaluate(x, y, train, labels=shuffled, reference_labels=reference_labels)
    assert ignoring["sw2"].value > right["sw2"].value + 0.2
    assert ignoring["coverage"].value < right["coverage"].value
    assert ignoring["memorisation"] == right["memorisation"]
    shares = [np.mean(reference_labels == c) for c in (0, 1)]
    each = [sliced_wasserstein2(x[labels == c], y[reference_labels == c]) for c in (0, 1)]
    assert right["sw2"].value == pytest.approx(np.dot(shares, each), rel=1e-9)


def test_few_rows_give_no_spread_rather_than_a_wrong_one(problem):
    got = evaluate(problem["fresh"][0], problem["reference"][0][:8], problem["train"][0])
    assert math.isnan(got["coverage"].spread)
    assert got["coverage"].value > 0
    assert got["sw2"].spread > 0
    got = evaluate(problem["fresh"][0], problem["reference"][0][:5], problem["train"][0])
    assert math.isnan(got["coverage"].value) and math.isnan(got["density"].value)
    assert all(math.isfinite(got[name].value) for name in ("sw2", "w2", "mmd2", "memorisation"))


def test_discrete_rows_have_every_metric_but_memorisation():
    x, y, train = np.random.default_rng(0).integers(2, size=(3, 200, 2))
    got = evaluate(x, y, train)
    assert math.isnan(got["memorisation"].value)
    assert all(math.isfinite(got[name].value) for name in DATA_ONLY - {"memorisation"})
    assert got["density"].value == pytest.approx(1, abs=0.01)
    assert got["coverage"].value == pytest.approx(expected_coverage(200, 200), abs=0.01)


@pytest.mark.parametrize("kind", [kind for kind in tied.KINDS if kind != "binary"])
def test_fresh_data_read_well_however_they_tie(kind):
    rng = np.random.default_rng(0)
    got = evaluate(*(tied.KINDS[kind](rng, n, 3) for n in (400, 400, 100)))
    assert all(math.isfinite(v.value) and math.isfinite(v.spread) for v in got.values())
    for name, ideal in (("density", 1), ("coverage", expected_coverage(400, 400)), ("memorisation", 1), ("mmd2", 0)):
        assert abs(got[name].value - ideal) < 5 * got[name].spread + 0.005, name


def test_images_are_accepted():
    rng = np.random.default_rng(0)
    x, y, train = (rng.normal(size=(n, 4, 4, 1)) for n in (80, 70, 20))
    got = evaluate(x, y, train)
    assert all(math.isfinite(v.value) and math.isfinite(v.spread) for v in got.values())


def test_closed_form_metrics(problem):
    source, target = paper_pair()
    sde, key = VP(), jax.random.key(1)
    got = evaluate_closed_form(problem["fresh"][0], ExactScore(source, sde), target, sde, key=key, num_likelihood=300)
    assert set(got) == CLOSED_FORM
    assert abs(got["avg_density"].value - 0.4006) < 4 * got["avg_density"].spread
    assert got["mode_balance"].value < 0.08
    assert got["path_kl"].value == pytest.approx(3.1, abs=0.1)
    exact = evaluate_closed_form(problem["fresh"][0], ExactScore(target, sde), target, sde, key=key, num_likelihood=300)
    assert exact["path_kl"].value == 0
    # The same fresh samples serve both: the difference is an estimate of the divergence.
    assert got["nll"].value - exact["nll"].value == pytest.approx(3.1, abs=4 * got["nll"].spread)


def test_closed_form_metrics_by_class(problem):
    _, target = paper_pair()
    sde, key = VP(), jax.random.key(1)
    settings = {"key": key, "num_likelihood": 300}
    score = ExactScore(target, sde)
    plain = evaluate_closed_form(problem["fresh"][0], score, target, sde, **settings)
    by_class = evaluate_closed_form(problem["fresh"][0], score, target, sde, conditional=True, **settings)
    assert by_class["path_kl"].value == 0
    assert plain["nll"].value - by_class["nll"].value == pytest.approx(math.log(2), abs=0.1)


def test_a_method_without_a_score_has_two_metrics(problem):
    _, target = paper_pair()
    got = evaluate_closed_form(problem["fresh"][0], None, target, None, key=jax.random.key(0))
    assert set(got) == {"avg_density", "mode_balance"}


def test_classes_that_samples_lack_are_left_out(problem):
    (x, labels), (y, reference_labels), (train, _) = problem["fresh"], problem["reference"], problem["train"]
    first, known = labels == 0, reference_labels == 0
    lacking = evaluate(x[first], y, train, labels=labels[first], reference_labels=reference_labels)
    alone = evaluate(x[first], y[known], train, bandwidth=median_bandwidth(y))
    assert {name: lacking[name] for name in ("sw2", "mmd2", "density")} == {
        name: alone[name] for name in ("sw2", "mmd2", "density")
    }
    # Where no class is left, labels say nothing.
    strange = evaluate(x, y, train, labels=labels + 2, reference_labels=reference_labels)
    assert strange == evaluate(x, y, train)


def test_bad_inputs_are_refused(problem):
    (x, labels), (y, reference_labels), (train, _) = problem["fresh"], problem["reference"], problem["train"]
    _, target = paper_pair()
    with pytest.raises(UserError, match="samples has NaN"):
        evaluate(x * np.nan, y, train)
    with pytest.raises(UserError, match="same shape"):
        evaluate(x, y, np.zeros((4, 3)))
    with pytest.raises(UserError, match="go together"):
        evaluate(x, y, train, labels=labels)
    with pytest.raises(UserError, match="one label a row"):
        evaluate(x, y, train, labels=labels[:-1], reference_labels=reference_labels)
    with pytest.raises(UserError, match="pass sde"):
        evaluate_closed_form(x, ExactScore(target, VP()), target, None, key=jax.random.key(0))


@pytest.mark.parametrize("function", [evaluate, evaluate_closed_form])
def test_settings_are_keyword_only(function):
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    assert kinds.count(inspect.Parameter.KEYWORD_ONLY) >= 4
