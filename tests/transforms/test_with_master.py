"""with_master: 16-bit parameters that go where float32 ones would."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optlab as ol

KINDS = ("float32", "split", "split8", "kahan")
HALF = {"bfloat16": jnp.bfloat16, "float16": jnp.float16}


@functools.cache
def thousand_steps(dtype: str, kind: str):
    tx = ol.with_master(ol.sgd(1e-3), kind)
    params = jnp.ones(4, HALF[dtype])

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.ones(4, params.dtype), state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=1000)[0])
    return jax.device_get(run(params))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", HALF)
def test_a_thousand_small_updates_arrive(dtype, kind):
    params, _ = thousand_steps(dtype, kind)
    assert np.max(np.abs(params.astype(np.float64))) < 0.02


def test_without_a_master_they_do_not():
    params = jnp.ones(4, jnp.bfloat16)
    for _ in range(10):
        params = optax.apply_updates(params, jnp.full(4, -1e-3, jnp.bfloat16))
    np.testing.assert_array_equal(params.astype(jnp.float32), 1.0)


@pytest.mark.parametrize(
    ("kind", "bytes_"), [("float32", 4), ("split", 2), ("split8", 1), ("kahan", 2)]
)
def test_what_is_kept_takes_the_bytes_it_says(kind, bytes_):
    assert thousand_steps("bfloat16", kind)[1].masters.rest.itemsize == bytes_


def walk(kind, dtype, params, gradients):
    """Parameters and true values after each step."""
    tx = ol.with_master(ol.sgd(1.0), kind)

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state.masters.rest)

    params = params.astype(HALF[dtype])
    return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]


WALKS = {
    (kind, dtype): jax.jit(functools.partial(walk, kind, dtype)) for kind in KINDS for dtype in HALF
}


def drawn(seed: int, size: float):
    """Parameters, and gradients that change each by at most half of itself."""
    rng = np.random.default_rng(seed)
    params = np.asarray(rng.normal(size=128) + 3, np.float32)
    relative = rng.uniform(-1, 1, (12, 128)) * 10.0 ** -rng.uniform(size, 5, (12, 128))
    return params, (params * 0.4 * relative / 12**0.5).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**30), st.floats(0, 4), st.sampled_from([*HALF]))
def test_parameters_are_their_true_value_rounded(seed, size, dtype):
    params, gradients = drawn(seed, size)
    got, masters = WALKS["float32", dtype](params, gradients)
    np.testing.assert_array_equal(
        got.astype(jnp.float32), masters.astype(HALF[dtype]).astype(jnp.float32)
    )
    start = np.asarray(params.astype(HALF[dtype]), np.float32)
    np.testing.assert_allclose(masters[-1], start - gradients.sum(0), rtol=1e-5)


# Twelve steps, each rounded at the last bit that is kept.
PRECISION = {"split": 2e-6, "split8": 12 * 2.0**-16, "kahan": 12 * 2.0**-16}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**30), st.floats(0, 4), st.sampled_from([*HALF]), st.sampled_from([*PRECISION])
)
def test_what_is_kept_is_as_exact_as_its_bits(seed, size, dtype, kind):
    params, gradients = drawn(seed, size)
    got, _ = WALKS[kind, dtype](params, gradients)
    start = np.asarray(params.astype(HALF[dtype]), np.float64)
    exact = start - gradients.astype(np.float64).sum(0)
    last_bit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    off = np.abs(np.asarray(got[-1], np.float64) - exact) / np.abs(exact)
    assert np.max(off) <= last_bit + PRECISION[kind]


@pytest.mark.parametrize("dtype", HALF)
def test_a_step_across_zero_is_made_up_with_the_next_one(dtype):
    params = np.full(128, 1.0, np.float32)
    aim = np.linspace(-3e-3, 3e-3, 128, dtype=np.float32)
    gradients = np.stack([params - aim, np.zeros(128, np.float32)])
    got, masters = WALKS["float32", dtype](params, gradients)
    first, second = np.asarray(got.astype(jnp.float32))
    assert np.max(np.abs(first - aim)) <= 2.0**-8
    expected = np.asarray(jnp.asarray(masters[-1]).astype(HALF[dtype]).astype(jnp.float32))
    np.testing.assert_array_equal(second, expected)


def test_wider_parameters_are_left_to_the_inner_transformation():
    params = {"w": jnp.ones(3, jnp.bfloat16), "scale": jnp.ones(3), "none": None}
    tx, plain = ol.with_master(ol.adam(1e-3), "split"), ol.adam(1e-3)
    state = tx.init(params)
    assert state.masters["scale"] == optax.EmptyState()
    assert state.masters["w"].rest.dtype == jnp.int16
    updates, _ = tx.update(params, state, params)
    expected, _ = plain.update(params, plain.init(params), params)
    np.testing.assert_array_equal(updates["scale"], expected["scale"])


def test_decay_sees_the_true_value():
    tx = ol.with_master(ol.adamw(0.1, weight_decay=0.01))
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    state, zero = tx.init(params), {"w": jnp.zeros(2)}
    update = jax.jit(tx.update)
    for _ in range(100):
        updates, state = update(zero, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.masters["w"].rest, 0.999**100, rtol=1e-5)


def test_the_dtype_of_parameters_is_seen_inside_other_transformations():
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "bias": jnp.ones(2)}
    tx = ol.route({ol.kernels: ol.with_master(ol.sgd(1e-3), "split8")}, ol.sgd(1e-3))
    assert [leaf.dtype.name for leaf in jax.tree.leaves(tx.init(params)) if leaf.size == 4] == [
        "int8"
    ]
    masked = optax.masked(ol.with_master(ol.sgd(1e-3)), {"kernel": True, "bias": False})
    assert masked.init(params).inner_state.masters["kernel"].rest.dtype == jnp.float32


def test_init_takes_shapes():
    shapes = {"w": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}
    for kind in KINDS:
        assert ol.with_master(ol.sgd(0.1), kind).init(shapes).masters["w"].rest.shape == (2,)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="dtype must be 'float32'"):
        ol.with_master(ol.sgd(0.1), jnp.bfloat16)
    params = jnp.ones(2, jnp.bfloat16)
    tx = ol.with_master(ol.sgd(0.1), jnp.float32)
    with pytest.raises(ValueError, match="with_master needs the parameters"):
        tx.update(params, tx.init(params))
    with pytest.raises(ValueError, match=r"state is for parameters of shapes \[\(3,\)\]"):
        tx.update(params, tx.init(jnp.ones(3, jnp.bfloat16)), params)
