"""Finished stages on disk: what is saved comes back to the bit, damage and full disks are told, nothing half stays."""

import errno
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.train.checkpoint import Store

MARK, OTHER = "a" * 64, "b" * 64
FACTS = {"history": {"step": [1, 2], "loss": [0.5, float("nan")]}, "info": {"best_step": 2}, "seconds": 1.5}


def tree() -> dict:
    """The kinds of leaves that stages leave: kernels, biases, keys' ints, scalars, and numbers that round badly."""
    rng = np.random.default_rng(0)
    return {
        "params": {"params": {"Dense_0": {"kernel": rng.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4)}}},
        "weights": np.array([1 / 3, np.nan, np.inf, -0.0, 1e-45], np.float32),
        "count": np.int32(7),
        "bandwidth": np.float32(0.1),
        "labels": np.arange(5),
    }


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "checkpoints")
    store.save("source", MARK, tree(), FACTS)
    return store


def entries(store: Store) -> set[str]:
    return set(os.listdir(store.root))


def test_what_is_saved_comes_back_to_the_bit(store):
    found, facts = store.load("source", MARK)
    assert_same_bits(found, tree())
    assert facts["info"] == FACTS["info"] and facts["seconds"] == 1.5 and facts["history"]["step"] == [1, 2]
    assert np.isnan(facts["history"]["loss"][1])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


def test_device_arrays_are_saved_as_well(store):
    on_device = jax.tree.map(jnp.asarray, {"w": np.arange(3.0, dtype=np.float32)})
    store.save("other", MARK, on_device, {})
    assert_same_bits(store.load("other", MARK)[0], {"w": np.arange(3.0, dtype=np.float32)})


def test_a_stage_is_found_by_name_and_fingerprint_alone(store):
    assert store.load("source", OTHER) is None
    assert store.load("classifier", MARK) is None
    assert Store(store.root.parent / "nowhere").load("source", MARK) is None
    assert not (store.root.parent / "nowhere").exists()


def test_only_the_finished_folder_is_left(store):
    assert entries(store) == {store.path("source", MARK).name}


def test_a_relative_root_is_fixed_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("checkpoints")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.save("source", MARK, {"w": np.ones(2)}, {})
    assert (tmp_path / "checkpoints").is_dir() and not (tmp_path / "elsewhere" / "checkpoints").exists()


def test_saving_again_replaces(store):
    store.save("source", MARK, {"w": np.ones(2)}, {"new": True})
    found, facts = store.load("source", MARK)
    assert_same_bits(found, {"w": np.ones(2)})
    assert facts["new"] and entries(store) == {store.path("source", MARK).name}


# Damage


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _flip(folder):
    # Whichever file holds the arrays: every one of them, in the middle.
    for path in (folder / "arrays").rglob("*"):
        if path.is_file() and path.stat().st_size > 8:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 255
            path.write_bytes(content)


def _truncate_arrays(folder):
    for path in (folder / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_arrays(folder):
    shutil.rmtree(folder / "arrays")


def _drop_data_files(folder):
    for path in (folder / "arrays").rglob("d/*"):
        path.unlink()


def _truncate_record(folder):
    text = (folder / "stage.json").read_text()
    (folder / "stage.json").write_text(text[: len(text) // 2])


def _drop_record(folder):
    (folder / "stage.json").unlink()


def _empty_record(folder):
    (folder / "stage.json").write_text("{}")


def _foreign_record(folder):
    (folder / "stage.json").write_text("[1, 2]")


def _empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def _plain_file(folder):
    shutil.rmtree(folder)
    folder.write_text("something else")


def _other_stage(folder):
    # Copied by hand under this stage's name.
    record = json.loads((folder / "stage.json").read_text())
    (folder / "stage.json").write_text(json.dumps(record | {"fingerprint": OTHER}))


def _changed_number(folder):
    # A sound checkpoint, but not the one that the record describes.
    shutil.rmtree(folder / "arrays")
    changed = tree()
    changed["bandwidth"] = np.float32(0.2)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "arrays", changed)


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        _truncate_arrays,
        _drop_arrays,
        _drop_data_files,
        _truncate_record,
        _drop_record,
        _empty_record,
        _foreign_record,
        _empty_folder,
        _plain_file,
        _other_stage,
        _changed_number,
    ],
)
def test_damage_is_reported_with_folder_and_remedy(store, damage):
    folder = store.path("source", MARK)
    damage(folder)
    with pytest.raises(UserError) as caught:
        store.load("source", MARK)
    message = str(caught.value)
    assert str(folder) in message and "is damaged" in message and "delete" in message and "run again" in message
    assert "\n" not in message


def test_the_remedy_works(store):
    folder = store.path("source", MARK)
    _flip(folder)
    shutil.rmtree(folder)
    assert store.load("source", MARK) is None
    store.save("source", MARK, tree(), FACTS)
    assert_same_bits(store.load("source", MARK)[0], tree())


def test_one_flipped_bit_of_an_array_is_noticed(store):
    # Small arrays are stored nearly as they are: a flip may decode without complaint, the digest must see it.
    folder = store.path("source", MARK)
    path = largest_file(folder / "arrays")
    content = path.read_bytes()
    noticed = 0
    for position in range(len(content) // 4, len(content), max(1, len(content) // 8)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            found, _ = store.load("source", MARK)
        except UserError:
            noticed += 1
        else:
            assert_same_bits(found, tree())  # a byte that nothing depends on
    assert noticed


# A place that can not be written


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def storage_layer_full(*args, **kwargs):
    raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")


def half_written(self, path, *args, **kwargs):
    path.mkdir(parents=True)
    (path / "half").write_bytes(b"x")
    full_disk()


@pytest.mark.parametrize(
    ("place", "name", "failure"),
    [
        (ocp.StandardCheckpointer, "save", full_disk),
        (ocp.StandardCheckpointer, "save", half_written),
        (ocp.StandardCheckpointer, "save", storage_layer_full),
        (ocp.StandardCheckpointer, "wait_until_finished", full_disk),
        (os, "replace", full_disk),
    ],
)
def test_a_full_disk_leaves_what_was_there_and_nothing_half(store, monkeypatch, place, name, failure):
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(place, name, failure)
        with pytest.raises(UserError) as caught:
            store.save("guidance", MARK, tree(), FACTS)
    assert "can not be written" in str(caught.value) and "free some space" in str(caught.value)
    assert str(store.path("guidance", MARK)) in str(caught.value)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before
    assert entries(store) == {store.path("source", MARK).name}
    assert_same_bits(store.load("source", MARK)[0], tree())
    assert store.load("guidance", MARK) is None
    # With room again it goes on.
    store.save("guidance", MARK, tree(), FACTS)
    assert_same_bits(store.load("guidance", MARK)[0], tree())


def test_an_interrupt_leaves_nothing_half(store, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.save("guidance", MARK, tree(), FACTS)
    assert entries(store) == {store.path("source", MARK).name}


def test_a_root_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"can not be written .*: choose another place; finished stages are kept"):
            Store(root).save("source", MARK, tree(), FACTS)
        assert Store(root).load("source", MARK) is None
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_place_is_reported(tmp_path):
    place = tmp_path / "fixed"
    place.mkdir(mode=0o555)
    with pytest.raises(UserError, match="can not be written"):
        Store(place / "checkpoints").save("source", MARK, tree(), FACTS)
