"""Twelve leads from eight, against their definition by electrode potentials."""

import numpy as np
import pytest

from tests.data.ecg.writers import signals
from tgdp_jax.data.ecg.leads import DOWER, LEADS, MAX_BREACH, TWELVE, breach, eight, likely_order, residual, twelve
from tgdp_jax.errors import UserError


@pytest.fixture(scope="module")
def measured():
    """The twelve leads [50, 12] of random potentials at nine electrodes, each by its textbook definition."""
    right, left, foot, *chest = np.random.default_rng(0).normal(size=(9, 50))
    wilson = (right + left + foot) / 3
    leads = {
        "I": left - right,
        "II": foot - right,
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }
    leads |= {f"V{i + 1}": potential - wilson for i, potential in enumerate(chest)}
    return np.stack([leads[name] for name in TWELVE], axis=1)


def test_twelve_leads_follow_from_eight(measured):
    np.testing.assert_allclose(twelve(eight(measured, TWELVE, "test")), measured, atol=1e-12)
    assert residual(measured) < 1e-12


def test_a_broken_relation_shows(measured):
    broken = measured.copy()
    broken[:, TWELVE.index("aVF")] += 0.2
    assert residual(broken) == pytest.approx(0.2 / np.sqrt(4))


def test_relations_hold_in_the_type_of_the_data(measured):
    x = twelve(eight(measured, TWELVE, "test").astype(np.float32))
    assert x.dtype == np.float32
    lead = dict(zip(TWELVE, x.T, strict=True))
    np.testing.assert_array_equal(lead["III"], lead["II"] - lead["I"])
    np.testing.assert_array_equal(lead["aVR"], -(lead["I"] + lead["II"]) / 2)
    np.testing.assert_array_equal(lead["aVL"], lead["I"] - lead["II"] / 2)
    np.testing.assert_array_equal(lead["aVF"], lead["II"] - lead["I"] / 2)


def test_leads_are_found_by_name_in_any_order_and_case(measured):
    shuffled = np.random.default_rng(1).permutation(12)
    names = [TWELVE[i].lower() for i in shuffled]
    np.testing.assert_array_equal(eight(measured[:, shuffled], names, "test"), eight(measured, TWELVE, "test"))


def test_a_missing_lead_is_named(measured):
    names = [name for name in TWELVE if name != "V4"]
    with pytest.raises(UserError, match="record 7 lacks lead V4"):
        eight(measured[:, :11], names, "record 7")


def test_dower_s_matrix_keeps_to_the_published_limb_leads():
    # Rows III, aVR, aVL and aVF of the published matrix, which the relations must give to its three digits.
    published = [[-0.397, 1.301, -0.191], [-0.434, -0.415, 0.037], [0.515, -0.768, 0.125], [-0.081, 1.184, -0.162]]
    np.testing.assert_allclose(twelve(DOWER.T).T[2:6], published, atol=1.1e-3)
    assert DOWER.shape == (len(LEADS), 3)


def test_a_lead_named_twice_is_refused(measured):
    names = ["v1" if name == "aVR" else name for name in TWELVE]
    with pytest.raises(UserError, match="record 7 has several leads named V1"):
        eight(measured, names, "record 7")


# As SSSD-ECG writes them, chest leads first, as Cabrera hung them, and two of the augmented leads changed.
ORDERS = [
    "I II V1 V2 V3 V4 V5 V6 III aVR aVL aVF",
    "V1 V2 V3 V4 V5 V6 I II III aVR aVL aVF",
    "aVL I aVR II aVF III V1 V2 V3 V4 V5 V6",
    "I II III aVL aVR aVF V1 V2 V3 V4 V5 V6",
]


@pytest.mark.parametrize("order", ORDERS)
def test_another_order_breaks_the_relations_and_is_found(order):
    x = signals(20, rate=100) / 1000
    assert breach(x).max() < 1e-12 and likely_order(x) == TWELVE
    names = order.split()
    other = x[..., [TWELVE.index(name) for name in names]]
    assert np.median(breach(other)) > 5 * MAX_BREACH
    assert likely_order(other) == tuple(names)


def test_offsets_break_nothing_and_scales_do():
    x = signals(20, rate=100) / 1000
    assert breach(x + np.arange(12)).max() < 1e-12
    scaled = x / x.std(1, keepdims=True)
    assert np.median(breach(scaled)) > MAX_BREACH and likely_order(scaled) is None
