"""Settings that earlier versions stored mean what they meant then."""

import json

from tgdp_jax.app.config_file import read_config
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json, rival_uses, to_json
from tgdp_jax.settings.training import ClassifierConfig, RivalConfig


def before_shrinking():
    """A run's settings of the time before adaptations could be shrunk or averaged."""
    stored = to_json(RunConfig(method="lora"))
    for name in ("shrink", "finish"):
        del stored["rival"][name]
    del stored["stacked"], stored["tgdp_denoising"]
    return stored


def test_runs_of_before_are_neither_shrunk_nor_averaged(tmp_path):
    rival = from_json(RunConfig, before_shrinking()).rival
    assert (rival.shrink, rival.finish) == (False, "refit") and RivalConfig().shrink
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"command": "run", "config": before_shrinking()}))
    assert not read_config(path, RunConfig, "run").rival.shrink
    # What a user writes names little, and has today's defaults.
    path.write_text(json.dumps({"problem": "gaussians", "rival": {"folds": 3}}))
    assert read_config(path, RunConfig, "run").rival == RivalConfig(folds=3)


def test_stages_of_before_keep_their_fingerprints():
    assert set(rival_uses(RivalConfig(shrink=False))) == {"learning_rates", "folds", "optimiser"}
    assert "kind" not in to_json(ClassifierConfig()) and to_json(ClassifierConfig(kind="ridge"))["kind"] == "ridge"
    assert rival_uses(RivalConfig(finish="soup")).items() >= {"shrink": True, "finish": "soup"}.items()
