"""What is no factory, and other arguments that no check can begin with, is refused early."""

from __future__ import annotations

import jax
import optax
import pytest

import optlab as ol


def sgd():
    def update(gradient, state, params=None, **extra):
        return jax.tree.map(lambda g: -0.1 * g, gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def ones():
    return lambda key, shape, dtype: jax.numpy.ones(shape, dtype)


@pytest.mark.parametrize(
    ("make_tx", "words"),
    [
        (sgd(), ["must be a factory", "lambda: optlab.adam(1e-3)"]),
        (ol.sgd(0.1), ["must be a factory", "chain(", "lambda: optlab.adam(1e-3)"]),
        (None, ["must be a factory", "None"]),
        (lambda: None, ["must return a gradient transformation", "<lambda>() returned None"]),
        (lambda: (1, 2), ["an object with init and update", "returned (1, 2)"]),
        (ol.adam, ["without arguments", "adam() raised TypeError", "learning_rate"]),
        (lambda: 1 / 0, ["<lambda>() raised ZeroDivisionError: division by zero"]),
    ],
)
def test_what_makes_no_transformation_is_refused(make_tx, words):
    with pytest.raises(TypeError, match="make_tx ") as error:
        ol.testing.check_transformation(make_tx)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_can_be_the_factory():
    class Still:
        def init(self, params):
            return ()

        def update(self, gradient, state, params=None, **extra):
            return gradient, state

    assert ol.testing.check_transformation(Still, only="bare_array")


def test_an_unknown_direction_of_a_schedule_is_refused():
    with pytest.raises(ValueError, match="'increasing' or 'decreasing', got 'up'"):
        ol.testing.check_schedule(lambda: SCHEDULE, steps=8, monotone="up")


SCHEDULE = lambda count: jax.numpy.float32(0)  # noqa: E731


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (ol.schedules.cosine(1e-3, 8), {}, TypeError, "lambda: optlab.schedules.cosine"),
        ("cosine", {}, TypeError, "make_schedule must be a factory, got 'cosine'"),
        (0.1, {}, TypeError, "make_schedule must be a factory, got 0.1"),
        (lambda: 0.1, {}, TypeError, "make_schedule must return a schedule, .* returned 0.1"),
        (lambda: 1 / 0, {}, TypeError, "raised ZeroDivisionError: division by zero"),
        (lambda: SCHEDULE, {"steps": 0}, ValueError, "steps must be >= 1, got 0"),
        (lambda: SCHEDULE, {"steps": 1.5}, TypeError, "steps must be an integer, got 1.5"),
        (lambda: SCHEDULE, {"low": 2, "high": 1}, ValueError, "low must be <= high, got 2 > 1"),
        (lambda: SCHEDULE, {"joins": 3}, TypeError, r"joins must be counts, such as \[10\], got 3"),
        (lambda: SCHEDULE, {"joins": [0, 3, 8]}, ValueError, r"steps = 8, got \[0, 8\]"),
    ],
)
def test_what_cannot_be_checked_as_a_schedule_is_refused(make, options, error, words):
    with pytest.raises(error, match=words):
        ol.testing.check_schedule(make, **{"steps": 8} | options)


@pytest.mark.parametrize(
    ("make", "shape", "error", "words"),
    [
        (ol.initializers.normal(0.1), 3, TypeError, "lambda: optlab.initializers.normal"),
        ("normal", 3, TypeError, "make_initializer must be a factory, got 'normal'"),
        (lambda: 0.1, 3, TypeError, "make_initializer must return an initializer"),
        (ones, (3, 0), ValueError, r"every axis of shape must be >= 1, got \(3, 0\)"),
        (ones, "ab", TypeError, "shape must be integers, got 'ab'"),
        (ones, 2.5, TypeError, "shape must be integers, got 2.5"),
    ],
)
def test_what_cannot_be_checked_as_an_initializer_is_refused(make, shape, error, words):
    with pytest.raises(error, match=words):
        ol.testing.check_initializer(make, shape=shape)


def test_a_shape_may_be_an_integer():
    assert ol.testing.check_initializer(ones, shape=6, random=False, only="dtype")
