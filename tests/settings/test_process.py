"""Settings of the forward process make the process that they name, with the numbers given."""

import pytest

from tests import helpers
from tgdp_jax.errors import UserError
from tgdp_jax.registry import PROCESSES
from tgdp_jax.sde import VP, DiscreteVP
from tgdp_jax.settings.process import ProcessConfig


def test_every_kind_makes_its_own_process():
    made = {kind: type(ProcessConfig(kind=kind).make()) for kind in PROCESSES}
    assert made == {"discrete": DiscreteVP} | {kind: type(sde) for kind, sde in helpers.PROCESSES.items()}


def test_numbers_are_handed_on():
    assert ProcessConfig(beta_max=10.0).make() == VP(0.1, 10.0)
    assert ProcessConfig(kind="discrete", num_steps=7).make() == DiscreteVP(num_steps=7)


def test_a_kind_that_is_not_registered_is_refused_with_the_list():
    with pytest.raises(UserError, match="unknown forward process 'edm': choose one of cosine, discrete"):
        ProcessConfig(kind="edm")
