"""What every transfer method promises, walked over the registry: a new method is tested by being in it."""

import dataclasses
import hashlib
import json
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.helpers import evaluate
from tgdp_jax.app.evaluation import draw_samples, evaluate_samples
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data.facts import problem_facts, problem_of_facts
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.problem import Problem
from tgdp_jax.errors import UserError
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.settings.methods import DomainGuidanceConfig
from tgdp_jax.settings.run import TrainingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.train.reparam import flat
from tgdp_jax.train.session import QUIET
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.stages import named_key, num_parameters, silent, train_method

KINDS = {"unconditional": tiny.GAUSSIANS, "conditional": tiny.CONDITIONAL}
WITHOUT_NETWORK = {"kde"}


class Workshop:
    """One problem, one store, and what a display would have been told."""

    def __init__(self, root: Path, config: GaussiansConfig):
        self.config, self.problem = config, tiny.problem(config)
        self.store = Store(root)
        self.told: list[tuple[str, bool]] = []

    def train(self, method, *, training: TrainingConfig = tiny.TRAINING, seed: int = 0, store: Store | None = None):
        def watch(name, finished):
            self.told.append((name, finished))
            return None

        identity = problem_identity(self.config)
        return train_method(training, self.problem, identity, method, seed, store or self.store, watch)

    def draw(self, trained, num: int = tiny.NUM, *, seed: int = 0):
        return draw_samples(trained.generator, self.problem, seed, num, silent)


@pytest.fixture(scope="module", params=KINDS)
def shop(request, tmp_path_factory):
    """All methods, trained one after the other into one store."""
    shop = Workshop(tmp_path_factory.mktemp("store"), KINDS[request.param])
    shop.trained = {"source": shop.train("source")}
    shop.source_files = files(shop.store.root)
    shop.trained |= {name: shop.train(name) for name in METHODS if name != "source"}
    shop.samples = {name: shop.draw(trained) for name, trained in shop.trained.items()}
    shop.first_told = list(shop.told)
    return shop


@pytest.fixture(scope="module")
def again(shop, tmp_path_factory):
    """All methods once more from the same seed, into a store of their own."""
    store = Store(tmp_path_factory.mktemp("again"))
    return {name: shop.train(name, store=store) for name in METHODS}


@pytest.fixture(scope="module")
def otherwise(shop, tmp_path_factory):
    """All methods from another seed."""
    store = Store(tmp_path_factory.mktemp("otherwise"))
    return {name: shop.train(name, seed=1, store=store) for name in METHODS}


def bits(tree) -> list[tuple]:
    """Structure and every byte of a tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(p), str(a.dtype), a.shape, np.asarray(a).tobytes()) for p, a in leaves]


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cycle", [0.0, 0.5])
@pytest.mark.parametrize("name", METHODS)
def test_stages_come_after_what_they_need(name, cycle, kind):
    training = dataclasses.replace(tiny.TRAINING, guidance=dataclasses.replace(tiny.TRAINING.guidance, cycle=cycle))
    stages = METHODS[name].stages(training, tiny.problem(KINDS[kind]))
    names = [stage.name for stage in stages]
    assert names and len(set(names)) == len(names)
    for i, stage in enumerate(stages):
        assert set(stage.needs) <= set(names[:i])
        json.dumps(stage.uses)


@pytest.mark.parametrize("name", METHODS)
class TestMethod:
    def test_it_leaves_nested_dicts_of_finite_arrays(self, shop, name):
        def check(tree):
            if isinstance(tree, dict):
                assert tree and all(isinstance(key, str) for key in tree)
                return [check(value) for value in tree.values()]
            assert isinstance(tree, (jax.Array, np.ndarray)) and np.isfinite(tree).all()

        trained = shop.trained[name]
        assert set(trained.trees) == {s.name for s in METHODS[name].stages(tiny.TRAINING, shop.problem)}
        check(trained.trees)
        assert (num_parameters(trained.trees) > 0) == (name not in WITHOUT_NETWORK)

    def test_it_survives_the_disk_to_the_bit(self, shop, name):
        mark = len(shop.told)
        again = shop.train(name, store=Store(shop.store.root))
        assert all(finished for _, finished in shop.told[mark:])
        assert bits(again.trees) == bits(shop.trained[name].trees)
        assert again.seconds == pytest.approx(shop.trained[name].seconds)
        x, y = shop.draw(again)
        np.testing.assert_array_equal(x, shop.samples[name][0])
        np.testing.assert_array_equal(y, shop.samples[name][1])

    def test_curves_and_facts_survive_the_disk(self, shop, name):
        again = shop.train(name)
        for stage, result in shop.trained[name].reports.items():
            assert json.loads(json.dumps(result.info)) == again.reports[stage].info
            assert set(result.history) == set(again.reports[stage].history)
            for key, values in result.history.items():
                np.testing.assert_array_equal(values, again.reports[stage].history[key])
                assert len(values) == len(result.history["step"])

    def test_samples_are_finite_rows(self, shop, name):
        x, y = shop.samples[name]
        assert x.shape == (tiny.NUM, *shop.problem.shape) and x.dtype == np.float32
        assert np.isfinite(x).all() and np.all(x.std(0) > 0)
        if shop.problem.conditional:
            assert y.shape == (tiny.NUM,) and set(y.tolist()) <= set(shop.problem.target.y.tolist())
        else:
            assert y is None

    def test_it_draws_without_the_rows_that_it_was_trained_on(self, shop, name):
        if METHODS[name].draws_rows:
            return
        kept = problem_of_facts(problem_facts(shop.problem))
        generator = METHODS[name].generator(tiny.TRAINING, kept, shop.trained[name].trees)
        x, y = draw_samples(generator, kept, 0, tiny.NUM, silent)
        np.testing.assert_array_equal(x, shop.samples[name][0])
        np.testing.assert_array_equal(y, shop.samples[name][1])

    def test_a_sample_depends_on_its_id_alone(self, shop, name):
        x, y = shop.samples[name]
        few, labels = shop.draw(shop.trained[name], 10)
        np.testing.assert_array_equal(few, x[:10])
        np.testing.assert_array_equal(labels, None if y is None else y[:10])
        # More than one launch's worth.
        np.testing.assert_array_equal(shop.draw(shop.trained[name], tiny.NUM + 7)[0][: tiny.NUM], x)
        # Any ids, in any order.
        ids = np.array([60, 3, 17])
        key = named_key(0, "sample")
        some = shop.trained[name].generator.draw(key, ids, None if y is None else y[ids])
        np.testing.assert_array_equal(some, x[ids])

    def test_equal_seeds_give_equal_bits(self, shop, again, name):
        assert bits(again[name].trees) == bits(shop.trained[name].trees)

    def test_other_seeds_give_other_samples(self, shop, otherwise, name):
        if name not in WITHOUT_NETWORK:
            assert bits(otherwise[name].trees) != bits(shop.trained[name].trees)
        assert (shop.draw(shop.trained[name], seed=1)[0] != shop.samples[name][0]).any(1).mean() > 0.9

    def test_another_key_gives_other_samples_of_the_same_model(self, shop, name):
        _, y = shop.samples[name]
        draw = shop.trained[name].generator.draw
        a, b = (draw(jax.random.key(k), np.arange(tiny.NUM), y) for k in (1, 2))
        assert (a != b).any(1).mean() > 0.8

    def test_progress_counts_samples(self, shop, name):
        done = []
        ids = np.arange(tiny.NUM + 7)
        y = shop.problem.target_labels(named_key(0, "labels"), ids)
        shop.trained[name].generator.draw(jax.random.key(0), ids, y, progress=done.append)
        assert done == sorted(done) and done[-1] == len(ids)

    def test_it_needs_of_the_source_what_its_card_says(self, shop, name, monkeypatch):
        card = METHODS[name].card
        # The scale of the data is part of the networks: a pretrained model brings it along.
        monkeypatch.setattr(Problem, "data_std", shop.problem.data_std)
        unseen = dataclasses.replace(shop.problem.source, x=np.full_like(shop.problem.source.x, np.nan))
        blind = dataclasses.replace(shop.problem, source=unseen)
        stages = METHODS[name].stages(tiny.TRAINING, blind)
        assert (card.source_model != "nothing") == any(not stage.uses_target for stage in stages)
        trees = {stage.name: shop.trained[name].trees[stage.name] for stage in stages if not stage.uses_target}
        on_target = [stage for stage in stages if stage.uses_target]
        if card.source_rows:
            with pytest.raises(UserError, match="diverged"):
                for stage in on_target:
                    trees[stage.name] = stage.run(named_key(0, stage.name), trees, QUIET).artefact.to_tree()
            return
        for stage in on_target:
            trees[stage.name] = stage.run(named_key(0, stage.name), trees, QUIET).artefact.to_tree()
            assert bits(trees[stage.name]) == bits(shop.trained[name].trees[stage.name])

    def test_what_it_trained_on_the_target_is_counted(self, shop, name):
        trained = shop.trained[name]
        source = num_parameters({"source": trained.trees.get("source", {})})
        total = num_parameters(trained.trees)
        assert 0 <= trained.trained_parameters <= total
        assert (trained.trained_parameters == 0) == (METHODS[name].card.trains in ("nothing", "one bandwidth"))
        if name in ("finetune", "tgdp", "source"):
            assert trained.trained_parameters + source == total

    def test_labels_matter_where_there_are_labels_and_are_refused_elsewhere(self, shop, name):
        def draw(label):
            cond = np.full(tiny.NUM, label, np.int32)
            return shop.trained[name].generator.draw(jax.random.key(0), np.arange(tiny.NUM), cond)

        if shop.problem.conditional:
            assert (draw(0) != draw(1)).any(1).all()
        else:
            with pytest.raises(UserError, match="labels were"):
                draw(0)


def test_stages_that_methods_share_are_trained_once(shop):
    trained = Counter(name for name, finished in shop.first_told if not finished)
    loaded = Counter(name for name, finished in shop.first_told if finished)
    assert set(trained.values()) == {1}
    wanted = Counter(s.name for m in METHODS.values() for s in m.stages(tiny.TRAINING, shop.problem))
    assert trained + loaded == wanted
    assert wanted["source"] > 2 and wanted["classifier"] > 1
    assert sorted(path.name.rsplit("-", 1)[0] for path in shop.store.root.iterdir()) == sorted(wanted)


def test_the_source_stays_as_it_was(shop):
    source = bits(shop.trained["source"].trees["source"])
    users = [name for name in METHODS if "source" in shop.trained[name].trees and name != "source"]
    assert len(users) > 5
    for name in users:
        assert bits(shop.trained[name].trees["source"]) == source, f"{name} moved the source in memory"
    now = files(shop.store.root)
    assert {path: now[path] for path in shop.source_files} == shop.source_files, "a method moved the source on disk"


@pytest.mark.parametrize("shop", ["conditional"], indirect=True)
def test_a_target_of_one_class_gives_samples_of_that_class(shop, tmp_path):
    one = Workshop(tmp_path, dataclasses.replace(tiny.CONDITIONAL, target_weight=0.0))
    for name in METHODS:
        x, y = one.draw(one.train(name))
        assert np.isfinite(x).all() and set(y.tolist()) == {1}, name


def test_transfer_changes_the_samples(shop):
    x = shop.samples["source"][0]
    for name in METHODS.keys() - {"source"}:
        assert (shop.samples[name][0] != x).any(1).mean() > 0.9, name


@pytest.mark.parametrize("shop", ["unconditional"], indirect=True)
def test_fine_tuning_starts_from_the_source_and_scratch_does_not(shop, tmp_path):
    # A rate too small to move anything leaves each where it started.
    rival = dataclasses.replace(tiny.TRAINING.rival, learning_rates=(1e-12,))
    training = dataclasses.replace(tiny.TRAINING, rival=rival)
    tuned, fresh = (shop.train(name, training=training, store=Store(tmp_path)) for name in ("finetune", "scratch"))
    source = tuned.trees["source"]["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tuned.trees["finetune"]["params"], source)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), fresh.trees["scratch"]["params"], source)
    assert max(jax.tree.leaves(moved)) > 0.1


def test_textual_inversion_moves_the_new_embedding_and_no_other_bit(shop):
    assert tiny.TRAINING.rival.optimiser.weight_decay > 0
    trained = shop.trained["textual_inversion"]
    after, source = flat(trained.generator.score.members[0].params), flat(trained.trees["source"]["params"])
    (path,) = flat(trained.trees["textual_inversion"]["params"])
    assert set(after) == {*source, path} and path == "params/token/row" and np.abs(after[path]).min() > 0
    for name, leaf in source.items():
        assert np.asarray(after[name]).tobytes() == np.asarray(leaf).tobytes(), name


def test_lora_leaves_adapters_that_merge_with_the_source(shop):
    trained = shop.trained["lora"]
    adapters, source = (flat(trained.trees[name]["params"]) for name in ("lora", "source"))
    kernels = {name for name in source if name.endswith("kernel")}
    assert set(adapters) == {f"{name}/{factor}" for name in kernels for factor in "ab"}
    for name, leaf in flat(trained.generator.score.members[0].params).items():
        if name not in kernels:
            np.testing.assert_array_equal(leaf, source[name])
            continue
        product = np.asarray(adapters[f"{name}/a"]) @ np.asarray(adapters[f"{name}/b"])
        np.testing.assert_allclose(leaf - source[name], 2.0 * product, atol=1e-6)  # alpha / rank = 4 / 2
        assert 0 < np.linalg.matrix_rank(product, tol=1e-5) <= 2


def test_dreambooth_starts_from_the_source_and_its_prior_is_the_sources(shop):
    trained = shop.trained["dreambooth"]
    prior, key = trained.trees["prior"], jax.random.split(named_key(0, "prior"))[1]
    labels = np.asarray(prior["y"]) if shop.problem.conditional else None
    drawn = shop.trained["source"].generator.draw(key, np.arange(tiny.TRAINING.dreambooth.num_prior), labels)
    np.testing.assert_array_equal(prior["x"], drawn)
    assert labels is None or set(labels.tolist()) == set(shop.problem.target.y.tolist())
    # Adam moves a weight by no more than about the rate a step (20 of 0.01); fresh weights would lie further off.
    after, source = (flat(trained.trees[name]["params"]) for name in ("dreambooth", "source"))
    fresh = flat(shop.trained["scratch"].trees["scratch"]["params"])
    apart = [max(float(np.abs(params[name] - source[name]).max()) for name in source) for params in (after, fresh)]
    assert set(after) == {*source, "params/token/row"} and 0 < apart[0] < 0.3 < apart[1]


def test_domain_guidance_at_scale_one_is_the_fine_tuned_model(shop):
    one = dataclasses.replace(tiny.TRAINING, domain_guidance=DomainGuidanceConfig(scale=1.0))
    trees = shop.trained["domain_guidance"].trees
    guided = METHODS["domain_guidance"].generator(one, shop.problem, trees)
    x, t = jnp.asarray(shop.problem.source.x[:50]), jnp.linspace(0.1, 1, 50)
    y = jnp.asarray(shop.problem.source.y[:50]) if shop.problem.conditional else None
    tuned = shop.trained["finetune"].generator
    np.testing.assert_allclose(evaluate(guided.score, x, t, y), evaluate(tuned.score, x, t, y), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dreambooth_by_adapters_trains_these_and_the_token(tmp_path):
    shop = Workshop(tmp_path, tiny.CONDITIONAL)
    dreambooth = dataclasses.replace(tiny.TRAINING.dreambooth, lora=True)
    trained = shop.train("dreambooth", training=dataclasses.replace(tiny.TRAINING, dreambooth=dreambooth))
    kernels = {name for name in flat(trained.trees["source"]["params"]) if name.endswith("kernel")}
    found = {name.split("/", 1)[1] for name in flat(trained.trees["dreambooth"]["params"])}
    assert found == {f"{name}/{factor}" for name in kernels for factor in "ab"} | {"params/token/row"}
    assert np.isfinite(shop.draw(trained)[0]).all()


def test_every_method_can_be_judged(shop):
    for name in ("source", "kde"):
        trained = shop.trained[name]
        values = evaluate_samples(tiny.TRAINING, shop.problem, *shop.samples[name], trained.generator.score, 0)
        assert set(values) <= set(METRICS) and {"sw2", "avg_density"} <= set(values)
        assert ("path_kl" in values) == (trained.generator.score is not None)
        assert all(np.isfinite(v.value) for v in values.values())


OPTIONS = {
    "kl, pooled, cycle": {"loss": "kl", "pooled": True, "cycle": 0.5},
    "mse, two draws a row": {"loss": "mse", "draws": 2},
    "log_mse, no consistency": {"loss": "log_mse", "consistency": (0.0,)},
    "cep": {"loss": "cep", "consistency": (1.0,)},
    "shrunk": {"shrink": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_guidance_trains_with_every_loss_and_regulariser(options, tmp_path):
    shop = Workshop(tmp_path, tiny.GAUSSIANS)
    guidance = dataclasses.replace(tiny.TRAINING.guidance, **options)
    trained = shop.train("tgdp", training=dataclasses.replace(tiny.TRAINING, guidance=guidance))
    assert ("noisy_classifier" in trained.trees) == ("cycle" in options)
    parts = set(trained.reports["guidance"].history)
    assert ("cycle" in parts) == ("cycle" in options)
    assert ("consistency" in parts) == (options.get("consistency") != (0.0,))
    assert ("shrink" in trained.trees["guidance"]) == ("shrink" in options)
    assert np.isfinite(shop.draw(trained)[0]).all()
