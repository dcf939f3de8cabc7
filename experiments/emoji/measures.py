"""What is measured of samples of captions, beside real pictures that nothing has been trained on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.emoji.data import Pictures, to_unit
from experiments.emoji.judges import Judge
from tgdp_jax.app.report.table import Column
from tgdp_jax.metrics.evidence import COPIES, Evidence
from tgdp_jax.metrics.features import Features
from tgdp_jax.metrics.neighbours import nearest_distance
from tgdp_jax.metrics.registry import METRICS, measure
from tgdp_jax.metrics.spread import Value, bootstrap, mean_value

OF_SETS = ("frechet", "precision", "recall", "density", "coverage", "c2st", "memorisation")
FIRST = 5  # places that count as agreement
COLUMNS = (
    *(
        Column(name, METRICS[name].label, METRICS[name].better, METRICS[name].description, METRICS[name].ideal, True)
        for name in OF_SETS
    ),
    Column("agreement", "agreement", "higher", f"Share whose name is among the {FIRST} that fit best.", terminal=True),
    Column(
        "paired",
        "paired",
        "lower",
        "Distance to the target designer's drawing of the name, see `pairs`.",
        terminal=True,
    ),
    Column("pixels", "pixels", "lower", "Root mean square difference from that drawing, of the range.", terminal=True),
)
OF_SUBJECTS = (
    Column("fidelity", "fidelity", "higher", "Share nearest to an unseen picture of the subject.", terminal=True),
    Column("agreement", "agreement", "higher", "Share whose name fits best of those held back.", terminal=True),
    Column("paired", "paired", "lower", "Distance to the designer's drawing of the name, see `pairs`.", terminal=True),
    Column("copies", "copies", "lower", "Share nearer to a picture learned from than to that drawing.", terminal=True),
)


class Bar(NamedTuple):
    """What samples are judged by.

    Attributes:
      asked: real pictures of the captions that are drawn.
      rest: further real pictures of the target.
      features: of the source's judge.
      judge: of captions.
    """

    asked: Pictures
    rest: Pictures
    features: Features
    judge: Judge

    def of_sets(self, x: np.ndarray, learned: Pictures, seed: int) -> dict[str, Value]:
        """Measures of samples x, one for each picture that is asked for, in [-1, 1]; see `COLUMNS`."""
        evidence = Evidence(
            samples=x,
            reference=to_unit(self.rest.x),
            train=to_unit(learned.x),
            features=self.features,
            seed=seed,
        )
        names, own = np.unique(self.asked.text, return_inverse=True)
        real = to_unit(self.asked.x)
        return {
            **measure(evidence, OF_SETS),
            "agreement": mean_value(self.judge.places(x, names, own) < FIRST),
            "paired": pairs(self.features.embed(x), self.features.embed(real)),
            "pixels": mean_value(np.sqrt(np.mean((x - real) ** 2, (1, 2, 3))) / 2.0),
        }

    def of_subject(self, x: np.ndarray, learned: Pictures, each: int) -> dict[str, Value]:
        """Measures of samples x, `each` of every name that is asked for; see `OF_SUBJECTS`."""
        names, own = np.unique(np.repeat(self.asked.text, each), return_inverse=True)
        made, real, others, seen = (
            self.features.embed(part) for part in (x, *(to_unit(one.x) for one in (self.asked, self.rest, learned)))
        )
        return {
            "fidelity": mean_value(nearest_distance(made, real) < nearest_distance(made, others)),
            "agreement": mean_value(self.judge.places(x, names, own) < 1),
            "paired": pairs(made, np.repeat(real, each, 0), each),
            "copies": mean_value(
                nearest_distance(made, seen) < np.linalg.norm(made - np.repeat(real, each, 0), axis=-1)
            ),
        }


def pairs(made: np.ndarray, real: np.ndarray, each: int = 1) -> Value:
    """Median distance of samples to the real picture of their name over that to the real picture of another name.

    0 is the designer's own drawing; 1 has no more to do with it than with any other drawing of the designer.

    Args:
      made: features of samples [N, F].
      real: of the real picture of each sample's name [N, F].
      each: rows that follow one another and are of one name.
    """
    apart = np.stack([np.linalg.norm(made - to, axis=-1) for to in (real, np.roll(real, each, 0))], -1)

    def ratio(rows: np.ndarray) -> float:
        same, other = np.median(rows, 0)
        return float(same / other)

    return Value(ratio(apart), bootstrap(ratio, apart, num=COPIES))
