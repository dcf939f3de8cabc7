"""Adapters in a file: they come back as they were, and whatever is wrong with a file is said."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.helpers import spread_params
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_adapters, save_adapters
from tgdp_jax.train.reparam import LowRank, flat

LORA = LowRank(rank=2, alpha=3.0, targets="(query|out|conv)/kernel$")
SHAPES = {"query": (4, 2, 3), "out": (2, 3, 4), "conv": (3, 3, 2, 5), "other": (4, 4)}
BASE = {"params": {name: {"kernel": np.zeros(shape, np.float32)} for name, shape in SHAPES.items()}}
ADAPTERS = spread_params(LORA.init, BASE)


@pytest.fixture
def file(tmp_path):
    save_adapters(tmp_path / "new" / "a.safetensors", LORA, ADAPTERS)
    return tmp_path / "new" / "a.safetensors"


def test_a_round_trip_changes_nothing(file):
    reparam, adapters = load_adapters(file, BASE)
    assert reparam == LORA
    assert jax.tree.structure(adapters) == jax.tree.structure(ADAPTERS)
    jax.tree.map(np.testing.assert_array_equal, adapters, ADAPTERS)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    save_adapters(file, reparam, jax.tree.map(lambda leaf: leaf + 1, adapters))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), load_adapters(file, BASE)[1], ADAPTERS)


def rewrite(file, change=lambda tensors: tensors, **metadata):
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata() | metadata
    metadata = {name: value for name, value in metadata.items() if value is not None}
    safetensors.numpy.save_file(change(safetensors.numpy.load_file(file)), file, metadata=metadata)


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def test_a_damaged_file_is_refused(file):
    whole = file.read_bytes()
    for part in (whole[:-10], whole[:50], b""):
        file.write_bytes(part)
        with pytest.raises(UserError, match="damaged or cut off"):
            load_adapters(file, BASE)
    file.unlink()
    with pytest.raises(UserError, match="does not exist"):
        load_adapters(file, BASE)


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"format": None}])
def test_a_foreign_file_is_refused(file, metadata):
    rewrite(file, **metadata)
    with pytest.raises(UserError, match="holds no low-rank adapters of tgdp_jax"):
        load_adapters(file, BASE)


def test_a_file_without_adapters_is_refused(file):
    rewrite(file, lambda tensors: {})
    with pytest.raises(UserError, match="holds 0 tensors"):
        load_adapters(file, BASE)


@pytest.mark.parametrize("metadata", [{"rank": None}, {"rank": "two"}, {"alpha": "much"}, {"targets": None}])
def test_a_file_that_does_not_say_its_rank_and_scale_is_refused(file, metadata):
    rewrite(file, **metadata)
    with pytest.raises(UserError, match="does not say its rank, alpha and targets"):
        load_adapters(file, BASE)


def test_a_missing_factor_is_named(file):
    rewrite(file, without("params/query/kernel/b"))
    with pytest.raises(UserError, match="holds params/query/kernel/a, which fits no kernel"):
        load_adapters(file, BASE)


@pytest.mark.parametrize("name", ["query", "conv"])
def test_adapters_of_another_network_are_refused(file, name):
    fewer = {"params": {key: value for key, value in BASE["params"].items() if key != name}}
    with pytest.raises(UserError, match=f"params/{name}/kernel/a, which fits no kernel of the base"):
        load_adapters(file, fewer)
    shape = SHAPES[name]
    wider = {"params": BASE["params"] | {name: {"kernel": np.zeros((*shape[:-1], shape[-1] + 1))}}}
    with pytest.raises(UserError, match=rf"params/{name}/kernel/b is .* does not fit the base's kernel \[{shape[0]},"):
        load_adapters(file, wider)


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="can not be written"):
        save_adapters(tmp_path / "taken" / "a.safetensors", LORA, ADAPTERS)


def test_names_are_those_of_the_kernels(file):
    tensors = safetensors.numpy.load_file(file)
    assert set(tensors) == set(flat(ADAPTERS)) and "params/conv/kernel/a" in tensors
