"""The studies of large pipelines, on small ones with random weights: they run, and go on where they were."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import dit_transfer, stable_diffusion
from experiments.stable_diffusion import LIST, PROMPTS, Judges, Subject, averaged, prompts_of, run_of, subjects_of
from tests.interop.encoders import write_clip, write_dinov2
from tests.interop.pipelines import tiny_labels, without_middle
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_image_encoder, write_pipeline
from tgdp_jax.metrics.encoded import unit


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Encoders, pipelines, two subjects and a set of three classes."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    write_dinov2(root / "dino")
    write_clip(root / "clip")
    write_pipeline(root / "sd", without_middle())
    write_pipeline(root / "dit", tiny_labels())

    def save(folder, num):
        folder.mkdir(parents=True)
        for number in range(num):
            pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")

    for name in ("dog6", "vase"):
        save(root / "subjects" / name, 3)
    (root / "subjects" / LIST).write_text("Classes\nsubject_name,class\ndog6,dog\nvase,vase\n\nPrompts\na,b\n")
    for name in ("cat", "zebra"):
        save(root / "animals" / "train" / name, 3)
        save(root / "animals" / "test" / name, 6)
    return root


def test_subjects_are_those_of_the_list(files, tmp_path):
    data = files / "subjects"
    assert subjects_of(data, ()) == [Subject(data / "dog6", "dog"), Subject(data / "vase", "vase")]
    assert subjects_of(data, ("vase",)) == [Subject(data / "vase", "vase")]
    with pytest.raises(UserError, match="unknown subject 'cat'"):
        subjects_of(data, ("cat",))
    with pytest.raises(UserError, match="is missing: give the folder `dataset`"):
        subjects_of(tmp_path, ())
    (tmp_path / LIST).write_text("Classes\nsubject_name,class\ndog,dog\n")
    with pytest.raises(UserError, match="dog is missing, which prompts_and_classes"):
        subjects_of(tmp_path, ())
    # A new word stands for subject and class; the judge reads the class alone.
    [told] = prompts_of(Subject(data, "stuffed animal"), "textual_inversion", 1)
    assert told == ("a <sks> in the jungle", "a stuffed animal in the jungle")
    problem = run_of(data, Subject(data, "stuffed animal"), "textual_inversion", 0, full=True).problem
    assert (problem.token, problem.initial, problem.prompt) == ("<sks>", "animal", "a photo of <sks>")
    assert prompts_of(Subject(data, "dog"), "lora", 11)[-1] == (
        "a sks dog wearing a red hat",
        "a dog wearing a red hat",
    )
    for texts in PROMPTS.values():
        assert len(set(texts)) == 25 and all(text.count("{}") == 1 for text in texts)


def test_measures_are_cosines(files):
    subject = Subject(files / "subjects" / "dog6", "dog")
    dino, clip = load_image_encoder(files / "dino"), load_image_encoder(files / "clip", texts=True)
    real = [np.asarray(Image.open(subject.folder / f"{i}.png")) for i in range(3)]
    judges, x = Judges(dino, clip), unit(dino.embed(real))
    found = judges.real(subject)
    assert found["subject"] == pytest.approx((x[0] @ x[1] + x[0] @ x[2] + x[1] @ x[2]) / 3, abs=1e-6)
    # Copies of one real picture: like itself, and like the others.
    copies = judges.measure(subject, np.stack(real[:1] * 2) / 255.0, ["a dog", "a cat"])
    assert copies["subject"] == pytest.approx((1 + x[0] @ x[1] + x[0] @ x[2]) / 3, abs=1e-6)
    texts = unit(clip.embed_texts(["a dog", "a cat"]))
    assert copies["clip_t"] == pytest.approx((texts @ unit(clip.embed(real[:1]))[0]).mean(), abs=1e-6)


def test_errors_are_over_seeds_or_over_subjects():
    cells = {("a", 0): {"m": 1.0}, ("b", 0): {"m": 3.0}, ("a", 1): {"m": 2.0}, ("b", 1): {"m": 4.0}}
    assert averaged(cells)["m"][:2] == pytest.approx((2.5, 0.5))
    assert averaged({key: cells[key] for key in list(cells)[:2]})["m"][:2] == pytest.approx((2.0, 1.0))


@pytest.mark.slow
def test_subjects_are_learned_and_judged(files, tmp_path, capsys):
    given = {"pretrained": files / "sd", "data": files / "subjects", "dino": files / "dino", "clip": files / "clip"}
    few = {"methods": ("source", "lora"), "subjects": ("dog6",), "prompts": 2, "each": 1}
    stable_diffusion.main(**given, **few, out=tmp_path)
    folder = tmp_path / "stable-diffusion-tiny"
    table = json.loads((folder / "table.json").read_text())
    assert list(table) == ["real pictures", "source", "lora"]
    assert all(-1 <= table["lora"][key][0] <= 1 for key in ("subject", "clip_i", "clip_t"))
    assert table["lora"] != table["source"]
    cells = sorted(path.name for path in (folder / "cells").iterdir())
    assert len(cells) == 2 and cells[0] == "dog6-lora-p2x1-seed0.json"
    # A cell that is there is not made again.
    (folder / "cells" / cells[0]).write_text(json.dumps({"subject": 0.5, "clip_i": 0.25, "clip_t": 0.125}))
    stable_diffusion.main(**given, **few, out=tmp_path)
    assert json.loads((folder / "table.json").read_text())["lora"]["subject"][0] == 0.5
    assert "CLIP-T" in capsys.readouterr().out


@pytest.mark.slow
def test_methods_are_compared_on_a_set_of_classes(files, tmp_path, capsys):
    given = {"pretrained": files / "dit", "target": (files / "animals",), "encoder": files / "dino"}
    dit_transfer.main(**given, methods=("source", "lora"), n_targets=(4,), out=tmp_path)
    record = json.loads((tmp_path / "dit-animals-tiny" / "metrics.json").read_text())
    cells = {cell["method"]: cell["metrics"] for cell in record["cells"]}
    assert cells.keys() == {"source", "lora"} and all(cell["frechet"][0] > 0 for cell in cells.values())
    said = capsys.readouterr().out
    assert f"{cells['lora']['frechet'][0]:.3g}"[:3] in said and "animals, 4" in said


def test_folders_that_are_none_are_refused(files, tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder: give one that has a sub-folder for every class"):
        dit_transfer.main(files / "dit", (tmp_path / "nowhere",), files / "dino", out=tmp_path)
    given = {"pretrained": files / "sd", "data": files / "subjects", "out": tmp_path}
    with pytest.raises(UserError, match="reads no texts: give the folder of a whole CLIPModel"):
        stable_diffusion.main(**given, dino=files / "dino", clip=files / "dino")
    with pytest.raises(UserError, match="prompts is 26 and each 4: give 1 to 25"):
        stable_diffusion.main(**given, dino=files / "dino", clip=files / "clip", prompts=26)
