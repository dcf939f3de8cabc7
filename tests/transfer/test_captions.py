"""Captions by their numbers: the network is told what the pipeline tells its denoiser, with and without a new word."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from tests.helpers import spread_params
from tests.interop.latents import model
from tests.interop.pipelines import drawn, tiny_pipeline, without_middle
from tgdp_jax.data.problem import Captions, Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.interop import clip_text
from tgdp_jax.interop.pipeline import XL, TextEncoder
from tgdp_jax.nets.captioned import CaptionFeatures, caption_features
from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.embedding import Prompt
from tgdp_jax.nets.heads import ClassifierHead, SourceFeatures, frozen
from tgdp_jax.settings.presets.text import TextTrainingConfig
from tgdp_jax.train.batches import all_rows
from tgdp_jax.train.denoising import denoising_task
from tgdp_jax.train.fit import start, train_step
from tgdp_jax.train.optimiser import OptimiserConfig, course
from tgdp_jax.train.reparam import flat, merged
from tgdp_jax.transfer.adaptation import DENOISER
from tgdp_jax.transfer.captions import captioned_net, captioned_variables, check_captions, with_new_token
from tgdp_jax.transfer.heads import shared_variables
from tgdp_jax.transfer.textual_inversion import WORD

CLASSES = ("a cat", "a dog and a <toy>", "a photo")
PLAIN = ("a cat", "a dog", "a photo")


def xl_pipeline():
    """With two text encoders, pooled texts and sizes."""
    one = tiny_pipeline()
    words = one.encoders[0].tokenizer
    encoders = []
    for seed, (width, projection) in enumerate([(8, None), (4, 10)]):
        net = CLIPText(
            vocab=words.size, width=width, layers=2, heads=2, hidden=8, positions=words.length, projection=projection
        )
        encoders.append(TextEncoder(net=net, params=drawn(clip_text.expected(net), 5 + seed), tokenizer=words))
    net, params = model("stable-diffusion-xl", block_out_channels=[8, 8], norm_num_groups=4, attention_head_dim=[1, 2])
    return dataclasses.replace(one, kind=XL, net=net, params=params, encoders=tuple(encoders), zeros=True)


PIPELINES = {"one encoder": tiny_pipeline, "two encoders": xl_pipeline}


def problem_of(pipe, token="<toy>", initial="cat", classes=CLASSES):
    shape = pipe.shape()
    return Problem(
        "text-images",
        Data(np.empty((0, *shape), np.float32)),
        Data(np.zeros((3, *shape), np.float32), np.arange(3)),
        None,
        num_classes=len(classes),
        classes=classes,
        captions=Captions(token=token, initial=initial),
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_the_network_is_told_what_the_pipeline_tells_its_denoiser(name):
    pipe = PIPELINES[name]()
    problem = problem_of(pipe)
    plain, worded = (
        captioned_net(pipe, problem, dtype=jnp.float32, remat=False, new_token=new) for new in (False, True)
    )
    variables = captioned_variables(pipe, problem)
    base = with_new_token(pipe, problem, variables)
    captions = jnp.asarray([1, 0, 2, 3])
    told = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b]), pipe.embed(["a dog and a cat", "a cat", "a photo"]), pipe.negative()
    )

    text = jax.jit(lambda net, params, cond: net.apply(params, cond, method="text"), static_argnums=0)
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(close, text(plain, variables, captions), told)
    # The new word starts as the one that it starts from, and captions say themselves which are of the new domain.
    jax.tree.map(close, text(worded, base, Prompt(captions, captions > 1)), told)
    rows = WORD.init(jax.random.key(0), base)
    assert len(flat(rows)) == len(pipe.encoders)
    moved = merged(WORD, base, jax.tree.map(lambda row: row + np.arange(row.size) % 3, rows))
    changed = {path for path, leaf in flat(moved).items() if (leaf != flat(base)[path]).any()}
    assert changed == {path.removesuffix("/row") for path in flat(rows)}
    differs = np.abs(text(worded, moved, captions).tokens - told.tokens).max((1, 2))
    assert differs[0] > 0.01 and (differs[1:] < 1e-5).all()  # one caption alone names it


def test_a_word_of_several_vectors_takes_the_place_of_as_many_tokens():
    pipe = tiny_pipeline()
    problem = problem_of(pipe)
    net = captioned_net(pipe, problem, dtype=jnp.float32, remat=False, new_token=True, vectors=3)
    base = with_new_token(pipe, problem, captioned_variables(pipe, problem), vectors=3)
    word = dataclasses.replace(WORD, count=3)
    rows = word.init(jax.random.key(0), base)
    [start] = flat(rows).values()
    np.testing.assert_array_equal(start, np.tile(start[0], (3, 1)))  # all begin as the known word
    moved = start + np.arange(36).reshape(3, 12) % 5
    text = net.apply(merged(word, base, jax.tree.map(lambda _: moved, rows)), jnp.arange(3), method="text")
    encoder = pipe.encoders[0].with_token("<toy>", np.asarray(moved))
    told = dataclasses.replace(pipe, encoders=(encoder,)).embed(CLASSES)
    np.testing.assert_allclose(text.tokens, told.tokens, atol=1e-5)


def test_text_encoders_are_read_without_a_new_word():
    pipe = tiny_pipeline()
    problem = problem_of(pipe)  # names a word, which is read as the one that it starts from
    net = captioned_net(pipe, problem, dtype=jnp.float32, remat=False, new_token=True, vectors=0)
    base = with_new_token(pipe, problem, captioned_variables(pipe, problem), vectors=0)
    told = pipe.embed(["a cat", "a dog and a cat", "a photo"])
    np.testing.assert_allclose(net.apply(base, jnp.arange(3), method="text").tokens, told.tokens, atol=1e-5)


def test_a_missing_caption_is_zeros_where_the_pipeline_says_so():
    pipe = xl_pipeline()
    table = captioned_variables(pipe, problem_of(pipe))["captions"]
    assert not table["tokens"][-1].any() and not table["pooled"][-1].any() and table["tokens"][0].any()
    np.testing.assert_array_equal(table["time_ids"], np.tile([16, 16, 0, 0, 16, 16], (4, 1)))


def test_heads_are_told_of_captions_by_their_embeddings():
    pipe = tiny_pipeline()
    # Capital letters are read as small ones: the first two have one embedding.
    problem = problem_of(pipe, None, None, ("a cat", "A Cat", "a dog"))
    variables = captioned_variables(pipe, problem)
    told = caption_features(variables)
    assert told.shape == (4, 2 * pipe.net.text_dim)
    np.testing.assert_allclose(told[0], told[1], atol=1e-6)
    np.testing.assert_allclose(told[:3].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((told[:3] ** 2).mean(), 1, rtol=1e-3)
    net = ClassifierHead((4,), (8,), 3, texts=CaptionFeatures(3, told.shape[1]))
    x, given = jax.random.normal(jax.random.key(0), (3, 4, 4, 4)), {"source": {"texts": {"table": told}}}
    left = shared_variables(TextTrainingConfig(), {"source": {"params": variables}})
    np.testing.assert_array_equal(left["source"]["texts"]["table"], told)
    x = x[:1].repeat(3, 0)
    params = {"params": spread_params(net.init, x, jnp.arange(3))["params"]}
    logits = net.apply({**params, **given}, x, jnp.arange(3))
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    assert abs(logits[0] - logits[2]) > 0.01
    # Shares of captions, which training mixes, are shares of their embeddings; no caption has one as well.
    shares = net.apply({**params, **given}, x, jnp.eye(3))
    np.testing.assert_allclose(shares, logits, atol=1e-5)
    features = net.texts.apply({"source": {"table": told}}, jnp.asarray([3]))
    np.testing.assert_array_equal(features[0], told[3])


def test_heads_may_stand_on_the_denoiser():
    pipe = tiny_pipeline()
    problem = problem_of(pipe, None, None, PLAIN)
    net = captioned_net(pipe, problem, dtype=jnp.float32, remat=False, new_token=False)
    variables = captioned_variables(pipe, problem)
    x, t = jnp.ones((1, *pipe.shape())), jnp.full(1, 0.4)
    [*_, last] = SourceFeatures(net).apply({"source": frozen(variables)["source"]["features"]}, x, t, jnp.ones(1, int))
    wanted = net.apply(variables, x, t, jnp.ones(1, int), method="encode")[-1]
    np.testing.assert_allclose(last, wanted, atol=1e-5)


@pytest.mark.slow
def test_half_precision_and_recomputing_leave_a_step_what_it_is():
    pipe = without_middle()
    problem, config = problem_of(pipe, None, None, PLAIN), OptimiserConfig(batch_size=2, clip_norm=1e9)
    base, key = captioned_variables(pipe, problem), jax.random.key(1)
    data = {"x": jax.random.normal(key, (3, *pipe.shape())), "y": jnp.arange(3), "train": all_rows(3)}
    found = []
    for dtype in (jnp.float32, jnp.bfloat16):
        net = captioned_net(pipe, problem, dtype=dtype, remat=dtype == jnp.bfloat16, new_token=False)
        task = denoising_task(net, pipe.sde, "eps", 2, pipe.shape(), reparam=DENOISER, labelled=True)
        begun = start(key, None, DENOISER.init(key, base), course(config), task=task, config=config, count=1, groups=1)
        step = jax.jit(functools.partial(train_step, task=task, config=config))
        state, terms = step(begun.state, base, data, None, key, course(config))
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
        found.append((float(terms["loss"]), ravel_pytree(state.opt_state[1].mu)[0]))
    (loss, gradient), (half_loss, half_gradient) = found
    np.testing.assert_allclose(half_loss, loss, rtol=0.02)
    assert half_gradient.dtype == jnp.float32 and (half_gradient != gradient).any()
    assert jnp.linalg.norm(half_gradient - gradient) < 0.1 * jnp.linalg.norm(gradient)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token": None, "initial": None}, "names <toy>, an unknown token"),
        ({"initial": "horse"}, "initial is 'horse', which is 5 tokens: give a word that is one token"),
        ({"token": "cat</w>"}, r"'cat</w>' is a token already"),
    ],
)
def test_words_that_can_not_be_read_are_named(change, said):
    pipe = tiny_pipeline()
    with pytest.raises(UserError, match=said):
        check_captions(pipe, problem_of(pipe, **change))


def test_networks_and_problems_of_different_kinds_are_refused():
    pipe = tiny_pipeline()
    other = dataclasses.replace(problem_of(pipe), captions=None)
    with pytest.raises(UserError, match="makes pictures of captions: use the problem text-images"):
        captioned_net(pipe, other, dtype=jnp.float32, remat=False, new_token=False)
    with pytest.raises(UserError, match="needs a new word: give --token and --initial"):
        captioned_net(pipe, problem_of(pipe, None, None), dtype=jnp.float32, remat=False, new_token=True)
