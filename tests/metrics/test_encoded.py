"""Metrics on features of a pretrained encoder, here one that pictures' mean colours stand for."""

import dataclasses

import numpy as np

from tests.metrics.digits import digits
from tgdp_jax.metrics.encoded import EncoderFeatures, Seen
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.metrics.frechet import frechet_value
from tgdp_jax.metrics.registry import measure


@dataclasses.dataclass(eq=False)
class Colours:
    """Embeds pictures and names of colours as mean colours; counts the pictures."""

    text: object = None
    seen: int = 0

    def embed(self, images):
        images = np.stack(list(images))
        self.seen += len(images)
        return images.mean((1, 2))

    def embed_texts(self, texts):
        return np.array([{"red": (2.0, 0, 0), "green": (0, 0.5, 0)}[text] for text in texts])


class Sevens:
    """A classifier that takes everything for a seven."""

    def classify(self, x):
        return np.full(len(x), 7)


def halves(x):
    return 0.5 * x + 0.5


def test_captions_are_compared_by_their_cosine():
    rows = np.full((4, 8, 8, 3), -1.0, np.float32)
    rows[0, ..., 0] = rows[1, ..., 1] = rows[2, ..., 1] = rows[3, ..., 0] = rows[3, ..., 1] = 1.0
    judge = EncoderFeatures(Colours(text="a text encoder"), halves)
    found = measure(Evidence(samples=rows, captions=["red", "red", "green", "green"], features=judge))
    assert set(found) == {"clip_score"}  # without held-out rows
    np.testing.assert_allclose(found["clip_score"].value, (1 + 0 + 1 + 0.5**0.5) / 4, rtol=1e-6)
    assert not measure(Evidence(samples=rows, captions=["red"] * 4, features=EncoderFeatures(Colours(), halves)))


def test_classes_are_told_by_the_classifier_and_the_rest_by_the_encoder():
    x, y = digits()
    encoder = Colours()
    judge = EncoderFeatures(encoder, halves, Sevens())
    given = {"reference": x[100:200], "train": x[:50], "features": judge}
    first = measure(Evidence(samples=x[200:300], labels=y[200:300], **given))
    assert first["label_accuracy"].value == np.mean(y[200:300] == 7) and encoder.seen == 250
    colours = [halves(rows).mean((1, 2)) for rows in (x[200:300], x[100:200])]
    assert first["frechet"].value == np.float64(frechet_value(*colours).value)
    # Held-out and training rows are not seen again.
    second = measure(Evidence(samples=x[300:400], **given))
    assert "label_accuracy" not in second and encoder.seen == 350


def test_what_was_seen_is_shared_by_rows_in_the_same_units():
    rows, encoder, seen = np.ones((3, 8, 8, 3), np.float32), Colours(), Seen()
    whole, again, other = (
        EncoderFeatures(encoder, to_user, seen=seen) for to_user in (np.asarray, np.asarray, np.sinc)
    )
    assert whole.embed(rows) is again.embed(rows) and encoder.seen == 3
    assert other.embed(rows).max() < 1e-6 and encoder.seen == 6
    for number in range(8):  # no more sets are kept
        whole.embed(rows + number + 1)
    assert whole.embed(rows).min() == 1 and encoder.seen == 33
