"""Problem `ecg-sim`: rows of two populations, and what they depend on."""

import numpy as np
import pytest

from tgdp_jax.data.ecg.populations import CLASSES
from tgdp_jax.data.ecg.sim import EcgSimConfig, load
from tgdp_jax.errors import UserError

SHORT = {"seconds": 1.0, "rate": 50, "num_source": 120}


def problem(*, n_target=10, seed=0, **options):
    return load(EcgSimConfig(**SHORT | options), n_target=n_target, seed=seed)


def test_rows_are_scaled_lead_by_lead():
    p = problem()
    assert p.shape == (50, 8) and p.ecg_rate == 50 and p.classes == CLASSES and not p.conditional
    np.testing.assert_allclose(np.sqrt(np.mean(p.source.x**2, axis=(0, 1))), 1.0, atol=1e-4)
    assert p.scaler.to_user(np.zeros((1, 50, 8), np.float32)).tolist() == np.zeros((1, 50, 8)).tolist()
    assert (len(p.source), len(p.target), len(p.reference)) == (120, 10, 1000)
    assert problem(conditional=True).num_classes == 5


def test_ten_seconds_at_100_hz_and_50_target_records_unless_asked():
    p = load(EcgSimConfig(num_source=100), n_target=None, seed=0)
    assert p.shape == (1000, 8) and p.ecg_rate == 100 and len(p.target) == 50


def test_target_rows_are_nested_and_change_nothing_else():
    few, many = problem(n_target=5), problem(n_target=40)
    np.testing.assert_array_equal(few.target.x, many.target.x[:5])
    np.testing.assert_array_equal(few.source.x, many.source.x)
    np.testing.assert_array_equal(few.reference.x, many.reference.x)


def test_no_record_is_on_two_sides_and_rows_are_the_seeds():
    p, other = problem(n_target=40), problem(seed=1)
    sides = [{row.tobytes() for row in data.x} for data in (p.source, p.target, p.reference)]
    assert [len(side) for side in sides] == [120, 40, 1000] and len(set.union(*sides)) == 1160
    assert not {row.tobytes() for row in other.source.x} & sides[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"seconds": 0.2}, "seconds is 0.2"), ({"rate": 20}, "rate is 20"), ({"num_source": 99}, "num-source is 99")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        EcgSimConfig(**settings)


def test_more_target_records_than_there_are_are_refused():
    with pytest.raises(UserError, match="only 2000 target rows"):
        problem(n_target=2001)
