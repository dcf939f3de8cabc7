"""Image files: every kind is read alike, and what is damaged or holds no images is refused with cause and remedy."""

import struct
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.image_writers import IDX, X, Y, as_folder, as_h5, as_idx, pixels, save
from tgdp_jax.data.image_files import files_of, read_images
from tgdp_jax.errors import UserError

# Kinds of files


FORMATS = {
    "npz": lambda folder: save(folder / "a.npz", x=X, y=Y),
    "npz of keras": lambda folder: save(folder / "a.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2]),
    "npz, flattened": lambda folder: save(folder / "a.npz", x=X.reshape(12, 64), y=Y),
    "npz, channel": lambda folder: save(folder / "a.npz", x=X[..., None], y=Y),
    "npz of int64": lambda folder: save(folder / "a.npz", x=X.astype(np.int64), y=Y),
    "h5": lambda folder: as_h5(folder / "a.h5", x=X, y=Y),
    "h5 of usps": lambda folder: as_h5(folder / "a.hdf5", train__data=X, train__target=Y, test__data=X[:2]),
    "idx": as_idx,
    "idx.gz": lambda folder: as_idx(folder, ending=".gz"),
    "folder": as_folder,
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_kind_of_file_gives_the_same_images(tmp_path, write):
    found = read_images(write(tmp_path))
    np.testing.assert_array_equal(found.x, X[..., None])
    np.testing.assert_array_equal(found.y.astype(int), Y)
    assert not found.notes


def test_labels_are_optional(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (save(tmp_path / "a.npz", x=X), as_idx(tmp_path, y=None), as_folder(tmp_path / "folder", y=None)):
        found = read_images(path)
        np.testing.assert_array_equal(found.x, X[..., None])
        assert found.y is None


def test_colour_pictures_and_jpegs_are_read(tmp_path):
    x = np.full((3, 8, 8, 3), (200, 30, 90), np.uint8)
    np.testing.assert_array_equal(read_images(as_folder(tmp_path / "png", x, None)).x, x)
    jpeg = read_images(as_folder(tmp_path / "jpg", x, None, ending=".JPG")).x.astype(int)
    assert jpeg.shape == x.shape and np.abs(jpeg - x).max() <= 3


def test_black_and_white_and_palette_pictures_are_read(tmp_path):
    (tmp_path / "bw").mkdir()
    Image.fromarray(X[0] > 127).save(tmp_path / "bw" / "a.png")
    np.testing.assert_array_equal(read_images(tmp_path / "bw").x[0, ..., 0], 255 * (X[0] > 127))
    (tmp_path / "palette").mkdir()
    Image.fromarray(X[0]).convert("P").save(tmp_path / "palette" / "a.png")
    assert read_images(tmp_path / "palette").x.shape == (1, 8, 8, 3)


def test_files_of_other_kinds_in_a_folder_are_left_out_and_named(tmp_path):
    as_folder(tmp_path, y=None)
    (tmp_path / "README.txt").write_text("hello")
    found = read_images(tmp_path)
    assert len(found.x) == 12 and found.notes == ("not read, being no pictures: README.txt",)
    folder = as_folder(tmp_path / "classes")
    for number in range(9):
        (folder / "0" / f"{number}.gif").write_bytes(b"")
    (folder / "1" / "deeper").mkdir()
    (folder / "empty").mkdir()
    (folder / "list.csv").write_text("a,b")
    found = read_images(folder)
    assert len(found.x) == 12 and set(found.y) == {"0", "1", "2"}
    listed = ", ".join(f"0/{number}.gif" for number in range(9))
    assert found.notes == (f"not read, being no pictures: list.csv, {listed} and 2 more",)


def test_pictures_of_all_formats_lie_beside_one_another(tmp_path):
    for image, ending in zip(X, (".png", ".bmp", ".tif", ".tiff", ".webp"), strict=False):
        Image.fromarray(image).convert("RGB").save(tmp_path / f"{ending[1:]}{ending.upper()}", lossless=True)
    found = read_images(tmp_path)
    # By name: bmp, png, tif, tiff, webp.
    np.testing.assert_array_equal(found.x[..., 0], X[[1, 0, 2, 3, 4]])
    assert not found.notes and len(files_of(tmp_path)) == 5


def test_pictures_lie_over_a_background_where_one_is_given(tmp_path):
    x = np.zeros((2, 8, 8, 4), np.uint8)
    x[:, :4] = (10, 20, 30, 255)
    folder = as_folder(tmp_path / "a", x, None)
    found = read_images(folder, background="#010203").x
    assert (found[:, :4] == (10, 20, 30)).all() and (found[:, 4:] == (1, 2, 3)).all()


@pytest.mark.parametrize("names", [("1", "01", "2"), ("0", "2", "00")])
def test_sub_folders_of_one_number_are_refused(tmp_path, names):
    with pytest.raises(UserError, match=r"has classes '0\d?' and '\d+', which are one: rename one of them"):
        read_images(as_folder(tmp_path, names=names))


@pytest.mark.parametrize("images", ["", ".gz"])
@pytest.mark.parametrize("labels", ["", ".gz"])
def test_labels_are_found_whether_they_are_packed_or_not(tmp_path, images, labels):
    (tmp_path / "other").mkdir()
    path = as_idx(tmp_path, y=None, ending=images)
    as_idx(tmp_path / "other", ending=labels)
    name = f"train-labels-idx1-ubyte{labels}"
    (tmp_path / "other" / name).rename(tmp_path / name)
    np.testing.assert_array_equal(read_images(path).y, Y)
    assert files_of(path) == {"images": path, "labels": tmp_path / name}


def test_labels_may_be_names(tmp_path):
    names = np.array(["ant", "bee", "cat"])[Y]
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = X, names.astype(object)
    for path in (tmp_path / "a.h5", save(tmp_path / "a.npz", x=X, y=names)):
        assert read_images(path).y.tolist() == names.tolist()


def test_names_of_sub_folders_are_the_labels(tmp_path):
    names = ("10", "2", "cat")
    found = read_images(as_folder(tmp_path, names=names))
    for image, label in zip(found.x[..., 0], found.y, strict=True):
        row = next(i for i, x in enumerate(X) if np.array_equal(x, image))
        assert label == names[Y[row]]


def test_every_file_that_is_read_is_listed(tmp_path):
    assert files_of(save(tmp_path / "a.npz", x=X)) == {"images": tmp_path / "a.npz"}
    path = as_idx(tmp_path)
    assert files_of(path) == {"images": path, "labels": tmp_path / "train-labels-idx1-ubyte"}
    listed = files_of(as_folder(tmp_path / "folder", x=X[:3], y=np.arange(3)))
    assert list(listed) == ["0/00000.png", "1/00001.png", "2/00002.png"]
    assert all(path.is_file() for path in listed.values())


# What is refused


def _text(folder):
    (folder / "bad.npz").write_text("1,2,3")
    return folder / "bad.npz"


def _truncated_npz(folder):
    path = save(folder / "bad.npz", x=pixels(100))
    path.write_bytes(path.read_bytes()[:800])
    return path


def _single_array(folder):
    np.save(folder / "a.npy", X)
    return (folder / "a.npy").rename(folder / "bad.npz")


def _truncated_h5(folder):
    path = as_h5(folder / "bad.h5", x=pixels(500))
    path.write_bytes(path.read_bytes()[:3000])
    return path


def _truncated_idx(folder):
    path = as_idx(folder)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def _huge_idx(folder):
    # Must be refused before memory is asked for.
    path = as_idx(folder)
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(64))
    return path


def _short_idx(folder):
    path = as_idx(folder)
    path.write_bytes(bytes(5))
    return path


def _idx_of_labels(folder):
    path = as_idx(folder)
    return (folder / "train-labels-idx1-ubyte").replace(path)


def _truncated_labels(folder):
    path = as_idx(folder)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    return path


def _truncated_gz(folder):
    path = as_idx(folder, ending=".gz")
    path.write_bytes(path.read_bytes()[:-20])
    return path


def _no_gz(folder):
    path = as_idx(folder)
    return path.rename(folder / f"{IDX}.gz")


def _truncated_png(folder):
    path = as_folder(folder / "bad", y=None) / "00003.png"
    path.write_bytes(path.read_bytes()[:60])
    return folder / "bad"


def _no_png(folder):
    (as_folder(folder / "bad", y=None) / "00000.png").write_text("hello")
    return folder / "bad"


def _flipped_png(folder):
    path = as_folder(folder / "bad", pixels(5, 64), y=None) / "00002.png"
    content = bytearray(path.read_bytes())
    content[60:80] = b"\xff" * 20
    path.write_bytes(content)
    return folder / "bad"


def _truncated_jpeg(folder):
    path = as_folder(folder / "bad", pixels(3, 64), y=None, ending=".jpg") / "00001.jpg"
    path.write_bytes(path.read_bytes()[:500])
    return folder / "bad"


def _mixed_sizes(folder):
    as_folder(folder / "bad", y=None)
    Image.fromarray(pixels(1, 9)[0]).save(folder / "bad" / "z.png")
    return folder / "bad"


def _mixed_channels(folder):
    as_folder(folder / "bad", y=None)
    Image.fromarray(pixels(1, channels=3)[0]).save(folder / "bad" / "z.png")
    return folder / "bad"


def _transparent(folder):
    return as_folder(folder / "bad", pixels(3, channels=4), None)


def _sixteen_bits(folder):
    return as_folder(folder / "bad", X.astype(np.uint16) * 200, None)


def _empty_folder(folder):
    (folder / "bad" / "class").mkdir(parents=True)
    return folder / "bad"


def _two_places(folder):
    as_folder(folder / "bad", y=None)
    return as_folder(folder / "bad")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere.npz", r"nowhere\.npz does not exist"),
        (
            lambda folder: as_idx(folder).rename(folder / "images.bin"),
            r"images\.bin is of no kind that is known: give a",
        ),
        (lambda folder: as_idx(folder).with_name("train-labels-idx1-ubyte"), "is of no kind that is known"),
        (_text, r"bad\.npz can not be read as \.npz .*numpy\.savez"),
        (_truncated_npz, r"bad\.npz can not be read as \.npz .*numpy\.savez"),
        (_single_array, r"bad\.npz is a single array: save it with numpy\.savez"),
        (lambda folder: save(folder / "a.npz", data=X), "holds data but no 'x' or 'x_train'"),
        (lambda folder: save(folder / "a.npz"), "holds nothing but no 'x'"),
        (lambda folder: save(folder / "a.npz", x=np.array([[None]])), r"Python objects under 'x': .*numpy\.savez"),
        (_truncated_h5, r"bad\.h5 can not be read as HDF5"),
        (lambda folder: as_h5(folder / "a.h5", train__images=X), "holds train/images but no data set 'x' or 'train/d"),
        (_truncated_idx, r"has 767 bytes of data where its header promises 768: download it again"),
        (_huge_idx, r"has 64 bytes of data where its header promises"),
        (_short_idx, "is no idx file of 3-dimensional bytes"),
        (_idx_of_labels, "is no idx file of 3-dimensional bytes"),
        (_truncated_labels, r"train-labels-idx1-ubyte has 11 bytes of data where"),
        (_truncated_gz, r"ubyte\.gz can not be read .*download it again"),
        (_no_gz, r"ubyte\.gz can not be read .*download it again"),
        (_truncated_png, r"00003\.png can not be read as a picture .*replace or remove it"),
        (_no_png, r"00000\.png can not be read as a picture"),
        (_flipped_png, r"00002\.png can not be read as a picture"),
        (_truncated_jpeg, r"00001\.jpg can not be read as a picture"),
        (_mixed_sizes, r"z\.png is 9 x 9 pixels in grey but 00000\.png 8 x 8 .*bring all pictures"),
        (_mixed_channels, r"z\.png is 8 x 8 pixels in colour but 00000\.png 8 x 8 pixels in grey"),
        (_transparent, r"00000\.png has transparent pixels: give --background, white, black or a colour"),
        (_sixteen_bits, r"pixels of kind I;16: save it as 8-bit grey or RGB"),
        (_empty_folder, r"bad has no pictures \(\.png, .*\), nor has a sub-folder"),
        (_two_places, "pictures both in itself and in sub-folders"),
    ],
)
def test_bad_files_are_refused(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        read_images(make(tmp_path))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([["a"]]), "dtype <U1: images must be integers"),
        (X.astype(complex), "dtype complex128"),
        (np.ones(5), r"shape \(5,\): images must be \[N, H, W\]"),
        (np.ones((2, 2, 2, 2, 3)), r"shape \(2, 2, 2, 2, 3\)"),
        (np.ones((0, 8, 8)), r"shape \(0, 8, 8\): .*not empty"),
        (np.ones((5, 0, 0)), r"shape \(5, 0, 0\)"),
        (np.ones((5, 50)), "rows of 50 numbers, no square"),
        (pixels(5, channels=2), r"shape \(8, 8, 2\): channels come last and must be 1"),
        (pixels(5, channels=4), r"shape \(8, 8, 4\): channels come last"),
        (pixels(5, channels=3).transpose(0, 3, 1, 2), r"shape \(3, 8, 8\): channels come last"),
        (X[:, :5], "5 x 8 pixels: crop or pad"),
        (np.where(X == X[3, 2, 1], np.nan, X / 255), "NaN or infinite"),
        (np.where(X == X[3, 2, 1], np.inf, X / 255), "NaN or infinite"),
        (X.astype(np.float32), r"floats from \d+ to 2\d\d: they must lie in \[0, 1\]"),
        (X / 127.5 - 1, r"floats from -\S+ to \S+: they must lie in \[0, 1\]"),
        (X * 300.0, r"floats from \S+ to \S+: they must lie in \[0, 1\]"),
        (X.astype(np.int16) * 2, r"integers from \d+ to 5\d\d: they must lie in 0\.\.255"),
        (X.astype(np.int16) - 1, r"integers from -1 to 254"),
        (X // 128, "integers up to 1, and white is 255"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, x, message):
    with pytest.raises(UserError, match=rf"a\.npz has .*{message}"):
        read_images(save(tmp_path / "a.npz", x=x))


def _external(file, folder):
    (folder / "raw").write_bytes(X.tobytes())
    file.create_dataset("x", X.shape, "u1", external=[(str(folder / "raw"), 0, X.size)])


def _virtual(file, folder):
    import h5py

    layout = h5py.VirtualLayout(X.shape, "u1")
    layout[...] = h5py.VirtualSource(as_h5(folder / "other.h5", x=X), "x", X.shape)
    file.create_virtual_dataset("x", layout)


def _external_link(file, folder):
    import h5py

    file["x"] = h5py.ExternalLink(as_h5(folder / "other.h5", x=X), "x")


def _soft_link(file, folder):
    import h5py

    file["elsewhere"] = X
    file["x"] = h5py.SoftLink("/elsewhere")


def _linked_group(file, folder):
    import h5py

    file["train"] = h5py.ExternalLink(as_h5(folder / "other.h5", data=X), "/")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_external, "keeps '/x' in other files: save the data itself"),
        (_virtual, "keeps '/x' in other files: save the data itself"),
        (_external_link, "has a link under 'x', which may lead out of the file"),
        (_soft_link, "has a link under 'x', which may lead out of the file"),
        (_linked_group, "has a link under 'train/data', which may lead out of the file"),
    ],
)
def test_data_that_lie_outside_of_their_file_are_refused(tmp_path, write, message):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file, tmp_path)
    with pytest.raises(UserError, match=rf"a\.h5 {message}"):
        read_images(tmp_path / "a.h5")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"needs another package: pip install 'tgdp-jax\[images\]'"):
        read_images(tmp_path / "a.h5")
