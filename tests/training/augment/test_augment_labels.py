"""Label distributions: mass, mixtures, areas, smoothing; batches and numbers that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from optlab.training import augment

KEY = jax.random.key(11)
COUNT = 32


def coloured(classes=COUNT, side=8):
    """Each image is a constant, its own: a mixture's weights can be read from the pixels."""
    value = np.arange(1, COUNT + 1, dtype=np.float32)
    image = np.broadcast_to(value[:, None, None, None], (COUNT, side, side, 1))
    return {"image": image, "label": np.arange(COUNT, dtype=np.int32) % classes}


@pytest.mark.parametrize("mixing", [augment.mixup(0.4, COUNT), augment.cutmix(1.0, COUNT)])
def test_label_mass_is_one_and_falls_on_two_classes(mixing):
    label = np.asarray(mixing(KEY, coloured())["label"])
    assert label.dtype == np.float32
    np.testing.assert_allclose(label.sum(1), 1, atol=1e-6)
    assert (label >= 0).all()
    assert ((label > 0).sum(1) <= 2).all()
    weight = label[np.arange(COUNT), np.arange(COUNT)]
    assert len(np.unique(weight.round(4))) > COUNT / 4  # one for each example, not for the batch


def test_mixup_is_the_convex_combination_its_labels_state():
    image = np.random.default_rng(0).random((COUNT, 8, 8, 1), np.float32)
    out = augment.mixup(0.4, COUNT)(KEY, coloured() | {"image": image})
    expected = np.einsum("nk,khwc->nhwc", np.asarray(out["label"]), image)
    np.testing.assert_allclose(out["image"], expected, atol=1e-6)


def test_cutmix_labels_weigh_exactly_the_pasted_area():
    out = augment.cutmix(1.0, COUNT)(KEY, coloured())
    pixels, label = np.asarray(out["image"])[..., 0], np.asarray(out["label"])
    own = np.arange(1, COUNT + 1)[:, None, None]
    pasted = pixels != own
    area = pasted.sum((1, 2))
    assert (area > 0).mean() > 0.5
    for i in range(COUNT):
        partner = set(pixels[i][pasted[i]].astype(int))
        assert len(partner) <= 1
        for number in partner:
            assert label[i, number - 1] == np.float32(area[i]) / 64
            rows, columns = pasted[i].any(1), pasted[i].any(0)
            assert area[i] == rows.sum() * columns.sum()  # one box


def test_cutmix_boxes_cover_what_beta_says_when_inside():
    """With all weights near 1/2, the sides are sqrt(1/2) of the image's: 6 of 8 pixels, rounded."""
    out = augment.cutmix(1e6, COUNT)(KEY, coloured())
    area = 1 - np.asarray(out["label"]).diagonal()
    assert area.max() == 6 * 6 / 64
    assert area.min() >= 3 * 3 / 64


def test_partners_are_other_examples_each_as_likely():
    counts = np.zeros(COUNT, int)
    for i in range(100):
        label = np.array(augment.mixup(20.0, COUNT)(jax.random.key(i), coloured())["label"])
        np.fill_diagonal(label, 0)
        assert ((label > 0).sum(1) == 1).all()
        counts += np.bincount((label.argmax(1) - np.arange(COUNT)) % COUNT, minlength=COUNT)
    mean = 100 * COUNT / (COUNT - 1)
    assert counts[0] == 0
    assert np.abs(counts[1:] - mean).max() < 5 * np.sqrt(mean)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 8.0, 1e4])
def test_weights_are_beta_distributed(alpha):
    count = 4000
    label = np.zeros((count, 2), np.float32)
    label[: count // 2, 0] = label[count // 2 :, 1] = 1
    image = np.zeros((count, 1, 1, 1), np.float32)
    out = np.asarray(augment.mixup(alpha)(KEY, {"image": image, "label": label})["label"])
    # A partner of the other half gives w itself, one of the same half 1; leave those out, and what
    # is 0 or 1 in float32 with them. The law is that of w inside (low, 1 - low).
    own, low = (out * label).sum(1), 1e-3
    inside = own[(own > low) & (own < 1 - low)]
    law = scipy.stats.beta(alpha, alpha)
    bottom, top = law.cdf(low), law.cdf(1 - low)
    assert len(inside) == pytest.approx(count / 2 * (top - bottom), rel=0.15)
    cdf = lambda w: (law.cdf(w) - bottom) / (top - bottom)  # noqa: E731
    assert scipy.stats.kstest(inside, cdf).pvalue > 1e-3


@pytest.mark.slow
def test_mixing_distributions_mixes_them():
    batch = coloured() | {"label": np.eye(3, dtype=np.float32)[np.arange(COUNT) % 3]}
    as_numbers = coloured(3)
    mixed, counted = augment.mixup(0.5)(KEY, batch), augment.mixup(0.5, 3)(KEY, as_numbers)
    np.testing.assert_array_equal(mixed["label"], counted["label"])


def test_smoothing_gives_every_class_its_share():
    batch = {"image": jnp.zeros((3, 1, 1, 1)), "label": jnp.array([0, 1, 3])}
    label = augment.label_smoothing(0.2, 4)(None, batch)["label"]
    expected = np.full((3, 4), 0.05)
    expected[[0, 1, 2], [0, 1, 3]] = 0.85
    np.testing.assert_allclose(label, expected, atol=1e-7)
    np.testing.assert_array_equal(
        augment.label_smoothing(0.0, 4)(None, batch)["label"], np.eye(4)[[0, 1, 3]]
    )
    np.testing.assert_array_equal(augment.label_smoothing(1.0, 4)(None, batch)["label"], 0.25)


def test_a_label_of_no_class_becomes_nan_and_leaves_the_others_alone():
    batch = {"image": jnp.zeros((3, 1, 1, 1)), "label": jnp.array([0, -1, 4])}
    label = np.asarray(augment.label_smoothing(0.2, 4)(None, batch)["label"])
    np.testing.assert_array_equal(np.isnan(label).all(1), [False, True, True])
    assert np.isfinite(label[0]).all()


IMAGE = jnp.zeros((2, 4, 4, 3))


@pytest.mark.parametrize(
    ("augmentation", "batch", "error", "message"),
    [
        (augment.random_flip(), {"label": 1}, TypeError, r"entry 'image', got \['label'\]"),
        (augment.random_flip(), IMAGE, TypeError, "must be a dict with an entry 'image'"),
        (augment.random_flip(), {"image": IMAGE[0]}, ValueError, r"N, H, W, C.*\(4, 4, 3\)"),
        (augment.random_flip(), {"image": IMAGE.astype(jnp.uint8)}, TypeError, "uint8.* / 255"),
        (augment.random_crop(4), {"image": IMAGE}, ValueError, "padding.* 4 .*zeros"),
        (augment.cutout(5), {"image": IMAGE}, ValueError, "size.*5.*4, 4"),
        (augment.cutout(2, (0, 1)), {"image": IMAGE}, ValueError, r"fill.*\(2,\).*3 channels"),
        (augment.normalize((1, 2), 1), {"image": IMAGE}, ValueError, r"mean.*3 channels"),
        (augment.random_rotation(1, "reflect"), {"image": IMAGE[:, :1]}, ValueError, "2 rows"),
        (augment.mixup(1.0), {"image": IMAGE}, ValueError, "entry 'label'"),
        (
            augment.mixup(1.0),
            {"image": IMAGE, "label": jnp.array([0, 1])},
            ValueError,
            "classes=10",
        ),
        (
            augment.cutmix(1.0, 3),
            {"image": IMAGE, "label": jnp.ones((2, 2))},
            ValueError,
            "classes=3 but label is over 2",
        ),
        (
            augment.label_smoothing(0.1, 3),
            {"image": IMAGE, "label": jnp.array([0, 1, 2])},
            ValueError,
            r"label must be \(2,\) integers",
        ),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(augmentation, batch, error, message):
    with pytest.raises(error, match=f"{augmentation.record_name}.*{message}"):
        augmentation(KEY, batch)


@pytest.mark.parametrize("key", [None, 3, jax.random.split(KEY, 2), jnp.zeros(2)])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TypeError, match=r"random_flip.*one key"):
        augment.random_flip()(key, {"image": IMAGE})


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: augment.random_crop(-1), ValueError, "padding.* >= 0, got -1"),
        (lambda: augment.random_crop(1.5), ValueError, "whole"),
        (lambda: augment.random_crop(1, "edge"), ValueError, "mode.*'reflect'"),
        (lambda: augment.random_flip(1.5), ValueError, "p must be.*1.5"),
        (lambda: augment.random_flip(0.5, "left"), ValueError, "axis"),
        (lambda: augment.random_rotation(-5), ValueError, "degrees must be a number >= 0"),
        (lambda: augment.random_rotation((5, -5)), ValueError, "low <= high"),
        (lambda: augment.random_rotation((1, 2, 3)), ValueError, "got 3 values"),
        (lambda: augment.random_rotation(float("nan")), ValueError, "nan"),
        (lambda: augment.random_scale(0, 1), ValueError, "low must be a number > 0"),
        (lambda: augment.random_scale(2, 1), ValueError, "low <= high"),
        (lambda: augment.random_affine(scale=1.1), TypeError, "scale must be a pair"),
        (lambda: augment.random_affine(shift=2), ValueError, "shift"),
        (lambda: augment.cutout(0), ValueError, "size.* >= 1"),
        (lambda: augment.cutout(3, "black"), TypeError, "fill"),
        (lambda: augment.mixup(0), ValueError, "alpha must be a number > 0"),
        (lambda: augment.cutmix(1, 0), ValueError, "classes"),
        (lambda: augment.label_smoothing(1.1), ValueError, "epsilon"),
        (lambda: augment.normalize(0, (1, 0)), ValueError, r"std\[1\] must be a number > 0"),
        (lambda: augment.compose(augment.random_flip), TypeError, "forget to call"),
        (lambda: augment.compose(lambda key, batch: batch), TypeError, "must be augmentations"),
    ],
)
def test_a_bad_number_is_refused_where_it_is_written(build, error, message):
    with pytest.raises(error, match=message):
        build()
