"""Denoising of target rows and reweighted source rows where its minimiser is known: Gaussians on a line.

The source is N(m, v) and the ratio r(x) = exp(slope x), so that r p is N(m + slope v, v) and, with
h(x_t) = E_p[r | x_t],

    grad log h = slope alpha v / (alpha^2 v + sigma^2).

Rows are quantiles: a mean over them is an integral but for rounding.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import density, scales, single_gaussian, standard_errors
from tgdp_jax.sde import VP, expand
from tgdp_jax.train.batches import Rows, all_rows
from tgdp_jax.train.denoising import denoising_task, reweighted_task
from tgdp_jax.transfer.tgdp_denoising import TABLE, _table

NUM, MEAN, VARIANCE, TARGET = 8000, -0.4, 0.3, 0.9
KEY = jax.random.key(0, impl="rbg")  # compiles in a fraction of the time


def quantiles(mean, num=20_000):
    x = mean + np.sqrt(VARIANCE) * stats.norm.ppf((np.arange(num) + 0.5) / num)
    return jnp.asarray(x[:, None], jnp.float32)


def data(slope):
    source = quantiles(MEAN)
    table = Rows(_table(slope * np.asarray(source[:, 0])), jnp.asarray(TABLE))
    target = quantiles(TARGET)
    return {"x": target, "train": all_rows(len(target)), "source": {"x": source, "train": table}}


@dataclasses.dataclass(frozen=True)
class Exact:
    """The minimiser as a network, plus errors of several forms."""

    slope: float
    share: float
    source_from: float = 0.0
    sde: Any = VP()
    num_classes: int = 0

    def apply(self, params, x, t, cond):
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        v = alpha**2 * VARIANCE + sigma**2
        score_p = -(x - alpha * MEAN) / v
        guided = -sigma * (score_p + self.slope * alpha * VARIANCE / v)
        target = sigma * (x - alpha * TARGET) / v
        weights = [
            share * jnp.exp(-0.5 * (x - alpha * mean) ** 2 / v)
            for share, mean in ((self.share, TARGET), (1 - self.share, MEAN + self.slope * VARIANCE))
        ]
        mixed = (weights[0] * target + weights[1] * guided) / (weights[0] + weights[1])
        exact = jnp.where(expand(t < self.source_from, x), target, mixed)
        forms = jnp.stack([jnp.ones_like(x), x, jnp.sin(2 * x), x * expand(t, x)])
        return exact + jnp.tensordot(params, forms, 1)


def slopes(net, *, draws=None):
    """Derivatives of every row's loss by the errors' sizes, at none of them: [NUM, 4]."""
    settings = draws or net
    task = reweighted_task(denoising_task(net, VP(), "eps", NUM, (1,)), settings.share, settings.source_from)

    @jax.jit
    def found(rows):
        batch = task.draw(KEY, rows, None)
        return jax.jacfwd(lambda errors: task.loss(errors, None, batch, jnp.asarray(0), None)["denoising"])(
            jnp.zeros(4)
        )

    return found(data(settings.slope))


CASES = {
    "source rows alone are guided by the ratio": Exact(slope=2.0, share=0.0),
    "a ratio of one leaves the source": Exact(slope=0.0, share=0.0),
    "target rows alone": Exact(slope=2.0, share=1.0),
    "half of either": Exact(slope=2.0, share=0.5),
    "early times see target rows alone": Exact(slope=1.0, share=0.25, source_from=0.3),
}


@pytest.mark.parametrize("net", CASES.values(), ids=CASES)
def test_it_is_least_at_the_score_that_the_theorem_says(net):
    found = slopes(net)
    assert found.shape == (NUM, 4)
    assert standard_errors(found, 0.0).max() < 4.5


@pytest.mark.parametrize(
    "other",
    [Exact(slope=2.0, share=0.5), Exact(slope=0.0, share=0.25), Exact(slope=2.0, share=0.25, source_from=0.5)],
    ids=["share", "ratio", "first time"],
)
def test_it_is_not_least_at_the_score_of_other_settings(other):
    assert standard_errors(slopes(other, draws=Exact(slope=2.0, share=0.25)), 0.0).max() > 6


def test_with_target_rows_alone_it_is_the_plain_task_to_the_bit():
    plain = denoising_task(Exact(0.0, 1.0), VP(), "eps", 64, (1,))
    rows, member = data(1.0), {"train": all_rows(500), "source": Rows(jnp.arange(10), jnp.asarray(10))}
    for own in (None, member):
        drawn = reweighted_task(plain, 1.0).draw(jax.random.key(3), rows, own)
        jax.tree.map(np.testing.assert_array_equal, drawn, plain.draw(jax.random.key(3), rows, own))


def test_a_members_source_rows_are_its_own():
    plain = denoising_task(Exact(0.0, 0.0), VP(), "eps", 64, (1,))
    rows, member = data(1.0), {"train": all_rows(500), "source": Rows(jnp.asarray([7]), jnp.asarray(1))}
    x, t, eps, _ = reweighted_task(plain, 0.0).draw(jax.random.key(3), rows, member)
    clean = (x - expand(VP().sigma(t), x) * eps) / expand(VP().alpha(t), x)
    early = np.asarray(t) < 0.5  # later ones are mostly noise
    np.testing.assert_allclose(clean[early], float(rows["source"]["x"][7, 0]), atol=1e-4)


def test_the_table_has_each_row_as_often_as_its_ratio_says():
    log_r = np.random.default_rng(0).normal(size=50).astype(np.float32)
    share = np.exp(log_r, dtype=np.float64) / np.exp(log_r, dtype=np.float64).sum()
    found = np.bincount(np.asarray(_table(log_r)), minlength=50)
    assert found.sum() == TABLE and np.abs(found - TABLE * share).max() <= 1


def test_the_mixture_is_the_density_of_its_rows():
    """The test's own weights of either term, against densities that are written out."""
    net, t, x = Exact(slope=2.0, share=0.3), 0.2, np.linspace(-1, 1, 5)[:, None]
    alpha, sigma = scales(VP(), t)
    parts = [density(single_gaussian([m], VARIANCE), x, alpha=alpha, sigma=sigma) for m in (TARGET, MEAN + 0.6)]
    eps = [sigma * (x[:, 0] - alpha * m) / (alpha**2 * VARIANCE + sigma**2) for m in (TARGET, MEAN + 0.6)]
    exact = (0.3 * parts[0] * eps[0] + 0.7 * parts[1] * eps[1]) / (0.3 * parts[0] + 0.7 * parts[1])
    out = net.apply(jnp.zeros(4), jnp.asarray(x, jnp.float32), jnp.full(5, t), None)
    np.testing.assert_allclose(out[:, 0], exact, rtol=1e-4, atol=1e-5)
