"""Methods and diagnoses of arrays and DataFrames that lie in memory."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import tgdp_jax as tg
from tests import tiny
from tgdp_jax.data.registry import load_problem
from tgdp_jax.data.saved import save_rows


def frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "length": rng.normal(10.0, 2.0, rows),
            "count": rng.integers(0, 50, rows),
            "colour": rng.permutation(np.resize(["red", "blue"], rows)),
            "kind": rng.permutation(np.resize(["cat", "dog"], rows)),
        }
    )


def test_a_method_takes_data_frames_and_gives_them_back():
    source, target = frame(200, 0), frame(12, 1)
    model = tg.transfer.run(
        *("sir", source, target),
        label="kind",
        conditional=True,
        columns=("count", "colour"),
        settings=tiny.TRAINING,
    )
    drawn = model.frame(model.sample(20))
    assert list(drawn.columns) == ["count", "colour", "kind"] and len(drawn) == 20
    # This method draws source rows.
    known = set(source[["count", "colour", "kind"]].itertuples(index=False, name=None))
    assert set(drawn.itertuples(index=False, name=None)) <= known


def test_samples_of_arrays_have_numbered_columns():
    rng = np.random.default_rng(0)
    model = tg.transfer.run("kde", rng.normal(size=(200, 2)), rng.normal(size=(8, 2)))
    samples = model.sample(3)
    np.testing.assert_array_equal(model.frame(samples)[["x1", "x2"]], samples.x)
    series = tg.transfer.run("kde", rng.normal(size=(200, 4, 2)), rng.normal(size=(8, 4, 2)))
    with pytest.raises(tg.UserError, match=r"samples of shape \(4, 2\) make no table"):
        series.frame(series.sample(3))


def test_a_diagnosis_takes_arrays_and_data_frames():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(200, 2)), rng.normal(size=(30, 2)) + 1
    bare = tg.diagnose(source, target)
    assert bare == tg.diagnose({"x": source}, {"x": target})
    frames = (pd.DataFrame(x, columns=["a", "b"]).assign(kind="cat") for x in (source, target))
    assert bare == tg.diagnose(*frames, label="kind")
    with pytest.raises(tg.UserError, match=r"the source has shape \(200,\)"):
        tg.diagnose(source[:, 0], target[:, 0])


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_a_comparison_takes_what_lies_in_memory_as_files(tmp_path):
    rng = np.random.default_rng(0)
    arrays = save_rows({"x": rng.normal(size=(200, 2))}, rng.normal(size=(30, 2)), tmp_path / "arrays")
    assert len(load_problem(arrays, n_target=8, seed=0).source) == 200
    source = frame(200, 0).assign(code=pd.Categorical(["1", "2"] * 100))
    target = frame(40, 1).assign(code=pd.Categorical(["2"] * 40))
    problem = save_rows(source, target, tmp_path / "data", columns=("length", "code"), label="kind")
    config = tg.CompareConfig(
        problem=problem, methods=("kde",), n_targets=(8,), seeds=1, sampling=tiny.TRAINING.sampling
    )
    tg.compare(config, tmp_path / "compare")
    assert (tmp_path / "compare/metrics.json").exists()
    columns = load_problem(problem, n_target=8, seed=0).columns
    assert columns is not None and columns.names == ("length", "code=1", "code=2")
    with pytest.raises(tg.UserError, match="the target has missing values"):
        save_rows(source, target.assign(length=np.nan), tmp_path / "bad", columns=("length",))
    assert not (tmp_path / "bad").exists()
