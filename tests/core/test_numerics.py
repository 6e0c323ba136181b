"""Numeric helpers against float64 NumPy, at the edges of the dtypes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlab.core import numerics

# Below 1.2e-38 float32 numbers are subnormal, which XLA flushes to zero.
magnitudes = [10.0**e for e in range(-36, 39, 6)]


def exact_norm(arrays):
    parts = [np.abs(np.asarray(a)).astype(np.float64).ravel() for a in arrays]
    flat = np.concatenate([p.astype(np.longdouble) for p in parts] or [np.zeros(0)])
    return float(np.sqrt(np.sum(flat * flat)))


norm, global_norm = jax.jit(numerics.norm), jax.jit(numerics.global_norm)
norm_gradients = [
    jax.jit(jax.grad(function)) for function in (numerics.norm, lambda x: numerics.global_norm([x]))
]


@pytest.mark.parametrize("magnitude", magnitudes)
@pytest.mark.parametrize("compute", [norm, lambda x: global_norm([x, -x, jnp.zeros(3)])])
def test_norms_are_exact_at_every_magnitude(magnitude, compute):
    x = np.float32(magnitude) * np.linspace(-1, 1, 16, dtype=np.float32)
    expected = exact_norm([x] if compute is norm else [x, x])
    np.testing.assert_allclose(compute(jnp.asarray(x)), expected, rtol=5e-7)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-(2.0**61), 2.0**61, width=32), min_size=4, max_size=4))
def test_norms_equal_the_float64_norm(values):
    x = np.asarray(values, np.float32)
    expected = exact_norm([x])
    for result in (norm(jnp.asarray(x)), global_norm({"a": jnp.asarray(x)})):
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=4e-38)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4),
    st.integers(-100, 100),
)
def test_norm_is_a_norm(a, b, exponent):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    assert norm(a + b) <= (norm(a) + norm(b)) * (1 + 1e-6)
    factor = np.float32(2.0) ** exponent
    if np.all((a == 0) | (np.abs(a * factor) > 2e-38)):
        np.testing.assert_allclose(norm(a * factor), norm(a) * factor, rtol=1e-6)


def test_norm_of_mixed_magnitudes_keeps_the_large_one():
    x = jnp.array([1e-36, 1.0, 1e30, 0.0])
    np.testing.assert_allclose(norm(x), 1e30, rtol=1e-6)
    np.testing.assert_allclose(global_norm([x[:2], x[2:]]), 1e30, rtol=1e-6)


def test_infinity_and_nan_show_in_the_norm():
    for compute in (norm, lambda x: global_norm([x, jnp.ones(2)])):
        assert compute(jnp.array([1.0, jnp.inf, -jnp.inf])) == jnp.inf
        assert jnp.isnan(compute(jnp.array([1.0, jnp.nan])))
        assert jnp.isnan(compute(jnp.array([jnp.inf, jnp.nan])))


def test_bf16_norm_is_accumulated_in_float32():
    x = jnp.full((1024, 1024), 1e-3, jnp.bfloat16)
    expected = 1024 * float(x[0, 0])  # 1e-3 itself is not a bf16 number
    for result in (norm(x), global_norm([x])):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=1e-5)
    np.testing.assert_allclose(norm(x), 1.024, rtol=2e-3)


def test_f16_norm_does_not_overflow_at_256():
    np.testing.assert_allclose(global_norm([jnp.full((4,), 6e4, jnp.float16)]), 1.2e5, rtol=1e-3)


def test_norm_of_complex_numbers_is_real():
    z = jnp.array([3.0 + 4.0j, 0.0, 1e-30j, -12.0])
    for result in (norm(z), global_norm([z])):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, 13.0, rtol=1e-6)


def test_norm_in_float64_is_float64():
    with jax.enable_x64(True):
        x = jnp.array([1e-200, 3e-200])
        np.testing.assert_allclose(norm(x), np.sqrt(10) * 1e-200, rtol=1e-15)
        np.testing.assert_allclose(global_norm([x]), np.sqrt(10) * 1e-200, rtol=1e-15)
        assert jax.eval_shape(global_norm, [x, jnp.ones(2, jnp.float32)]).dtype == jnp.float64


@pytest.mark.parametrize(
    ("axis", "keepdims"), [(None, False), (0, False), (-1, True), ((0, 2), False), ((1, 2), True)]
)
def test_norm_over_axes(axis, keepdims):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    expected = np.sqrt(np.sum(x.astype(np.float64) ** 2, axis=axis, keepdims=keepdims))
    result = jax.jit(lambda x: numerics.norm(x, axis, keepdims))(x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_rows_of_any_magnitude_keep_their_own_norm():
    x = jnp.array([[1e-30, 1e-30], [0.0, 0.0], [1e30, 1e30]])
    np.testing.assert_allclose(
        jax.jit(lambda x: numerics.norm(x, axis=1))(x),
        [2**0.5 * 1e-30, 0, 2**0.5 * 1e30],
        rtol=1e-6,
    )


def test_norm_of_nothing_is_zero():
    assert global_norm({}) == 0
    assert global_norm({"a": None}) == 0
    assert global_norm([jnp.zeros((0, 3)), jnp.full((1,), 2.0)]) == 2
    assert norm(jnp.zeros((3, 0))) == 0
    assert global_norm([jnp.arange(3)]) == 0  # integers are no gradients


@pytest.mark.parametrize("magnitude", [1e-36, 1e-20, 1.0, 1e20, 1e37])
def test_gradient_of_a_norm_is_the_unit_vector(magnitude):
    x = jnp.array([3.0, 4.0]) * magnitude
    for gradient in norm_gradients:
        np.testing.assert_allclose(gradient(x), [0.6, 0.8], rtol=1e-5)


def test_gradient_of_a_norm_at_zero_is_zero():
    for gradient in norm_gradients:
        chex.assert_trees_all_equal(gradient(jnp.zeros(2)), jnp.zeros(2))
        mapped = jax.jit(jax.vmap(gradient))(jnp.stack([jnp.zeros(2), jnp.ones(2)]))
        np.testing.assert_allclose(mapped, [[0, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_vmapped_norm_equals_the_loop():
    x = jnp.array([[1e-30, 1.0], [1e30, 1e30], [0.0, 0.0], [jnp.inf, 1.0]])
    loop = jnp.stack([global_norm([row]) for row in x])
    chex.assert_trees_all_equal(jax.jit(jax.vmap(lambda row: global_norm([row])))(x), loop)


def test_safe_sqrt():
    x = jnp.array([4.0, 0.0, jnp.inf, -1.0, jnp.nan])
    np.testing.assert_array_equal(numerics.safe_sqrt(x), [2, 0, np.inf, np.nan, np.nan])
    assert jax.grad(numerics.safe_sqrt)(4.0) == 0.25
    assert jax.grad(numerics.safe_sqrt)(0.0) == 0.0


def test_safe_divide():
    n, d = jnp.array([1.0, 1.0, 0.0, jnp.nan]), jnp.array([2.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(numerics.safe_divide(n, d), [0.5, 0, 0, np.nan])
    slopes = jax.grad(numerics.safe_divide, (0, 1))(1.0, 0.0)
    assert slopes == (0, 0)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.0, 1.0, exclude_max=True))
def test_complement_of_a_python_number_is_exact_to_the_last_bit(value):
    assert numerics.complement(value, jnp.float32) == np.float32(1 - value)


def test_complement_keeps_the_dtype_and_takes_arrays():
    assert numerics.complement(0.999, jnp.complex64).dtype == jnp.float32
    traced = jax.jit(lambda b: numerics.complement(b, jnp.float32))(jnp.float32(0.75))
    assert traced == 0.25
    with jax.enable_x64(True):
        assert numerics.complement(0.999, jnp.float64) == 1 - 0.999


def test_scalars_are_strongly_typed_in_the_real_dtype():
    for dtype, real in [
        (jnp.float32, jnp.float32),
        (jnp.complex64, jnp.float32),
        (jnp.int32, jnp.float32),
    ]:
        chex.assert_type(numerics.scalar(0.5, dtype), real)
        assert not jax.typeof(numerics.scalar(0.5, dtype)).weak_type
        assert not jax.jit(lambda v, d=dtype: numerics.scalar(v, d))(0.5).weak_type


def test_hyperparameters_are_never_rounded_to_bf16():
    """bf16(0.999) is 1: an average with it would never move."""
    x = numerics.promote(jnp.ones(3, jnp.bfloat16))
    assert numerics.scalar(0.999, x.dtype) == np.float32(0.999)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32),
        (jnp.float8_e4m3fn, jnp.float32),
        (jnp.float32, jnp.float32),
        (jnp.complex64, jnp.complex64),
        (jnp.int8, jnp.int8),
    ],
)
def test_compute_dtype(dtype, expected):
    assert numerics.compute_dtype(dtype) == expected
    assert numerics.promote(jnp.zeros(2, dtype)).dtype == expected
    assert numerics.promote(jax.ShapeDtypeStruct((2,), dtype)).dtype == expected


def test_compute_dtype_of_float64_is_float64():
    with jax.enable_x64(True):
        assert numerics.promote(jnp.zeros(2, jnp.float64)).dtype == jnp.float64


def test_promotion_removes_weak_types():
    assert jnp.asarray(1.0).weak_type
    assert not numerics.promote(jnp.asarray(1.0)).weak_type
    assert not numerics.promote(2.0).weak_type


def test_zeros_like_takes_shape_and_dtype_and_ignores_content():
    for leaf in (jnp.full((2, 3), jnp.nan), jnp.full((2, 3), jnp.inf), jnp.ones((2, 3), bool)):
        chex.assert_trees_all_equal(numerics.zeros_like(leaf, jnp.float32), jnp.zeros((2, 3)))
    assert numerics.zeros_like(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16
    abstract = numerics.zeros_like(jax.ShapeDtypeStruct((2,), jnp.float32))
    chex.assert_trees_all_equal(abstract, jnp.zeros(2))
    assert numerics.zeros_like(jnp.ones((0, 2))).shape == (0, 2)


def test_zeros_like_gives_a_buffer_of_its_own():
    leaf = jnp.zeros(4)
    pointers = [x.unsafe_buffer_pointer() for x in (leaf, *map(numerics.zeros_like, [leaf] * 3))]
    assert len(set(pointers)) == 4


def test_full_like():
    chex.assert_trees_all_equal(
        numerics.full_like(jnp.full((2,), jnp.nan), 0.1), jnp.full((2,), 0.1)
    )


def test_increment_counts_and_saturates():
    largest = np.iinfo(np.int32).max
    counts = jnp.array([0, 7, largest - 1, largest], jnp.int32)
    result = numerics.increment(counts)
    np.testing.assert_array_equal(result, [1, 8, largest, largest])
    assert result.dtype == jnp.int32
    assert not jax.jit(numerics.increment)(jnp.int32(0)).weak_type


def test_squared_magnitude_is_real():
    np.testing.assert_allclose(numerics.squared_magnitude(jnp.array([3 + 4j])), [25.0])
    assert numerics.squared_magnitude(jnp.array([3 + 4j])).dtype == jnp.float32
    np.testing.assert_array_equal(numerics.squared_magnitude(jnp.array([-3.0])), [9.0])


def test_widest():
    assert numerics.widest([]) == jnp.float32
    assert numerics.widest([jnp.ones(2), jnp.arange(2)]) == jnp.float32
    with jax.enable_x64(True):
        assert numerics.widest([jnp.ones(2, jnp.float32), jnp.ones(2)]) == jnp.float64
