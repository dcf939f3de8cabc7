"""Operations counted from a program against those counted on paper."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from tgdp_jax.app.bench.flops import matmul_flops
from tgdp_jax.app.bench.models import EMBEDDED, IMAGES, networks, sampler
from tgdp_jax.app.bench.sampler import evaluation_flops
from tgdp_jax.train.ensemble import EnsembleLogRatio


def forward(*widths):
    return 2 * sum(a * b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("batch", [1, 7])
def test_networks_take_what_the_closed_form_says(name, batch):
    dim, eps, guidance = EMBEDDED[name]
    case = networks(dim, eps, guidance, name=name).case()
    inputs = dim + 4  # the compact time features
    plain = forward(inputs, *eps, dim)
    # Forward, and the gradient by the input: the same products with transposed weights.
    assert evaluation_flops(case, case.unguided, batch) == plain
    assert evaluation_flops(case, case.guided, batch) == plain + 2 * forward(inputs, *guidance, 1)


def test_an_image_sampler_has_a_guidance_network_to_pay_for():
    case = sampler("unet16")
    plain, guided = (evaluation_flops(case, score, 2) for score in (case.unguided, case.guided))
    side, (width, *_), _ = IMAGES["unet16"]
    # The last residual block: two convolutions of 3 x 3 at full resolution, the first of twice the width.
    assert plain > 2 * 9 * side**2 * width * (2 * width + width)
    assert 1.1 * plain < guided < 3 * plain


def test_members_of_an_ensemble_count_each():
    nets = networks(2, (8,), (8, 8), name="tiny")
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), nets.guidance_params)
    ensemble = EnsembleLogRatio(params, jnp.ones(3) / 3, nets.guidance)
    x, t = jnp.zeros((5, 2)), jnp.ones(5)
    average = 2 * 3 * 5
    assert matmul_flops(ensemble, x, t) == 3 * 5 * forward(6, 8, 8, 1) + average


def test_loops_count_their_length_and_branches_the_dearest():
    w = jnp.ones((4, 4))

    def loop(x):
        return jax.lax.scan(lambda y, _: (y @ w, None), x, None, length=10)[0]

    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda y: y @ w @ w, lambda y: y @ w, x)

    x, one = jnp.ones((3, 4)), 2 * 3 * 4 * 4
    assert matmul_flops(loop, x) == 10 * one
    assert matmul_flops(branch, x) == 2 * one
    assert matmul_flops(jax.jit(jnp.exp), x) == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_count_their_kernel(groups):
    x, kernel = jnp.ones((2, 6, 8, 8)), jnp.ones((10, 6 // groups, 3, 3))

    def convolve(x):
        return jax.lax.conv(x, kernel, (1, 1), "SAME") if groups == 1 else grouped(x)

    def grouped(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=groups)

    assert matmul_flops(convolve, x) == 2 * (2 * 10 * 8 * 8) * (6 // groups * 3 * 3)
