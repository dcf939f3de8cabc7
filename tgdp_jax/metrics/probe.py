"""How much of the labels a representation spells out: linear probes and nearest neighbours on frozen features.

A diffusion model sees every row at every noise level, and learns features on the way that nobody asked for: those of
its middle layers at little noise tell classes apart almost as well as features that were trained to (Xiang et al. 2023,
"Denoising diffusion autoencoders are unified self-supervised learners"). A probe is trained on features of rows with
labels and judged on rows that neither it nor the model has seen. Which layer and time are best is chosen on a third
set of rows, so that what is reported of the best is not the luckiest of many draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tgdp_jax.nets.layers import pooled, with_layers
from tgdp_jax.runtime.parallel import in_chunks
from tgdp_jax.sde import SDE

Array = jax.Array
CHUNK = 256  # rows a device takes at a time
NEIGHBOURS = 10  # that vote, by Euclidean distance of standardised features; fewer where there are fewer rows


class Labelled(NamedTuple):
    """Features [N, F] of rows and their classes [N]."""

    features: np.ndarray
    y: np.ndarray


class Probe(NamedTuple):
    """What one set of features says of the labels.

    Attributes:
      linear: whether a logistic regression on standardised features puts each judged row into its class, bool [N] for
        every set of rows that is judged.
      neighbours: whether the majority of the nearest neighbours does.
    """

    linear: tuple[np.ndarray, ...]
    neighbours: tuple[np.ndarray, ...]


# Many small fits, in which several threads wait for one another longer than they compute.
@threadpool_limits.wrap(limits=1)
def probe(train: Labelled, judged: tuple[Labelled, ...]) -> Probe:
    """Trains both probes on rows with labels and judges them on others.

    Args:
      train: rows; of one class alone, both probes take everything for it.
      judged: sets of rows.
    """
    if (train.y == train.y[0]).all():  # nothing to fit, which scikit-learn refuses
        right = tuple(each.y == train.y[0] for each in judged)
        return Probe(right, right)
    scaler = StandardScaler().fit(train.features)
    x, others = scaler.transform(train.features), [scaler.transform(each.features) for each in judged]
    models = (
        LogisticRegression(max_iter=300, tol=1e-3),
        KNeighborsClassifier(min(NEIGHBOURS, len(x))),
    )
    found = []
    for model in models:
        model.fit(x, train.y)
        found.append(tuple(model.predict(o) == each.y for o, each in zip(others, judged, strict=True)))
    return Probe(*found)


def better_beyond_chance(right: np.ndarray, other: np.ndarray) -> float:
    """p-value of the claim that one probe is better than another on the same rows: McNemar's test, exact and two-sided.

    Args:
      right: whether the one is right, bool [N].
      other: whether the other is.
    """
    wins, losses = int((right & ~other).sum()), int((other & ~right).sum())
    return 1.0 if wins + losses == 0 else float(binomtest(wins, wins + losses).pvalue)


def layer_features(net: Any, params: Any, sde: SDE, x: Any, t: float, key: Array) -> dict[str, np.ndarray]:
    """Pooled features [N, F] of rows x [N, *D] noised to time t, by layer in the order of computation.

    The noise of row i depends on (key, i) alone. The network is asked without labels.

    Raises:
      UserError: a network that does not show its layers.
    """
    x = np.asarray(x, np.float32)
    widths: dict[str, int] = {}

    def note(x: Array) -> None:
        _, layers = with_layers(net, params, x, jnp.ones(len(x)))
        widths.update({name: pooled(h).shape[-1] for name, h in layers.items()})

    jax.eval_shape(note, x[:1])
    rows = np.arange(len(x), dtype=np.uint32), x
    found = in_chunks(_features, rows, key, params, np.float32(t), chunk=CHUNK, static={"net": net, "sde": sde})
    ends = np.cumsum(list(widths.values()))[:-1]
    return dict(zip(widths, np.split(found, ends, axis=1), strict=True))


def _features(rows: tuple[Array, Array], key: Array, params: Any, t: Array, *, net: Any, sde: SDE) -> Array:
    """All layers' pooled features of one chunk, side by side."""
    ids, x = rows
    eps = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), x.shape[1:]))(ids)
    times = jnp.full(len(x), t)
    _, layers = with_layers(net, params, sde.perturb(x, eps, times), times)
    return jnp.concatenate([pooled(h) for h in layers.values()], -1)
