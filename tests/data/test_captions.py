"""Pictures with captions: every form that is read, and what is said of those that can not be."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tgdp_jax.data.captions import caption_files, picture, read_captioned
from tgdp_jax.data.text_images import TextImagesConfig, load
from tgdp_jax.errors import UserError

TEXTS = {"b.png": "a dog", "sub/a.png": "a red cat", "c.jpg": "a dog"}


def grey(value, size=(6, 4)):
    return Image.new("RGB", size, (value, value, value))


def encoded(value):
    content = io.BytesIO()
    grey(value).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Of three pictures, without captions."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(TEXTS):
        grey(50 * number).save(folder / name)
    return folder


def jsonl(folder, rows=TEXTS, name="metadata.jsonl"):
    lines = [json.dumps({"file_name": file, "text": text, "more": 1}) for file, text in rows.items()]
    (folder / name).write_text("\n".join(lines) + "\n\n", encoding="utf-8")


def sidecars(folder):
    for name, text in TEXTS.items():
        (folder / name).with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8-sig")


def table(folder):
    lines = [f'{text},"{name}"' for name, text in TEXTS.items()]
    (folder / "metadata.csv").write_text("\r\n".join(["text,file_name", *lines]), encoding="utf-8-sig")


@pytest.mark.parametrize("write", [jsonl, sidecars, table])
def test_captions_of_folders_are_those_of_their_pictures(folder, write):
    write(folder)
    (folder / ".hidden.png").write_bytes(b"")
    found = read_captioned(folder)
    assert {
        stored.content.relative_to(folder).as_posix(): text for stored, text in zip(*found[:2], strict=True)
    } == TEXTS
    means = [picture(stored, (4, 4), None).mean() * 255 for stored in found.pictures]
    np.testing.assert_allclose(means, [0, 100, 50], atol=1)
    kept = {"metadata.jsonl", "metadata.csv", "b.txt", "c.txt", "sub/a.txt"}
    assert set(caption_files(folder)) - kept == set(TEXTS) and len(caption_files(folder)) > len(TEXTS)


def test_a_prompt_is_the_caption_of_all(folder):
    jsonl(folder)
    found = read_captioned(folder, "a  photo of sks dog ")
    assert found.captions == ("a photo of sks dog",) * 3
    assert "metadata.jsonl is not read" in found.notes[0]


def test_names_of_folders_are_captions_where_there_are_no_others(tmp_path):
    for name in ("big_cats/a.png", "dogs/b.png", "dogs/far/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert read_captioned(tmp_path).captions == ("big cats", "dogs", "dogs")
    assert read_captioned(tmp_path, "").captions == ("",) * 3  # none, where that is said
    (tmp_path / "dogs" / "b.txt").write_text("a dog")
    with pytest.raises(UserError, match="no caption for 2 of 3 pictures"):
        read_captioned(tmp_path)


def test_arrays_and_parquet(tmp_path):
    pixels = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    for x in (pixels.astype(np.uint8), (pixels / 255).astype(np.float32)):
        np.savez(tmp_path / "a.npz", x=x, text=np.array(["one", "two"]))
        found = read_captioned(tmp_path / "a.npz")
        assert found.captions == ("one", "two")
        np.testing.assert_allclose(picture(found.pictures[1], (6, 4), None), pixels[1] / 255, atol=1e-6)
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [{"bytes": encoded(value), "path": None} for value in (0, 255)]
    parquet.write_table(pyarrow.table({"image": images, "text": ["black", "white"]}), tmp_path / "a.parquet")
    found = read_captioned(tmp_path / "a.parquet")
    assert found.captions == ("black", "white")
    assert [picture(stored, (2, 2), None).mean() for stored in found.pictures] == [0, 1]


def test_the_middle_of_a_picture_is_taken(tmp_path):
    x = np.zeros((1, 4, 8, 1), np.uint8)
    x[:, :, 2:6] = 255
    np.savez(tmp_path / "wide.npz", x=x, text=["a bar"])
    (stored,) = read_captioned(tmp_path / "wide.npz").pictures
    np.testing.assert_array_equal(picture(stored, (4, 4), None), np.ones((4, 4, 3)))


def wrong(folder, kind):
    """Makes a folder of pictures that can not be taken, or a file, and returns its path."""
    match kind:
        case "some missing":
            jsonl(folder, {"b.png": "a dog", "c.jpg": " "})
        case "not there":
            jsonl(folder, TEXTS | {"d.png": "nothing"})
        case "outside":
            jsonl(folder, TEXTS | {"../d.png": "nothing"})
        case "twice":
            (folder / "metadata.jsonl").write_text(2 * (json.dumps({"file_name": "b.png", "text": "a"}) + "\n"))
        case "other columns":
            (folder / "metadata.csv").write_text("file_name,caption\nb.png,a dog\n")
        case "both":
            jsonl(folder)
            table(folder)
        case "no JSON":
            (folder / "metadata.jsonl").write_text('{"file_name": "b.png"\n')
        case "no text":
            (folder / "metadata.jsonl").write_text('{"file_name": "b.png", "text": 3}\n')
        case "no UTF-8":
            sidecars(folder)
            (folder / "b.txt").write_bytes(b"a caf\xe9")
        case "no pictures":
            return folder / "sub" / "none"
        case "npz":
            np.savez(folder / "a.npz", x=np.zeros((2, 4, 4, 3), np.uint8))
            return folder / "a.npz"
        case "npz of vectors":
            np.savez(folder / "a.npz", x=np.zeros((2, 4)), text=["a", "b"])
            return folder / "a.npz"
        case "damaged parquet":
            (folder / "a.parquet").write_bytes(b"PAR1 and no more")
            return folder / "a.parquet"
        case "another kind":
            (folder / "a.bin").write_bytes(b"")
            return folder / "a.bin"
    return folder


WRONG = {
    "some missing": r"has no caption for 2 of 3 pictures, the first being .*c\.jpg: add them, or give one .* --prompt",
    "not there": r"names 1 pictures that are not there, the first being d\.png",
    "outside": r"names \.\./d\.png, which lies outside of its folder",
    "twice": r"line 2 of .* names b\.png for the second time",
    "other columns": r"metadata\.csv has no column 'text': it has 'file_name', 'caption'",
    "both": r"has both metadata\.jsonl and metadata\.csv: remove one of them",
    "no JSON": r"line 1 of .*metadata\.jsonl is no JSON",
    "no text": r"line 1 of .* has file_name 'b\.png' and text 3: both have to be text",
    "no UTF-8": r"b\.txt is no text in UTF-8 \(byte 5 is not\): save it as UTF-8",
    "no pictures": "none has no pictures: give a folder",
    "npz": r"a\.npz has no column 'text': it has 'x'",
    "npz of vectors": r"a\.npz has x of shape \(2, 4\)",
    "damaged parquet": r"a\.parquet can not be read as Parquet",
    "another kind": r"a\.bin is of no kind that is known: give a folder",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_can_not_be_read_is_one_sentence(folder, kind):
    if "parquet" in kind:
        pytest.importorskip("pyarrow")
    path = wrong(folder, kind)
    if kind == "no pictures":
        path.mkdir()
    with pytest.raises(UserError) as said:
        read_captioned(path)
    assert re.search(WRONG[kind], str(said.value)) and "\n" not in str(said.value)


def test_captions_are_the_classes_of_a_problem(folder):
    jsonl(folder)
    config = TextImagesConfig(target=folder, class_prompt="an  animal", dropout=0.25)
    problem = load(config, n_target=None, seed=0)
    assert sorted(problem.classes) == ["a dog", "a red cat", "an animal"] and problem.num_classes == 3
    assert problem.reference is None and len(problem.target) == 3  # nothing is set aside where nobody asked
    said = [problem.classes[label] for label in problem.target.y]
    assert [TEXTS[str(p.content.relative_to(folder))] for p in problem.pictures["target"]] == said
    assert [problem.classes[label] for label in problem.prior_labels(None, np.arange(2))] == ["an animal"] * 2
    with pytest.raises(UserError, match=r"no caption of .* names <toy>: name it, or give --prompt"):
        load(TextImagesConfig(target=folder, token="<toy>", initial="toy"), n_target=None, seed=0)


def test_copies_are_on_one_side(tmp_path):
    x = np.arange(40)[:, None, None, None] % 20 * np.ones((4, 4, 3)) * 10
    np.savez(tmp_path / "a.npz", x=x.astype(np.uint8), text=[f"picture {i}" for i in range(40)])
    problem = load(TextImagesConfig(target=tmp_path / "a.npz"), n_target=8, seed=1)
    sides = [{stored.digest for stored in problem.pictures[name]} for name in ("target", "reference")]
    assert len(problem.target) == 8 and len(problem.reference) >= 10 and not sides[0] & sides[1]
    assert "20 of 40 pictures are copies" in problem.notes[0]
    assert problem.num_classes == len(problem.target) + len(problem.reference)  # captions of others are not embedded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"token": "<toy>"}, "give both --token and --initial"),
        ({"token": "a toy", "initial": "toy"}, "token is 'a toy': give one word"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"size": 0}, "size is 0"),
        ({"background": "reddish"}, "background is 'reddish'"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(UserError, match=said):
        TextImagesConfig(target="pictures", **options)
