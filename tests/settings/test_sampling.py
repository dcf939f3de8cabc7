"""What a sampler takes where settings do not say it, and what another solver changes."""

import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.sampling import SOLVERS
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.sampling import SamplingChange, SamplingConfig
from tgdp_jax.settings.stored import from_json, to_json


def how(sampling):
    return sampling.solver, sampling.grid, sampling.steps


def test_a_solver_takes_the_grid_and_the_steps_that_suit_it():
    assert how(SamplingConfig().suited) == ("centre_3m", "blend", 10)
    assert how(SamplingConfig(solver="dpmpp_2m").suited) == ("dpmpp_2m", "log_snr", 25)
    assert how(SamplingConfig(solver="heun", steps=7).suited) == ("heun", "log_snr", 7)
    assert how(SamplingConfig(grid="edm").suited) == ("centre_3m", "edm", 10)
    for name in SOLVERS:
        given = SamplingConfig(solver=name, num=3).suited
        assert given.suited == given and given.num == 3


def test_another_solver_does_not_take_over_the_steps_of_the_runs():
    run = SamplingConfig(solver="centre_3m", steps=8, clip=1.0)
    assert how(SamplingChange(solver="dpmpp_2m").of_sampler(run).suited) == ("dpmpp_2m", "log_snr", 25)
    assert SamplingChange(solver="dpmpp_2m").of_sampler(run).clip == 1.0
    assert how(SamplingChange(solver="heun", steps=5).of_sampler(run).suited) == ("heun", "log_snr", 5)
    # The run's own solver is no change.
    assert how(SamplingChange(solver="centre_3m", grid="edm").of_sampler(run)) == ("centre_3m", "edm", 8)
    assert SamplingChange().of_sampler(run) == run


def test_a_run_of_before_the_default_changed_is_sampled_as_it_was():
    stored = to_json(RunConfig())
    stored["sampling"] |= {"solver": "dpmpp_2m", "grid": "log_snr", "steps": 25}  # what such folders name
    sampling = from_json(RunConfig, stored).sampling
    assert how(sampling) == how(sampling.suited) == ("dpmpp_2m", "log_snr", 25)
    # Today's folders name the solver, so that they keep theirs in their turn.
    assert to_json(RunConfig())["sampling"]["solver"] == "centre_3m"


@pytest.mark.parametrize("wrong", [{"grid": "linear"}, {"steps": 0}, {"steps": 10**6}, {"solver": "rk45"}])
def test_settings_of_a_sampler_that_there_are_not_are_refused(wrong):
    with pytest.raises(UserError):
        SamplingConfig(**wrong)
