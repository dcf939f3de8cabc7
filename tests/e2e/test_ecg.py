"""`tgdp run ecg-sim` and `ecg`, from data to report."""

import numpy as np
import pytest

from tests import tiny
from tests.data.ecg.writers import signals
from tests.e2e.tools import LEFT, call, read, refused, strict_json
from tgdp_jax.data.ecg import sim
from tgdp_jax.data.ecg.leads import LEADS, TWELVE, eight

pytestmark = pytest.mark.usefixtures("light_features")
MLP = ("--network.kind", "mlp", *tiny.OPTIONS)
SIM = ("run", "ecg-sim", "--seconds", "1", "--rate", "50", "--num-source", "200", "--n-target", "12", "--conditional")


def test_a_run_on_simulated_records(tmp_path, monkeypatch):
    monkeypatch.setattr(sim, "NUM_REFERENCE", 100)
    out, _ = call(*SIM, "--method", "source", *MLP, "--out", tmp_path / "run")
    assert "source on ecg-sim, 12 target rows" in out
    assert all((tmp_path / "run" / name).exists() for name in LEFT)
    samples = read(tmp_path / "run" / "samples.npz")
    assert samples["x"].shape == (64, 50, 8) and np.isfinite(samples["x"]).all()
    assert set(samples["y"]) <= set(range(5))
    metrics = strict_json(tmp_path / "run" / "metrics.json")["metrics"]
    assert {"mmd2", "memorisation"} <= set(metrics["source"])


def test_a_run_on_the_user_s_records_says_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, num in (("source", 120), ("target", 40)):
        x = eight(signals(num, rate=100, seconds=0.5, seed=num) / 1000, TWELVE, "test")
        x[1] = x[0]
        np.savez(tmp_path / f"{name}.npz", x=x)
    files = ("--source", tmp_path / "source.npz", "--target", tmp_path / "target.npz", "--seconds", "0.5")
    run = ("run", "ecg", *files, "--method", "kde", *MLP, "--out", tmp_path / "run")
    out, err = call(*run)
    assert "source: 1 of 120 records that copy another record are left out" in out + err
    assert "already complete" in call(*run)[0]
    # Results belong to the data that they were made from.
    np.savez(tmp_path / "target.npz", x=x[::-1])
    assert "target" in refused(*run)


def test_names_of_labels_are_shown_and_leads_in_another_order_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    order = [*LEADS, "III", "aVR", "aVL", "aVF"]
    for name, num in (("source", 120), ("target", 40)):
        x = signals(num, rate=100, seconds=0.5, seed=num)[..., [TWELVE.index(lead) for lead in order]] / 1000
        arrays = {"x": x, "y": np.array(["NORM", "mi"])[np.arange(num) % 2]}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        np.savez(tmp_path / f"named_{name}.npz", **arrays, leads=order)
    rest = ("--seconds", "0.5", "--conditional", "--method", "kde", *MLP, "--out", tmp_path / "run")
    said = refused("run", "ecg", "--source", tmp_path / "source.npz", "--target", tmp_path / "target.npz", *rest)
    assert "give these names under the key 'leads'" in said and ", ".join(order) in said
    files = ("--source", tmp_path / "named_source.npz", "--target", tmp_path / "named_target.npz")
    out, err = call("run", "ecg", *files, *rest)
    for name in ("source", "target"):
        assert f"{name}: labels are matched by name with MI, NORM" in out + err


def test_folders_that_are_none_are_refused(tmp_path):
    gone, empty = tmp_path / "a", tmp_path / "b"
    empty.mkdir()
    for folder, remedy in ((gone, "check the path"), (empty, "physionet.org/content/ptb-xl")):
        said = refused("run", "ecg", "--source", folder, "--target", tmp_path, *MLP, "--out", tmp_path / "run")
        assert str(folder) in said and remedy in said


@pytest.mark.parametrize("problem", ["ecg-sim", "ecg"])
def test_help_names_the_options(problem, capsys):
    with pytest.raises(SystemExit):
        from tgdp_jax.app.cli import main

        main(["run", problem, "--help"])
    assert "--seconds" in capsys.readouterr().out
