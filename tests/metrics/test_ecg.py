"""Spectra, heart rates and diagnoses, against what is known of them."""

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, roc_auc_score

from tgdp_jax.data.ecg.populations import AFIB, SOURCE
from tgdp_jax.data.ecg.simulate import simulate
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.diagnosis import diagnosis, diagnosis_value
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.heart_rate import beats, heart_rate_distance, heart_rates
from tgdp_jax.metrics.registry import measure
from tgdp_jax.metrics.spectra import log_spectral_distance_value, periodograms


def noise(num, seed, length=128, channels=2):
    return np.random.default_rng(seed).normal(size=(num, length, channels))


def test_power_of_a_sine_is_where_its_frequency_is():
    x = 3 * np.sin(2 * np.pi * 5 * np.arange(100) / 100)[None, :, None]
    power = periodograms(x)[0, :, 0]
    assert power[5] == pytest.approx(9 * 100 / 4) and np.delete(power, 5).max() < 1e-20


def test_a_factor_in_amplitude_is_a_distance_in_decibels():
    x = noise(10, 0)

    def distance(a, b):
        return log_spectral_distance_value(a, b).value

    assert distance(x, x) == pytest.approx(0, abs=1e-12)
    # The mean over channels.
    found = distance(x * [10.0, 0.5], x)
    assert found == pytest.approx(10 + 10 * np.log10(2), abs=1e-6)
    # Symmetric; a constant is not looked at; flat lines are equal.
    assert distance(x, x * [10.0, 0.5]) == pytest.approx(found)
    assert distance(x + 7.0, x) == pytest.approx(0, abs=1e-9)
    assert distance(0 * x, 0 * x) == 0


def test_white_noise_is_nearer_to_white_noise_than_to_a_random_walk():
    # The mean of N exponential variables has relative variance 1 / N: 4.34 sqrt(2 / N) decibels between two of them.
    near = log_spectral_distance_value(noise(50, 1), noise(50, 2))
    assert near.value == pytest.approx(10 / np.log(10) * np.sqrt(2 / 50), rel=0.2) and near.spread > 0
    assert log_spectral_distance_value(noise(50, 1).cumsum(1), noise(50, 2)).value > 5


@pytest.mark.parametrize("length", [7, 100, 450, 1000])
def test_flat_lines_of_different_heights_have_the_same_spectrum(length):
    flat, high = np.full((5, length, 2), 0.1), np.full((4, length, 2), 3.7)
    assert log_spectral_distance_value(flat, high) == (0.0, 0.0)
    # One channel with a wave, one without.
    wave = np.stack([np.sin(np.arange(length)), np.full(length, 0.1)], -1)[None] + np.zeros((6, 1, 1))
    assert log_spectral_distance_value(wave, wave + np.array([0.0, 3.0])).value == pytest.approx(0, abs=1e-9)


def test_records_too_short_to_beat_are_refused():
    with pytest.raises(UserError, match="at least two samples in time"):
        heart_rates(np.zeros((3, 1, 8)), rate=100)


def test_rates_of_simulated_records_are_found_with_noise_and_offsets():
    records = simulate([0, 1], SOURCE, 200)
    regular = records.y != AFIB  # whose intervals are random
    scale = np.array([1.0, -1.0, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0])  # a swapped electrode, leads of other gains
    for x in (records.x, records.x * scale + 5.0):
        error = np.abs(heart_rates(x, rate=100) - records.bpm)
        assert np.quantile(error[regular], 0.99) < 2.0 and np.median(error) < 0.5


def test_beats_are_where_they_were_put():
    at = np.array([50, 130, 222, 301, 390])
    record = np.zeros((450, 8))
    for place in at:
        record[place - 3 : place + 4] += np.hanning(7)[:, None]
    assert np.abs(beats(record, rate=100) - at).max() <= 4
    assert heart_rates(record[None], rate=100)[0] == pytest.approx(60 * 100 * 4 / 340, rel=0.02)
    assert len(beats(np.zeros((450, 8)), rate=100)) == 0 and np.isnan(heart_rates(np.zeros((1, 450, 8)), rate=100)[0])


def test_distance_of_rates_is_their_shift():
    def hearts(bpm):
        x = np.zeros((len(bpm), 1000, 8))
        for row, rate in zip(x, bpm, strict=True):
            for place in np.arange(20, 990, 6000 / rate).astype(int):
                row[place : place + 5] = np.hanning(7)[1:-1, None]
        return x

    slow = np.array([50.0, 60.0, 75.0])
    found = heart_rate_distance(hearts(2 * slow), hearts(slow), rate=100)
    assert found.value == pytest.approx(slow.mean(), rel=0.03) and found.spread > 0


def test_measures_agree_with_scikit_learn_and_with_the_challenge():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 300)
    scores = rng.normal(size=(300, 4)).round(1) + 1.5 * np.eye(4)[truth]  # rounded: with ties
    found = diagnosis(scores, truth)
    one = np.eye(4)[truth]
    assert found.auc == pytest.approx(roc_auc_score(one, scores, average="macro"))
    assert found.f2 == pytest.approx(fbeta_score(truth, scores.argmax(1), beta=2, average="macro"))
    taken = np.eye(4)[scores.argmax(1)]
    hits, alarms, missed = (one * taken).sum(0), ((1 - one) * taken).sum(0), (one * (1 - taken)).sum(0)
    assert found.g2 == pytest.approx(np.mean(hits / (hits + alarms + 2 * missed)))
    # A class that no record has does not count.
    assert diagnosis(np.c_[scores, scores[:, :1] - 9], truth) == pytest.approx(found)
    value = diagnosis_value(scores, truth)
    assert value.auc.value == found.auc and 0.005 < value.auc.spread < 0.05
    # One record of a class: most copies drawn from all records alike would lack it, or have no other.
    rare = diagnosis_value(scores[:12, :2], np.array([1] + 11 * [0]))
    assert all(np.isfinite(v.value) and np.isfinite(v.spread) for v in rare) and rare.auc.spread > 0
    assert diagnosis(one, truth) == (1.0, 1.0, 1.0)
    with pytest.raises(UserError, match="one class a record"):
        diagnosis(scores, truth[1:])
    with pytest.raises(UserError, match="reach from 0 to 3"):
        diagnosis(scores[:, :3], truth)


def test_records_of_one_population_are_near_each_other_and_keep_relations_between_leads():
    first, second = (simulate([seed], SOURCE, 60).x for seed in (1, 2))

    def found_in(samples, reference):
        evidence = Evidence(samples=samples, reference=reference, train=first, ecg_rate=100)
        return measure(evidence, ("spectrum", "heart_rate", "einthoven"))

    found = found_in(first, second)
    assert found["spectrum"].value < 2.5 and found["heart_rate"].value < 10 and found["einthoven"].value < 1e-6
    faster = found_in(first[:, ::2], second[:, :500])  # played at twice the speed
    assert faster["heart_rate"].value > 50 and faster["spectrum"].value > found["spectrum"].value
