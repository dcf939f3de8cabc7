"""The rival computes the same thing, or the comparison is worth nothing."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.app.bench.against_torch import TorchSampler, load_torch, with_middles
from tgdp_jax.app.bench.models import networks
from tgdp_jax.app.bench.solvers import DPM_SOLVER_2
from tgdp_jax.errors import UserError
from tgdp_jax.sampling import SOLVERS, sample
from tgdp_jax.sampling.grids import make_grid
from tgdp_jax.sampling.steps import Solver

STEPS = 12
START = Solver(lambda sde, predict, point, x, memory, noise: (x, memory), 1)


def draw(nets, solver, grid):
    case = nets.case()
    key, settings = jax.random.key(3), {"solver": solver, "grid": grid, "num_steps": STEPS, "chunk": 16}
    return sample(key, case.guided, case.sde, range(16), case.shape, **settings)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpm_solver_2"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.2)])
def test_both_draw_the_same_samples_from_the_same_noise(solver, precision, tolerance):
    torch = pytest.importorskip("torch")
    nets = networks(3, (16, 16, 8), (16, 16), name="tiny", precision=precision)
    sampler = TorchSampler(nets)
    noise = torch.tensor(draw(nets, START, "log_snr"), device=sampler.device)
    if solver == "dpmpp_2m":
        ours = draw(nets, SOLVERS["dpmpp_2m"], "log_snr")
        theirs = sampler.dpmpp_2m(noise, sampler.levels(make_grid("log_snr", sampler.sde, STEPS)))
    else:
        ours = draw(nets, DPM_SOLVER_2, "uniform")
        times = with_middles(sampler.sde, make_grid("uniform", sampler.sde, STEPS))
        theirs = sampler.dpm_solver_2(noise, sampler.levels(times))
    assert ours.std() > 0.1
    np.testing.assert_allclose(theirs.cpu().numpy(), ours, rtol=tolerance, atol=tolerance)


def test_the_rival_draws_in_chunks_as_in_one(monkeypatch):
    torch = pytest.importorskip("torch")
    sampler = TorchSampler(networks(2, (8,), (8,), name="tiny"))
    levels = sampler.levels(make_grid("log_snr", sampler.sde, 4))
    noise = torch.tensor(np.random.default_rng(0).normal(size=(10, 2)), dtype=torch.float32)
    drawn = []
    for chunk in (10, 4):
        rows = iter(noise)
        monkeypatch.setattr(
            torch, "randn", lambda num, dim, device, rows=rows: torch.stack([next(rows) for _ in range(num)])
        )
        drawn.append(sampler.draw(sampler.dpmpp_2m, levels, 10, chunk))
    assert drawn[0].shape == (10, 2)
    np.testing.assert_allclose(drawn[0], drawn[1], rtol=1e-4, atol=1e-4)


def test_middles_halve_the_log_snr():
    sde = networks(2, (8,), (8,), name="tiny").eps.sde
    times = make_grid("uniform", sde, 5)
    both = with_middles(sde, times)
    assert both.shape == (11,) and bool(jnp.all(jnp.diff(both) < 0))
    np.testing.assert_array_equal(both[::2], times)
    log_snr = sde.log_snr(both)
    np.testing.assert_allclose(log_snr[1::2], (log_snr[:-2:2] + log_snr[2::2]) / 2, rtol=1e-3, atol=1e-3)


def test_a_missing_rival_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'tgdp-jax\[torch\]'"):
        load_torch()
