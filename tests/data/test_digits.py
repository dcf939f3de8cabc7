"""The embedded digits: which images are whose, what the target's style does to them, and what a split depends on."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tgdp_jax.data.digits import STYLES, DigitsConfig, load
from tgdp_jax.errors import UserError

SHIFTS = (*STYLES, "classes")
# Images of every style back to the originals; thickening has no inverse. Bytes are compared: zero must not become -0.
UNDO = {"inverted": lambda x: 0.0 - x, "rotated": lambda x: np.rot90(x, -1, axes=(1, 2)), "classes": lambda x: x}


def digits(shift="thick", *, n_target=50, seed=0, **options):
    return load(DigitsConfig(shift=shift, **options), n_target=n_target, seed=seed)


def rows_of(x: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(x)}


def originals() -> np.ndarray:
    return (load_digits().images[..., None] / 8.0 - 1.0).astype(np.float32)


def test_the_bundled_images_are_told_apart_by_their_pixels():
    # What the tests below rest on.
    assert len(rows_of(originals())) == 1797


@pytest.mark.parametrize("shift", SHIFTS)
def test_shapes_types_and_range(shift):
    p = digits(shift)
    assert p.name == "digits" and p.shape == (8, 8, 1) and not p.conditional and p.exact is None
    for part in (p.source, p.target, p.reference):
        assert part.x.dtype == np.float32 and part.y.dtype == np.int32 and part.y.shape == (len(part),)
        assert part.x.min() == -1.0 and part.x.max() == 1.0
    assert len(p.target) == 50 and len(digits(shift, n_target=None).target) == 50


@pytest.mark.parametrize("shift", UNDO)
def test_no_image_is_on_two_sides(shift):
    p = digits(shift, n_target=200)
    source, target, reference = (rows_of(x) for x in (p.source.x, *(UNDO[shift](q.x) for q in (p.target, p.reference))))
    assert not source & target and not source & reference and not target & reference
    assert source | target | reference <= rows_of(originals())
    assert (len(source), len(target), len(reference)) == (len(p.source), len(p.target), len(p.reference))


def test_the_source_has_two_thirds_and_the_reference_half_of_the_rest():
    p = digits()
    assert (len(p.source), len(p.reference)) == (1198, 300)
    assert len(digits("classes").source) == 901


def test_thick_strokes_are_the_brightest_of_their_surroundings():
    thick, plain = digits("thick"), digits("inverted")
    before, after = -plain.target.x, thick.target.x  # the same images: the split knows no style
    np.testing.assert_array_equal(plain.target.y, thick.target.y)
    windows = np.stack([before[:, i : 7 + i, j : 7 + j] for i in (0, 1) for j in (0, 1)])
    np.testing.assert_array_equal(after[:, :7, :7], windows.max(0))
    assert after.mean() > before.mean() + 0.1


def test_the_source_is_not_styled():
    for shift in STYLES:
        assert rows_of(digits(shift).source.x) <= rows_of(originals())


def test_labels_stay_with_their_images():
    label = dict(zip((row.tobytes() for row in originals()), load_digits().target, strict=True))
    p = digits("inverted")
    for x, y in ((p.source.x, p.source.y), (0.0 - p.target.x, p.target.y), (0.0 - p.reference.x, p.reference.y)):
        assert [label[row.tobytes()] for row in np.ascontiguousarray(x)] == y.tolist()


def test_classes_are_five_and_five():
    p = digits("classes")
    assert set(p.source.y.tolist()) == set(range(5))
    assert set(p.target.y.tolist()) == set(p.reference.y.tolist()) == set(range(5, 10))


@pytest.mark.parametrize("shift", STYLES)
def test_conditional_models_see_ten_classes_on_both_sides(shift):
    p = digits(shift, conditional=True)
    assert p.num_classes == 10 and set(p.source.arrays(p.conditional)) == {"x", "y"}
    assert set(p.source.y.tolist()) == set(p.reference.y.tolist()) == set(range(10))
    # The third of every class is alike: labels do not tell source from target.
    shares = [np.bincount(part.y, minlength=10) / len(part) for part in (p.source, p.reference)]
    assert np.abs(shares[0] - shares[1]).max() < 0.05


def test_unconditional_models_see_no_labels():
    p = digits()
    assert set(p.source.arrays(p.conditional)) == set(p.target.arrays(p.conditional)) == {"x"}


def test_target_rows_are_nested_and_change_nothing_else():
    few, many = digits(n_target=10), digits(n_target=50)
    np.testing.assert_array_equal(few.target.x, many.target.x[:10])
    np.testing.assert_array_equal(few.target.y, many.target.y[:10])
    np.testing.assert_array_equal(few.source.x, many.source.x)
    np.testing.assert_array_equal(few.reference.x, many.reference.x)


def test_the_split_is_the_seeds():
    a, b, other = digits(), digits(), digits(seed=1)
    np.testing.assert_array_equal(a.target.x, b.target.x)
    np.testing.assert_array_equal(a.reference.x, b.reference.x)
    assert rows_of(a.target.x) != rows_of(other.target.x)
    np.testing.assert_array_equal(a.source.x, other.source.x)


def test_images_can_be_larger():
    p = digits(size=16)
    assert p.shape == (16, 16, 1) and -1.0 <= p.source.x.min() and p.source.x.max() <= 1.0
    means = p.source.x.mean((1, 2, 3)), digits().source.x.mean((1, 2, 3))
    np.testing.assert_allclose(*means, atol=0.05)


def test_a_size_beyond_memory_is_refused_by_its_option():
    with pytest.raises(UserError, match=r"1797 images of 1000000 x 1000000 pixels would take .*: lower --size"):
        digits(size=1_000_000)


def test_users_see_pixels_from_zero_to_one():
    p = digits()
    np.testing.assert_allclose(p.scaler.to_user(np.array([-1.0, 0.0, 1.0], np.float32)), [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": "blurred"}, "unknown shift 'blurred': choose one of classes, inverted, rotated, thick"),
        ({"shift": "classes", "conditional": True}, "leave out --conditional"),
        ({"size": 7}, "size is 7"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        DigitsConfig(**settings)


@pytest.mark.parametrize(("n", "message"), [(1, "n-target is 1: at least 2"), (300, "only 299 target rows")])
def test_impossible_numbers_of_target_rows_are_refused(n, message):
    with pytest.raises(UserError, match=message):
        digits(n_target=n)
