"""Splits by patient: nobody is on two sides."""

import numpy as np
import pytest

from tgdp_jax.data.ecg.split import split_patients
from tgdp_jax.errors import UserError

RNG = np.random.default_rng(0)
PATIENTS = RNG.integers(0, 60, 200).astype(str)
NO_FOLDS = np.zeros(200, int)
# Folds of a database that keeps patients together.
FOLDS = np.array([int(patient) % 10 + 1 for patient in PATIENTS])


@pytest.mark.parametrize("n", [2, 33, 100, 150, None])
@pytest.mark.parametrize("folds", [NO_FOLDS, FOLDS], ids=["no folds", "folds"])
def test_no_patient_is_learned_from_and_judged_by(folds, n):
    for seed in range(5):
        learned, rest = split_patients(PATIENTS, folds, n, seed=seed)
        assert len(learned) == len(set(learned)) and (n is None or len(learned) == n)
        assert rest is not None and not set(PATIENTS[learned]) & set(PATIENTS[rest])
        assert not set(learned) & set(rest)


def test_folds_nine_and_ten_judge():
    learned, rest = split_patients(PATIENTS, FOLDS, None, seed=0)
    assert set(FOLDS[learned]) == set(range(1, 9)) and set(FOLDS[rest]) == {9, 10}
    assert len(learned) + len(rest) == 200


def test_without_folds_only_the_last_patients_other_records_are_lost():
    learned, rest = split_patients(PATIENTS, NO_FOLDS, 100, seed=0)
    lost = set(range(200)) - set(learned) - set(rest)
    assert {PATIENTS[i] for i in lost} <= {PATIENTS[learned[-1]]}


def test_learned_rows_are_nested_and_the_seeds():
    few, many = (split_patients(PATIENTS, NO_FOLDS, n, seed=0)[0] for n in (20, 90))
    np.testing.assert_array_equal(few, many[:20])
    assert set(split_patients(PATIENTS, NO_FOLDS, 20, seed=1)[0]) != set(few)


def test_a_handful_left_judges_nothing():
    assert split_patients(np.arange(30).astype(str), np.zeros(30, int), 25, seed=0)[1] is None


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="only 200 target rows"):
        split_patients(PATIENTS, NO_FOLDS, 201, seed=0)
