"""Solvers and the sampling loop against problems whose reverse process is known.

For one Gaussian the score is linear, hence every step is an affine map of (x, memory, noise): the exact law of a
sampler's output follows by propagating two moments, with no sampling error, and the probability-flow ODE has the flow
map x_s = m_s + (std_s / std_t) (x_t - m_t).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import (
    PROCESSES,
    assert_moments,
    compiled_chunk,
    density,
    draw,
    mixture_moments,
    paper_pair,
    scales,
    single_gaussian,
    sliced_w2,
    standard_errors,
)
from tgdp_jax.data.mixture import ExactLogRatio, ExactScore
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.prediction import as_score
from tgdp_jax.sampling import GRIDS, SOLVERS, ddim, grids, predictor_corrector, sample
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.solver import Point

VP = PROCESSES["vp"]
MEAN, VARIANCE = 0.8, 0.3
DETERMINISTIC = {
    "euler": 1,
    "ddim": 1,
    "heun": 2,
    "dpmpp_2m": 2,
    "residual_2m": 3,
    "centre_3m": 3,
    "dpmpp_3m": 3,
    "unipc": 3,
    "deis": 3,
}
# Errors of the one left out fall faster at first and then change their sign, so that two of them say no order.
OF_PLAIN_ORDER = {name: order for name, order in DETERMINISTIC.items() if name != "centre_3m"}
STOCHASTIC = {"euler_maruyama": 1, "ancestral": 1, "dpmpp_2m_sde": 2}
NAMES = pytest.mark.parametrize("name", list(PROCESSES))


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def law(sde, t):
    """Mean and standard deviation of x_t for N(MEAN, VARIANCE) data."""
    alpha, sigma = scales(sde, t)
    return alpha * MEAN, math.sqrt(alpha**2 * VARIANCE + sigma**2)


def uneven_grid(start, end, pairs):
    """Steps of alternating size 1 : 2, so that a multistep rule must use the true ratio of its steps."""
    sizes = np.tile([1.0, 2.0], pairs)
    return jnp.asarray(start + (end - start) * np.concatenate([[0.0], np.cumsum(sizes) / sizes.sum()]))


def affine_steps(solver, sde, grids):
    """Per grid and step (constant [K, M], matrix [K, M, M + 3]) of (x, *memory, noise 0, 1 and 2) -> (x, *memory)."""

    def predict(x, t):
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        eps = sigma * (x - alpha * MEAN) / (alpha**2 * VARIANCE + sigma**2)
        return (x - sigma * eps) / alpha, eps

    leaves, tree = jax.tree.flatten(solver.start(jnp.zeros(())))
    size = 1 + len(leaves)
    inputs = jnp.concatenate([jnp.zeros((1, size + 3)), jnp.eye(size + 3)])

    def images(point):
        memory = jax.tree.unflatten(tree, [inputs[:, 1 + i] for i in range(len(leaves))])
        x, memory = solver.step(sde, predict, point, inputs[:, 0], memory, lambda i: inputs[:, size + i])
        return jnp.stack([x, *jax.tree.leaves(memory)])

    def points(times):
        first = jnp.arange(len(times) - 1) == 0
        before = jnp.concatenate([times[:1], times[:-2]])
        std = jnp.ones(len(first))
        plan = jax.jit(solver.plan, static_argnums=0)(sde, times, jnp.ones(()))
        return Point(times[:-1], times[1:], before, first, data_std=std, plan=plan)

    # All grids at once and without jit: the single operations are then compiled once for all solvers and processes.
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *[points(times) for times in grids])
    out = np.asarray(jax.vmap(images)(joined))
    parts = np.split(out, np.cumsum([len(times) - 1 for times in grids])[:-1])
    return [(part[:, :, 0], part[:, :, 1:] - part[:, :, :1]) for part in parts]


def propagated_moments(steps, mean, variance):
    """Exact (mean, variance) of the solver's x at the end of the grid, started from N(mean, variance)."""
    size = steps[0].shape[1]
    state, cov = np.eye(size)[0] * mean, np.diag(np.eye(size)[0] * variance)
    for constant, matrix in zip(*steps, strict=True):
        state = constant + matrix[:, :size] @ state
        cov = matrix[:, :size] @ cov @ matrix[:, :size].T + matrix[:, size:] @ matrix[:, size:].T
    return np.array([state[0], cov[0, 0]])


def measured_order(errors):
    """Slope of log error against log steps, from the last halving."""
    return math.log2(abs(errors[-2] / errors[-1]))


def chunk_of(solver, score, sde, times, num=4, *, clip=None):
    """One chunk of one-dimensional samples on a grid of our own; one time alone returns the start."""
    times = jnp.asarray(times, jnp.result_type(float))
    rows = jnp.arange(num), None
    out = compiled_chunk(rows, jax.random.key(0), as_score(score), times, sde=sde, shape=(1,), solver=solver, clip=clip)
    return np.asarray(out)[:, 0]


def test_every_solver_has_an_order_test():
    assert set(SOLVERS) == {*DETERMINISTIC, *STOCHASTIC, "predictor_corrector"}


def off_the_flow_map(name, pairs):
    """Largest error of four paths over so many pairs of uneven steps."""
    score = ExactScore(single_gaussian([MEAN], VARIANCE), VP)
    start = chunk_of(SOLVERS["ddim"], score, VP, [0.9])
    (mean_t, std_t), (mean_s, std_s) = (law(VP, t) for t in (0.9, 0.3))
    exact = mean_s + std_s / std_t * (start - mean_t)
    assert np.abs(exact - start).max() > 0.1
    return np.abs(chunk_of(SOLVERS[name], score, VP, uneven_grid(0.9, 0.3, pairs)) - exact).max()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("name", "order"), OF_PLAIN_ORDER.items())
def test_deterministic_solvers_follow_the_flow_map_at_their_order(name, order):
    errors = [off_the_flow_map(name, pairs) for pairs in (20, 40)]
    assert measured_order(errors) == pytest.approx(order, abs=0.12)
    assert errors[-1] < (0.02 if order == 1 else 1e-3)


@pytest.mark.usefixtures("double_precision")
def test_the_default_follows_the_flow_map_at_third_order_at_least():
    few, many = (off_the_flow_map("centre_3m", pairs) for pairs in (10, 160))
    assert many < few / 16**3 and few < 1e-4


@functools.cache
def step_maps(name, solver):
    """Affine steps of a solver on every grid that the tests below use."""
    sde = PROCESSES[name]
    grids = {
        "coarse": uneven_grid(0.8, 0.3, 32),
        "fine": uneven_grid(0.8, 0.3, 64),
        "prior, 100 steps": make_grid("log_snr", sde, 100),
        "prior, 400 steps": make_grid("log_snr", sde, 400),
        "prior, 20 steps": make_grid("quadratic", sde, 20),
    }
    chosen = ddim(float(solver[5:])) if solver.startswith("ddim ") else SOLVERS[solver]
    return dict(zip(grids, affine_steps(chosen, sde, list(grids.values())), strict=True))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["vp", "subvp"])
@pytest.mark.parametrize(("solver", "order"), {**OF_PLAIN_ORDER, **STOCHASTIC}.items())
def test_the_exact_moments_of_every_solver_converge_at_its_order(name, solver, order):
    sde, maps = PROCESSES[name], step_maps(name, solver)
    (mean_t, std_t), (mean_s, std_s) = (law(sde, t) for t in (0.8, 0.3))
    errors = np.array(
        [propagated_moments(maps[grid], mean_t, std_t**2) - np.array([mean_s, std_s**2]) for grid in ("coarse", "fine")]
    ) / std_s ** np.array([1, 2])
    assert np.abs(errors[-1]).max() < (0.15 if order == 1 else 5e-3)
    for moment in (0, 1):
        # Some are exact in the mean: what is left there is rounding and has no order.
        exact = np.abs(errors[:, moment]).max() < 1e-12
        # Third order is reached slowly: the first steps have fewer outputs to go by.
        assert exact or measured_order(errors[:, moment]) == pytest.approx(order, abs=0.2 if order < 3 else 0.6)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["vp", "subvp", "ve"])
@pytest.mark.parametrize("solver", list(SOLVERS))
def test_from_the_prior_to_clean_data_the_exact_moments_converge(name, solver):
    """To the data's law for stochastic solvers; to the flow map's image of the prior for deterministic ones."""
    sde, maps = PROCESSES[name], step_maps(name, solver)
    (mean_1, std_1), (mean, std) = law(sde, 1.0), law(sde, sde.t_min)
    variance = std**2
    if solver in DETERMINISTIC:
        mean, variance = mean - std / std_1 * mean_1, (std / std_1 * sde.prior_scale) ** 2
    coarse, fine = (
        np.abs(propagated_moments(maps[grid], 0.0, sde.prior_scale**2) / np.array([mean, variance]) - 1).max()
        for grid in ("prior, 100 steps", "prior, 400 steps")
    )
    assert fine < 0.35 * coarse or fine < 1e-3
    # Euler on this grid leaves most of its error in the first steps of a process whose scale spans four decades.
    assert fine < (0.12 if (name, solver) == ("ve", "euler") else 0.04)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["vp", "ve"])
def test_ddim_with_full_noise_is_the_ancestral_sampler(name):
    full, half, none, ancestral = (
        step_maps(name, solver)["prior, 20 steps"] for solver in ("ddim 1.0", "ddim 0.5", "ddim", "ancestral")
    )
    for ours, theirs in zip(full, ancestral, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
    # eta scales the fresh noise, and what is taken from the predicted noise makes up for it.
    noise = ancestral[1][:, 0, 2]
    np.testing.assert_allclose(half[1][:, 0, 2], 0.5 * noise, rtol=1e-8)
    np.testing.assert_array_equal(none[1][:, 0, 2], 0.0)
    assert (noise > 0).all()


@pytest.mark.usefixtures("double_precision")
def test_the_corrector_settles_on_its_own_stationary_law():
    """With ever finer steps Langevin corrections dominate: x -> x - d x/v + sqrt(2 d) z has variance v/(1 - d/2v)."""
    snr, times = 0.3, jnp.linspace(0.301, 0.3, 713)
    mean, std = law(VP, 0.3)
    size = 2 * (snr * scales(VP, 0.3)[1]) ** 2
    [steps] = affine_steps(predictor_corrector(snr=snr, corrections=1), VP, [times])
    got_mean, got_variance = propagated_moments(steps, mean + 0.2, 2 * std**2)
    assert got_mean == pytest.approx(mean, rel=1e-3)
    assert got_variance == pytest.approx(std**2 / (1 - size / (2 * std**2)), rel=1e-3)
    assert size / (2 * std**2) > 0.05  # the bias is far above the tolerance


@pytest.mark.usefixtures("double_precision")
def test_each_correction_is_one_langevin_step_at_the_new_time():
    times = jnp.linspace(0.4, 0.3, 713)
    mean, std = law(VP, float(times[1]))
    size = 2 * (0.2 * scales(VP, float(times[1]))[1]) ** 2

    def after_the_first_step(solver):
        [(constants, matrices)] = affine_steps(solver, VP, [times])
        return propagated_moments((constants[:1], matrices[:1]), mean + 0.2, 2 * std**2)

    uncorrected = SOLVERS["euler_maruyama"]
    before, once, twice = map(
        after_the_first_step, [uncorrected, *(predictor_corrector(snr=0.2, corrections=k) for k in (1, 2))]
    )
    keep = 1 - size / std**2
    for old, new in ((before, once), (once, twice)):
        np.testing.assert_allclose(new, [mean + keep * (old[0] - mean), keep**2 * old[1] + 2 * size], rtol=1e-9)


def always_two(x, t, cond):
    """The score of data that sits at 2 in every coordinate."""
    alpha, sigma = VP.alpha(t)[:, None], VP.sigma(t)[:, None]
    return -(x - alpha * 2.0) / sigma**2


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("clip", [None, 1.5])
def test_exponential_integrators_are_exact_for_a_constant_clean_prediction(name, clip):
    """The noise is then constant along the path, whatever the steps; clipping acts on the prediction of x_0."""
    score = jax.tree_util.Partial(always_two)
    start = chunk_of(SOLVERS["ddim"], score, VP, [0.9])
    end = chunk_of(SOLVERS[name], score, VP, [0.9, 0.5, 0.45, 0.1], clip=clip)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = scales(VP, 0.9), scales(VP, 0.1)
    clean = 2.0 if clip is None else clip
    np.testing.assert_allclose(end, alpha_s * clean + sigma_s * (start - alpha_t * clean) / sigma_t, rtol=1e-9)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_a_step_costs_the_evaluations_it_declares(name):
    calls = []

    def predict(x, t):
        calls.append(t)
        return x, x

    solver = SOLVERS[name]
    plans = jax.jit(solver.plan, static_argnums=0)(VP, jnp.array([0.6, 0.5, 0.4]), jnp.ones(()))
    plan = jax.tree.map(lambda rows: rows[1], plans)
    t, s, before = jnp.array([0.5, 0.4, 0.6])
    point = Point(t, s, before, jnp.asarray(False), plan=plan)
    solver.step(VP, predict, point, jnp.ones(3), solver.start(jnp.ones(3)), lambda i: jnp.ones(3))
    assert len(calls) == solver.evaluations


def angle_and_log_snr(sde, t):
    ends = np.array([1.0, sde.t_min])
    kinds = [sde.log_snr, lambda t: np.arctan(np.exp(-0.5 * sde.log_snr(t)))]
    values, edges = (np.array([kind(at) for kind in kinds]) for at in (t, ends))
    return np.array([0.25, 0.75]) @ ((values - edges[:, :1]) / (edges[:, 1:] - edges[:, :1]))


@NAMES
@pytest.mark.parametrize(
    ("grid", "variable"),
    [
        ("uniform", lambda sde, t: t),
        ("quadratic", lambda sde, t: np.sqrt(t)),
        ("log_snr", lambda sde, t: sde.log_snr(t)),
        ("blend", angle_and_log_snr),
        ("edm", lambda sde, t: jnp.exp(-0.5 * sde.log_snr(t)) ** (1 / 7)),
    ],
)
@pytest.mark.usefixtures("double_precision")
def test_grids_are_even_in_their_variable_and_end_where_they_should(name, grid, variable):
    sde = PROCESSES[name]
    times = make_grid(grid, sde, 13)
    assert times[0] == 1.0 and times[-1] == pytest.approx(sde.t_min, abs=1e-12)
    assert (np.diff(times) < 0).all()
    steps = np.diff(np.asarray(variable(sde, times), np.float64))
    np.testing.assert_allclose(steps, steps.mean(), rtol=2e-6)
    # Trailing times are those of a chain, where they are tested.
    assert set(GRIDS) == {"uniform", "quadratic", "log_snr", "blend", "edm", "trailing"}


def test_a_grid_that_a_program_makes_is_that_of_the_host():
    sde = PROCESSES["cosine"]
    # All samples of a seed hang on these bits.
    jitted = grids._grid(grids.blend, sde, 7, jnp.ones(()))
    np.testing.assert_array_equal(make_grid("blend", sde, 7), jitted)
    within = jax.jit(lambda scale: scale * make_grid("blend", sde, 7))
    np.testing.assert_allclose(within(2.0), 2 * make_grid("blend", sde, 7), rtol=1e-6)


# The sampler as it is used: single precision, chunks, guidance.

KEY = jax.random.key(7)


def guided_score(sde):
    source, target = paper_pair()
    return log_ratio_guidance(ExactLogRatio(source, target, sde))(ExactScore(source, sde))


def mean_density_between(first, second):
    """E_{x ~ first}[ second(x) ]: a sum of Gaussians in the differences of the means, with twice the variance."""
    variance = float(first.variance) + float(second.variance)
    square = ((np.asarray(first.means)[:, None] - np.asarray(second.means)) ** 2).sum(-1)
    weight = np.asarray(first.weights)[:, None] * np.asarray(second.weights)
    return float((weight * np.exp(-0.5 * square / variance)).sum() / (2 * math.pi * variance))


@functools.cache
def default_samples(guided):
    """10,000 samples of the default sampler."""
    score = guided_score(VP) if guided else ExactScore(paper_pair()[0], VP)
    return sample(KEY, score, VP, np.arange(10_000), (2,))


def test_default_guided_samples_have_the_targets_mean_density_and_unguided_the_sources():
    source, target = paper_pair()
    guided, plain = (density(target, default_samples(kind).astype(np.float64)).mean() for kind in (True, False))
    # 0.4006 and 0.0653; the allowances hold the error of ten steps as well as that of 10,000 samples.
    assert guided == pytest.approx(mean_density_between(target, target), abs=0.01)
    assert plain == pytest.approx(mean_density_between(source, target), abs=0.005)


def test_default_guided_samples_have_the_targets_mean_and_covariance():
    mean, cov = mixture_moments(paper_pair()[1])
    assert_moments(default_samples(True), mean, cov, errors=4.5, bias=0.005)


def test_default_guided_samples_are_as_close_to_the_target_as_another_draw_from_it():
    """Averaged over eight sets of 10,000, as one distance at the floor varies by a quarter."""
    source, target = paper_pair()
    fresh = [draw(target, 10_000, seed=seed)[0] for seed in range(16)]
    guided = sample(KEY, guided_score(VP), VP, np.arange(80_000), (2,)).reshape(8, 10_000, 2)
    floor, reached = (
        np.mean([sliced_w2(a, b, seed=i) for i, (a, b) in enumerate(zip(sets, fresh[:8], strict=True))])
        for sets in (fresh[8:], guided)
    )
    assert reached < 1.3 * floor
    assert sliced_w2(draw(source, 10_000, seed=99)[0], fresh[0]) > 20 * floor


def test_class_conditional_guidance_reaches_the_target_component_of_each_label():
    _, target = paper_pair()
    labels = np.arange(4000) % 2
    out = sample(KEY, guided_score(VP), VP, np.arange(4000), (2,), cond=jnp.asarray(labels), num_steps=50)
    for label in (0, 1):
        assert_moments(out[labels == label], np.asarray(target.means[label]), 0.1 * np.eye(2), errors=4.5, bias=0.002)


@pytest.mark.parametrize("name", ["subvp", "cosine", "ve"])
def test_other_processes_reach_the_targets_moments(name):
    sde = PROCESSES[name]
    mean, cov = mixture_moments(paper_pair()[1])
    out = sample(KEY, guided_score(sde), sde, np.arange(5000), (2,), num_steps=60)
    assert_moments(out, mean, cov, errors=4.5, bias=0.003)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_the_loop_draws_from_the_law_that_its_steps_imply(name):
    """Sample moments against the propagated ones: nothing but sampling error is left, even at few steps."""
    with jax.enable_x64(True):
        mean, variance = propagated_moments(step_maps("vp", name)["prior, 20 steps"], 0.0, 1.0)
    score = ExactScore(single_gaussian([MEAN, MEAN], VARIANCE), VP)
    out = sample(KEY, score, VP, np.arange(8192), (2,), solver=name, grid="quadratic", num_steps=20, chunk=4096)
    assert_moments(out, np.full(2, mean), variance * np.eye(2), errors=4.5, bias=1e-4)
    # A noise draw that two samples shared would show in the products of neighbours.
    centred = out.astype(np.float64) - mean
    assert standard_errors(centred[::2] * centred[1::2], 0.0).max() < 4.5


def few(ids, *, key=KEY, cond=None, chunk=64, **options):
    """Samples of a cheap stochastic run, so that every noise draw shows."""
    options = {"solver": "ancestral", "num_steps": 6, **options}
    return sample(key, guided_score(VP), VP, np.asarray(ids), (2,), cond=cond, chunk=chunk, **options)


def test_a_sample_has_the_same_bits_whatever_else_is_drawn():
    whole = few(np.arange(300))  # four full chunks and a remainder
    np.testing.assert_array_equal(few(np.arange(64)), whole[:64])
    np.testing.assert_array_equal(few([250]), whole[250:251])
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(few(order), whole[order])
    np.testing.assert_array_equal(few([7, 299, 7]), whole[[7, 299, 7]])


def test_different_ids_and_keys_give_different_samples():
    whole = few(np.arange(300))
    assert len(np.unique(whole, axis=0)) == 300
    assert (whole != few(np.arange(300), key=jax.random.key(8))).all()
    np.testing.assert_array_equal(whole, few(np.arange(300)))
    # The largest identity that is promised.
    assert (few([2**32 - 1]) != whole[:1]).all()


def test_labels_follow_their_ids():
    ids, labels = np.arange(150), np.arange(150) % 2
    whole = few(ids, cond=jnp.asarray(labels))
    order = np.random.default_rng(1).permutation(150)
    np.testing.assert_array_equal(few(ids[order], cond=jnp.asarray(labels[order])), whole[order])
    flipped = few(ids, cond=jnp.asarray(1 - labels))
    assert (flipped != whole).all()


@pytest.mark.parametrize("start", [0.3, 0.64])
def test_samples_that_start_from_rows_follow_the_flow_map_from_there(start):
    """Of a Gaussian the probability flow is a map: from a row noised to the start, down to clean data."""
    score = ExactScore(single_gaussian([MEAN], VARIANCE), VP)
    init = np.linspace(-2, 2, 40)[:, None]
    options = {"init": init, "start": start, "solver": "dpmpp_2m", "num_steps": 400, "chunk": 16}
    found = sample(KEY, score, VP, 40, (1,), **options)
    noise = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, i), 0), 0) for i in range(40)]
    eps = np.stack([jax.random.normal(key, (1,)) for key in noise])
    alpha, sigma = scales(VP, start)
    (mean_t, std_t), (mean, std) = law(VP, start), law(VP, VP.t_min)
    exact = mean + std / std_t * (alpha * init + sigma * eps - mean_t)
    assert np.abs(exact - init).max() > 0.2
    np.testing.assert_allclose(found, exact, atol=2e-3)
    np.testing.assert_array_equal(sample(KEY, score, VP, 3, (1,), **(options | {"init": init[:3]})), found[:3])


def test_one_program_serves_all_counts_and_parameter_values():
    traces = []

    def linear(slope, x, t, cond):
        traces.append(1)
        return -slope * x

    def run(slope, count):
        return sample(KEY, jax.tree_util.Partial(linear, jnp.asarray(slope)), VP, np.arange(count), (2,), chunk=32)

    first = run(1.0, 20)
    compiled = len(traces)
    run(1.0, 100)
    assert (run(2.0, 33)[:20] != first).all()
    assert compiled >= 1 and len(traces) == compiled


def test_progress_counts_finished_samples():
    seen = []
    few(np.arange(150), progress=seen.append)
    assert seen == [64, 128, 150]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"solver": "rk45"}, "dpmpp_2m"),
        ({"grid": "linear"}, "log_snr"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": -3}, "num_steps"),
        ({"chunk": 0}, "chunk"),
        ({"cond": jnp.zeros(4, jnp.int32)}, "cond"),
        ({"cond": {"y": jnp.zeros(5, jnp.int32), "z": jnp.zeros((6, 2))}}, "cond"),
        ({"cond": 1}, "cond"),
        ({"init": np.zeros((4, 2))}, "init has shape"),
        ({"init": np.zeros((5, 2)), "start": 0.0}, "starts at 0.0: give a time above"),
        ({"init": np.zeros((5, 2)), "start": 1.5}, "at most 1"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(change, says):
    with pytest.raises(UserError, match=says):
        few(np.arange(5), **change)


@pytest.mark.parametrize("ids", [np.array([-1]), np.array([2**32]), np.array([0.5])])
def test_identities_outside_their_range_are_refused(ids):
    # They would wrap around or be cut, and then share their noise with another sample.
    with pytest.raises(UserError, match="ids"):
        few(ids)


@pytest.mark.parametrize("build", [lambda: ddim(1.5), lambda: ddim(-0.5), lambda: predictor_corrector(snr=0.0)])
def test_impossible_solver_settings_are_refused(build):
    with pytest.raises(UserError):
        build()
