"""What a finished run holds is verified and mended, and nobody else writes there; folders that can not be used."""

import errno
import json
import os
import shutil

import jax
import numpy as np
import pytest
from filelock import FileLock

from tests.e2e.tools import GAUSSIANS, call, contents, read, refused, snapshot, strict_json, without_times
from tgdp_jax.app import folder as folder_file
from tgdp_jax.app.commands import compare as compare_command
from tgdp_jax.app.commands import probe as probe_command
from tgdp_jax.app.commands import run as run_command
from tgdp_jax.app.commands import sample as sample_command
from tgdp_jax.app.folder import locked
from tgdp_jax.errors import UserError
from tgdp_jax.train.session import Session

KDE = (*GAUSSIANS, "--method", "kde")
OWN_FILES = ("samples.npz", "metrics.json", "report.html", "model.npz")


@pytest.fixture(scope="module")
def finished_kde(tmp_path_factory, light_metrics):
    folder = tmp_path_factory.mktemp("finished") / "run"
    call(*KDE, "--out", folder)
    return folder


@pytest.fixture
def kde(finished_kde, tmp_path):
    return shutil.copytree(finished_kde, tmp_path / "run")


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# Verified and mended


@pytest.mark.parametrize("name", [*OWN_FILES, "complete.json"])
@pytest.mark.parametrize("how", ["gone", "empty", "other", "one byte"])
def test_what_is_damaged_is_made_again_and_said_so(kde, finished_kde, name, how):
    path = kde / name
    content = path.read_bytes()
    middle = len(content) // 2
    if how == "gone":
        path.unlink()
    elif how == "one byte":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(b"" if how == "empty" else b"{}")
    out, err = call(*KDE, "--out", kde)
    if (name, how) == ("complete.json", "gone"):  # as an earlier version left it
        assert "already complete" in out
        return
    (said,) = [line for line in err.splitlines() if line.startswith("warning: damaged or gone: ")]
    assert name == "complete.json" or said == f"warning: damaged or gone: {name}; made again from what is trained"
    assert "kde: already finished, loaded" in err
    np.testing.assert_array_equal(read(kde / "samples.npz")["x"], read(finished_kde / "samples.npz")["x"])
    measured = [without_times(strict_json(folder / "metrics.json")) for folder in (kde, finished_kde)]
    assert measured[0] == measured[1]
    assert contents(kde).keys() == contents(finished_kde).keys()
    before = snapshot(kde)
    assert "already complete" in call(*KDE, "--out", kde)[0] and snapshot(kde) == before


@pytest.mark.parametrize("how", ["sound", "cut", "few", "junk"])
def test_a_run_that_an_earlier_version_finished_counts_if_its_samples_can_be_read(kde, finished_kde, how):
    (kde / "complete.json").unlink()
    path = kde / "samples.npz"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "few":
        np.savez(path, x=read(path)["x"][:-1])
    elif how == "junk":
        path.write_text("junk")
    out, err = call(*KDE, "--out", kde)
    assert ("already complete" in out) == (how == "sound")
    assert ("damaged or gone: samples.npz" in err) == (how != "sound")
    np.testing.assert_array_equal(read(path)["x"], read(finished_kde / "samples.npz")["x"])


# Files of JSON that are not what was written


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": 3},
        {"metrics": {"kde": [1, 2]}},
        {"metrics": {"kde": {"sw2": 3}}},
        {"metrics": {"kde": {"sw2": ["1", None]}}},
        {"metrics": {"kde": {"sw2": [1, 2, 3]}}},
        {"metrics": {"kde": {"sw2": [10**400, 2]}}},
        {"metrics": None},
        {"method": 3},
        {"problem": ["gaussians"]},
        {"num_target": None},
        {"num_target": "8"},
        {"num_target": True},
    ],
)
def test_metrics_of_other_types_are_one_sentence(kde, change):
    (kde / "complete.json").unlink()
    path = kde / "metrics.json"
    path.write_text(json.dumps(strict_json(path) | change))
    said = refused(*KDE, "--out", kde)
    assert f"{path} can not be read (its contents are not what was written: " in said
    assert "delete it and run again" in said and f"$.{next(iter(change))}" in said


@pytest.mark.parametrize(
    "text", ["", "{", nested(100_000), nested(900), '{"a": NaN}', '{"a": ' + "9" * 5000 + "}", "\0"]
)
@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_what_is_no_such_json_is_one_sentence(kde, name, text):
    (kde / "complete.json").unlink()
    (kde / name).write_text(text)
    said = refused(*KDE, "--out", kde)
    assert f"{kde / name} can not be read (" in said and len(said) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"command": 3},
        {"config": 3},
        {"config": None},
        {"config": {"problem": {}}},
        {"config": {}},
        {"config": [900 * "x"] * 100},
        {"digests": 3},
        {"digests": {"source": 3}},
    ],
)
def test_settings_of_other_types_are_one_sentence(kde, change, tmp_path):
    path = kde / "config.json"
    path.write_text(json.dumps(strict_json(path) | change))
    before = snapshot(kde)
    assert len(refused(*KDE, "--out", kde)) < 800
    if "digests" not in change or change["digests"] == 3:
        assert len(refused("sample", kde, "--out", tmp_path / "new.npz")) < 800
    assert snapshot(kde) == before


def test_settings_nested_deeply_are_one_sentence(kde, tmp_path):
    path = kde / "config.json"
    stored = path.read_text()
    path.write_text(stored.replace('"seed": 0', f'"seed": {nested(900)}', 1))
    for command in ((*KDE, "--out", kde), ("sample", kde, "--out", tmp_path / "new.npz")):
        assert len(refused(*command)) < 800


# Nobody else's place


@pytest.mark.parametrize("name", ["samples.npz", "checkpoints/new.npz", "pictures/new.npz"])
def test_a_runs_own_files_are_no_place_for_more_samples(kde, tmp_path, name):
    os.symlink(kde, tmp_path / "link")
    os.symlink(kde / "samples.npz", tmp_path / "link.npz")
    another = tmp_path / "another"
    shutil.copytree(kde, another)
    before = snapshot(tmp_path)
    for out in (kde / name, tmp_path / "link" / name, another / name, tmp_path / "run" / ".." / "run" / name):
        said = refused("sample", kde, "--num", "3", "--out", out)
        assert f"{out} belongs to the run in" in said and "choose another --out" in said
    assert "belongs to the run in" in refused("sample", kde, "--num", "3", "--out", tmp_path / "link.npz")
    assert snapshot(tmp_path) == before


def test_more_samples_may_lie_beside_a_runs_own(kde):
    before = contents(kde)
    call("sample", kde, "--num", "3", "--out", kde / "more.npz")
    after = contents(kde)
    assert after.pop("more.npz") and after == before
    assert "already complete" in call(*KDE, "--out", kde)[0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder.npz", "it is a folder"),
        ("file/new.npz", "is not a folder"),
        ("file/deeper/new.npz", "is not a folder"),
        ("n" * 300 + ".npz", "File name too long"),
        ("fixed/new.npz", "nothing can be written in"),
        ("fixed/deeper/new.npz", "nothing can be written in"),
        ("new.txt", "does not end in .npz"),
    ],
)
def test_an_impossible_file_is_refused_before_anything_is_loaded(kde, tmp_path, monkeypatch, place, message):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "fixed").mkdir(mode=0o555)
    # Root may write anywhere: there, as on a read-only file system, the system's answer is made up.
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "fixed" not in str(path) and can(path, mode))
    monkeypatch.setattr(sample_command, "load", lambda *args: pytest.fail("it was loaded"))
    before = snapshot(tmp_path)
    said = refused("sample", kde, "--num", "3", "--out", tmp_path / place)
    assert message in said and str(tmp_path / place) in said
    assert snapshot(tmp_path) == before


# A start that fails before anything is trained


def broken(*args, **kwargs):
    raise UserError("it does not start")


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (run_command, "Journal", KDE),
        (run_command, "claim_folder", KDE),
        (run_command, "train_method", KDE),
        (compare_command, "Journal", ("compare", "gaussians", "--methods", "kde")),
        (compare_command, "describe", ("compare", "gaussians", "--methods", "kde")),
        (probe_command, "Journal", ("probe", "digits")),
        (probe_command, "train_method", ("probe", "digits")),
    ],
)
def test_a_start_that_fails_leaves_nothing(tmp_path, monkeypatch, module, name, words):
    monkeypatch.setattr(module, name, broken)
    (tmp_path / "empty").mkdir()
    for out in ("new/run", "empty"):
        assert refused(*words, "--out", tmp_path / out) == "it does not start"
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_start_that_fails_leaves_what_was_there(kde, monkeypatch):
    (kde / "complete.json").unlink()
    (kde / "report.html").unlink()
    before = contents(kde)
    monkeypatch.setattr(run_command, "train_method", broken)
    refused(*KDE, "--out", kde)
    assert contents(kde) == before


# Folders that can not be locked or claimed, or go away


def test_a_folder_of_the_locks_name_is_said(kde):
    (kde / "complete.json").unlink()
    (kde / "report.html").unlink()
    (kde / ".lock").unlink(missing_ok=True)
    (kde / ".lock").mkdir()
    said = refused(*KDE, "--out", kde)
    assert f"{kde / '.lock'} can not be locked (" in said and "choose another --out" in said


def test_a_link_to_nowhere_of_the_locks_name_is_said(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "nowhere" / "lock")
    said = refused(*KDE, "--out", tmp_path / "run")
    assert "can not be locked (" in said and not (tmp_path / "nowhere").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock"}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EROFS, os.strerror(errno.EROFS)), PermissionError(13, "no"), NotImplementedError("no locks")],
)
def test_a_place_without_locks_is_said(tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(FileLock, "acquire", fail)
    said = refused(*KDE, "--out", tmp_path / "run")
    assert "can not be locked (" in said and not (tmp_path / "run" / "config.json").exists()


def test_a_finished_run_is_shown_where_nothing_can_be_written(kde, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", lambda *args: pytest.fail("nothing needs locking"))
    before = snapshot(kde)
    assert "already complete" in call(*KDE, "--out", kde)[0] and snapshot(kde) == before


def test_of_two_that_claim_a_folder_at_once_one_gets_it(kde, tmp_path, monkeypatch):
    """The other one writes its settings between the first look and the lock."""
    home = tmp_path / "new"

    def late(folder):
        folder.mkdir()
        shutil.copy(kde / "config.json", folder)
        return locked(folder)

    monkeypatch.setattr(run_command, "locked", late)
    said = refused(*KDE, "--seed", "1", "--out", home)
    assert "holds another run (seed is 0 there and 1 here)" in said
    assert strict_json(home / "config.json") == strict_json(kde / "config.json")
    assert not (home / "checkpoints").exists()


def test_a_folder_that_is_removed_while_training_is_said(tmp_path, monkeypatch):
    report = Session.report

    def remove(session, row, steps):
        shutil.rmtree(tmp_path / "run")
        report(session, row, steps)

    monkeypatch.setattr(Session, "report", remove)
    said = refused(*GAUSSIANS, "--checkpoint-seconds", "0", "--out", tmp_path / "run")
    assert str(tmp_path / "run") in said and "run the same command again" in said and "removed meanwhile" in said


@pytest.mark.parametrize("place", ["draw_samples", "evaluate_samples"])
def test_a_folder_that_is_removed_later_is_said_and_nothing_is_written_in_its_place(tmp_path, monkeypatch, place):
    original = getattr(run_command, place)

    def remove(*args, **kwargs):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return original(*args, **kwargs)

    monkeypatch.setattr(run_command, place, remove)
    said = refused(*KDE, "--out", tmp_path / "run")
    assert "was removed or moved while work went on in it: run the same command again" in said
    assert not (tmp_path / "run").exists()


def test_the_files_of_a_run_are_known_to_be_its_own(finished_kde):
    own = {path.name for path in finished_kde.iterdir()}
    assert own <= set(folder_file.OWN)
    with pytest.raises(UserError, match="belongs to the run in"):
        folder_file.check_not_own(finished_kde / "report.html")


def test_quiet_shows_results_alone_and_verbose_what_is_compiled(kde, tmp_path, caplog):
    (kde / "report.html").unlink()
    (kde / "complete.json").unlink()
    out, err = call(*KDE, "--quiet", "--out", kde)
    assert err == "" and f"run folder: {kde}" in out and "| kde" in out
    assert call("sample", kde, "--num", "3", "--out", tmp_path / "a.npz", "--quiet")[1] == ""
    assert "Compiling" not in caplog.text
    jax.clear_caches()  # programs that another test of this process compiled
    call("sample", kde, "--num", "5", "--out", tmp_path / "a.npz", "--verbose")
    assert "Finished XLA compilation" in caplog.text
