"""The whole path from no file at all: a pipeline is trained, adapted to another style, judged and written."""

import re

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from tests.e2e.test_text_images import assert_same_score, source
from tests.e2e.tools import PowerCut, call, contents, read, refused, stages, strict_json
from tgdp_jax.app.model import load
from tgdp_jax.data.shapes.drawing import SIDE, parsed
from tgdp_jax.interop.pipeline_folder import load_pipeline
from tgdp_jax.metrics.on_attributes import NAMES
from tgdp_jax.train.session import Session

SMALL = """
    --n-target 4 --num-source 40 --width 8 --autoencoder-steps 4
    --source.optimiser.steps 4 --source.optimiser.steps-per-launch 2 --source.optimiser.warmup 0
    --source.optimiser.batch-size 8 --source.optimiser.validation-rows 8
    --rival.optimiser.steps 2 --rival.optimiser.batch-size 2 --rival.optimiser.validation-rows 2
    --lora.rank 2 --sampling.num 4 --sampling.steps 2 --sampling.chunk 4 --quiet
""".split()
RUN = ("run", "shapes", *SMALL)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run of adapters; (folder, standard output)."""
    out = tmp_path_factory.mktemp("runs") / "lora"
    return out, call(*RUN, "--lora.learning-rates", 0.05, "--out", out)[0]


def test_a_run_trains_its_source_and_judges_by_what_pictures_show(adapted):
    out, said = adapted
    assert stages(out) == {"autoencoder", "text_to_image", "latents", "source", "lora"}
    assert f"for diffusers and tgdp generate: {out / 'source' / 'model_index.json'}" in said
    left = read(out / "samples.npz")
    assert left["x"].shape == (4, SIDE, SIDE, 3) and left["x"].min() >= 0 and left["x"].max() <= 1
    metrics = strict_json(out / "metrics.json")["metrics"]
    assert list(metrics) == ["fresh target data", "source", "lora"]
    shares = {f"right_{name}" for name in NAMES}
    # Real pictures show what they say, without exception; untrained pipelines do not.
    assert metrics["fresh target data"].keys() == shares
    assert all(value == 1.0 for value, _ in metrics["fresh target data"].values())
    for name in ("source", "lora"):
        assert shares < metrics[name].keys() and metrics[name]["right_all"][0] == 0.0
    report = (out / "report.html").read_text()
    assert "Held-out pictures and samples are of the same captions" in report and left["text"][0] in _plain(report)


def _plain(html):
    return html.replace("&lt;", "<").replace("&gt;", ">")


def test_its_pipeline_and_adapters_are_those_of_other_commands(adapted, tmp_path):
    out, _ = adapted
    pipe, run, left = load_pipeline(out / "source"), load(out), read(out / "samples.npz")
    prompts = [text.replace("<new>", "plain") for text in run.classes]
    ours = assert_same_score(run, pipe.with_lora(out), prompts[:3], scale=run.config.text.scale)
    assert np.abs(ours - assert_same_score(source(run), pipe, prompts[:3], scale=run.config.text.scale)).max() > 0.002
    # Samples are asked for combinations that were not learned from.
    learned = {tuple(parsed(text).values()) for text in run.classes[:4]}
    assert not {tuple(parsed(str(text)).values()) for text in left["text"]} & learned
    np.testing.assert_array_equal(run.sample(4).x, left["x"])
    words = "a large red circle at the left on white", "--num", 1, "--steps", 2, "--quiet"
    call(
        "generate",
        out / "source",
        "--prompt",
        *words,
        "--lora",
        out / "pytorch_lora_weights.safetensors",
        "--out",
        tmp_path / "p",
    )
    assert len(list((tmp_path / "p").glob("*.png"))) == 2  # and the grid


@pytest.mark.slow  # trains the pipeline a second time, and samples from it twice
def test_a_run_that_was_cut_short_ends_with_the_same_bits_and_others_take_its_source(adapted, tmp_path, monkeypatch):
    out, cut = adapted[0], tmp_path / "cut"
    report = Session.report

    def stop(self, row, steps):
        report(self, row, steps)
        if self.stage == "text_to_image" and row["step"] == 4:
            raise PowerCut

    monkeypatch.setattr(Session, "report", stop)
    with pytest.raises(PowerCut):
        call(*RUN, "--lora.learning-rates", 0.05, "--checkpoint-seconds", 0, "--out", cut)
    assert stages(cut) >= {"autoencoder"} and not (cut / "source").exists()
    monkeypatch.undo()
    call(*RUN, "--lora.learning-rates", 0.05, "--checkpoint-seconds", 0, "--out", cut)
    assert contents(cut / "source") == contents(out / "source")
    assert (cut / "samples.npz").read_bytes() == (out / "samples.npz").read_bytes()
    _, said = call(*(word for word in RUN if word != "--quiet"), "--method", "source", "--out", tmp_path / "floor")
    for stage in ("autoencoder", "text_to_image", "latents", "source"):
        assert f"{stage}: taken from {cut}" in said
    assert contents(tmp_path / "floor" / "source") == contents(out / "source")


REFUSED = {
    "too few pictures": (["--num-source", 5], "num-source is 5: give at least 20"),
    "too many": (["--n-target", 5000], "n-target is 5000 but only 1200 target rows are to be had"),
    "another process": (["--process.kind", "cosine"], "leave out --process"),
    "what files can not say": (["--source.prediction", "score"], "a net that predicts 'score' can not be exported"),
    "another method": (["--method", "scratch"], "scratch does not adapt text-to-image pipelines: choose one of tgdp, "),
    "a word in two tokens": (["--method", "textual_inversion", "--initial", "odd"], "which is 3 tokens: give a word"),
    "no new word": (["--method", "textual_inversion", "--token", "red</w>"], "'red</w>' is a token already"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_said_before_anything_is_trained(tmp_path, name):
    words, said = REFUSED[name]
    assert re.search(said, refused(*RUN, *words, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_of_the_pipeline_that_is_not_there_yet(tmp_path):
    said, _ = call(*RUN, "--method", "source", "--dry-run", "--out", tmp_path / "run")
    assert "parameters of the denoiser: " in said and not (tmp_path / "run").exists()
    assert "give that of a run, RUN/source, with --pretrained" in refused(
        "compare", "shapes", "--out", tmp_path / "run"
    )
