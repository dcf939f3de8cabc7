"""Runs of one folder share their finished stages: nothing is trained twice, and every run stays complete in itself."""

import functools
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from tests.e2e.tools import GAUSSIANS, PowerCut, call, contents, read, stages
from tests.light import cheap_pictures, light_metrics, small_picture  # noqa: F401 (fixtures)
from tgdp_jax.app import stage_store
from tgdp_jax.app.stage_store import SharingStore
from tgdp_jax.errors import FileError
from tgdp_jax.train.checkpoint import Store

MARK = "0123456789abcdef" * 4
TREE = {"params": {"w": np.arange(6, dtype=np.float32)}}


class Runs:
    """A folder of runs, the first of which has finished a stage."""

    def __init__(self, folder):
        self.folder, self.said, self.warned = folder, [], []
        self.saved = Store(folder / "a" / "checkpoints")
        self.saved.save("source", MARK, TREE, {"seconds": 1.0})

    def store(self, name="b"):
        root = self.folder / name / "checkpoints"
        return SharingStore(root, self.folder, warn=self.warned.append, say=self.said.append)

    def damage(self):
        for path in (self.folder / "a").rglob("*"):
            if path.is_file() and "arrays" in path.parts:
                path.write_bytes(b"junk")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def same(found):
    tree, facts = found
    np.testing.assert_array_equal(tree["params"]["w"], TREE["params"]["w"])
    return facts["seconds"] == 1.0


@pytest.mark.parametrize("links", [True, False])
def test_a_stage_is_taken_and_kept(runs, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    assert same(runs.store().take("source", MARK))
    assert runs.said == [f"source: taken from {runs.folder / 'a'} (same settings, data and seed)"]
    # It is this run's now: the other one may go, and this one move.
    shutil.rmtree(runs.folder / "a")
    shutil.move(runs.folder / "b", runs.folder / "c")
    assert same(runs.store("c").load("source", MARK)) and len(runs.said) == 1
    assert stages(runs.folder / "c") == {"source"}


def test_what_nobody_has_is_not_found(runs):
    assert runs.store().take("source", MARK[::-1]) is None and runs.store().take("guidance", MARK) is None
    assert not (runs.folder / "b").exists() and runs.warned == []
    shutil.rmtree(runs.folder / "a")
    assert runs.store().take("source", MARK) is None


def test_a_damaged_stage_is_not_taken_and_another_one_is(runs):
    shutil.copytree(runs.folder / "a", runs.folder / "z")
    runs.damage()
    before = contents(runs.folder / "a")
    assert same(runs.store().take("source", MARK))
    assert "is damaged: not taken from there" in runs.warned[0] and "/z " in runs.said[0]
    assert contents(runs.folder / "a") == before
    for name in ("b", "z"):
        shutil.rmtree(runs.folder / name)
    assert runs.store("c").take("source", MARK) is None and stages(runs.folder / "c") == set()


def test_a_process_that_dies_in_the_middle_leaves_no_stage(runs, monkeypatch):
    def cut(*_):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(stage_store.os, "replace", cut)
        patch.setattr(stage_store.shutil, "rmtree", lambda *_, **__: None)  # nothing is tidied by one that is dead
        runs.store().take("source", MARK)
    assert [path.name[0] for path in (runs.folder / "b" / "checkpoints").iterdir()] == ["."]
    assert same(runs.store().take("source", MARK)) and stages(runs.folder / "b") == {"source"}


def test_a_stage_that_goes_away_in_the_middle_is_trained(runs, monkeypatch):
    link = os.link

    def gone(source, target):
        shutil.rmtree(runs.folder / "a", ignore_errors=True)
        link(source, target)

    monkeypatch.setattr(os, "link", gone)
    assert runs.store().take("source", MARK) is None
    assert list((runs.folder / "b" / "checkpoints").iterdir()) == []


def together(*acts):
    """Calls functions at the same time, each with a store of its own as another process has."""
    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result(30) for future in [pool.submit(act) for act in acts]]


def test_who_needs_a_stage_that_another_process_trains_waits_for_it(runs):
    root, trained, waits = runs.folder / "b" / "checkpoints", [], threading.Event()
    stores = [Store(root, say=lambda text: (runs.said.append(text), waits.set())) for _ in range(2)]

    def need(store):
        with store.alone("source", MARK):
            found = store.load("source", MARK)
            if found is None:
                trained.append(store)
                assert waits.wait(20)  # the other one stands at the door
                store.save("source", MARK, TREE, {"seconds": 1.0})
                store.under_way("source", MARK).discard()
                found = store.load("source", MARK)
            return found

    assert all(map(same, together(*(functools.partial(need, store) for store in stores))))
    assert len(trained) == 1 and runs.said == ["source: another process trains it, which is waited for"]
    assert [path.name[0] for path in root.iterdir()] == ["s"]  # neither a lock nor checkpoints of the way


def test_where_training_fails_the_next_process_goes_on_with_its_checkpoints(runs):
    root = runs.folder / "b" / "checkpoints"
    store = Store(root, seconds=0)
    with pytest.raises(PowerCut), store.alone("source", MARK):
        part = store.under_way("source", MARK)
        part.save("fit", {"w": np.ones(2)}, jax.random.key(0), {"step": [3.0]})
        part.close()
        raise PowerCut
    with Store(root).alone("source", MARK):  # does not wait
        found = store.under_way("source", MARK).restore("fit", {"w": np.ones(2)}, jax.random.key(0))
        assert found is not None and found[1] == {"step": [3.0]}
    assert [path.name for path in root.glob(".*/*")] == ["fit"]


def test_a_place_that_can_not_be_written_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"checkpoint .*source-.* can not be written"):
        with Store(tmp_path / "file" / "checkpoints").alone("source", MARK):
            raise AssertionError("trained")


def test_processes_that_take_a_stage_at_the_same_time_leave_it_whole(runs):
    def take(store):
        with store.alone("source", MARK):
            return store.load("source", MARK) or store.take("source", MARK)

    assert all(map(same, together(*(functools.partial(take, runs.store()) for _ in range(4)))))
    assert len(runs.said) - len([text for text in runs.said if "waited for" in text]) == 1  # the others found it here
    assert [path.name[0] for path in (runs.folder / "b" / "checkpoints").iterdir()] == ["s"] and runs.warned == []


def test_another_method_trains_the_source_no_second_time(tmp_path):
    """The same bits as of a run alone, and what its source model took then."""
    source = (*GAUSSIANS, "--method", "source")
    _, alone = call(*source, "--out", tmp_path / "alone" / "run")
    call(*source, "--sampling.num", "32", "--out", tmp_path / "runs" / "first")
    _, err = call(*source, "--out", tmp_path / "runs" / "second")
    assert "source: 20 of 20" in alone and "source: 20 of 20" not in err
    assert f"source: taken from {tmp_path / 'runs' / 'first'} (same settings, data and seed)" in err
    own, shared = (read(tmp_path / name / "samples.npz")["x"] for name in ("alone/run", "runs/second"))
    np.testing.assert_array_equal(shared, own)
    # From elsewhere, if asked for.
    _, err = call(*source, "--store", tmp_path / "runs", "--out", tmp_path / "elsewhere" / "run")
    assert "source: taken from" in err
