"""Sources, subsets, splits, folds, standardisation."""

import hashlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from data_files import Slow, numbers

from optlab.training import data

# --- arrays


def test_gather_takes_the_examples_in_the_order_asked_for():
    source = data.Arrays({"x": np.arange(5) * 10, "y": np.eye(5)})
    batch = source.gather([3, 0, 3])
    np.testing.assert_array_equal(batch["x"], [30, 0, 30])
    np.testing.assert_array_equal(batch["y"], np.eye(5)[[3, 0, 3]])


def test_what_is_gathered_can_be_written_to_without_harm():
    source = numbers(3)
    source.gather([0, 1])["x"][:] = 99
    np.testing.assert_array_equal(source.column("x"), [0, 1, 2])


def test_the_arrays_of_a_source_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        numbers(3).column("x")[0] = 1


@pytest.mark.parametrize("indices", [[3], [-1], np.array([0, 7], np.uint8)])
def test_an_index_outside_the_source_is_an_error(indices):
    with pytest.raises(IndexError, match=r"numbers: index (3|-1|7) is outside 0 \.\. 2"):
        numbers(3).gather(indices)


@pytest.mark.parametrize("indices", [[0.0], [True], 1, [[0]]])
def test_indices_are_a_vector_of_whole_numbers(indices):
    with pytest.raises(TypeError, match="vector of whole numbers"):
        numbers(3).gather(indices)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, ValueError, "at least one field"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, ValueError, "{'x': 3, 'y': 4}"),
        ({"x": np.float32(1)}, ValueError, "'x' must have the examples in front"),
        ({"x": np.array(["a"])}, TypeError, "'x' must be an array of numbers"),
        ({"x": np.array([None])}, TypeError, "'x' must be an array of numbers"),
    ],
)
def test_fields_that_are_no_arrays_of_one_length_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        data.Arrays(fields)


def test_repr_says_how_many_of_what():
    source = data.Arrays({"x": np.zeros((1, 2, 3), np.float32)}, name="one")
    assert repr(source) == "one: 1 example of x float32 2x3"


def test_a_column_that_does_not_exist_is_named():
    for source in (numbers(3), Slow(3)):
        with pytest.raises(ValueError, match="has no field 'label'; it has x"):
            source.column("label")


def test_a_column_is_the_field_of_all_examples():
    np.testing.assert_array_equal(Slow(2500).column("x"), np.arange(2500))


# --- digests


def test_the_digest_is_the_sha_256_of_names_types_shapes_and_content():
    expected = hashlib.sha256()
    expected.update(b"bytes 6\narrays" + b"bytes 1\nx")
    expected.update(b"array <i2 (2,)\n" + bytes([1, 0, 2, 0]))
    assert data.Arrays({"x": np.array([1, 2], "<i2")}).digest() == expected.hexdigest()


def test_the_digest_does_not_depend_on_byte_order_layout_or_order_of_the_fields():
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    plain = data.Arrays({"x": values, "y": np.ones(2)})
    other = data.Arrays({"y": np.ones(4)[::2], "x": np.asfortranarray(values.astype(">i4"))})
    assert plain.digest() == other.digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"x": np.array([1, 3])},
        {"x": np.array([1, 2], np.int32)},
        {"x": np.array([[1], [2]])},
        {"y": np.array([1, 2])},
    ],
)
def test_the_digest_tells_different_data_apart(fields):
    assert data.Arrays(fields).digest() != data.Arrays({"x": np.array([1, 2])}).digest()


def test_the_digest_of_a_subset_depends_on_what_was_chosen():
    source = numbers(5)
    digests = {source.subset(i).digest() for i in ([0, 1], [1, 0], [0, 2])} | {source.digest()}
    assert len(digests) == 4
    assert source.subset([0, 1]).digest() == numbers(5).subset([0, 1]).digest()


# --- subsets


@pytest.mark.parametrize("source", [numbers(10), Slow(10)])
def test_a_subset_of_a_subset_counts_within_it(source):
    inner = source.subset([9, 7, 5, 3]).subset([2, 0])
    np.testing.assert_array_equal(inner.gather([0, 1])["x"], [5, 9])
    np.testing.assert_array_equal(inner.column("x"), [5, 9])
    assert len(inner) == 2
    assert inner.in_memory == source.in_memory


def test_a_subset_checks_its_own_bounds():
    with pytest.raises(IndexError, match=r"index 2 is outside 0 \.\. 1"):
        numbers(10).subset([9, 7]).gather([2])
    with pytest.raises(IndexError, match="index 10"):
        numbers(10).subset([10])


def test_an_empty_subset_has_its_fields():
    empty = numbers(3).subset([])
    assert repr(empty) == "numbers: 0 examples of x int64"
    with pytest.raises(IndexError, match="empty"):
        empty.gather([0])


# --- splits

SIZES = st.integers(20, 80)
SEEDS = st.integers(0, 2**31)


@hypothesis.given(SIZES, SEEDS, st.sampled_from([(0.5, 0.5), (0.7, 0.2, 0.1), (1.0,)]))
def test_the_parts_of_a_split_share_nothing_and_leave_nothing_out(size, seed, fractions):
    parts = [part.column("x") for part in data.split(numbers(size), fractions, seed)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(size))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * size) <= 1
        assert (np.diff(part) > 0).all()


def test_a_split_repeats_and_another_seed_gives_another():
    def first(seed):
        return data.split(numbers(50), (0.5, 0.5), seed)[0].column("x").tolist()

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_a_split_stays_what_it_was_in_other_versions():
    assert data.split(numbers(12), (0.75, 0.25), 0)[1].column("x").tolist() == [3, 6, 9]


@hypothesis.given(SEEDS)
def test_a_stratified_split_divides_each_class_in_the_same_shares(seed):
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    source = data.Arrays({"label": labels, "x": np.arange(60)})
    train, test = data.split(source, (0.7, 0.3), seed, stratify="label")
    assert np.bincount(train.column("label")).tolist() == [7, 14, 21]
    assert np.bincount(test.column("label")).tolist() == [3, 6, 9]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.5, 0.4), r"sum to 1, got \(0.5, 0.4\)"),
        ((0.9, 0.2), "sum to 1"),
        ((), "sum to 1"),
        ((1.5, -0.5), r"fractions\[0\] must be a number in"),
        ((1.0, 0.0), r"fractions\[1\] must be a number in"),
        ((0.99, 0.01), "10 examples, too few for a part of 0.01"),
    ],
)
def test_fractions_that_divide_nothing_are_refused(fractions, message):
    with pytest.raises(ValueError, match=message):
        data.split(numbers(10), fractions)


def test_stratifying_needs_classes():
    with pytest.raises(ValueError, match="integer classes; 'y' of slow is float32"):
        data.split(Slow(10), (0.5, 0.5), stratify="y")


def test_something_else_than_a_source_is_refused():
    with pytest.raises(TypeError, match=r"source must be a Source, got {'x': 1}"):
        data.split({"x": 1}, (1.0,))


# --- folds


@hypothesis.given(SIZES, st.integers(2, 7), SEEDS)
def test_each_example_validates_in_exactly_one_fold(size, count, seed):
    pairs = data.folds(numbers(size), count, seed)
    validation = [part.column("x") for _, part in pairs]
    np.testing.assert_array_equal(np.sort(np.concatenate(validation)), np.arange(size))
    assert max(map(len, validation)) - min(map(len, validation)) <= 1
    for train, part in pairs:
        both = np.concatenate([train.column("x"), part.column("x")])
        np.testing.assert_array_equal(np.sort(both), np.arange(size))


def test_stratified_folds_have_the_same_classes_up_to_one():
    source = data.Arrays({"label": np.repeat([0, 1], [10, 25])})
    counts = [np.bincount(v.column("label")) for _, v in data.folds(source, 5, stratify="label")]
    assert np.ptp(counts, axis=0).max() <= 1


def test_folds_need_two_and_no_more_than_examples():
    with pytest.raises(ValueError, match="count must be a whole number >= 2, got 1"):
        data.folds(numbers(5), 1)
    with pytest.raises(ValueError, match="5 examples, fewer than 6"):
        data.folds(numbers(5), 6)


# --- standardising


def test_standardised_features_have_mean_zero_and_deviation_one():
    values = np.random.default_rng(0).normal([5, -100], [0.1, 20], (200, 2)).astype(np.float32)
    source = data.Arrays({"features": values, "label": np.arange(200)}, info={"columns": "ab"})
    result = data.Standardizer.fit(source)(source)
    np.testing.assert_allclose(result.column("features").mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(result.column("features").std(0), 1, rtol=1e-5)
    assert result.column("features").dtype == np.float32
    np.testing.assert_array_equal(result.column("label"), np.arange(200))
    assert result.info == source.info


def test_the_statistics_are_those_of_the_training_part():
    train = data.Arrays({"features": np.array([[0.0], [2.0]])})
    test = data.Arrays({"features": np.array([[7.0]])})
    assert data.Standardizer.fit(train)(test).column("features").tolist() == [[6.0]]


def test_a_constant_feature_becomes_zero():
    source = data.Arrays({"features": np.full((7, 1), 0.1, np.float32)})
    assert data.Standardizer.fit(source)(source).column("features").tolist() == [[0.0]] * 7


def test_a_missing_value_becomes_the_mean_and_does_not_count():
    source = data.Arrays({"features": np.array([[1.0], [np.nan], [3.0]])})
    standardizer = data.Standardizer.fit(source)
    assert (standardizer.mean, standardizer.deviation) == ((2.0,), (1.0,))
    assert standardizer(source).column("features").tolist() == [[-1.0], [0.0], [1.0]]


def test_images_are_standardised_by_channel():
    source = data.Arrays({"image": np.random.default_rng(0).random((9, 4, 4, 3))})
    result = data.Standardizer.fit(source, "image")(source)
    np.testing.assert_allclose(result.column("image").mean((0, 1, 2)), 0, atol=1e-6)
    assert result.column("image").shape == (9, 4, 4, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, 2.0]), "must hold vectors"),
        (np.array([[np.inf], [1.0]]), "infinite"),
        (np.array([[1.0, np.nan], [1.0, np.nan]]), "feature 1 of arrays has no value"),
        (np.zeros((0, 2)), "must hold vectors"),
    ],
)
def test_what_has_no_mean_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        data.Standardizer.fit(data.Arrays({"features": values}))


def test_another_number_of_features_is_refused():
    standardizer = data.Standardizer.fit(data.Arrays({"features": np.eye(3)}))
    with pytest.raises(ValueError, match="has 2 features in 'features', it was fitted on 3"):
        standardizer(data.Arrays({"features": np.eye(2)}))
