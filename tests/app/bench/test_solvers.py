"""The rival's solver is what its paper says, and quality is read off the curves rightly."""

import jax
import numpy as np
import pytest

from tests.helpers import single_gaussian
from tgdp_jax.app.bench.solvers import CURVES, DPM_SOLVER_2, Quality, evaluations_needed
from tgdp_jax.data.mixture import ExactScore
from tgdp_jax.sampling import SOLVERS, sample
from tgdp_jax.sde import VP


def test_dpm_solver_2_is_of_second_order():
    vp = VP()
    score = ExactScore(single_gaussian([0.3], 0.2), vp)

    def draw(solver, grid, steps):
        return sample(jax.random.key(0), score, vp, range(8), (1,), solver=solver, grid=grid, num_steps=steps, chunk=8)

    exact = draw(SOLVERS["heun"], "quadratic", 2000)
    errors = [np.abs(draw(DPM_SOLVER_2, "log_snr", steps) - exact).max() for steps in (10, 20, 40)]
    assert 3.0 < errors[0] / errors[1] < 5.5
    assert 3.0 < errors[1] / errors[2] < 5.5


@pytest.mark.parametrize(
    ("goal", "needed"),
    [
        (0.5, 10),  # the first point is there already
        (0.4, 10),
        (0.1, 40),
        (0.2, 20),  # halfway in logarithms, between 10 and 40
        (0.19, 22),  # rounded up to a whole number of two-evaluation steps
        (0.01, None),
    ],
)
def test_evaluations_needed(goal, needed):
    assert evaluations_needed([(10, 0.4), (40, 0.1)], goal, 2) == needed


def test_quality_tells_a_good_sampler_from_a_bad_one():
    quality = Quality(2000)
    good, bad = quality(*CURVES["dpmpp_2m"], 25), quality(*CURVES["ddim"], 10)
    assert good < 2 * quality.floor < bad
