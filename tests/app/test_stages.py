"""How stages are found again: by everything that they depend on, and by nothing else. Stages here train nothing."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny
from tgdp_jax.app import identity as identity_file
from tgdp_jax.app.evaluation import draw_samples, evaluate_samples, ideal_metrics
from tgdp_jax.app.identity import problem_identity
from tgdp_jax.data.arrays import ArraysConfig
from tgdp_jax.data.gaussians import GaussiansConfig
from tgdp_jax.data.problem import Data
from tgdp_jax.data.registry import load_problem
from tgdp_jax.errors import UserError
from tgdp_jax.runtime.cost import Cost
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.sampling import SamplingConfig
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer import METHODS, TransferMethod
from tgdp_jax.transfer.artefacts import Network
from tgdp_jax.transfer.base import Stage, StageResult
from tgdp_jax.transfer.stages import Trained, num_parameters, silent, train_method


class Toy:
    """A method of two stages, the second on top of the first, that counts its work."""

    def __init__(self):
        self.ran: list[str] = []
        self.keys: dict[str, jax.Array] = {}
        self.uses = {"base": {"size": 1}, "top": {"size": 1}}
        self.needs = ("base",)
        self.fails = False

    def stages(self, config, problem):
        return (
            Stage("base", (), self.uses["base"], uses_target=False, run=self._run("base")),
            Stage("top", self.needs, self.uses["top"], uses_target=True, run=self._run("top")),
        )

    def _run(self, name):
        def run(key, trees, session):
            if name == "top" and self.fails:
                raise KeyboardInterrupt
            self.ran.append(name)
            self.keys[name] = key
            return StageResult(Network(jax.random.normal(key, (3,))), {"step": np.array([1])}, {"fact": 1})

        return run

    def generator(self, config, problem, trees):
        return Lines(trees["top"]["params"])


@dataclasses.dataclass
class Lines:
    w: jax.Array
    score: None = None

    def draw(self, key, ids, cond=None, *, progress=None):
        progress(len(ids))
        return np.asarray(self.w)[None, :2] + np.asarray(ids, np.float32)[:, None]


@pytest.fixture
def toy(monkeypatch):
    toy = Toy()
    monkeypatch.setitem(METHODS, "toy", TransferMethod("toy", METHODS["source"].card, (), toy.stages, toy.generator))
    return toy


@pytest.fixture
def train(toy, tmp_path):
    """Trains the toy and returns the stages that had to be run."""

    def run(*, training=tiny.TRAINING, identity=None, seed=0, n_target=5, store=None):
        toy.ran.clear()
        problem = load_problem(tiny.GAUSSIANS, n_target=n_target, seed=0)
        identity = {"data": 1} if identity is None else identity
        run.trained = train_method(training, problem, identity, "toy", seed, store or Store(tmp_path), silent)
        return list(toy.ran)

    return run


def test_a_finished_stage_is_not_run_again(train):
    assert train() == ["base", "top"]
    assert train() == []
    assert train.trained.reports["top"].info == {"fact": 1}


def test_a_stage_is_run_again_for_its_own_settings(train, toy):
    train()
    toy.uses["top"] = {"size": 2}
    assert train() == ["top"]
    toy.uses["top"] = {"size": 1}
    assert train() == []  # both are kept


def test_a_stage_is_run_again_for_the_settings_of_what_it_needs(train, toy):
    train()
    toy.uses["base"] = {"size": 2}
    assert train() == ["base", "top"]


def test_a_stage_that_needs_nothing_is_left_alone(train, toy):
    toy.needs = ()
    train()
    toy.uses["base"] = {"size": 2}
    assert train() == ["base"]


def test_everything_is_run_again_for_other_data_or_another_seed(train):
    train()
    assert train(identity={"data": 2}) == ["base", "top"]
    assert train(seed=1) == ["base", "top"]


def test_a_seed_of_its_own_lets_other_seeds_share_the_source(tmp_path):
    shared, store = dataclasses.replace(tiny.TRAINING, source_seed=3), Store(tmp_path)
    problem = tiny.problem()
    trees = [train_method(shared, problem, {}, "source", seed, store, silent).trees for seed in (0, 1)]
    jax.tree.map(np.testing.assert_array_equal, *trees)
    assert len(list(tmp_path.glob("source-*"))) == 1


def test_what_is_trained_goes_by_the_source_rows_themselves(tmp_path):
    """Seeds draw their own source rows, but for those of one source seed: what was trained on others is not theirs."""
    store, marks = Store(tmp_path), []
    for source_seed, seed in ((None, 0), (None, 1), (0, 1), (0, 2)):
        problem = load_problem(tiny.GAUSSIANS, n_target=tiny.N_TARGET, seed=seed, source_seed=source_seed)
        config = dataclasses.replace(tiny.TRAINING, source_seed=0)
        train_method(config, problem, {}, "source", seed, store, silent)
        marks.append(len(list(tmp_path.glob("source-*"))))
    assert marks == [1, 2, 2, 2]


def test_only_what_sees_the_target_depends_on_its_number_of_rows(train):
    train()
    assert train(n_target=6) == ["top"]


def test_sampling_settings_train_nothing_anew(train):
    train()
    assert train(training=dataclasses.replace(tiny.TRAINING, sampling=SamplingConfig(num=3, steps=2))) == []


def test_what_was_finished_before_an_interrupt_is_kept(train, toy):
    toy.fails = True
    with pytest.raises(KeyboardInterrupt):
        train()
    toy.fails = False
    assert train() == ["top"]


def test_a_stages_key_is_its_names_and_the_seeds_alone(train, toy, tmp_path):
    train()
    first = dict(toy.keys)
    # Whether the stage before it was loaded or run makes no difference.
    toy.uses["top"] = {"size": 2}
    assert train() == ["top"]
    assert (jax.random.key_data(toy.keys["top"]) == jax.random.key_data(first["top"])).all()
    assert (jax.random.key_data(first["top"]) != jax.random.key_data(first["base"])).any()
    train(seed=1)
    assert (jax.random.key_data(toy.keys["top"]) != jax.random.key_data(first["top"])).any()


def test_training_time_counts_loaded_stages_as_they_were(train, toy, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    train()
    assert train.trained.seconds == 20
    train()
    assert train.trained.seconds == 20


def test_costs_survive_the_disk_and_count_what_sees_the_target(train):
    train()
    first = train.trained
    assert set(first.costs) == {"base", "top"} and first.on_target == ("top",)
    train()
    assert train.trained.costs == first.costs and train.trained.memory == first.memory


@pytest.mark.parametrize(
    ("peaks", "memory"), [({"a": 5, "b": 7}, 7), ({"a": 5, "b": None}, None), ({"a": None}, None), ({}, None)]
)
def test_the_peak_is_known_where_that_of_every_stage_is(peaks, memory):
    costs = {name: Cost(1.0, 0.5, peak) for name, peak in peaks.items()}
    trained = Trained(Broken(), {}, {}, costs, ())
    assert trained.memory == memory and trained.seconds == len(peaks)


def test_the_display_hears_of_every_stage(toy, tmp_path):
    heard = []
    problem = tiny.problem()
    for _ in range(2):
        train_method(tiny.TRAINING, problem, {}, "toy", 0, Store(tmp_path), lambda *a: heard.append(a))
    assert heard == [("base", False), ("top", False), ("base", True), ("top", True)]


def test_unknown_methods_are_refused_with_the_list(tmp_path):
    with pytest.raises(UserError, match="unknown method 'nope': choose one of discriminator_guidance, domain_guidance"):
        train_method(tiny.TRAINING, tiny.problem(), {}, "nope", 0, Store(tmp_path), silent)
    assert not list(tmp_path.iterdir())


def test_samples_that_are_not_finite_are_refused_with_a_remedy():
    with pytest.raises(UserError, match=r"3 of 4 samples are not finite: use more --sampling\.steps"):
        draw_samples(Broken(), tiny.problem(), 0, 4, silent)


class Broken:
    score = None

    def draw(self, key, ids, cond=None, *, progress=None):
        x = np.zeros((len(ids), 2), np.float32)
        x[1, 0], x[2, 1], x[3] = np.nan, np.inf, -np.inf
        return x


# What identifies a problem


def npz(path: Path, seed: int) -> Path:
    np.savez(path, x=np.random.default_rng(seed).normal(size=(200, 2)))
    return path


def test_files_are_read_once_to_identify_them(tmp_path, monkeypatch):
    config = RunConfig(problem=ArraysConfig(source=npz(tmp_path / "a.npz", 0), target=npz(tmp_path / "b.npz", 1)))
    read, once = [], identity_file.files_digest
    monkeypatch.setattr(identity_file, "files_digest", lambda files: read.append(files) or once(files))
    digests, problem = identity_file.identity(config)
    assert len(read) == 2 and problem == problem_identity(config.problem)
    assert digests == {name: problem[name] for name in ("source", "target")}


def test_files_count_by_their_contents_and_not_by_their_place(tmp_path):
    a, b = npz(tmp_path / "a.npz", 0), npz(tmp_path / "b.npz", 1)
    first = problem_identity(ArraysConfig(source=a, target=b))
    moved = npz(tmp_path / "moved.npz", 0)
    assert problem_identity(ArraysConfig(source=moved, target=b)) == first
    assert problem_identity(ArraysConfig(source=b, target=a)) != first
    npz(b, 2)
    assert problem_identity(ArraysConfig(source=a, target=b)) != first


def test_settings_of_a_problem_count():
    plain = problem_identity(GaussiansConfig())
    assert problem_identity(GaussiansConfig()) == plain
    for change in ({"dim": 3}, {"variance": 0.2}, {"conditional": True}, {"target_weight": 1.0}, {"num_source": 500}):
        assert problem_identity(GaussiansConfig(**change)) != plain


# Judging


def judge(problem, samples, labels=None):
    return evaluate_samples(tiny.TRAINING, problem, samples, labels, None, 0)


def test_there_is_nothing_to_judge_by_without_reference_and_density():
    problem = dataclasses.replace(tiny.problem(), reference=None, exact=None)
    assert judge(problem, problem.target.x) == {}


def test_labels_are_judged_within_classes_where_every_class_occurs():
    problem = dataclasses.replace(tiny.problem(tiny.CONDITIONAL), exact=None)
    x, y = problem.reference.x[:200], problem.reference.y[:200]
    right, wrong = judge(problem, x, y)["sw2"].value, judge(problem, x, 1 - y)["sw2"].value
    assert wrong > 3 * right, "samples with swapped labels look right as a whole only"


def test_a_class_without_samples_is_left_out():
    problem = dataclasses.replace(tiny.problem(tiny.CONDITIONAL), exact=None)
    known = problem.reference.y == 0
    x = problem.reference.x[known][:50]
    of_class = dataclasses.replace(problem, reference=Data(problem.reference.x[known], problem.reference.y[known]))
    labels = np.zeros(50, np.int32)
    assert judge(problem, x, labels)["sw2"].value == judge(of_class, x)["sw2"].value


def test_one_sample_can_be_drawn_and_is_not_judged_against_rows():
    problem = tiny.problem()
    values = judge(problem, problem.target.x[:1])
    assert "sw2" not in values and np.isfinite(values["avg_density"].value)


def test_the_floor_is_what_the_target_itself_reads():
    problem = tiny.problem()
    floor = ideal_metrics(tiny.TRAINING, problem, 0)
    assert abs(floor["path_kl"].value) < 1e-6
    # Mean of the target's density under itself, by quadrature over both components.
    assert floor["avg_density"].value == pytest.approx(0.4006, abs=1e-3)
    assert math.isfinite(floor["sw2"].value)
    assert ideal_metrics(tiny.TRAINING, dataclasses.replace(problem, exact=None), 0) == {}


def test_numbers_in_networks_are_counted():
    trees = {
        "a": {"params": {"k": np.zeros((2, 3)), "b": np.zeros(3)}, "values": np.zeros(99)},
        "b": {"bandwidth": np.float32(1)},
    }
    assert num_parameters(trees) == 9
    assert Data(np.zeros((4, 2))).arrays(False).keys() == {"x"}
