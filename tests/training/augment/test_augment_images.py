"""What augmentations do to pixels: identities, directions, areas, frequencies."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from optlab.training import augment

KEY = jax.random.key(3)


def images(count=4, shape=(7, 7, 2), seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def ones(shape):
    return np.ones(shape, np.float32)


def run(augmentation, image, key=KEY):
    return np.asarray(augmentation(key, {"image": image})["image"])


IDENTITIES = [
    augment.random_crop(0, "zeros"),
    augment.random_crop(0),
    augment.random_flip(0.0),
    augment.random_rotation(0),
    augment.random_rotation((360, 360), "reflect"),
    augment.random_scale(1, 1),
    augment.random_affine(),
    augment.normalize(0.0, 1.0),
]


def test_doing_nothing_is_the_identity_to_the_bit():
    image = images(shape=(6, 9, 2))
    results = jax.jit(lambda b: [nothing(KEY, b)["image"] for nothing in IDENTITIES])(
        {"image": image}
    )
    for nothing, result in zip(IDENTITIES, results, strict=True):
        np.testing.assert_array_equal(result, image, err_msg=repr(nothing))


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_two_certain_flips_are_the_identity(axis):
    flip = augment.random_flip(1.0, axis)
    once = run(flip, images())
    np.testing.assert_array_equal(run(flip, (once)), images())
    np.testing.assert_array_equal(once, np.flip(images(), {"horizontal": 2, "vertical": 1}[axis]))


def test_flips_come_as_often_as_they_should():
    count, p = 4000, 0.3
    image = np.broadcast_to(np.arange(2.0).reshape(1, 1, 2, 1), (count, 1, 2, 1))
    flipped = run(augment.random_flip(p), image)[:, 0, 0, 0].sum()
    assert abs(flipped - count * p) < 5 * np.sqrt(count * p * (1 - p))


@pytest.mark.parametrize("side", [6, pytest.param(7, marks=pytest.mark.slow)])  # 7 has a middle
def test_quarter_turns_are_counter_clockwise_and_move_pixels_without_mixing_them(side):
    image = images(shape=(side, side, 2))
    turn = jax.vmap(lambda d: augment.random_rotation((d, d))(KEY, {"image": image})["image"])
    quarters = {90: 1, 180: 2, 270: 3, -90: 3, 450: 1, -720: 0}
    results = jax.jit(turn)(np.float32(list(quarters)))
    for result, count in zip(results, quarters.values(), strict=True):
        np.testing.assert_array_equal(result, np.rot90(image, count, (1, 2)))


def test_a_half_turn_of_an_oblong_image_reverses_both_axes():
    image = images(shape=(4, 9, 1))
    np.testing.assert_array_equal(
        run(augment.random_rotation((180, 180)), image), image[:, ::-1, ::-1]
    )


@pytest.mark.slow
def test_a_turn_and_its_inverse_nearly_restore_the_middle_of_a_smooth_image():
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, 33), jnp.linspace(-1, 1, 33), indexing="ij")
    image = (jnp.sin(2 * x) * jnp.cos(y + 0.5))[None, :, :, None]
    there = run(augment.random_rotation((25, 25)), image)
    back = run(augment.random_rotation((-25, -25)), there)
    np.testing.assert_allclose(back[0, 10:23, 10:23], image[0, 10:23, 10:23], atol=0.01)


def test_scale_two_doubles_distances_from_the_middle_and_one_half_halves_them():
    ramp = np.broadcast_to(np.arange(9.0)[None, :, None], (9, 9, 1))[None]
    np.testing.assert_allclose(
        run(augment.random_scale(2, 2), ramp)[0, 4, :, 0], 4 + (np.arange(9) - 4) / 2, atol=1e-6
    )
    smaller = run(augment.random_scale(0.5, 0.5), ramp)[0, :, 4, 0]
    np.testing.assert_allclose(
        run(augment.random_scale(0.5, 0.5), ramp)[0, 4, 2:7, 0], [0, 2, 4, 6, 8], atol=1e-6
    )
    np.testing.assert_array_equal(smaller[[0, 1, 7, 8]], 0)  # outside


def test_shifts_stay_within_their_fraction_of_each_side():
    dot = np.zeros((400, 11, 21, 1), np.float32)
    dot[:, 5, 10] = 1
    moved = run(augment.random_affine((0, 0), shift=0.3), dot)[..., 0]
    np.testing.assert_allclose(moved.sum((1, 2)), 1, atol=1e-4)
    down = (moved.sum(2) * np.arange(11)).sum(1) - 5
    right = (moved.sum(1) * np.arange(21)).sum(1) - 10
    for offset, limit in ((down, 0.3 * 11), (right, 0.3 * 21)):
        assert np.abs(offset).max() <= limit + 1e-3
        assert np.abs(offset).max() > 0.95 * limit
        assert abs(offset.mean()) < 5 * limit / np.sqrt(3 * 400)
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.25


def test_one_affine_is_turned_then_enlarged():
    image = images(shape=(9, 9, 1))
    both = run(augment.random_affine((90, 90), (2, 2)), image)
    turned = np.rot90(image, 1, (1, 2))
    np.testing.assert_allclose(both, run(augment.random_affine((0, 0), (2, 2)), turned), atol=1e-6)


def test_angles_and_factors_fill_their_ranges():
    """Measured on an image linear in place, whose gradient turns and shrinks with it."""
    place = np.arange(21, dtype=np.float32) - 10
    image = np.broadcast_to(place[None, None, :, None], (400, 11, 21, 1))
    out = run(augment.random_affine((-30, 30), (0.5, 2.0)), image)[..., 0]
    right, down = out[:, 5, 11] - out[:, 5, 10], out[:, 6, 10] - out[:, 5, 10]
    angle, factor = np.degrees(np.arctan2(-down, right)), 1 / np.hypot(right, down)
    assert -30 - 1e-3 <= angle.min() < -27
    assert 27 < angle.max() <= 30 + 1e-3
    assert 0.5 - 1e-5 <= factor.min() < 0.55
    assert 1.9 < factor.max() <= 2 + 1e-4
    assert abs(np.mean(factor) - 1.25) < 0.1
    assert abs(np.corrcoef(angle, factor)[0, 1]) < 0.25


def test_a_crop_is_a_window_of_the_padded_image_and_every_shift_occurs():
    image = images(300, (4, 5, 1))
    for mode, pad in (("zeros", "constant"), ("reflect", "reflect")):
        padded = np.pad(np.asarray(image), ((0, 0), (1, 1), (1, 1), (0, 0)), pad)
        out = run(augment.random_crop(1, mode), image)
        seen = set()
        for i in range(300):
            found = [
                (y, x)
                for y in range(3)
                for x in range(3)
                if (padded[i, y : y + 4, x : x + 5] == out[i]).all()
            ]
            assert found
            seen.update(found)
        assert len(seen) == 9


def test_cutout_blanks_exactly_its_square_where_that_is_inside():
    size, side = 5, 16
    out = run(augment.cutout(size), ones((400, side, side, 2)))
    blank = out[..., 0] == 0
    np.testing.assert_array_equal(blank, out[..., 1] == 0)
    areas = blank.sum((1, 2))
    inner = ~(
        blank[:, 0].any(1) | blank[:, -1].any(1) | blank[:, :, 0].any(1) | blank[:, :, -1].any(1)
    )
    assert inner.sum() > 100
    assert (areas[inner] == size**2).all()
    assert areas.max() == size**2
    assert areas.min() >= (size // 2 + 1 - (size + 1) % 2) ** 2
    for rows in (blank.any(1), blank.any(2)):  # one interval, not longer than the side
        assert (rows.sum(1) <= size).all()
        assert (np.abs(np.diff(np.pad(rows, ((0, 0), (1, 1))).astype(int))).sum(1) == 2).all()


def test_cutout_is_centred_on_every_pixel_alike():
    out = run(augment.cutout(1), ones((3000, 4, 4, 1)))[..., 0]
    counts = (out == 0).sum(0)
    assert counts.sum() == 3000
    assert np.abs(counts - 3000 / 16).max() < 5 * np.sqrt(3000 / 16)


def test_cutout_fills_with_a_colour_and_touches_nothing_else():
    image = images(16, (8, 8, 3))
    out = run(augment.cutout(3, fill=(-1.0, -2.0, -3.0)), image)
    blank = out[..., 0] == -1
    np.testing.assert_array_equal(out[blank], np.tile([-1, -2, -3], (blank.sum(), 1)))
    np.testing.assert_array_equal(out[~blank], np.asarray(image)[~blank])


def test_normalised_images_have_mean_zero_and_spread_one():
    image = np.asarray(images(64))
    mean, std = image.mean((0, 1, 2)), image.std((0, 1, 2))
    out = run(augment.normalize(mean, tuple(std)), image)
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, atol=1e-5)


@pytest.mark.slow
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**31))
def test_no_resampling_leaves_the_range_of_the_image(height, width, seed):
    image = images(2, (height, width, 1), seed)
    for mode in ("zeros", "reflect"):
        out = run(augment.random_affine(180, (0.3, 3), 0.5, mode), image, jax.random.key(seed))
        low = image.min() if mode == "reflect" else 0
        assert out.min() >= low - 1e-6
        assert out.max() <= image.max() + 1e-6
