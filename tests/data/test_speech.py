"""Rows of image, spoken digit and text that the multimodal study makes from files."""

import numpy as np
import pytest
from scipy.io import wavfile

from experiments.multimodal import BANDS, FRAMES, RATE, SIDE, digits, spectrogram, speech
from tgdp_jax.data.digit_pairs import WORDS
from tgdp_jax.errors import UserError


def tone(hertz: float, seconds: float, loudness: float = 8000.0) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.int16)


def test_a_tone_is_loudest_in_its_own_band_at_all_times():
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2)[1:-1]
    for band in (2, 8, 14):
        hertz = 700 * (10 ** (mel[band] / 2595) - 1)
        found = spectrogram(tone(hertz, 0.5))[..., 0]
        assert found.shape == (BANDS, FRAMES) and np.all(found.argmax(0) == band)
        # It is the peak that counts, not the loudness; what is rounded to 16 bits is 60 dB below.
        np.testing.assert_allclose(spectrogram(tone(hertz, 0.5, 4000.0))[band, :, 0], found[band], atol=0.01)
        assert found.max() == 1.0 and found.min() == -1.0


@pytest.mark.parametrize("seconds", [0.14, 0.4, 2.0])
def test_time_is_stretched_to_the_frames(seconds):
    wave = np.concatenate([np.zeros(int(seconds * RATE / 2), np.int16), tone(1000, seconds / 2)])
    level = spectrogram(wave)[..., 0].max(0)
    assert np.all(level[:5] == -1.0) and np.all(level[10:] > 0.8)
    assert np.all(spectrogram(np.zeros(2000, np.int16)) == -1.0)


def test_modalities_of_a_row_are_of_one_class_and_test_rows_are_unseen(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    labels = np.tile(np.arange(10), 4).astype(np.uint8)
    # A digit's image is as bright, and its sound as high, as it is large.
    pixels = np.broadcast_to((20 * labels)[:, None, None], (40, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist" / "mnist.npz", x_train=pixels, y_train=labels, x_test=pixels[:20], y_test=labels[:20])
    for digit in range(10):
        for number, seconds in ((3, 0.2), (7, 0.5)):
            wave = tone(300 + 300 * digit, seconds)
            wavfile.write(tmp_path / "fsdd" / "recordings" / f"{digit}_ann_{number}.wav", RATE, wave)
    problem = speech(tmp_path, 30, 20)
    assert len(problem.source) == 30 and len(problem.reference) == 20
    for data, seconds in ((problem.source, 0.5), (problem.reference, 0.2)):
        found = problem.modalities.split(data.x)
        assert found["image"].shape == (len(data), SIDE, SIDE, 1)
        np.testing.assert_allclose(found["image"].mean((1, 2, 3)), 20 * data.y / 127.5 - 1, atol=1e-5)
        assert problem.modalities.named("text").decode(found["text"]) == [WORDS[label] for label in data.y]
        for label, audio in zip(data.y, found["audio"], strict=True):
            np.testing.assert_array_equal(audio, spectrogram(tone(300 + 300 * int(label), seconds)))
    with pytest.raises(UserError, match=r"mnist\.npz does not exist"):
        speech(tmp_path / "nowhere", 30, 20)


def test_test_rows_of_the_bundled_digits_are_no_training_rows():
    for kind in ("halves", "text"):
        problem = digits(kind)
        seen = {row.tobytes() for row in problem.source.x}
        assert len(problem.reference) == 300 and not any(row.tobytes() in seen for row in problem.reference.x)
