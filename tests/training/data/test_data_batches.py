"""Batches: a function of the step, whoever reads them."""

import itertools
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from data_files import Slow, numbers

from optlab.training import data

SEEDS = st.integers(0, 2**40)


@st.composite
def shapes(draw):
    """(length, batch size): a batch at least."""
    length = draw(st.integers(1, 40))
    return length, draw(st.integers(1, length))


def taken(batches, steps):
    return [batches[step]["x"].tolist() for step in steps]


# --- laws


@hypothesis.given(shapes(), SEEDS, st.integers(0, 3))
def test_an_epoch_visits_every_example_once(shape, seed, epoch):
    length, size = shape
    batches = data.Batches(numbers(length), size, seed=seed, drop_remainder=False)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    visited = list(itertools.chain(*taken(batches, steps)))
    assert sorted(visited) == list(range(length))
    assert [batches.epoch(step) for step in steps] == [epoch] * len(steps)


@hypothesis.given(shapes(), SEEDS)
def test_without_the_remainder_every_batch_is_full_and_no_example_comes_twice(shape, seed):
    length, size = shape
    batches = data.Batches(numbers(length), size, seed=seed)
    visited = taken(batches, range(batches.steps_per_epoch))
    assert batches.steps_per_epoch == length // size
    assert {len(batch) for batch in visited} == {size}
    assert len(set(itertools.chain(*visited))) == length // size * size


@hypothesis.given(st.sampled_from([1, 2, 3, 4, 6, 12]), SEEDS, st.integers(0, 20))
def test_the_global_batch_does_not_depend_on_the_number_of_processes(count, seed, step):
    source = numbers(30)
    alone = data.Batches(source, 12, seed=seed)
    parts = [
        data.Batches(source, 12, seed=seed, process_index=index, process_count=count)
        for index in range(count)
    ]
    joined = np.concatenate([part[step]["x"] for part in parts])
    np.testing.assert_array_equal(joined, alone[step]["x"])
    assert {len(part[step]["x"]) for part in parts} == {12 // count}
    np.testing.assert_array_equal(parts[-1].indices(step), alone.indices(step))


@hypothesis.given(shapes(), SEEDS, st.integers(0, 6), st.booleans())
def test_starting_at_a_step_gives_the_tail(shape, seed, start, drop):
    length, size = shape
    source = numbers(length)
    whole = data.Batches(source, size, seed=seed, drop_remainder=drop)
    again = data.Batches(source, size, seed=seed, drop_remainder=drop)
    tail = [batch["x"].tolist() for batch in again.iterate(start, 8)]
    assert tail == taken(whole, range(8))[start:]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_reading_ahead_changes_nothing(prefetch, threads):
    batches = data.Batches(Slow(10), 3, seed=1)
    ahead = list(batches.iterate(2, 9, prefetch=prefetch, threads=threads))
    for step, batch in enumerate(ahead, 2):
        assert batch.keys() == {"x", "y"}
        for field in batch:
            np.testing.assert_array_equal(batch[field], batches[step][field])
    assert len(ahead) == 7


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [
        tuple(data.Batches(numbers(20), 20, seed=seed).indices(step).tolist())
        for seed, step in itertools.product([0, 1, 2**33], range(5))
    ]
    assert len(set(orders)) == 15


def test_the_order_stays_what_it_was_in_other_versions():
    batches = data.Batches(numbers(8), 4, seed=7)
    assert taken(batches, range(3)) == [[6, 5, 0, 1], [4, 2, 7, 3], [7, 2, 3, 5]]


def test_steps_can_be_asked_for_in_any_order():
    batches = data.Batches(numbers(9), 2, seed=0)
    forward = taken(batches, range(40))
    assert taken(batches, reversed(range(40))) == forward[::-1]


def test_without_shuffling_the_order_is_that_of_the_source_in_every_epoch():
    batches = data.Batches(numbers(5), 2, shuffle=False)
    assert taken(batches, range(4)) == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_iterating_has_no_end_of_its_own():
    batches = data.Batches(numbers(3), 2)
    assert len(list(itertools.islice(batches, 100))) == 100


def test_the_smaller_last_batch_is_shared_too():
    source = numbers(10)
    last = [
        data.Batches(
            source, 4, shuffle=False, drop_remainder=False, process_index=i, process_count=2
        )[2]["x"].tolist()
        for i in range(2)
    ]
    assert last == [[8], [9]]


def test_repr_says_what_is_drawn_from_what():
    text = repr(data.Batches(numbers(10), 4, seed=3))
    assert text == "Batches of 4, 2 an epoch, seed 3, from numbers: 10 examples of x int64"


# --- reading ahead


def test_sources_that_are_not_in_memory_are_read_in_another_thread():
    source = Slow(100)
    list(data.Batches(source, 10).iterate(0, 5))
    assert "MainThread" not in source.threads


def test_sources_in_memory_and_without_prefetch_are_read_here():
    source = Slow(100)
    list(data.Batches(source, 10).iterate(0, 5, prefetch=0))
    assert source.threads == {"MainThread"}


def test_no_more_is_read_ahead_than_asked_for():
    source = Slow(1000)
    iterator = data.Batches(source, 10).iterate(prefetch=2)
    for _ in range(3):
        next(iterator)
    iterator.close()
    assert 3 <= source.gathered <= 6


def test_an_error_of_reading_arrives_at_its_batch():
    batches = data.Batches(Slow(10, fail_at=5), 2, shuffle=False)
    iterator = batches.iterate()
    assert next(iterator)["x"].tolist() == [0, 1]
    assert next(iterator)["x"].tolist() == [2, 3]
    with pytest.raises(data.DataError, match="example 5 is damaged"):
        next(iterator)


def test_reading_ahead_without_grain_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    batches = data.Batches(Slow(10), 2)
    with pytest.raises(ImportError, match=r'prefetch=0.* pip install "optlab\[examples\]"'):
        next(batches.iterate())
    assert next(batches.iterate(prefetch=0))["x"].shape == (2,)
    assert next(data.Batches(numbers(10), 2).iterate())["x"].shape == (2,)


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 11}, ValueError, "batch_size=11 is larger than the data: numbers has 10"),
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, got 0"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be a whole number"),
        ({"batch_size": "4"}, TypeError, "batch_size must be"),
        ({"batch_size": 4, "seed": -1}, ValueError, "seed must be a whole number >= 0"),
        ({"batch_size": 4, "shuffle": 1}, TypeError, "shuffle must be True or False"),
        ({"batch_size": 4, "process_count": 3}, ValueError, "multiple of process_count=3"),
        ({"batch_size": 4, "process_count": 0}, ValueError, "process_count must be"),
        (
            {"batch_size": 4, "process_index": 2, "process_count": 2},
            ValueError,
            "process_index must be",
        ),
        (
            {"batch_size": 7, "drop_remainder": False, "process_count": 7},
            ValueError,
            "last batch of an epoch has 3 examples, which 7 processes",
        ),
    ],
)
def test_batches_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        data.Batches(numbers(10), **arguments)


def test_a_batch_larger_than_the_data_is_refused_with_the_remainder_kept_too():
    with pytest.raises(ValueError, match="larger than the data"):
        data.Batches(numbers(3), 4, drop_remainder=False)


@pytest.mark.parametrize("step", [-1, 1.5])
def test_a_step_is_a_whole_number_from_zero(step):
    with pytest.raises(ValueError, match="step must be a whole number >= 0"):
        data.Batches(numbers(10), 2)[step]


def test_an_iteration_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="stop must be >= start, got 3 < 5"):
        data.Batches(numbers(10), 2).iterate(5, 3)
    assert list(data.Batches(numbers(10), 2).iterate(5, 5)) == []


def test_arrays_are_no_source():
    with pytest.raises(TypeError, match=r"Wrap arrays in Arrays"):
        data.Batches(np.zeros(3), 1)


# --- in order


@hypothesis.given(st.integers(1, 30), st.sampled_from([4, 8]), st.sampled_from([1, 2, 4]))
def test_in_order_covers_every_example_once_in_batches_of_one_size(length, size, count):
    source = numbers(length)
    parts = [
        list(data.in_order(source, size, process_index=index, process_count=count))
        for index in range(count)
    ]
    seen = []
    for batches in zip(*parts, strict=True):
        for batch in batches:
            assert len(batch["x"]) == len(batch["valid"]) == size // count
            seen.extend(batch["x"][batch["valid"]])
    assert seen == list(range(length))


def test_the_fill_of_the_last_batch_is_examples_that_do_not_count():
    last = list(data.in_order(numbers(5), 4))[-1]
    assert last["x"].tolist() == [4, 0, 1, 2]
    assert last["valid"].tolist() == [True, False, False, False]


def test_in_order_can_be_read_again_by_number_and_ahead():
    batches = data.in_order(Slow(10), 4)
    assert len(batches) == 3
    first, again = list(batches), list(batches.iterate(prefetch=3, threads=2))
    for number, (one, other) in enumerate(zip(first, again, strict=True)):
        np.testing.assert_array_equal(one["x"], other["x"])
        np.testing.assert_array_equal(one["x"], batches[number]["x"])
    with pytest.raises(IndexError, match="3 batches, no number 3"):
        batches[3]


def test_in_order_refuses_nothing_and_a_field_it_would_hide():
    with pytest.raises(ValueError, match="no examples"):
        data.in_order(numbers(0), 4)
    with pytest.raises(ValueError, match="field 'valid' already"):
        data.in_order(data.Arrays({"valid": np.ones(3)}), 2)
    with pytest.raises(ValueError, match="multiple of process_count=3"):
        data.in_order(numbers(5), 4, process_count=3)
