"""The process through a discrete chain's marginals, against the chain itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_moments
from tgdp_jax import sampling
from tgdp_jax.errors import UserError
from tgdp_jax.sde import DiscreteVP

CHAINS = {
    "linear": DiscreteVP(),
    "scaled_linear": DiscreteVP("scaled_linear", 0.00085, 0.012),
    "cosine": DiscreteVP("squaredcos_cap_v2"),
    "short": DiscreteVP("linear", 0.01, 0.3, 20),
    "constant": DiscreteVP("linear", 0.1, 0.1, 30),
    "short cosine": DiscreteVP("squaredcos_cap_v2", num_steps=15),
}
EVERY = pytest.mark.parametrize("name", list(CHAINS))


def in_double(fn, t):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(fn)(jnp.asarray(t, jnp.float64)))


def betas(name):
    """Of the chain, one at a time, as the papers write them."""
    sde = CHAINS[name]
    steps = sde.num_steps

    def signal(share):
        return np.cos((share + 0.008) / 1.008 * np.pi / 2) ** 2

    if sde.kind == "squaredcos_cap_v2":
        return [min(1 - signal((i + 1) / steps) / signal(i / steps), 0.999) for i in range(steps)]
    shares = [i / (steps - 1) for i in range(steps)]
    start, end = sde.beta_start, sde.beta_end
    if sde.kind == "linear":
        return [start + share * (end - start) for share in shares]
    return [(start**0.5 + share * (end**0.5 - start**0.5)) ** 2 for share in shares]


@EVERY
def test_marginals_are_those_of_the_chain(name):
    """x_(i+1) = sqrt(1 - beta_i) x_i + sqrt(beta_i) eps, step by step."""
    sde = CHAINS[name]
    scale, variance, expected = 1.0, 0.0, []
    for beta in betas(name):
        scale, variance = scale * np.sqrt(1 - beta), (1 - beta) * variance + beta
        expected.append((scale, variance))
    t = (np.arange(sde.num_steps) + 1) / sde.num_steps
    alpha, variance = np.array(expected).T
    # At the last steps of the cosine chain alpha is 1e-5 and less, with the rounding of a cosine near zero.
    np.testing.assert_allclose(in_double(sde.alpha, t), alpha, rtol=1e-9)
    np.testing.assert_allclose(in_double(sde.sigma, t) ** 2, variance, rtol=1e-9)
    assert sde.t_min == t[0]
    single = jnp.asarray(t, jnp.float32)
    np.testing.assert_allclose(jax.jit(sde.alpha)(single), alpha, rtol=2e-4)
    np.testing.assert_allclose(jax.jit(sde.sigma)(single) ** 2, variance, rtol=2e-6)


@EVERY
def test_drift_and_diffusion_keep_the_marginals(name):
    """alpha' = f alpha and (sigma^2)' = 2 f sigma^2 + g^2, the derivatives by central differences within each step."""
    sde = CHAINS[name]
    steps, h = sde.num_steps, 1e-4 / sde.num_steps
    t = (np.arange(steps)[:, None] + np.array([0.2, 0.7])).reshape(-1) / steps
    alpha, sigma, f, g = (in_double(fn, t) for fn in (sde.alpha, sde.sigma, sde.f, sde.diffusion))
    slope = [(in_double(fn, t + h) - in_double(fn, t - h)) / (2 * h) for fn in (sde.alpha, lambda t: sde.sigma(t) ** 2)]
    # Differences of variances near one lose digits: an absolute part in units of the rate.
    np.testing.assert_allclose(slope[0], f * alpha, rtol=1e-6)
    np.testing.assert_allclose(slope[1], 2 * f * sigma**2 + g**2, rtol=1e-6, atol=1e-7 * steps)
    # ... and the rate of a step is the chain's: exp(2 f / T) = 1 - beta_i, g^2 = -2 f.
    np.testing.assert_allclose(-np.expm1(2 * f / steps), np.repeat(betas(name), 2), rtol=1e-9)
    np.testing.assert_allclose(g**2, -2 * f, rtol=1e-9)


@EVERY
def test_a_step_has_the_rate_of_the_interval_before_it(name):
    sde = CHAINS[name]
    middle = (np.arange(sde.num_steps) + 0.5) / sde.num_steps
    # Powers of two as steps, so that t * T is a whole number exactly.
    at = np.array([0.25, 0.5, 1.0]) if sde.num_steps % 4 == 0 else np.array([1.0])
    before = middle[(at * sde.num_steps).astype(int) - 1]
    np.testing.assert_allclose(in_double(sde.f, at), in_double(sde.f, before), rtol=1e-12)


@pytest.mark.parametrize("steps", [50, 200, 1000, 4000])
@pytest.mark.parametrize("times", ["quotients", "uniform grid"])
def test_every_step_in_single_precision_has_the_rate_of_the_interval_before_it(steps, times):
    sde = DiscreteVP("linear", 1e-4, 0.02, steps)
    numbers = np.arange(steps) + 1
    t = np.float32(numbers) / np.float32(steps)
    if times == "uniform grid":
        t = np.asarray(sampling.grids.make_grid("uniform", sde, steps - 1))[::-1]
    beta = np.linspace(1e-4, 0.02, steps)
    rate = -steps * np.log1p(-beta)  # of -log alpha^2, which is g^2 and -2 f
    inside = jax.jit(lambda t: (sde.f(t), sde.diffusion(t)))
    for f, g in ((sde.f(t), sde.diffusion(t)), inside(t)):
        np.testing.assert_allclose(-2 * np.asarray(f, np.float64), rate, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(g, np.float64) ** 2, rate, rtol=4e-5)
    # log alpha^2 itself is continuous there: it is off by what the times are.
    np.testing.assert_allclose(-2 * np.asarray(sde.log_alpha(t), np.float64), np.cumsum(rate) / steps, rtol=2e-4)


@EVERY
def test_log_snr_falls_and_is_inverted(name):
    sde = CHAINS[name]
    t = np.linspace(0.5 * sde.t_min, 1.0, 3001)
    log_snr = in_double(sde.log_snr, t)
    assert (np.diff(log_snr) < 0).all()
    np.testing.assert_allclose(in_double(sde.t_of_log_snr, log_snr), t, atol=1e-10)
    single = jnp.asarray(t, jnp.float32)
    back = jax.jit(lambda value: sde.t_of_log_snr(sde.log_snr(value)))(single)
    np.testing.assert_allclose(back, t, atol=2e-6)
    assert (np.diff(jax.jit(sde.log_snr)(single[::3])) < 0).all()


@EVERY
def test_single_precision_agrees_with_double(name):
    sde = CHAINS[name]
    # Near a step the two may take the rate of different intervals.
    t = (np.arange(sde.num_steps)[:, None] + np.array([0.1, 0.5, 0.9])).reshape(-1) / sde.num_steps
    t = t[t >= sde.t_min].astype(np.float32)
    for method, rtol in ((sde.sigma, 1e-6), (sde.f, 1e-6), (sde.diffusion, 2e-5), (sde.alpha, 2e-4)):
        np.testing.assert_allclose(jax.jit(method)(t), in_double(method, t), rtol=rtol)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "ddim", "ancestral", "heun", "euler_maruyama"])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_solvers_sample_a_gaussian(name, solver):
    sde, mean, variance = CHAINS[name], np.array([0.8, -0.5]), 0.3

    def score(x, t, cond=None):
        alpha, sigma = sde.alpha(t)[:, None], sde.sigma(t)[:, None]
        return (alpha * mean - x) / (alpha**2 * variance + sigma**2)

    steps = 400 if solver in ("ancestral", "euler_maruyama") else 100  # these two are of first order
    x = sampling.sample(
        jax.random.key(0), score, sde, range(20_000), (2,), solver=solver, num_steps=steps, chunk=20_000
    )
    assert_moments(x, mean, variance * np.eye(2), errors=4.0, bias=0.015)


@pytest.mark.parametrize("kind", [("linear", 1e-4, 0.02), ("scaled_linear", 0.00085, 0.012)])
def test_a_chain_of_zero_terminal_snr_is_shifted_and_scaled(kind):
    """Algorithm 1 of Lin et al. 2023, on square roots of alpha_bar; the last step keeps the least that it may."""
    plain, sde = DiscreteVP(*kind), DiscreteVP(*kind, zero_snr=True)
    t = (np.arange(1000) + 1) / 1000
    old, new = (in_double(chain.alpha, t) for chain in (plain, sde))
    expected = (old - old[-1]) * old[0] / (old[0] - old[-1])
    np.testing.assert_allclose(new[:-1], expected[:-1], rtol=1e-8)
    assert new[0] == pytest.approx(old[0]) and new[-1] == pytest.approx(min(2.0**-12, new[-2] / 2))
    single = jnp.asarray(t, jnp.float32)
    assert np.isfinite(sde.diffusion(single)).all()
    np.testing.assert_allclose(sde.t_of_log_snr(sde.log_snr(single)), single, rtol=1e-4)


def test_a_list_of_betas_is_the_chain_that_it_was_taken_from():
    named = DiscreteVP("linear", 0.01, 0.3, 20)
    listed = DiscreteVP("trained", num_steps=20, betas=tuple(np.linspace(0.01, 0.3, 20).tolist()))
    t = np.linspace(0.02, 1, 77)
    for method in ("log_alpha", "sigma", "diffusion"):
        np.testing.assert_array_equal(in_double(getattr(listed, method), t), in_double(getattr(named, method), t))


@EVERY
def test_trailing_times_are_steps_of_the_chain(name):
    sde = CHAINS[name]
    times = np.asarray(sampling.grids.make_grid("trailing", sde, 8)) * sde.num_steps
    np.testing.assert_allclose(times, times.round(), rtol=1e-6)
    np.testing.assert_allclose(times[:-1], np.linspace(sde.num_steps, 0, 9)[:-1], atol=0.5001)
    assert times[-1] == pytest.approx(1) and (np.diff(times) < 0).all()
    with pytest.raises(UserError, match="fewer steps"):
        sampling.grids.make_grid("trailing", sde, sde.num_steps)


@pytest.mark.parametrize("grid", ["uniform", "quadratic", "log_snr", "edm"])
@EVERY
def test_grids_go_from_one_to_the_first_step(name, grid):
    sde = CHAINS[name]
    times = np.asarray(sampling.grids.make_grid(grid, sde, 12))
    assert times[0] == 1.0 and times[-1] == pytest.approx(sde.t_min, rel=1e-6) and (np.diff(times) < 0).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DiscreteVP("sigmoid"), "unknown beta schedule 'sigmoid': choose one of linear"),
        (lambda: DiscreteVP("linear", 0.0, 0.02), "beta_start"),
        (lambda: DiscreteVP("linear", 0.03, 0.02), "beta_start"),
        (lambda: DiscreteVP("linear", 0.01, 1.0), "beta_end"),
        (lambda: DiscreteVP(num_steps=0), "at least one step"),
        (lambda: DiscreteVP("trained"), "'trained' has a list of betas"),
        (lambda: DiscreteVP(betas=(0.1,)), "'linear' has no list of betas"),
        (lambda: DiscreteVP("trained", num_steps=2, betas=(0.1,)), "2 steps has as many betas"),
        (lambda: DiscreteVP("trained", num_steps=2, betas=(0.1, 1.5)), r"all of them in \(0, 1\)"),
        (lambda: DiscreteVP(num_steps=1, zero_snr=True), "at least two steps"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(UserError, match=message):
        build()
