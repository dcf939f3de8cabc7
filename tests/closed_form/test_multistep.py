"""Multistep solvers: coefficients against integrals of polynomials, exactness on Gaussians, and known special cases."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from tests.helpers import PROCESSES, compiled_chunk, mixture_moments, scales, single_gaussian, sliced_w2
from tgdp_jax.data.mixture import ExactScore, GaussianMixture
from tgdp_jax.errors import UserError
from tgdp_jax.prediction import as_score
from tgdp_jax.sampling import SOLVERS, multistep, sample

VP = PROCESSES["vp"]
TIMES = np.array([0.9, 0.7, 0.62, 0.45, 0.2, 0.12])
STD = 0.6


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def half_log_snr(t):
    alpha, sigma = scales(VP, t)
    return math.log(alpha / sigma)


# What y = x / unit and the clock are in each form, and what the outputs are polynomials of: written out once more.
UNITS = {
    "data": lambda t: scales(VP, t)[1],
    "noise": lambda t: scales(VP, t)[0],
    "residual": lambda t: math.hypot(scales(VP, t)[0] * STD, scales(VP, t)[1]),
    "centre": lambda t: math.hypot(scales(VP, t)[0] * STD, scales(VP, t)[1]),
}
CLOCKS = {
    "data": lambda half: math.exp(half),
    "noise": lambda half: math.exp(-half),
    "residual": lambda half: math.atan(math.exp(-half) / STD),
    "centre": lambda half: 1 / math.hypot(STD, math.exp(-half)),
}
VARIABLES = {
    "log_snr": lambda half: half,
    "time": lambda half: float(VP.t_of_log_snr(jnp.asarray(2.0 * half))),
    "angle": lambda half: math.atan(math.exp(-half) / STD),
}


def integral(form, variable, degree, start, end):
    """Of variable^degree over the clock, by adaptive quadrature in the half-log-SNR with a numerical derivative."""
    clock, small = CLOCKS[form], 1e-4

    def integrand(half):
        slope = (
            8 * (clock(half + small) - clock(half - small)) - clock(half + 2 * small) + clock(half - 2 * small)
        ) / (12 * small)
        return VARIABLES[variable](half) ** degree * slope

    return quad(integrand, half_log_snr(start), half_log_snr(end), epsrel=1e-11)[0]


@pytest.mark.parametrize(
    ("form", "variable", "order", "corrector"),
    [
        ("data", "log_snr", 3, 4),
        ("noise", "time", 3, 0),
        ("residual", "angle", 2, 3),
        ("residual", "log_snr", 4, 2),
        ("centre", "angle", 3, 3),
    ],
)
def test_a_step_integrates_polynomials_of_its_order_exactly(form, variable, order, corrector):
    solver = multistep(form, order=order, corrector=corrector, variable=variable)
    rule = jax.jit(solver.plan, static_argnums=0)(VP, jnp.asarray(TIMES), jnp.asarray(STD))
    known = np.array([VARIABLES[variable](half_log_snr(float(t))) for t in TIMES])
    units = np.array([UNITS[form](float(t)) for t in TIMES])
    np.testing.assert_allclose(rule.keep, units[1:] / units[:-1], rtol=1e-9)
    assert (np.asarray(rule.corrector[0]) == 0).all()
    for i in range(len(TIMES) - 1):
        start, end = float(TIMES[i]), float(TIMES[i + 1])
        used = min(order, i + 1)
        for degree in range(used):
            exact = units[i + 1] * integral(form, variable, degree, start, end)
            past = known[i - np.arange(used)] ** degree
            assert rule.predictor[i, :used] @ past == pytest.approx(exact, rel=1e-7)
        assert (np.asarray(rule.predictor[i, used:]) == 0).all()
        if corrector and i + 1 < len(TIMES) - 1:
            used = min(corrector, i + 2)
            for degree in range(used):
                exact = units[i + 1] * integral(form, variable, degree, start, end)
                past = known[i + 1 - np.arange(used)] ** degree
                assert rule.corrector[i + 1, :used] @ past == pytest.approx(exact, rel=1e-7)


def end_of_path(solver, score, times, *, shape=(2,), data_std: Any = 1.0):
    """(start, end) of four paths on a grid of our own."""
    draw = functools.partial(
        compiled_chunk,
        (jnp.arange(4), None),
        jax.random.key(0),
        as_score(score),
        data_std=jnp.asarray(data_std),
        sde=VP,
    )
    return (
        np.asarray(draw(times=jnp.asarray(part), shape=shape, solver=solver, clip=None)) for part in (times[:1], times)
    )


@pytest.mark.parametrize("form", ["data", "noise"])
def test_one_output_of_data_or_noise_is_ddim(form):
    score = ExactScore(single_gaussian([0.8, 0.8], 0.3), VP)
    _, ddim = end_of_path(SOLVERS["ddim"], score, TIMES)
    _, ours = end_of_path(multistep(form, order=1, variable="log_snr"), score, TIMES)
    np.testing.assert_allclose(ours, ddim, rtol=1e-9)


@pytest.mark.parametrize(("name", "mean"), [("residual_2m", 0.0), ("centre_3m", 0.0), ("centre_3m", [0.7, -2.0])])
def test_any_step_is_exact_for_a_gaussian_of_the_given_deviation(name, mean):
    """Also where every coordinate has its own; the flow map then scales each by its own ratio of deviations."""
    spread, mean = jnp.array([0.2, 3.0]), jnp.asarray(mean)

    def gaussian(x, t, cond):
        alpha, sigma = VP.alpha(t)[:, None], VP.sigma(t)[:, None]
        return (alpha * mean - x) / (alpha**2 * spread**2 + sigma**2)

    times = jnp.array([1.0, 0.6, 0.001])
    start, end = end_of_path(SOLVERS[name], jax.tree_util.Partial(gaussian), times, data_std=spread)
    alpha, sigma = np.array([scales(VP, float(t)) for t in (times[0], times[-1])]).T[..., None]
    std = np.sqrt(alpha**2 * np.asarray(spread) ** 2 + sigma**2)
    exact = alpha[1] * mean + (start - alpha[0] * mean) * std[1] / std[0]
    np.testing.assert_allclose(end, exact, rtol=1e-10, atol=1e-9)
    _, wrong = end_of_path(SOLVERS[name], jax.tree_util.Partial(gaussian), times, data_std=1.0)
    assert np.abs(wrong - end).max() > 0.01


def test_the_centre_of_data_without_spread_is_the_data():
    score = ExactScore(single_gaussian([0.8, 0.8], 0.3), VP)
    solvers = (multistep(form, order=2, variable="log_snr") for form in ("centre", "data"))
    (_, centre), (_, data) = (end_of_path(solver, score, TIMES, data_std=1e-5) for solver in solvers)
    np.testing.assert_allclose(centre, data, rtol=1e-6)


RING = 0.8 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
MIXTURES = {
    "two modes": GaussianMixture(jnp.array([[0.5, 0.5], [-0.5, -0.5]]), jnp.asarray(0.1), jnp.array([0.5, 0.5])),
    "unequal modes": GaussianMixture(jnp.asarray(RING), jnp.asarray(0.01), jnp.arange(1, 9) / 36),
}


@pytest.mark.parametrize("name", list(MIXTURES))
def test_ten_evaluations_do_what_25_did_and_a_deviation_wrong_by_two_is_forgiven(name):
    """What a solver leaves undone, in sliced W2 to many steps from the same noise."""
    mixture = MIXTURES[name]
    score = ExactScore(mixture, VP)
    std = float(np.sqrt(np.trace(mixture_moments(mixture)[1]) / 2))

    def draw(**how):
        return sample(jax.random.key(0), score, VP, 2000, (2,), chunk=2000, **how)

    fine = draw(solver="heun", grid="quadratic", num_steps=200)

    def error(**how):
        return sliced_w2(draw(**how), fine)

    before, coarse = (error(solver="dpmpp_2m", num_steps=steps) for steps in (25, 10))
    assert error(data_std=std) < before
    for wrong in (0.5, 2.0):
        assert error(data_std=wrong * std) < 0.7 * coarse


def test_what_a_solver_takes_where_nothing_is_said():
    score = ExactScore(single_gaussian([0.8, 0.8], 0.3), VP)

    def draw(**how):
        return sample(jax.random.key(0), score, VP, 4, (2,), chunk=4, **how)

    np.testing.assert_array_equal(draw(), draw(solver="centre_3m", grid="blend", num_steps=10))
    np.testing.assert_array_equal(draw(solver="dpmpp_2m"), draw(solver="dpmpp_2m", grid="log_snr", num_steps=25))
    np.testing.assert_array_equal(draw(num_steps=3), draw(grid="blend", num_steps=3))


def test_the_deviation_is_the_networks_or_ones_own():
    score = ExactScore(single_gaussian([0.8, 0.8], 0.3), VP)

    def draw(data_std):
        return sample(
            jax.random.key(0), score, VP, 4, (2,), solver="centre_3m", grid="blend", num_steps=5, data_std=data_std
        )

    np.testing.assert_array_equal(draw(None), draw(1.0))
    np.testing.assert_array_equal(draw(0.5), draw([0.5, 0.5]))
    assert (draw(0.5) != draw(1.0)).any()
    for wrong in (0.0, [1.0, 1.0, 1.0], float("nan")):
        with pytest.raises(UserError, match="data_std"):
            draw(wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"form": "velocity"}, {"variable": "rho"}, {"order": 0}, {"order": 5}, {"corrector": 1}, {"corrector": 5}],
)
def test_impossible_solvers_are_refused(wrong):
    with pytest.raises(UserError):
        multistep(**{"form": "data", "order": 2, "variable": "log_snr", **wrong})
