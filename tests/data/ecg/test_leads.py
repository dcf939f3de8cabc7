"""Twelve leads from eight, against their definition by electrode potentials."""

import numpy as np
import pytest

from tgdp_jax.data.ecg.leads import DOWER, LEADS, TWELVE, eight, residual, twelve
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
