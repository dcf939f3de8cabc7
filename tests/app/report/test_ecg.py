"""ECG paper: true to scale, every lead where a clinician looks for it."""

import numpy as np
import pytest

from tgdp_jax.app.report import ecg
from tgdp_jax.data.ecg.leads import LEADS, TWELVE
from tgdp_jax.errors import UserError

RATE = 100


def record(seconds: float) -> np.ndarray:
    """One record [1, T, 8]: lead i of eight is constant at (i + 1) / 10 mV, with a spike of 1 mV at 6 s."""
    x = np.ones((round(seconds * RATE), 8)) * (np.arange(8) + 1) / 10
    x[600:601] += 1.0
    return x[None].astype(np.float32)


def drawn(seconds: float, sets: int = 1):
    return ecg.ecg_sheets({f"set {i}": record(seconds) for i in range(sets)}, rate=RATE).figure()


def curves(axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Curves of leads, in drawing order: what is neither pulse nor separator."""
    return [(x, y) for x, y in (np.asarray(line.get_data(), float) for line in axes.lines) if len(x) > 6]


def test_a_millimetre_is_a_millimetre():
    figure = drawn(10.0, sets=2)
    width, height = 25.4 * figure.get_size_inches()
    for axes in figure.axes:
        place = axes.get_position()
        assert np.diff(axes.get_xlim())[0] == pytest.approx(width * place.width)
        assert np.diff(axes.get_ylim())[0] == pytest.approx(height * place.height)
    assert len(figure.axes) == 2 and 250 < width < 280


def test_twelve_leads_and_a_rhythm_strip_stand_where_they_belong():
    (axes,) = drawn(10.0).axes
    found = curves(axes)
    assert len(found) == 13
    texts = [text.get_text() for text in axes.texts if text.get_text() in TWELVE]
    assert texts == [*(lead for row in ecg.LAYOUT for lead in row), "II"]
    value = dict(zip(LEADS, (np.arange(8) + 1) / 10, strict=True))
    value |= {"III": value["II"] - value["I"], "aVR": -(value["I"] + value["II"]) / 2}
    value |= {"aVL": value["I"] - value["II"] / 2, "aVF": value["II"] - value["I"] / 2}
    zeros = [120 - (row + 0.55) * 30 for row in range(4)]
    for i, ((x, y), lead) in enumerate(zip(found, texts, strict=True)):
        assert y[0] == pytest.approx(zeros[i // 4] + 10 * value[lead])
        assert x[0] == pytest.approx(10 + (0 if i == 12 else 62.5 * (i % 4)))
        assert x[-1] - x[0] == pytest.approx(250.0 if i == 12 else 62.5, abs=0.3)


def test_columns_follow_one_another_in_time():
    (axes,) = drawn(10.0).axes
    # The spike at 6 s is in the third column of every row, 10 + 25 * 6 mm from the left, and in the strip there too.
    for i, (x, y) in enumerate(curves(axes)):
        tall = np.abs(y - np.median(y)) > 4
        assert tall.any() == (i == 12 or (i % 4 == 2))
        if tall.any():
            assert x[tall].tolist() == pytest.approx([160.0])


def test_the_pulse_is_a_millivolt_and_a_fifth_of_a_second():
    (axes,) = drawn(10.0).axes
    pulses = [np.asarray(line.get_data(), float) for line in axes.lines if len(line.get_xdata()) == 6]
    assert len(pulses) == 4
    for x, y in pulses:
        assert np.ptp(y) == ecg.GAIN and x[3] - x[2] == pytest.approx(ecg.SPEED * 0.2)


def test_short_records_show_their_beginning_in_every_cell():
    (axes,) = drawn(2.0).axes
    found = curves(axes)
    assert len(found) == 13 and all(len(y) == 101 for _, y in found[:12]) and len(found[12][0]) == 200


def test_an_empty_set_is_blank_paper_and_broken_samples_are_gaps():
    broken = record(10.0)
    broken[0, :50] = np.nan
    png = ecg.ecg_sheets({"none": np.zeros((0, 1000, 8)), "broken": broken}, rate=RATE).png()
    assert png.startswith(b"\x89PNG")


def test_what_is_no_ecg_is_refused():
    with pytest.raises(UserError, match=r"shape \(2, 100, 12\): ECGs are \[N, T, 8\]"):
        ecg.ecg_sheets({"x": np.zeros((2, 100, 12))}, rate=RATE)
