"""What is stacked and how, without any training but a small ratio's."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import evaluate, spread_params
from tgdp_jax.data.problem import Data, Problem
from tgdp_jax.errors import UserError
from tgdp_jax.prediction import NetworkScore
from tgdp_jax.settings.methods import StackedConfig, TgdpDenoisingConfig
from tgdp_jax.settings.networks import NetworkConfig
from tgdp_jax.train.denoising import fresh_params
from tgdp_jax.train.reparam import flat, merged
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.heads import clean_log_ratio
from tgdp_jax.transfer.lora import lora, lora_stage
from tgdp_jax.transfer.networks import denoiser, denoiser_score, with_token
from tgdp_jax.transfer.ratio import classifier_stage
from tgdp_jax.transfer.stacked import _shares
from tgdp_jax.transfer.stages import named_key
from tgdp_jax.transfer.textual_inversion import TOKEN
from tgdp_jax.transfer.tgdp_denoising import _log_ratios

LORA = tiny.TRAINING.lora.make()
BLACK = Data(np.zeros((8, 4, 4, 1), np.float32))
PICTURES = Problem("pictures", BLACK, BLACK, None)
OF_PICTURES = dataclasses.replace(
    tiny.TRAINING,
    network=NetworkConfig(kind="dit", width=8, depth=1, heads=2),
    stacked=StackedConfig(members=("lora", "tgdp_denoising"), even_at=25.0),
)


def changed(training=tiny.TRAINING, section="rival", **changes):
    return dataclasses.replace(training, **{section: dataclasses.replace(getattr(training, section), **changes)})


def spread_trees(training, problem):
    """What the stages might have left, at random."""
    net = denoiser(training, problem)
    source = spread_params(lambda key: fresh_params(key, net, problem.shape), scale=0.2)
    members = {
        name: {"params": spread_params(LORA.init, source, scale=0.2, seed=seed)}
        for seed, name in enumerate(("lora", "tgdp_denoising"))
    }
    return {"source": {"params": source}, **members}


def inputs(problem):
    x = np.random.default_rng(0).normal(size=(20, *problem.shape)).astype(np.float32)
    return jnp.asarray(x), jnp.linspace(0.01, 1, 20)


def test_of_vectors_scores_are_combined_with_the_chosen_weights():
    problem = tiny.problem()
    trees = spread_trees(tiny.TRAINING, problem)
    base = with_token(tiny.TRAINING, problem, trees["source"]["params"])
    trees["textual_inversion"] = {"params": spread_params(TOKEN.init, base)}
    weights = np.random.default_rng(0).uniform(0, 1, (3, 1)).astype(np.float32) * np.ones(6, np.float32)
    stack = METHODS["stacked"].generator(tiny.TRAINING, problem, {**trees, "stacked": {"weights": weights}}).score
    at = inputs(problem)

    def score(params, **token):
        return np.asarray(evaluate(denoiser_score(tiny.TRAINING, problem, params, **token), *at))

    source = score(trees["source"]["params"])
    members = [
        score(merged(LORA, trees["source"]["params"], trees["lora"]["params"])),
        score(merged(TOKEN, base, trees["textual_inversion"]["params"]), new_token=True),
        score(merged(LORA, trees["source"]["params"], trees["tgdp_denoising"]["params"])),
    ]
    expected = source + sum(w[0] * (member - source) for w, member in zip(weights, members, strict=True))
    np.testing.assert_allclose(evaluate(stack, *at), expected, rtol=1e-3, atol=1e-4)


def test_of_images_the_networks_weights_are_averaged():
    trees = spread_trees(OF_PICTURES, PICTURES)
    shares = np.array([[0.75], [0.25]], np.float32)
    score = METHODS["stacked"].generator(OF_PICTURES, PICTURES, {**trees, "stacked": {"weights": shares}}).score
    assert isinstance(score, NetworkScore)
    source = trees["source"]["params"]
    a, b = (flat(merged(LORA, source, trees[name]["params"])) for name in ("lora", "tgdp_denoising"))
    for path, leaf in flat(score.params).items():
        np.testing.assert_allclose(leaf, 0.75 * a[path] + 0.25 * b[path], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("num", "share"), [(25, 0.5), (100, 0.8), (0, 0.0)])
def test_of_images_members_without_source_rows_count_more_the_more_rows_there_are(num, share):
    np.testing.assert_allclose(_shares(OF_PICTURES, num), [[share], [1 - share]], rtol=1e-5)
    np.testing.assert_allclose(_shares(changed(OF_PICTURES, "stacked", members=("lora",)), 10), [[1.0]])


def test_members_are_trained_for_what_they_are_combined_by():
    def rival(training, problem):
        stages = METHODS["stacked"].stages(training, problem)
        return next(stage for stage in stages if stage.name == "lora").uses["rival"]

    assert rival(changed(shrink=False), tiny.problem())["shrink"]  # folds are kept
    assert rival(changed(OF_PICTURES, finish="refit"), PICTURES)["finish"] == "soup"


def test_what_can_not_be_stacked_is_refused_before_anything_is_trained():
    def refused(message, training, problem):
        with pytest.raises(UserError, match=message):
            METHODS["stacked"].stages(training, problem)

    token = changed(OF_PICTURES, "stacked", members=("lora", "textual_inversion"))
    refused("new token can not be averaged with others: leave textual_inversion out", token, PICTURES)
    refused("--classifier.folds is 2 and --rival.folds 3", changed(folds=3), tiny.problem())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": ()}, r"members is \(\): give at least one"),
        ({"members": ("lora", "lora")}, "and each once"),
        ({"members": ("kde",)}, "unknown member 'kde': choose one of lora"),
        ({"knots": 0}, "knots is 0"),
        ({"smoothness": -1.0}, "smoothness -1.0: give 1 or more, and 0 or more"),
        ({"even_at": 0.0}, "even-at is 0.0: it must be positive"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message):
    with pytest.raises(UserError, match=message):
        StackedConfig(**changes)


@pytest.mark.parametrize("name", ["share", "source_from"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_and_times_lie_between_0_and_1(name, value):
    with pytest.raises(UserError, match=f"{name.replace('_', '-')} is {value}: it must lie between 0 and 1"):
        TgdpDenoisingConfig(**{name: value})


@pytest.mark.parametrize("weights", [None, np.zeros((1, 6), np.float32), np.full((1, 6), 0.5, np.float32)])
def test_one_method_is_shrunk_by_its_weights(weights):
    problem = tiny.problem()
    trees = spread_trees(tiny.TRAINING, problem)
    left = trees["lora"] if weights is None else {**trees["lora"], "shrink": weights}
    scores = [
        METHODS[name].generator(tiny.TRAINING, problem, {**trees, "lora": left}).score for name in ("source", "lora")
    ]
    whole = METHODS["lora"].generator(tiny.TRAINING, problem, trees).score
    at, share = inputs(problem), 1.0 if weights is None else weights[0, 0]
    source, found, all_of_it = (np.asarray(evaluate(score, *at)) for score in (*scores, whole))
    np.testing.assert_allclose(found, source + share * (all_of_it - source), rtol=1e-3, atol=1e-4)
    assert (np.abs(all_of_it - source) > 1e-3).any()


@pytest.mark.parametrize("finish", ["soup", "refit"])
def test_an_adaptation_leaves_its_folds_and_their_average_where_no_last_training_takes_its_place(finish):
    problem, training = tiny.problem(), changed(finish=finish)
    trees = {"source": spread_trees(training, problem)["source"]}
    left = lora_stage(training, problem).run(named_key(0, "lora"), trees, QUIET)
    tree = left.artefact.to_tree()
    average = LORA.average(jax.tree.map(jnp.asarray, tree["folds"]))
    of_average, found = (
        flat(merged(LORA, trees["source"]["params"], trained)) for trained in (average, tree["params"])
    )
    apart = max(float(np.abs(found[path] - leaf).max()) for path, leaf in of_average.items())
    assert (apart < 1e-5) == (finish == "soup")
    assert {len(leaf) for leaf in jax.tree.leaves(tree["folds"])} == {4} and tree["shrink"].shape == (1, 6)
    assert left.info["held_out_gain"] >= 0 and left.info["weights"] == tree["shrink"].tolist()


def test_a_folds_source_rows_are_drawn_by_classifiers_that_saw_none_of_its_held_out_rows():
    problem = tiny.problem()
    stage = classifier_stage(tiny.TRAINING, problem)
    trees = {"classifier": stage.run(named_key(0, "classifier"), {}, QUIET).artefact.to_tree()}
    together, folds = _log_ratios(lora(tiny.TRAINING, problem), trees)
    num = 4  # twice as many as the settings say, for there are only eight rows
    assert folds.shape == (num, len(problem.source)) and together.shape == folds[0].shape
    np.testing.assert_allclose(folds.mean(0), together, rtol=1e-3, atol=1e-4)
    ratio = clean_log_ratio(tiny.TRAINING, problem, jax.tree.map(jnp.asarray, trees))
    for fold in range(num):
        params = jax.tree.map(lambda leaf, k=fold: leaf[k::num], ratio.params)
        own = dataclasses.replace(ratio, params=params, weights=ratio.weights[fold::num])
        np.testing.assert_allclose(folds[fold], num * own(problem.source.x, None), rtol=1e-3, atol=1e-4)
    assert np.abs(folds[0] - folds[1]).max() > 1e-3
