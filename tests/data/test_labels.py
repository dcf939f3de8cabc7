"""Labels: one name is one class in every file, whatever its place among the others, and nothing merges in silence."""

import unicodedata

import numpy as np
import pytest

from tgdp_jax.data.labels import LabelFile, match_labels
from tgdp_jax.errors import UserError


def match(source, target, *, required=True, **others):
    files = {"source": source, "target": target, **others}
    given = {
        name: LabelFile(None if y is None else np.asarray(y), 0 if y is None else len(y), f"{name}.npz")
        for name, y in files.items()
    }
    return match_labels(given, required=required)


def test_a_class_that_only_the_source_has_shifts_no_other():
    # In the order of names, unsorted stands between others, and 10 before 2.
    names = [str(i) for i in range(11)]
    source, target = np.array([*names, "Unsorted"] * 4), np.array(names * 2)
    found = match(source, target)
    for y, given in ((found.y["source"], source), (found.y["target"], target)):
        assert [found.classes[label] for label in y] == given.tolist()
    assert set(found.y["target"].tolist()) < set(found.y["source"].tolist())
    assert found.notes == (
        "labels: 0, 1, 2 = 10, 3 = 2, 4 = 3, 5 = 4, 6 = 5, 7 = 6, 8 = 7, ..., 11 = Unsorted (source only); "
        "1 of 12 are in the source only",
    )


def test_the_mapping_is_told_in_one_line():
    found = match(["cat", "dog", "unsorted"] * 5, ["dog", "cat"] * 3)
    assert found.classes == ("cat", "dog", "unsorted") and found.y["target"].tolist() == [1, 0] * 3
    assert found.notes == ("labels: 0 = cat, 1 = dog, 2 = unsorted (source only)",)


@pytest.mark.parametrize("required", [True, False])
def test_names_that_are_numbers_are_these_numbers(required):
    # As integers of an array, names of folders, or strings with leading zeros.
    for source in ([2, 7, 10] * 5, ["2", "7", "10"] * 5, ["02", "07", "10"] * 5):
        for target in ([10, 2] * 3, ["10", "2"] * 3, ["010", "002"] * 3):
            found = match(source, target, required=required)
            label = {7: 7, 2: 2, 10: 10} if required else {2: 0, 7: 1, 10: 2}
            assert found.y["source"].tolist() == [label[n] for n in (2, 7, 10)] * 5
            assert found.y["target"].tolist() == [label[10], label[2]] * 3
            assert len(found.classes) == (11 if required else 3)


def test_numbers_of_a_mixed_source_meet_its_names():
    found = match(["3", "1", "rest"] * 5, [3, 1] * 3)
    assert [found.classes[label] for label in found.y["target"]] == ["3", "1"] * 3


def test_numbers_that_all_files_share_need_no_words():
    assert match([0, 1, 2] * 5, [0, 1] * 3).notes == ()


@pytest.mark.parametrize(
    ("source", "target", "new"),
    [
        (["cat", "dog"] * 5, ["cat", "emu", "fox"] * 2, "2 classes .*: emu, fox; .*(cat, dog)"),
        # Numbers are no names of classes that have others: places among names say nothing.
        (["cat", "dog"] * 5, [0, 1] * 3, "2 classes .*: 0, 1; "),
        (["cat", "dog"] * 5, ["0", "1"] * 3, "2 classes .*: 0, 1; "),
        ([0, 1] * 5, ["cat"] * 3, r"a class .*: cat; .*\(0, 1\)"),
        # Of folders, one that the source lacks is refused where it lies between others too.
        (["0", "5"] * 5, ["0", "3"] * 3, r"a class .*: 3; .*\(0, 5\)"),
        ([f"c{i}" for i in range(3)] * 5, [f"d{i:02}" for i in range(13)] * 2, "13 classes .*d09 and 3 more; "),
    ],
)
def test_names_that_the_source_lacks_are_refused_with_the_list(source, target, new):
    with pytest.raises(UserError, match=rf"target\.npz has {new}"):
        match(source, target)
    # Where models see no labels, they are left out, and the source's stay.
    found = match(source, target, required=False)
    assert set(found.y) == {"source"} and len(found.notes) == 1
    assert found.notes[0].startswith("labels are left out: target.npz has ")


@pytest.mark.parametrize(
    "names",
    [("1", "01"), ("1", "\N{ARABIC-INDIC DIGIT ONE}"), tuple(unicodedata.normalize(f, "é") for f in ("NFC", "NFD"))],
)
def test_two_names_of_one_class_are_refused(names):
    with pytest.raises(UserError, match=r"source\.npz has classes .* and .*, which are one: rename one of them"):
        match([*names, "2"] * 5, ["2"] * 3)
    assert match([*names, "2"] * 5, ["2"] * 3, required=False).y == {}


def test_spellings_of_unicode_meet_across_files():
    found = match([unicodedata.normalize("NFD", "café"), "tea"] * 5, [unicodedata.normalize("NFC", "café")] * 3)
    assert found.y["target"].tolist() == [found.classes.index(unicodedata.normalize("NFD", "café"))] * 3


def test_names_are_told_apart_by_case():
    with pytest.raises(UserError, match=r"a class .*: Cat"):
        match(["cat", "dog"] * 5, ["Cat"] * 3)


def test_a_name_for_every_row_is_no_class():
    with pytest.raises(UserError, match="10 different labels for 10 rows"):
        match([f"image-{i}" for i in range(10)], ["image-1"] * 3)


def test_a_third_file_is_matched_alike():
    found = match(["a", "b", "c"] * 5, ["b"] * 3, reference=["c", "b"])
    assert found.y["reference"].tolist() == [2, 1]
    assert found.notes == ("labels: 0 = a (source only), 1 = b, 2 = c",)


def test_numbers_longer_than_any_integer_are_names():
    long = "9" * 30
    found = match([long, "1"] * 5, [long] * 3)
    assert found.classes[found.y["target"][0]] == long


def test_labels_that_are_missing_are_refused_where_they_are_asked_for():
    with pytest.raises(UserError, match=r"target\.npz has no labels"):
        match([0, 1] * 5, None)
    assert set(match([0, 1] * 5, None, required=False).y) == {"source"}
    assert match(None, [0, 1], required=False).y == {}
