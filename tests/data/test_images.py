"""The user's images: how pixels are scaled, and how source, target, reference and labels are made of files."""

import numpy as np
import pytest

from tests.data.image_writers import Y, as_folder, as_idx, pixels, save
from tgdp_jax.data import images
from tgdp_jax.data.images import ImagesConfig, load
from tgdp_jax.data.pixels import to_model
from tgdp_jax.errors import UserError
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.settings.stored import from_json, to_json


@pytest.fixture
def files(tmp_path):
    """Source and target files of grey images in three classes."""
    save(tmp_path / "source.npz", x=pixels(120), y=np.arange(120) % 3)
    save(tmp_path / "target.npz", x=pixels(40, seed=1), y=1 + np.arange(40) % 2)
    return tmp_path


def read(folder, *, n_target=None, seed=0, source="source.npz", target="target.npz", **options):
    config = ImagesConfig(source=folder / source, target=folder / target, **options)
    return load(config, n_target=n_target, seed=seed)


def rows_of(data) -> set[bytes]:
    return {row.tobytes() for row in data.x}


def unit(x: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W] in the models' range, written out."""
    return (x[..., None] / 127.5 - 1.0).astype(np.float32)


# Scaling


@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x.astype(np.int32), lambda x: x / 255])
def test_black_is_minus_one_and_white_one(convert):
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    out = to_model(convert(x), 16)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, ..., 0], np.linspace(-1, 1, 256).reshape(16, 16), atol=1e-6)
    assert out.min() == -1.0 and out.max() == 1.0


def test_booleans_are_black_and_white():
    np.testing.assert_array_equal(np.unique(to_model(pixels(12, channels=1) > 127, 8)), [-1.0, 1.0])


@pytest.mark.parametrize("size", [4, 7, 16, 31])
def test_flat_images_stay_flat_at_any_size(size):
    x = np.broadcast_to(np.array([0, 100, 255], np.uint8), (2, 12, 12, 3))
    out = to_model(x, size)
    assert out.shape == (2, size, size, 3)
    np.testing.assert_allclose(out, np.broadcast_to(np.array([0, 100, 255]) / 127.5 - 1, out.shape), atol=1e-5)


def test_shrinking_averages_and_does_not_pick_pixels():
    # The finest stripes there are vanish; every other pixel alone would be black or white.
    stripes = np.zeros((1, 32, 32, 1), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.abs(to_model(stripes, 16)[0, 2:-2, 2:-2]).max() < 0.1
    # Slow waves stay: at pixel centres, 0.5 cos and the same at half the resolution.
    wave = 0.5 + 0.4 * np.cos(2 * np.pi * (np.arange(32) + 0.5) / 32)
    coarse = 0.8 * np.cos(2 * np.pi * (np.arange(16) + 0.5) / 16)
    out = to_model(np.tile(wave, (1, 32, 1))[..., None], 16)
    np.testing.assert_allclose(out[0, :, 2:-2, 0], np.tile(coarse[2:-2], (16, 1)), atol=0.02)


def test_resized_images_stay_in_range():
    x = np.where(pixels(20, 9, channels=1) > 127, 255, 0)
    for size in (5, 9, 20):
        out = to_model(x, size)
        assert -1.0 <= out.min() and out.max() <= 1.0


def test_all_are_brought_to_the_sources_size_or_the_one_asked_for(files):
    save(files / "target.npz", x=pixels(40, 16))
    save(files / "reference.npz", x=pixels(40, 11))
    p = read(files, reference=files / "reference.npz")
    assert p.shape == p.target.x.shape[1:] == p.reference.x.shape[1:] == (8, 8, 1)
    p = read(files, reference=files / "reference.npz", size=12)
    assert p.shape == p.target.x.shape[1:] == p.reference.x.shape[1:] == (12, 12, 1)
    with pytest.raises(UserError, match="size is 0"):
        read(files, size=0)


def test_a_size_beyond_memory_is_refused_by_its_option(files):
    with pytest.raises(UserError, match=r"152 images of 1000000 x 1000000 pixels would take .*: lower --size"):
        read(files, size=1_000_000, n_target=32)


def test_users_see_pixels_from_zero_to_one(files):
    p = read(files)
    np.testing.assert_allclose(p.scaler.to_user(p.source.x)[..., 0], pixels(120) / 255, atol=1e-6)


# Source and target


def test_rows_are_the_files_in_the_models_range(files):
    p = read(files, n_target=25)
    assert p.name == "images" and p.shape == (8, 8, 1) and p.exact is None
    np.testing.assert_allclose(p.source.x, unit(pixels(120)), atol=1e-6)
    assert p.source.x.dtype == p.target.x.dtype == p.reference.x.dtype == np.float32
    assert rows_of(p.target) | rows_of(p.reference) == {
        row.tobytes() for row in to_model(pixels(40, seed=1)[..., None], 8)
    }


def test_source_and_target_may_be_files_of_different_kinds(files):
    as_folder(files / "pictures", pixels(20, 10), np.arange(20) % 2, ("1", "2"))
    p = read(files, target="pictures", conditional=True)
    assert p.num_classes == 3 and p.target.x.shape == (16, 8, 8, 1) and set(p.target.y.tolist()) == {1, 2}


def test_a_background_is_part_of_the_settings_only_where_it_is_given(files):
    # Else every folder of results from before it existed would be another run's.
    settings = {"source": files / "source.npz", "target": files / "target.npz"}
    plain, white = (ImagesConfig(**settings, background=colour) for colour in (None, "white"))
    assert "background" not in to_json(plain) and to_json(white)["background"] == "white"
    for config in (plain, white):
        run = RunConfig(problem=config)
        assert from_json(RunConfig, to_json(run)) == run
        assert ("background" in to_json(run)["problem"]) == (config is white)
    with pytest.raises(UserError, match="background is 'grey': give white, black or"):
        ImagesConfig(**settings, background="grey")


def test_transparent_pictures_are_laid_over_the_background_in_all_files(files):
    x = np.zeros((120, 8, 8, 4), np.uint8)
    x[..., :3], x[:, :4, :, 3] = pixels(120, channels=3), 255
    as_folder(files / "source", x, None)
    as_folder(files / "target", x[:40, ::-1], None)
    with pytest.raises(UserError, match="has transparent pixels: give --background"):
        read(files, source="source", target="target")
    p = read(files, source="source", target="target", background="white")
    assert (p.source.x[:, 4:] == 1).all() and (p.target.x[:, :4] == 1).all() and (p.source.x[:, :4] < 1).any()


def test_channels_must_agree(files):
    save(files / "target.npz", x=pixels(40, channels=3))
    with pytest.raises(UserError, match=r"target\.npz is in colour and \S+source\.npz in grey: convert"):
        read(files)
    save(files / "source.npz", x=pixels(120, channels=3))
    assert read(files).shape == (8, 8, 3)
    save(files / "target.npz", x=pixels(40))
    with pytest.raises(UserError, match=r"source\.npz is in colour and \S+target\.npz in grey: convert"):
        read(files)


def test_too_few_images_are_refused(files):
    save(files / "target.npz", x=pixels(1))
    with pytest.raises(UserError, match=r"target\.npz has 1 image: at least 2"):
        read(files)
    save(files / "source.npz", x=pixels(99))
    with pytest.raises(UserError, match=r"source\.npz has 99 images: at least 100"):
        read(files)


@pytest.mark.parametrize(("n", "message"), [(1, "n-target is 1: at least 2"), (41, "n-target is 41 but only 40")])
def test_impossible_numbers_of_target_rows_are_refused(files, n, message):
    with pytest.raises(UserError, match=message):
        read(files, n_target=n)


# Splitting


def test_images_to_judge_by_are_never_learned_from(files):
    p = read(files, n_target=25)
    assert (len(p.target), len(p.reference)) == (25, 15)
    assert not rows_of(p.target) & rows_of(p.reference)


def test_a_fifth_is_held_back_when_no_number_is_given(files):
    save(files / "target.npz", x=pixels(60, seed=1))
    p = read(files)
    assert (len(p.target), len(p.reference)) == (48, 12)


def test_a_handful_of_left_over_images_judges_nothing(files):
    assert read(files, n_target=31).reference is None
    assert len(read(files, n_target=30).reference) == 10


def test_the_split_depends_on_the_seed_and_is_nested_in_n(files):
    a, b = read(files, n_target=20), read(files, n_target=20)
    np.testing.assert_array_equal(a.target.x, b.target.x)
    np.testing.assert_array_equal(read(files, n_target=8).target.x, a.target.x[:8])
    assert rows_of(read(files, n_target=20, seed=1).target) != rows_of(a.target)


def test_copies_are_on_one_side_and_counted(files):
    x = pixels(150, seed=1)
    save(files / "target.npz", x=np.concatenate([x, x]))
    p = read(files)
    assert (len(p.target), len(p.reference)) == (240, 60) and not rows_of(p.target) & rows_of(p.reference)
    assert p.notes == (
        "target: 150 of 300 images are copies of others; all copies of one are learned from, or all judge",
    )
    nested = read(files, n_target=101)
    np.testing.assert_array_equal(nested.target.x, p.target.x[:101])
    assert not rows_of(nested.target) & rows_of(nested.reference)


def test_copies_across_files_are_counted(files):
    reference = pixels(30, seed=5)
    reference[:4], reference[10:13] = pixels(120)[50:54], pixels(40, seed=1)[:3]
    save(files / "reference.npz", x=reference / 255)
    p = read(files, reference=files / "reference.npz")
    assert p.notes == (
        "4 of 30 images to judge by are copies of source images",
        "3 of 30 images to judge by are copies of target images",
    )


def test_reference_images_may_come_from_a_file_of_their_own(files):
    save(files / "reference.npz", x=pixels(12, seed=5))
    p = read(files, reference=files / "reference.npz")
    assert (len(p.target), len(p.reference)) == (40, 12)
    assert rows_of(p.reference) == {row.tobytes() for row in to_model(pixels(12, seed=5)[..., None], 8)}
    save(files / "reference.npz", x=pixels(12, channels=3))
    with pytest.raises(UserError, match=r"reference\.npz is in colour"):
        read(files, reference=files / "reference.npz")
    save(files / "reference.npz", x=pixels(1))
    with pytest.raises(UserError, match=r"reference\.npz has 1 image"):
        read(files, reference=files / "reference.npz")


def test_more_images_than_judging_needs_are_left_out(files, monkeypatch):
    monkeypatch.setattr(images, "MAX_REFERENCE", 11)
    assert len(read(files, n_target=20).reference) == 11
    save(files / "reference.npz", x=pixels(30, seed=5), y=np.arange(30) // 10)
    p = read(files, reference=files / "reference.npz")
    # Files are often sorted by class: the first rows are not all classes.
    assert len(p.reference) == 11 and set(p.reference.y.tolist()) == {0, 1, 2}


# Labels


def test_classes_are_the_sources(files):
    p = read(files, conditional=True, n_target=20)
    assert p.num_classes == 3
    assert set(p.source.y.tolist()) == {0, 1, 2} and set(p.target.y.tolist()) == {1, 2}
    assert p.source.y.dtype == p.target.y.dtype == p.reference.y.dtype == np.int32


def test_labels_stay_with_their_images(files):
    file = np.load(files / "target.npz")
    label = {row.tobytes(): int(y) for row, y in zip(to_model(file["x"][..., None], 8), file["y"], strict=True)}
    p = read(files, conditional=True, n_target=20)
    for part in (p.target, p.reference):
        assert [label[row.tobytes()] for row in part.x] == part.y.tolist()


def test_names_of_sub_folders_are_numbered_as_in_the_source(files):
    as_folder(files / "source", pixels(120), np.arange(120) % 3, ("ant", "bee", "cat"))
    as_folder(files / "target", pixels(20, seed=1), np.arange(20) % 2, ("bee", "cat"))
    p = read(files, source="source", target="target", conditional=True)
    assert p.num_classes == 3 and set(p.target.y.tolist()) == {1, 2}
    as_folder(files / "other", pixels(20, seed=1), np.arange(20) % 2, ("bee", "dog"))
    with pytest.raises(
        UserError, match=r"other has a class that the source does not know by this name: dog; .*\(ant, bee, cat\)"
    ):
        read(files, source="source", target="other", conditional=True)
    # A source whose classes are numbers knows no names.
    with pytest.raises(UserError, match="target has 2 classes that the source does not know by this name: bee, cat"):
        read(files, target="target", conditional=True)
    p = read(files, source="source", target="other")
    assert p.target.y is None and set(p.source.y.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("which", ["source", "target"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has no labels, which a conditional run needs"),
        (lambda n: np.arange(n) % 3 + 0.5, "dtype float64"),
        (lambda n: np.array([b"cat"] * n), "dtype \\|S3"),
        (lambda n: np.zeros(n - 1, int), r"must be integers \["),
        (lambda n: np.zeros((n, 1), int), r"must be integers \["),
        (lambda n: np.arange(n) % 3 - 1, "reach from -1"),
    ],
)
def test_bad_labels_are_refused_with_the_files_name(files, which, labels, message):
    n = 120 if which == "source" else 40
    save(files / f"{which}.npz", x=pixels(n), **({} if labels is None else {"y": labels(n)}))
    with pytest.raises(UserError, match=rf"{which}\.npz .*{message}"):
        read(files, conditional=True)
    # Models that see no labels do not care; nor is anything judged by labels that do not fit.
    p = read(files)
    fits = message == "reach from -1" and which == "source"
    assert (getattr(p, which).y is not None) == fits and not p.conditional


@pytest.mark.parametrize("y", [Y[:-1], None])
def test_labels_beside_an_idx_file_must_fit(files, y):
    (files / "target").mkdir()
    path = as_idx(files / "target", y=y)
    with pytest.raises(UserError, match=rf"{path.name} has|labels of .*{path.name} have"):
        read(files, target=path.relative_to(files), conditional=True)


def test_a_target_class_that_the_source_lacks_is_refused(files):
    save(files / "target.npz", x=pixels(40), y=np.arange(40) % 4)
    with pytest.raises(UserError, match=r"from 0 to 3: they must lie in 0\.\.2, the source's classes"):
        read(files, conditional=True)


def test_unconditional_models_see_no_labels(files):
    p = read(files, n_target=20)
    assert not p.conditional and set(p.source.arrays(p.conditional)) == set(p.target.arrays(p.conditional)) == {"x"}
    assert p.source.y.tolist() == [i % 3 for i in range(120)] and set(p.reference.y.tolist()) == {1, 2}


@pytest.mark.parametrize("classes", [(-1, 0, 1), (0, 7, 2_000_000_000), (20240101, 20240102, 20250101)])
def test_labels_that_nobody_asked_for_may_be_any_numbers(files, classes):
    save(files / "source.npz", x=pixels(120), y=np.take(classes, np.arange(120) % 3))
    save(files / "target.npz", x=pixels(40), y=np.take(classes, 1 + np.arange(40) % 2))
    p = read(files, n_target=20)
    assert p.source.y.tolist() == [i % 3 for i in range(120)]
    assert set(p.target.y.tolist()) == set(p.reference.y.tolist()) == {1, 2}
    save(files / "target.npz", x=pixels(40), y=np.full(40, 5))
    assert read(files).target.y is None


def test_classes_and_what_was_left_out_are_told(files):
    source = as_folder(files / "source", pixels(120), np.arange(120) % 3, ("ant", "bee", "unsorted"))
    target = as_folder(files / "target", pixels(40, seed=1), np.arange(40) % 2, ("bee", "ant"))
    (target / "notes.txt").write_text("hello")
    as_folder(source / ".ipynb_checkpoints", pixels(2), y=None)
    for conditional in (True, False):
        p = read(files, source="source", target="target", conditional=conditional)
        assert p.classes == ("ant", "bee", "unsorted") and p.num_classes == 3 * conditional
        assert p.notes == (
            "target: not read, being no pictures: notes.txt",
            "labels: 0 = ant, 1 = bee, 2 = unsorted (source only)",
        )
        names = {
            row.tobytes(): ("bee", "ant")[i % 2] for i, row in enumerate(to_model(pixels(40, seed=1)[..., None], 8))
        }
        assert [p.classes[y] for y in p.target.y] == [names[row.tobytes()] for row in p.target.x]


def test_names_in_a_file_meet_names_of_folders(files):
    as_folder(files / "source", pixels(120), np.arange(120) % 3, ("ant", "bee", "cat"))
    save(files / "target.npz", x=pixels(40, seed=1), y=np.array(["cat", "bee"] * 20))
    p = read(files, source="source", conditional=True)
    assert set(p.target.y.tolist()) == {1, 2} and p.notes == ("labels: 0 = ant (source only), 1 = bee, 2 = cat",)


def test_labels_that_are_not_asked_for_are_left_out_with_a_note(files):
    save(files / "target.npz", x=pixels(40), y=np.array(["cat", "dog"] * 20))
    p = read(files)
    assert p.target.y is None and set(p.source.y.tolist()) == {0, 1, 2}
    assert (
        len(p.notes) == 1 and "by this name: cat, dog" in p.notes[0] and p.notes[0].startswith("labels are left out: ")
    )


def test_a_number_for_every_image_is_no_class(files):
    save(files / "source.npz", x=pixels(120), y=np.arange(120))
    assert read(files).source.y is None
