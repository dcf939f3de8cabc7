"""What a run keeps of its problem is enough to draw samples: networks, labels and units are those of the rows."""

import numpy as np
import pytest

from tests.data.ecg.writers import signals
from tgdp_jax.app.subcommands import config_class
from tgdp_jax.data.ecg.leads import TWELVE, eight
from tgdp_jax.data.facts import problem_facts, problem_of_facts
from tgdp_jax.data.npz import read_npz
from tgdp_jax.data.registry import PROBLEMS, load_problem
from tgdp_jax.runtime.files import write_npz
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.stages import named_key

RNG = np.random.default_rng(0)
# Rows [N, *D] of the problems that are of the user's files, and options of the others.
ROWS = {
    "arrays": lambda num: RNG.normal(size=(num, 3)) * [1.0, 20.0, 300.0],
    "images": lambda num: RNG.uniform(size=(num, 8, 8)),
    "ecg": lambda num: eight(signals(num, rate=100, seconds=0.5, seed=num) / 1000, TWELVE, "test"),
}
OPTIONS = {
    "gaussians": {"num_source": 200, "conditional": True},
    "digits": {"conditional": True},
    "ecg-sim": {"seconds": 1.0, "rate": 50, "num_source": 200, "conditional": True},
    "ecg": {"seconds": 0.5, "conditional": True},
    "arrays": {"conditional": True},
    "images": {"conditional": True},
}


def problem_config(name, folder):
    files = {}
    if name in ROWS:
        for part, num in (("source", 120), ("target", 40)):
            files[part] = folder / f"{part}.npz"
            np.savez(files[part], x=ROWS[name](num), y=np.arange(num) % 3)
    return PROBLEMS[name].config(**files, **OPTIONS.get(name, {}))


# Rows of the last are made by a pretrained pipeline alone: `tests/e2e/test_text_images.py` samples from its facts.
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "text-images"])
def test_a_problem_without_its_rows_gives_the_same_samples(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = config_class(RunConfig, name, PROBLEMS[name])(problem=problem_config(name, tmp_path))
    problem = load_problem(config.problem, n_target=12, seed=1)
    assert PROBLEMS[name].rows in (None, problem.kind)
    write_npz(tmp_path / "facts.npz", problem_facts(problem))
    kept = problem_of_facts(read_npz(tmp_path / "facts.npz", list(problem_facts(problem)), ""))
    assert denoiser(config, kept) == denoiser(config, problem)
    for fact in ("name", "shape", "kind", "num_classes", "num_labels", "data_std", "classes", "ecg_rate"):
        assert getattr(kept, fact) == getattr(problem, fact), fact
    assert kept.modalities == problem.modalities
    ids, key = np.arange(50), named_key(1, "labels")
    np.testing.assert_array_equal(kept.target_labels(key, ids), problem.target_labels(key, ids))
    x = RNG.normal(size=(4, *problem.shape)).astype(np.float32)
    np.testing.assert_array_equal(kept.scaler.to_user(x), problem.scaler.to_user(x))
