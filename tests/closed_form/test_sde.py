"""Forward processes against their published formulas and against their own moment equations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import PROCESSES, standard_errors
from tgdp_jax.errors import UserError
from tgdp_jax.sde import VE, VP, CosineVP, SubVP

EVERY = pytest.mark.parametrize("name", list(PROCESSES))
TIMES = np.linspace(0.02, 1.0, 50)
B0, B1 = 0.3, 12.0
SMIN, SMAX = 0.02, 30.0


def in_double(fn, t):
    """fn(t) with everything in double precision."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(fn)(jnp.asarray(t, jnp.float64)))


def beta(t):
    return B0 + (B1 - B0) * t


def beta_integral(t):
    return B0 * t + 0.5 * (B1 - B0) * t**2


def cosine_angle(t):
    low, high = math.atan(math.exp(-4.0)), math.atan(math.exp(3.0))  # for log-SNR 8 and -6
    return low + (high - low) * t, high - low


# (process, alpha, sigma, f, g^2), all written out from the papers and none by differentiation.
FORMULAS = {
    "vp": (
        VP(B0, B1),
        lambda t: np.exp(-0.5 * beta_integral(t)),
        lambda t: np.sqrt(1 - np.exp(-beta_integral(t))),
        lambda t: -0.5 * beta(t),
        beta,
    ),
    "subvp": (
        SubVP(B0, B1),
        lambda t: np.exp(-0.5 * beta_integral(t)),
        lambda t: 1 - np.exp(-beta_integral(t)),
        lambda t: -0.5 * beta(t),
        lambda t: beta(t) * (1 - np.exp(-2 * beta_integral(t))),
    ),
    "cosine": (
        CosineVP(log_snr_max=8.0, log_snr_min=-6.0),
        lambda t: np.cos(cosine_angle(t)[0]),
        lambda t: np.sin(cosine_angle(t)[0]),
        lambda t: -cosine_angle(t)[1] * np.tan(cosine_angle(t)[0]),
        lambda t: 2 * cosine_angle(t)[1] * np.tan(cosine_angle(t)[0]),
    ),
    "ve": (
        VE(SMIN, SMAX),
        np.ones_like,
        lambda t: SMIN * (SMAX / SMIN) ** t,
        np.zeros_like,
        lambda t: 2 * (SMIN * (SMAX / SMIN) ** t) ** 2 * math.log(SMAX / SMIN),
    ),
}


@pytest.mark.parametrize("name", list(FORMULAS))
def test_scales_drift_and_diffusion_follow_the_published_formulas(name):
    sde, alpha, sigma, f, g_squared = FORMULAS[name]
    np.testing.assert_allclose(in_double(sde.alpha, TIMES), alpha(TIMES), rtol=1e-12)
    np.testing.assert_allclose(in_double(sde.sigma, TIMES), sigma(TIMES), rtol=1e-11)
    np.testing.assert_allclose(in_double(sde.f, TIMES), f(TIMES), rtol=1e-12)
    np.testing.assert_allclose(in_double(sde.diffusion, TIMES) ** 2, g_squared(TIMES), rtol=1e-10)
    np.testing.assert_allclose(in_double(sde.log_snr, TIMES), 2 * np.log(alpha(TIMES) / sigma(TIMES)), rtol=1e-10)


@pytest.mark.parametrize("name", list(FORMULAS))
def test_drift_is_linear_in_x(name):
    sde, _, _, f, _ = FORMULAS[name]
    x = np.random.default_rng(0).normal(size=(50, 2, 3))
    expected = f(TIMES)[:, None, None] * x
    np.testing.assert_allclose(sde.drift(jnp.asarray(x), jnp.asarray(TIMES)), expected, rtol=1e-5, atol=1e-6)


@EVERY
def test_time_of_log_snr_inverts_log_snr_in_single_precision(name):
    # Grids are built from it in float32, with steps down to 1e-3: an error of 1e-5 is one per cent of the smallest.
    sde = PROCESSES[name]
    t = np.linspace(max(sde.t_min, 1e-3), 1.0, 400, dtype=np.float32)
    back = jax.jit(lambda value: sde.t_of_log_snr(sde.log_snr(value)))(t)
    np.testing.assert_allclose(back, t, atol=1e-5)


@EVERY
def test_log_snr_inverts_time_of_log_snr(name):
    sde = PROCESSES[name]
    ends = in_double(sde.log_snr, np.array([1.0, max(sde.t_min, 1e-3)]))
    log_snr = np.linspace(*ends, 300)
    back = in_double(lambda value: sde.log_snr(sde.t_of_log_snr(value)), log_snr)
    np.testing.assert_allclose(back, log_snr, atol=1e-8)


@EVERY
def test_single_precision_agrees_with_double(name):
    sde = PROCESSES[name]
    t = np.linspace(max(sde.t_min, 1e-3), 1.0, 400, dtype=np.float32)
    for method in (sde.alpha, sde.sigma, sde.diffusion, sde.f):
        np.testing.assert_allclose(jax.jit(method)(t), in_double(method, t), rtol=2e-5)


@EVERY
def test_marginals_solve_the_moment_equations(name):
    """dm/dt = f m and dv/dt = 2 f v + g^2, integrated from t_0 with Runge-Kutta, give alpha and sigma at every t."""
    sde, start, steps = PROCESSES[name], 0.01, 4000
    halves = np.linspace(start, 1.0, 2 * steps + 1)
    f, g_squared = in_double(sde.f, halves), in_double(sde.diffusion, halves) ** 2
    clean_variance = 0.7
    alpha, sigma = in_double(sde.alpha, halves), in_double(sde.sigma, halves)
    state = np.array([alpha[0], alpha[0] ** 2 * clean_variance + sigma[0] ** 2])
    h = (1.0 - start) / steps

    def rate(state, i):
        return np.array([f[i] * state[0], 2 * f[i] * state[1] + g_squared[i]])

    path = [state]
    for i in range(0, 2 * steps, 2):
        k1 = rate(state, i)
        k2 = rate(state + 0.5 * h * k1, i + 1)
        k3 = rate(state + 0.5 * h * k2, i + 1)
        k4 = rate(state + h * k3, i + 2)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(state)
    expected = np.stack([alpha, alpha**2 * clean_variance + sigma**2], -1)[::2]
    np.testing.assert_allclose(np.stack(path), expected, rtol=1e-6)


@EVERY
def test_perturbed_data_has_the_transition_moments(name):
    sde, num = PROCESSES[name], 40_000
    eps = np.random.default_rng(0).normal(size=(2 * num, 2)).astype(np.float32)
    t = np.repeat(np.array([0.15, 0.6], np.float32), num)
    x0 = np.broadcast_to(np.array([1.5, -0.5], np.float32), eps.shape)
    xt = np.asarray(jax.jit(sde.perturb)(x0, eps, t))
    for rows, at in ((slice(0, num), 0.15), (slice(num, None), 0.6)):
        alpha, sigma = in_double(sde.alpha, at), in_double(sde.sigma, at)
        centred = xt[rows] - alpha * np.array([1.5, -0.5])
        assert standard_errors(centred, 0.0).max() < 4.5
        assert standard_errors(centred**2, sigma**2).max() < 4.5


@EVERY
def test_prior_density_and_samples_match_the_last_marginal(name):
    sde = PROCESSES[name]
    x = sde.prior_sample(jax.random.key(3), (20_000, 2, 3))
    scale = float(in_double(sde.sigma, 1.0))
    # The prior stands in for x_1: its scale may differ from the marginal's by the little signal that is left.
    assert standard_errors(np.asarray(x).reshape(20_000, -1) ** 2, sde.prior_scale**2).max() < 4.5
    assert abs(sde.prior_scale / scale - 1) < 1e-3
    flat = np.asarray(x[:50]).reshape(50, -1)
    expected = stats.multivariate_normal(np.zeros(6), sde.prior_scale**2 * np.eye(6)).logpdf(flat)
    np.testing.assert_allclose(sde.prior_log_prob(x[:50]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: VP(0.0, 20.0),
        lambda: VP(-0.1, 20.0),
        lambda: VP(20.0, 0.1),
        lambda: SubVP(5.0, 5.0),
        lambda: SubVP(math.nan, 20.0),
        lambda: VE(0.0, 50.0),
        lambda: VE(50.0, 0.01),
        lambda: CosineVP(log_snr_max=-10.0, log_snr_min=12.0),
        lambda: CosineVP(log_snr_max=1.0, log_snr_min=1.0),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(UserError):
        build()
