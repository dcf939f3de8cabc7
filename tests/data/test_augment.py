"""Augmentation: what may change, what may not, and what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tgdp_jax.data.augment import AUGMENTATIONS, augment
from tgdp_jax.errors import UserError

KEY = jax.random.key(0)
compiled = jax.jit(augment, static_argnames="kind")


def images(num: int = 64, size: int = 16, channels: int = 1) -> jax.Array:
    """Every pixel of a batch has a value of its own."""
    shape = (num, size, size, channels)
    return jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)


def candidates(image: np.ndarray, *, flip: bool) -> dict[tuple[int, int, bool], np.ndarray]:
    """Every image that a shift by up to an eighth, and mirroring, can make of one; written out by index."""
    size = len(image)
    most = size // 8
    place = np.arange(size)
    out = {}
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            moved = image[np.clip(place + down, 0, size - 1)][:, np.clip(place + right, 0, size - 1)]
            out[down, right, False] = moved
            if flip:
                out[down, right, True] = moved[:, ::-1]
    return out


def moves(kind: str, size: int = 16, num: int = 64) -> list[tuple[int, int, bool]]:
    """Which shift was made of each image."""
    x = np.asarray(images(num, size))
    out = np.asarray(compiled(KEY, jnp.asarray(x), kind=kind))
    found = []
    for before, after in zip(x, out, strict=True):
        fits = [move for move, c in candidates(before, flip=kind == "shift_flip").items() if np.array_equal(c, after)]
        assert len(fits) == 1
        found.append(fits[0])
    return found


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(5, 8, 8, 1), (3, 28, 28, 3), (1, 16, 24, 1), (2, 4, 4, 1)])
def test_shape_and_type_are_kept(kind, shape):
    out = compiled(KEY, jnp.zeros(shape, jnp.float32), kind=kind)
    assert out.shape == shape and out.dtype == jnp.float32


def test_images_are_only_shifted_and_by_all_amounts_alike():
    found = moves("shift", num=500)
    assert set(found) == {(a, b, False) for a in range(-2, 3) for b in range(-2, 3)}
    for axis in (0, 1):
        assert abs(np.mean([move[axis] for move in found])) < 5 * np.sqrt(2 / 500)


def test_about_half_of_the_images_are_mirrored_where_asked_for():
    mirrored = [move[2] for move in moves("shift_flip", num=400)]
    assert abs(np.mean(mirrored) - 0.5) < 5 * 0.5 / np.sqrt(400)


def test_images_too_small_for_a_shift_stay():
    x = images(4, 7)
    np.testing.assert_array_equal(compiled(KEY, x, kind="shift"), x)


def test_series_are_shifted_in_time_alone():
    x = np.arange(400 * 16 * 2, dtype=np.float32).reshape(400, 16, 2)
    out = np.asarray(compiled(KEY, jnp.asarray(x), kind="shift"))
    shifts = np.round((out[:, 8, 0] - x[:, 8, 0]) / 2).astype(int)
    assert set(shifts) == {-2, -1, 0, 1, 2}
    for before, after, shift in zip(x, out, shifts, strict=True):
        np.testing.assert_array_equal(after, before[np.clip(np.arange(16) + shift, 0, 15)])


def test_none_changes_nothing_of_any_rows():
    for x in (images(4), jnp.ones((5, 2))):
        np.testing.assert_array_equal(augment(KEY, x, kind="none"), x)


def test_channels_move_together():
    x = jnp.repeat(images(20, 8), 3, axis=-1)
    out = np.asarray(compiled(KEY, x, kind="shift_flip"))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


def test_a_row_depends_on_key_and_place_alone():
    x = images()
    out = np.asarray(compiled(KEY, x, kind="shift_flip"))
    np.testing.assert_array_equal(compiled(KEY, x[:10], kind="shift_flip"), out[:10])
    np.testing.assert_array_equal(augment(KEY, x, kind="shift_flip"), out)
    assert (np.asarray(compiled(jax.random.key(1), x, kind="shift_flip")) != out).any()


def test_what_can_not_be_augmented_is_refused():
    with pytest.raises(UserError, match="unknown augmentation 'cutout': choose one of none, shift, shift_flip"):
        augment(KEY, images(2), kind="cutout")
    with pytest.raises(UserError, match=r"'shift' is for images \[H, W, C\] or series \[L, C\] but a row has shape"):
        augment(KEY, jnp.ones((5, 2)), kind="shift")
    with pytest.raises(UserError, match=r"'shift_flip' is for images \[H, W, C\] but a row has shape \(9, 2\)"):
        augment(KEY, jnp.ones((5, 9, 2)), kind="shift_flip")
