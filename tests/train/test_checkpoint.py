"""Finished stages on disk: what is saved comes back to the bit, damage and full disks are told, nothing half stays."""

import errno
import json
import os
import shutil
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tgdp_jax.errors import UserError
from tgdp_jax.train.checkpoint import Partial, Store

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


def flips(folder):
    """Each file in turn with one bit or one byte changed, at several places; yields its name."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not (content := path.read_bytes()):
            continue
        for position in sorted({0, len(content) // 5, len(content) // 2, len(content) * 4 // 5, len(content) - 1}):
            for mask in (1, 255):
                changed = bytes([content[position] ^ mask])
                path.write_bytes(content[:position] + changed + content[position + 1 :])
                yield path.name
        path.write_bytes(content)


def test_no_changed_byte_of_a_finished_stage_changes_what_is_read(store):
    folder, noticed = store.path("source", MARK), Counter()
    for name in flips(folder):
        try:
            found, facts = store.load("source", MARK)
        except UserError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)
            noticed[name] += 1
        else:  # a byte that nothing depends on, such as the time of writing
            assert_same_bits(found, tree())
            assert facts["info"] == FACTS["info"] and facts["seconds"] == 1.5
    assert noticed["stage.json"] == 10 and sum(noticed.values()) > 30


KEY, HISTORY = jax.random.key(3), {"step": [5.0, 10.0, 20.0], "loss": [0.5, 0.25, 0.125]}


def saved_at(folder, steps=(10, 20)) -> Partial:
    partial = Partial(folder, seconds=0)
    for step in steps:
        partial.save("fit", tree(), KEY, {name: values[: steps.index(step) + 2] for name, values in HISTORY.items()})
    partial.close()
    return partial


def test_no_changed_byte_of_training_under_way_changes_what_is_read(tmp_path):
    saved_at(tmp_path / "sound")
    told, unnoticed = [], Counter()
    names = list(flips(tmp_path / "sound" / "fit" / "20"))
    for index, name in enumerate(flips(tmp_path / "sound" / "fit" / "20")):
        assert names[index] == name
        folder = shutil.copytree(tmp_path / "sound", tmp_path / "flipped")
        before = len(told)
        partial = Partial(folder, seconds=0, warn=told.append)
        state, history = partial.restore("fit", tree(), KEY)
        partial.close()
        assert_same_bits(state, tree())
        assert history == {key: values[: 3 - (len(told) - before)] for key, values in HISTORY.items()}
        unnoticed[name] += len(told) == before
        shutil.rmtree(folder)
    assert all("is damaged" in text and "going on from the one before" in text for text in told) and len(told) > 30
    assert not any("\n" in text for text in told)
    # The facts are all in "metadata".
    assert names.count("metadata") == 10 and not unnoticed["metadata"]


@pytest.mark.parametrize(
    "facts",
    [
        {"history": {"step": [5, 10, 9020]}},
        {"history": {"step": []}},
        {"history": [20]},
        {"history": None},
        {"seconds": None},
        {"seconds": "long"},
        {"digest": 3},
        {"digest": None},
        {"key": "3"},
    ],
)
def test_facts_of_training_under_way_that_are_not_what_was_written_are_damage(tmp_path, facts):
    """Also where an earlier version wrote them, whose record is of the arrays alone."""
    saved_at(tmp_path)
    path = tmp_path / "fit" / "20" / "facts" / "metadata"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "digest": stored["digest"].split(".")[0], **facts}))
    told = []
    partial = Partial(tmp_path, seconds=0, warn=told.append)
    assert partial.restore("fit", tree(), KEY)[1]["step"] == [5, 10] and len(told) == 1
    partial.close()


def test_checkpoints_of_earlier_versions_are_read(store, tmp_path):
    def arrays_alone(path):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"digest": stored["digest"].split(".")[0]}))

    arrays_alone(store.path("source", MARK) / "stage.json")
    assert_same_bits(store.load("source", MARK)[0], tree())
    saved_at(tmp_path / "way")
    arrays_alone(tmp_path / "way" / "fit" / "20" / "facts" / "metadata")
    partial = Partial(tmp_path / "way", seconds=0)
    assert partial.restore("fit", tree(), KEY)[1] == HISTORY
    partial.close()


def test_a_sound_checkpoint_is_not_damaged_because_memory_is_short(store, tmp_path, monkeypatch):
    saved_at(tmp_path / "way")

    def no_memory(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    partial = Partial(tmp_path / "way", seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.StandardCheckpointer, "restore", no_memory)
        patch.setattr(ocp.CheckpointManager, "restore", no_memory)
        with pytest.raises(RuntimeError, match="new thread"):
            store.load("source", MARK)
        with pytest.raises(RuntimeError, match="new thread"):
            partial.restore("fit", tree(), KEY)
    partial.close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


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
