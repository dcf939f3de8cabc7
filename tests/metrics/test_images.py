"""Image metrics on digits: fresh ones, copies, noise, and ones of the wrong class."""

import math

import numpy as np
import pytest

from tests.metrics.digits import digits, quick_features
from tgdp_jax.errors import UserError
from tgdp_jax.metrics import evidence
from tgdp_jax.metrics.coverage import density_coverage, expected_coverage, precision_recall
from tgdp_jax.metrics.frechet import frechet_value
from tgdp_jax.metrics.images import evaluate_images
from tgdp_jax.metrics.memorisation import memorisation_ratio
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.metrics.two_sample import median_bandwidth, mmd2_value
from tgdp_jax.metrics.two_sample_classifier import c2st

PLAIN = {"frechet", "c2st", "memorisation", "mmd2", "precision", "recall", "density", "coverage"}


@pytest.fixture(scope="module")
def parts():
    """(images, classes) of the target; none of them trained the features."""
    x, y = digits()
    cuts = {"train": slice(800, 850), "reference": slice(850, 1250), "fresh": slice(1250, 1650)}
    return {name: (x[cut], y[cut]) for name, cut in cuts.items()}


@pytest.fixture(scope="module")
def found(parts):
    """Metrics of several samplers."""
    (train, _), (reference, _), (fresh, _) = parts["train"], parts["reference"], parts["fresh"]
    rng = np.random.default_rng(0)
    samplers = {
        "fresh": fresh,
        "noisy": np.clip(fresh + 0.5 * rng.normal(size=fresh.shape), -1, 1),
        "copies": train[rng.integers(len(train), size=400)],
        "three modes": fresh[np.isin(parts["fresh"][1], (0, 1, 2))],
    }
    return {name: evaluate_images(x, reference, train, quick_features()) for name, x in samplers.items()}


def test_names_are_those_of_tables(parts, found):
    (train, _), (reference, _), (fresh, labels) = parts["train"], parts["reference"], parts["fresh"]
    assert set(found["fresh"]) == PLAIN <= set(METRICS)
    labelled = evaluate_images(fresh, reference, train, quick_features(), labels=labels)
    assert set(labelled) == PLAIN | {"label_accuracy"} <= set(METRICS)


def test_values_are_those_of_the_single_metrics(parts, found):
    features = quick_features()
    reference, fresh = parts["reference"][0], parts["fresh"][0]
    x, y, train = (features.embed(parts[name][0]) for name in ("fresh", "reference", "train"))
    expected = {
        "frechet": frechet_value(x, y).value,
        "c2st": c2st(x, y).accuracy.value,
        "memorisation": memorisation_ratio(x, train, reference=y),
        "mmd2": mmd2_value(fresh, reference, bandwidth=median_bandwidth(reference)).value,
    }
    expected["precision"], expected["recall"] = precision_recall(y, x)
    expected["density"], expected["coverage"] = density_coverage(y, x)
    for name, value in expected.items():
        assert found["fresh"][name].value == pytest.approx(value, abs=1e-6), name


def test_of_many_images_neighbours_are_sought_among_those_that_the_seed_draws(parts, monkeypatch):
    features, (reference, fresh, train) = quick_features(), (parts[name][0] for name in ("reference", "fresh", "train"))
    monkeypatch.setattr(evidence, "MOST_ROWS", 150)
    got = evaluate_images(fresh, reference, train, features)
    i, j = evidence.Evidence(samples=fresh, reference=reference).drawn
    x, y = features.embed(fresh)[i], features.embed(reference)[j]
    assert [got[name].value for name in ("precision", "recall")] == list(precision_recall(y, x))
    assert [got[name].value for name in ("density", "coverage")] == list(density_coverage(y, x))
    assert got["mmd2"].value == mmd2_value(fresh[i], reference[j], bandwidth=median_bandwidth(reference)).value
    assert got["frechet"].value == pytest.approx(frechet_value(features.embed(fresh), features.embed(reference)).value)


def test_fresh_images_are_perfect(found):
    fresh = found["fresh"]
    assert abs(fresh["c2st"].value - 0.5) < 4 * fresh["c2st"].spread
    assert abs(fresh["memorisation"].value - 1) < 4 * fresh["memorisation"].spread
    assert abs(fresh["mmd2"].value) < 5 * fresh["mmd2"].spread
    assert fresh["coverage"].value == pytest.approx(expected_coverage(400, 400), abs=0.06)
    assert fresh["density"].value == pytest.approx(1, abs=0.2)
    for value, spread in fresh.values():
        assert math.isfinite(value) and spread > 0


def test_faults_show_where_they_should(found):
    fresh, noisy, copies, three = (found[name] for name in ("fresh", "noisy", "copies", "three modes"))
    for worse in (noisy, copies, three):
        assert worse["frechet"].value > 1.3 * fresh["frechet"].value
    assert noisy["c2st"].value > 0.6
    assert copies["memorisation"].value == 0
    assert copies["coverage"].value < fresh["coverage"].value - 0.2
    assert three["recall"].value < fresh["recall"].value - 0.2
    assert three["precision"].value > fresh["precision"].value - 0.1


def test_samples_of_the_wrong_class_are_found_out(parts):
    (train, _), (reference, _), (fresh, labels) = parts["train"], parts["reference"], parts["fresh"]
    shuffled = np.random.default_rng(0).permutation(labels)
    right, wrong = (
        evaluate_images(fresh, reference, train, quick_features(), labels=asked) for asked in (labels, shuffled)
    )
    assert right["label_accuracy"].value == (quick_features().classify(fresh) == labels).mean() > 0.9
    assert wrong["label_accuracy"].value < 0.25
    # All else is of all classes at once.
    assert {name: value for name, value in wrong.items() if name in PLAIN} == {
        name: value for name, value in right.items() if name in PLAIN
    }


def test_few_rows_give_no_number_rather_than_a_wrong_one(parts):
    train, reference, fresh = (parts[name][0] for name in ("train", "reference", "fresh"))
    got = evaluate_images(fresh, reference[:8], train, quick_features())
    assert math.isnan(got["c2st"].value) and math.isnan(got["recall"].spread)
    assert got["recall"].value > 0
    got = evaluate_images(fresh[:5], reference, train, quick_features())
    assert math.isnan(got["precision"].value)
    assert all(math.isfinite(got[name].value) for name in ("frechet", "memorisation", "mmd2"))


def test_bad_inputs_are_refused(parts):
    (train, _), (reference, _), (fresh, labels) = parts["train"], parts["reference"], parts["fresh"]
    with pytest.raises(UserError, match="samples has NaN"):
        evaluate_images(fresh * np.nan, reference, train, quick_features())
    with pytest.raises(UserError, match="one shape"):
        evaluate_images(fresh, reference, train[:, :4], quick_features())
    with pytest.raises(UserError, match="one label a row"):
        evaluate_images(fresh, reference, train, quick_features(), labels=labels[1:])


def test_blank_images_are_no_fault_where_the_target_has_as_many(parts):
    rng = np.random.default_rng(0)
    train, reference, fresh = (
        np.where(rng.uniform(size=(len(x), 1, 1, 1)) < 0.5, np.float32(-1), x)
        for x in (parts[name][0] for name in ("train", "reference", "fresh"))
    )
    samplers = {"fresh": fresh, "never blank": parts["fresh"][0], "copies": train[rng.integers(len(train), size=400)]}
    found = {name: evaluate_images(x, reference, train, quick_features()) for name, x in samplers.items()}
    assert found["fresh"]["density"].value == pytest.approx(1, abs=0.1)
    assert found["fresh"]["coverage"].value == pytest.approx(expected_coverage(400, 400), abs=0.04)
    assert abs(found["fresh"]["memorisation"].value - 1) < 4 * found["fresh"]["memorisation"].spread
    assert abs(found["fresh"]["c2st"].value - 0.5) < 4 * found["fresh"]["c2st"].spread
    for name in ("coverage", "recall"):
        assert found["never blank"][name].value < found["fresh"][name].value - 0.3
    assert found["never blank"]["memorisation"].value > found["fresh"]["memorisation"].value
    assert found["copies"]["memorisation"].value == 0
