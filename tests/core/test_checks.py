"""Validation: bounds, kinds, and messages that say what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optlab.core import checks


@given(st.floats(), st.sampled_from(["[]", "[)", "(]", "()"]))
def test_an_interval_holds_exactly_its_numbers(value, closed):
    low_ok = value >= -1 if closed[0] == "[" else value > -1
    high_ok = value <= 2 if closed[1] == "]" else value < 2
    interval = checks.Interval(-1.0, 2.0, closed)
    if low_ok and high_ok:
        assert interval("owner", "x", value) == value
    else:
        with pytest.raises(ValueError, match="owner: x must be a number in"):
            interval("owner", "x", value)


@pytest.mark.parametrize(
    ("check", "good", "bad", "text"),
    [
        (checks.finite, [0, -1e30], [np.inf, -np.inf, np.nan], "a number (finite)"),
        (checks.nonnegative, [0, 1e30], [-1e-30, np.inf, np.nan], "a number >= 0"),
        (checks.positive, [1e-30, 5], [0, -1, np.inf], "a number > 0"),
        (checks.decay_rate, [0, 0.999], [1, -0.1, np.nan], "a number in [0, 1)"),
        (checks.probability, [0, 1], [1.1, -0.1], "a number in [0, 1]"),
        (checks.count, [0, 3, 4.0], [-1, 2.5, np.nan], "a whole number >= 0"),
        (checks.positive_count, [1, np.int64(7)], [0, 0.5], "a whole number >= 1"),
    ],
)
def test_named_bounds(check, good, bad, text):
    assert str(check) == text
    for value in good:
        assert check("owner", "x", value) == value
    for value in bad:
        with pytest.raises(ValueError, match="owner: x must be") as error:
            check("owner", "x", value)
        assert text in str(error.value)
        assert repr(value) in str(error.value)


def test_counts_are_python_integers():
    for value in (3, 3.0, np.int64(3), np.float32(3)):
        assert type(checks.count("owner", "n", value)) is int


def test_every_element_of_an_array_is_judged():
    good = jnp.array([0.1, 0.2])
    assert checks.decay_rate("owner", "b1", good) is good
    with pytest.raises(ValueError, match="owner: b1 must be a number in"):
        checks.decay_rate("owner", "b1", jnp.array([0.1, 1.0]))
    with pytest.raises(ValueError, match="finite"):
        checks.finite("owner", "x", np.array([1.0, np.nan]))


def test_tracers_are_not_judged():
    assert jax.jit(lambda x: checks.decay_rate("owner", "b1", x))(5.0) == 5.0
    assert not jax.jit(lambda x: jnp.asarray(checks.is_concrete(x, 1.0)))(5.0)


def test_is_concrete_means_known_numbers_only():
    assert checks.is_concrete(1, 2.0, np.float32(3), np.ones(2), jnp.ones(2))
    assert not checks.is_concrete(None)
    assert not checks.is_concrete(1.0, lambda count: count)


def test_optional_takes_none_or_what_the_inner_check_takes():
    check = checks.optional(checks.positive)
    assert check("owner", "x", None) is None
    assert check("owner", "x", 2) == 2.0
    assert str(check) == "None or a number > 0"
    with pytest.raises(ValueError, match="must be a number > 0, got -1"):
        check("owner", "x", -1)


def test_one_of_suggests_the_nearest_name():
    check = checks.one_of("linear", "cosine")
    assert check("owner", "shape", "cosine") == "cosine"
    with pytest.raises(
        ValueError, match=r"'linear' \| 'cosine', got 'cosin'; did you mean 'cosine'"
    ):
        check("owner", "shape", "cosin")
    with pytest.raises(ValueError, match="known: cosine, linear"):
        check("owner", "shape", "zzz")
    for value in (3, None, np.zeros(2), ["cosine"]):
        with pytest.raises(TypeError, match="owner: shape must be 'linear'"):
            check("owner", "shape", value)


def test_boolean_refuses_numbers():
    assert checks.boolean("owner", "flag", np.True_) is True
    assert checks.boolean("owner", "flag", False) is False
    for value in (0, 1, 1.0, None, "yes", jnp.array(True)):
        with pytest.raises(TypeError, match="owner: flag must be True or False"):
            checks.boolean("owner", "flag", value)


def test_dtypes_are_kept_by_name():
    for value in (jnp.bfloat16, "bfloat16", np.dtype("bfloat16"), jnp.dtype(jnp.bfloat16)):
        assert checks.dtype_name("owner", "dtype", value) == "bfloat16"
    with pytest.raises(ValueError, match="floating-point dtype, got int32"):
        checks.dtype_name("owner", "dtype", jnp.int32)
    for value in ("float33", None, 3):
        with pytest.raises(TypeError, match="owner: dtype must be a dtype such as"):
            checks.dtype_name("owner", "dtype", value)


def test_nearest_lists_what_exists_when_nothing_is_near():
    assert checks.nearest("adm", ["adam", "sgd"]) == "did you mean 'adam'?"
    assert checks.nearest("xyz", ["adam", "sgd"]) == "known: adam, sgd."
    assert checks.nearest("xyz", []) == "known: none."
