"""What every augmentation promises: bits, dtypes, independence of examples, transformations."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab import core
from optlab.training import augment

KEY = jax.random.key(7)
CLASSES = 4
BY_IMAGE = [
    augment.random_crop(2),
    augment.random_crop(2, "zeros"),
    augment.random_flip(),
    augment.random_rotation(20),
    augment.random_scale(0.8, 1.2, "reflect"),
    augment.random_affine((-10, 30), (0.8, 1.2), 0.1),
    augment.cutout(3, fill=(0.1, 0.2, 0.3)),
]
BY_BATCH = [augment.normalize((0.5, 0.4, 0.3), 0.2), augment.label_smoothing(0.1, CLASSES)]
MIXING = [augment.mixup(0.3, CLASSES), augment.cutmix(1.0, CLASSES)]
EVERY = [*BY_IMAGE, *BY_BATCH, *MIXING]
EACH_IMAGE = augment.compose(
    augment.random_crop(1),
    augment.random_flip(),
    augment.random_affine(10, (0.9, 1.1), 0.1),
    augment.cutout(2),
    augment.label_smoothing(0.1, CLASSES),
)
SMALL = augment.compose(augment.random_flip(), augment.label_smoothing(0.1, CLASSES))
WHOLE = augment.compose(augment.mixup(0.3, CLASSES), EACH_IMAGE, augment.normalize(0.5, 0.25))
each = pytest.mark.parametrize("augmentation", EVERY, ids=lambda a: a.record_name)


def make_batch(count=8, dtype=np.float32):
    image = np.random.default_rng(0).random((count, 6, 5, 3), np.float32)
    label = np.arange(count, dtype=np.int32) % CLASSES
    return {"image": jnp.asarray(image.astype(dtype)), "label": jnp.asarray(label)}


def as_numpy(batch):
    return {name: np.asarray(value) for name, value in batch.items()}


def assert_same_bits(left, right):
    left, right = as_numpy(left), as_numpy(right)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


def assert_close(left, right, atol):
    for name, value in as_numpy(left).items():
        np.testing.assert_allclose(
            value.astype(np.float32), np.asarray(right[name]).astype(np.float32), atol=atol
        )


@pytest.mark.parametrize(
    "tried",
    [[BY_IMAGE[5], MIXING[0]], pytest.param(EVERY, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_the_same_key_gives_the_same_bits_jitted_or_not(tried):
    batch = make_batch()
    jitted = jax.jit(lambda key, batch: [a(key, batch) for a in tried])(KEY, batch)
    for augmentation, result in zip(tried, jitted, strict=True):
        assert_same_bits(augmentation(KEY, batch), result)


@pytest.mark.parametrize("augmentation", [*BY_IMAGE, *MIXING], ids=lambda a: a.record_name)
def test_another_key_gives_another_batch_and_examples_are_treated_differently(augmentation):
    batch = make_batch()
    results = [as_numpy(augmentation(jax.random.key(i), batch))["image"] for i in range(4)]
    given = np.asarray(batch["image"])
    assert len({result.tobytes() for result in results}) == 4
    if augmentation in BY_IMAGE:
        alike = np.broadcast_to(given[:1], given.shape)
        treated = np.asarray(augmentation(KEY, batch | {"image": jnp.asarray(alike)})["image"])
        assert len({image.tobytes() for image in treated}) > 1


@pytest.mark.parametrize("augmentation", BY_IMAGE, ids=lambda a: a.record_name)
def test_an_example_depends_on_no_other(augmentation):
    batch = make_batch()
    whole = np.asarray(augmentation(KEY, batch)["image"])
    others = np.asarray(batch["image"]).copy()
    others[1:] = 0.5
    first = np.asarray(augmentation(KEY, batch | {"image": jnp.asarray(others)})["image"])[0]
    np.testing.assert_array_equal(first, whole[0])


def test_an_example_does_not_depend_on_the_size_of_the_batch():
    batch = make_batch()
    part = {name: value[:3] for name, value in as_numpy(batch).items()}
    whole = as_numpy(augment.random_crop(2)(KEY, batch))
    for name, value in as_numpy(augment.random_crop(2)(KEY, part)).items():
        np.testing.assert_array_equal(value, whole[name][:3])


def test_mixing_depends_on_the_partner_and_on_no_third_example():
    batch = make_batch() | {"label": jnp.asarray(np.eye(8, dtype=np.float32))}
    other = np.asarray(batch["image"]).copy()
    other[5] = 0.5
    mixing = augment.mixup(0.3)
    before, after = (as_numpy(mixing(KEY, batch | {"image": i})) for i in (batch["image"], other))
    for i in range(8):
        same = (before["image"][i] == after["image"][i]).all()
        assert same == (before["label"][i, 5] == 0)


def test_dtypes_are_kept_and_choices_do_not_depend_on_them():
    affine = BY_IMAGE[5]
    narrow = affine(KEY, make_batch(dtype=jnp.bfloat16))
    assert narrow["image"].dtype == jnp.bfloat16
    assert_close(narrow, affine(KEY, make_batch()), atol=0.02)
    label = jnp.ones((8, 2), jnp.bfloat16) / 2
    smooth = augment.label_smoothing(0.1)(None, make_batch() | {"label": label})
    assert smooth["label"].dtype == jnp.bfloat16


def test_float64_images_are_resampled_in_float64():
    turn = augment.random_rotation(20)
    narrow = np.asarray(turn(KEY, make_batch())["image"])
    with jax.enable_x64(True):
        image = np.asarray(make_batch()["image"]).astype(np.float64)
        wide = np.asarray(turn(KEY, {"image": jnp.asarray(image)})["image"])
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, narrow, atol=1e-5)


@pytest.mark.parametrize("augmentation", [BY_IMAGE[2], pytest.param(WHOLE, marks=pytest.mark.slow)])
def test_a_scan_and_a_vmap_over_keys_are_single_calls(augmentation):
    batch, keys = make_batch(), jax.random.split(KEY, 2)
    scanned = jax.lax.scan(lambda carry, key: (carry, augmentation(key, batch)), 0, keys)[1]
    mapped = jax.vmap(augmentation, (0, None))(keys, batch)
    for i, key in enumerate(keys):
        single = augmentation(key, batch)
        for many in (scanned, mapped):
            assert_close(single, {n: np.asarray(v)[i] for n, v in many.items()}, atol=1e-6)


def test_numbers_may_be_traced_and_mapped():
    batch = make_batch()
    shrink = jax.vmap(lambda f: augment.random_scale(f, f)(KEY, batch)["image"])
    many = np.asarray(jax.jit(shrink)(jnp.asarray(np.float32([1.0, 0.5]))))
    np.testing.assert_array_equal(many[0], np.asarray(batch["image"]))
    assert (many[1, :, 0] == 0).all()


@pytest.mark.parametrize(
    "kind", [AxisType.Auto, pytest.param(AxisType.Explicit, marks=pytest.mark.slow)]
)
def test_sharded_examples_come_out_as_unsharded_ones_and_stay_where_they_were(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    batch = make_batch()
    placed = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    with jax.set_mesh(mesh):
        result = SMALL(KEY, placed)
    assert_same_bits(result, SMALL(KEY, batch))
    for value in result.values():
        assert value.sharding.spec[0] == "data"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda k: k.name)
@pytest.mark.parametrize("augmentation", [*EVERY, EACH_IMAGE], ids=lambda a: a.record_name)
def test_every_augmentation_may_be_sharded(augmentation, kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    batch = make_batch(16)
    placed = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    with jax.set_mesh(mesh):
        result = augmentation(KEY, placed)
    assert_same_bits(result, augmentation(KEY, batch))


@each
def test_it_is_a_record_that_prints_compares_pickles_and_is_stored(augmentation):
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation
    assert core.from_dict(core.to_dict(augmentation)) == augmentation
    assert eval(repr(augmentation), vars(augment)) == augmentation
    assert eval(repr(WHOLE), vars(augment)) == WHOLE
    assert core.from_dict(core.to_dict(WHOLE)) == WHOLE


def test_other_entries_pass_and_the_given_batch_is_not_changed():
    batch = make_batch() | {"name": ["a", "b"], "row": np.arange(8)}
    given = dict(batch)
    result = augment.compose(augment.normalize(0.5, 0.5), augment.random_flip())(KEY, batch)
    assert result["name"] is batch["name"]
    assert result["row"] is batch["row"]
    assert batch.keys() == given.keys()
    assert all(batch[name] is given[name] for name in given)


def test_a_composition_gives_each_part_a_key_of_its_own():
    batch, keys = make_batch(), jax.random.split(KEY, 2)
    parts = augment.random_flip(), augment.random_flip(axis="vertical")
    by_hand = parts[1](keys[1], parts[0](keys[0], batch))
    assert_same_bits(augment.compose(*parts)(KEY, batch), by_hand)


def test_a_composition_of_nothing_is_the_identity_and_needs_no_key():
    assert_same_bits(augment.compose()(None, make_batch()), make_batch())


def test_an_empty_batch_and_a_batch_of_one_are_possible():
    small = augment.mixup(0.3, CLASSES)
    for count in (0, 1):
        result = small(KEY, make_batch(count))
        assert result["image"].shape == (count, 6, 5, 3)
        assert result["label"].shape == (count, CLASSES)
        assert np.isfinite(np.asarray(result["label"])).all()


def test_the_kinds_of_key_are_alike():
    legacy = jax.random.PRNGKey(3)
    flip = augment.random_flip()
    assert_same_bits(flip(legacy, make_batch()), flip(jax.random.key(3), make_batch()))
