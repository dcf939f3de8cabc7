"""Simulated ECGs: what classes and populations look like to someone who measures them."""

import numpy as np
import pytest
from scipy.signal import find_peaks

from tgdp_jax.data.ecg.leads import TWELVE, residual, twelve
from tgdp_jax.data.ecg.populations import AFIB, BRADY, CLASSES, LBBB, SINUS, SOURCE, TACHY, TARGET
from tgdp_jax.data.ecg.simulate import simulate

SEED, NUM, RATE = [0], 384, 100


@pytest.fixture(scope="module")
def source():
    return simulate(SEED, SOURCE, NUM)


@pytest.fixture(scope="module")
def target():
    return simulate([1], TARGET, NUM)


def r_peaks(x: np.ndarray) -> np.ndarray:
    """Sample numbers of the QRS complexes of one record [T, 8]: peaks of the spatial velocity, smoothed over 90 ms."""
    speed = np.convolve(np.abs(np.gradient(x, axis=0)).sum(1), np.ones(9) / 9, "same")
    return find_peaks(speed, distance=25, prominence=0.4 * np.percentile(speed, 99))[0]


def mean_beat(x: np.ndarray) -> np.ndarray:
    """Mean beat [50, 8] of one record, from 250 ms before the QRS complex to 250 ms after."""
    peaks = [p for p in r_peaks(x) if 25 <= p < len(x) - 25]
    return np.mean([x[p - 25 : p + 25] for p in peaks], axis=0)


def qrs_width(x: np.ndarray) -> float:
    """Milliseconds in which the mean beat is above a third of its height, in the root mean square of all leads; of
    those
    within 150 ms of its middle."""
    beat = mean_beat(x)[10:40]
    height = np.sqrt(np.mean((beat - beat[:3].mean(0)) ** 2, axis=1))
    return 1000 / RATE * np.sum(height > height.max() / 3)


def irregularity(x: np.ndarray) -> float:
    """Coefficient of variation of RR intervals."""
    intervals = np.diff(r_peaks(x))
    return intervals.std() / intervals.mean()


def axis(x: np.ndarray) -> float:
    """Electrical axis in degrees, from the QRS complex's net area in I and aVF."""
    beat = twelve(mean_beat(x))
    area = (beat - np.median(beat, axis=0))[15:35].sum(0)
    return np.degrees(np.arctan2(2 / np.sqrt(3) * area[TWELVE.index("aVF")], area[TWELVE.index("I")]))


def of_class(records, label, most=40):
    return records.x[records.y == label][:most]


def test_shapes_types_and_units(source):
    assert source.x.shape == (NUM, 1000, 8) and source.x.dtype == np.float32 and source.y.dtype == np.int32
    assert np.isfinite(source.x).all()
    # Millivolts: R waves of about one.
    assert 0.5 < np.median(np.abs(source.x).max((1, 2))) < 3.0


def test_the_first_records_are_the_same_however_many_are_drawn(source):
    few = simulate(SEED, SOURCE, 7)
    np.testing.assert_array_equal(few.x, source.x[:7])
    np.testing.assert_array_equal(few.y, source.y[:7])


def test_a_record_is_the_seeds(source):
    np.testing.assert_array_equal(simulate(SEED, SOURCE, 2).x, source.x[:2])
    assert (simulate([5], SOURCE, 2).x != source.x[:2]).any()


def test_hearts_beat_as_fast_as_asked(source):
    for label in (SINUS, BRADY, TACHY, LBBB):
        chosen = source.y == label
        found = [60 * RATE / np.diff(r_peaks(x)).mean() for x in source.x[chosen]]
        # Now and then a T wave is taken for a beat.
        assert np.mean(np.abs(found / source.bpm[chosen] - 1.0) < 0.05) > 0.95
    # In fibrillation, on average: a record of ten seconds says little of its own mean.
    chosen = source.y == AFIB
    found = [60 * RATE / np.diff(r_peaks(x)).mean() for x in source.x[chosen]]
    assert np.mean(found / source.bpm[chosen]) == pytest.approx(1.0, abs=0.05)


def test_bradycardia_and_tachycardia_keep_their_limits(source, target):
    for records in (source, target):
        assert records.bpm[records.y == BRADY].max() < 60 < 100 < records.bpm[records.y == TACHY].min()
        assert 60 <= records.bpm[records.y == SINUS].min() and records.bpm[records.y == SINUS].max() <= 100


def test_left_bundle_branch_block_is_wide(source):
    wide, narrow = ([qrs_width(x) for x in of_class(source, label)] for label in (LBBB, SINUS))
    assert np.percentile(wide, 10) > np.percentile(narrow, 90)


def test_atrial_fibrillation_is_irregular_and_nothing_else_is(source):
    shares = {label: np.array([irregularity(x) for x in of_class(source, label)]) for label in range(len(CLASSES))}
    regular = np.concatenate([v for label, v in shares.items() if label != AFIB])
    assert np.percentile(shares[AFIB], 10) > np.percentile(regular, 97) and np.median(regular) < 0.05


def test_atrial_fibrillation_has_no_p_wave(source):
    def p_wave(x):
        beat = mean_beat(x)[:, 1]  # lead II, 250 to 50 ms before the peak
        return np.ptp(beat[3:17])

    with_p, without = ([p_wave(x) for x in of_class(source, label)] for label in (SINUS, AFIB))
    assert np.median(with_p) > 1.5 * np.median(without)


def test_populations_differ_as_stated(source, target):
    for records, population in ((source, SOURCE), (target, TARGET)):
        shares = np.bincount(records.y, minlength=len(CLASSES)) / NUM
        np.testing.assert_allclose(shares, population.shares, atol=5 * np.sqrt(0.25 / NUM))
    sinus = {name: of_class(records, SINUS, 60) for name, records in (("source", source), ("target", target))}
    axes = {name: np.median([axis(x) for x in rows]) for name, rows in sinus.items()}
    assert axes["source"] - axes["target"] == pytest.approx(25.0, abs=12.0)
    # White noise, where no wave has power: the last tenth of the spectrum.
    noise = {
        name: np.median([np.abs(np.fft.rfft(x, axis=0)[-50:]).mean() for x in rows]) for name, rows in sinus.items()
    }
    assert noise["target"] / noise["source"] == pytest.approx(1.8, rel=0.3)
    height = {name: np.median([np.ptp(mean_beat(x), axis=0).max() for x in rows]) for name, rows in sinus.items()}
    assert height["target"] / height["source"] == pytest.approx(0.8, rel=0.15)
    rates = [np.median(records.bpm[records.y == SINUS]) for records in (source, target)]
    assert 1.02 < rates[1] / rates[0] < 1.15


def test_populations_overlap(source, target):
    # No latent alone tells them apart, or there would be no density ratio to learn.
    noise = [np.abs(np.fft.rfft(records.x, axis=1)[:, -50:]).mean((1, 2)) for records in (source, target)]
    assert 0.6 < np.mean(noise[1][:, None] > noise[0]) < 0.9


def test_noise_is_the_electrodes_own(source):
    # Twelve leads computed from eight keep to the laws whatever the noise is.
    assert residual(twelve(source.x[:20].astype(np.float64))) < 1e-12
    # The limb leads share electrodes: I and II both have the right arm's noise with one sign.
    tail = np.fft.rfft(source.x, axis=1)[:, -50:]
    correlation = np.real(np.mean(tail[..., 0] * np.conj(tail[..., 1]))) / np.mean(np.abs(tail[..., 0]) ** 2)
    assert correlation == pytest.approx(0.5, abs=0.05)
