"""Pieces of an evaluation step, under jit: right answers, top k, confusion counts, means."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn import metrics as sk

from optlab.training import metrics
from optlab.training.metrics import Mean

nan = float("nan")


def logits_and_labels(seed=0, count=200, classes=6):
    """Few different values, so that there are ties."""
    random = np.random.default_rng(seed)
    logits = random.integers(0, 4, (count, classes)).astype(np.float32)
    return logits, random.integers(0, classes, count).astype(np.int32)


def test_right_answers_are_those_of_argmax():
    logits, labels = logits_and_labels()
    right = jax.jit(metrics.correct)(labels, logits)
    assert right.dtype == bool
    np.testing.assert_array_equal(right, logits.argmax(1) == labels)


@pytest.mark.parametrize("k", [1, 2, 5, 6, 9])
def test_the_top_k_are_those_of_lax(k):
    logits, labels = logits_and_labels()
    first = np.asarray(jax.lax.top_k(logits, min(k, 6))[1])
    expected = (first == labels[:, None]).any(1)
    np.testing.assert_array_equal(metrics.in_top_k(labels, logits, k), expected)


def test_equal_logits_are_no_gain():
    alike = np.zeros((4, 4), np.float32)
    labels = np.arange(4)
    np.testing.assert_array_equal(metrics.in_top_k(labels, alike, 2), [True, True, False, False])


def test_leading_axes_distributions_and_narrow_dtypes_are_fine():
    logits, labels = logits_and_labels(count=24)
    expected = np.asarray(metrics.correct(labels, logits))
    folded = metrics.correct(labels.reshape(2, 3, 4), logits.reshape(2, 3, 4, 6))
    np.testing.assert_array_equal(folded, expected.reshape(2, 3, 4))
    soft = np.eye(6, dtype=np.float32)[labels] * 0.9 + 0.01
    np.testing.assert_array_equal(metrics.correct(soft, logits), expected)
    narrow = jnp.asarray(logits, jnp.bfloat16)
    np.testing.assert_array_equal(metrics.correct(labels.astype(np.int8), narrow), expected)


def test_nan_and_unknown_labels_are_wrong():
    logits = np.float32([[nan, 1, 2], [0, nan, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    labels = np.int32([0, 2, 0, -1, 3])
    for k in (1, 3):
        right = np.asarray(metrics.in_top_k(labels, logits, k))
        np.testing.assert_array_equal(right, [False, False, True, False, False])


def test_confusion_is_that_of_scikit_learn():
    logits, labels = logits_and_labels()
    predictions = logits.argmax(1)
    counts = jax.jit(metrics.confusion, static_argnums=2)(labels, predictions, 6)
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, sk.confusion_matrix(labels, predictions))
    valid = np.arange(200) < 120
    np.testing.assert_array_equal(
        metrics.confusion(labels, predictions, 6, valid),
        sk.confusion_matrix(labels[:120], predictions[:120]),
    )


def test_confusion_counts_nothing_outside_the_classes():
    counts = metrics.confusion(np.int32([-1, 0, 3, 1, 0]), np.int32([0, -1, 0, 3, 2]), 3)
    np.testing.assert_array_equal(counts, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.correct(np.zeros(3, int), np.zeros((4, 2))), r"shape \(4,\)"),
        (lambda: metrics.correct(np.zeros((4, 3)), np.zeros((4, 2))), "labels must be"),
        (lambda: metrics.in_top_k(np.zeros(4, int), np.zeros((4, 2)), 0), "k must be"),
        (lambda: metrics.confusion(np.zeros(3, int), np.zeros(4, int), 2), "one shape"),
        (lambda: metrics.confusion(np.zeros(3, int), np.zeros(3, int), 0), "classes"),
        (lambda: Mean.of(np.zeros(3), np.ones(2, bool)), "valid"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mean_leaves_out_what_is_not_valid_even_nan():
    mean = Mean.of(np.float32([1, nan, 3]), np.array([True, False, True]))
    assert (mean.value(), mean.sum(), int(mean.count)) == (2.0, 4.0, 2)
    assert np.isnan(Mean.of(np.float32([1, nan])).value())


def test_the_mean_of_nothing_is_nan_and_merging_it_changes_nothing():
    assert np.isnan(Mean.zero().value())
    mean = Mean.of(np.float32([1, 2]))
    assert mean.merge(Mean.zero()).value() == mean.value() == 1.5
    nothing = Mean.of(np.float32([nan]), np.array([False]))
    assert mean.merge(nothing).value() == 1.5


def test_a_mean_of_booleans_is_an_accuracy_and_dtypes_hold():
    mean = Mean.of(np.array([True, False, True, True]))
    assert mean.value() == 0.75
    for part in (mean, mean.merge(mean), Mean.of(jnp.ones(3, jnp.bfloat16))):
        assert [leaf.dtype.name for leaf in part] == ["float32", "float32", "int32"]
    with jax.enable_x64(True):
        assert Mean.of(jnp.ones(3, jnp.float64)).total.dtype == jnp.float64
        assert Mean.of(jnp.ones(3, jnp.float64)).count.dtype == jnp.int32


def test_a_mean_of_ten_million_values_is_that_of_float64():
    """100,000 batches of 100; a plain float32 sum is off by more than 1e-4 of the result."""
    values = np.random.default_rng(0).random((1000, 100), np.float32) + np.float32(0.1)

    def step(means, batch):
        kept, plain = means
        return (kept.merge(Mean.of(batch)), plain + jnp.sum(batch)), None

    def epoch(means, _):
        return jax.lax.scan(step, means, values)[0], None

    zero = (Mean.zero(), jnp.zeros(()))
    mean, plain = jax.jit(lambda zero: jax.lax.scan(epoch, zero, None, 100)[0])(zero)
    exact = 100 * values.sum(1, dtype=np.float32).astype(np.float64).sum()
    assert int(mean.count) == 10_000_000
    assert mean.sum() == pytest.approx(exact, rel=1e-7)
    assert mean.value() == pytest.approx(values.astype(np.float64).mean(), rel=1e-6)
    assert abs(float(plain) / exact - 1) > 1e-5


def test_an_infinite_sum_stays_infinite():
    mean = Mean.of(np.float32([np.inf])).merge(Mean.of(np.float32([1.0])))
    assert mean.value() == np.inf


def test_an_overflown_count_is_reported():
    full = Mean.of(np.float32([1.0]))._replace(count=jnp.int32(2**31 - 1))
    with pytest.raises(OverflowError, match="values"):
        full.merge(Mean.of(np.float32([1.0]))).value()


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8), st.data())
def test_how_values_are_dealt_out_to_batches_changes_nothing(values, data):
    order = data.draw(st.permutations(range(8)))
    values = np.float32(values)
    whole = Mean.of(values).merge(Mean.zero())
    shuffled = values[np.array(order)]
    parts = Mean.of(shuffled[:4]).merge(Mean.of(shuffled[4:]))
    scale = 1e-6 * float(np.abs(values).max())
    assert parts.value() == pytest.approx(whole.value(), abs=scale + 1e-30)
    assert parts.value() == pytest.approx(values.astype(np.float64).mean(), abs=scale + 1e-30)
    added = jax.tree.map(jnp.add, Mean.of(shuffled[:4]), Mean.of(shuffled[4:]))
    assert added.value() == pytest.approx(parts.value(), abs=scale + 1e-30)
