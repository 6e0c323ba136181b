"""apply_updates: the sum in float32, rounded once, to nearest or stochastically."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optlab as ol


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("by", ["count", "key"])
def test_a_thousand_small_updates_arrive_in_the_mean(dtype, by):
    def step(params, i):
        update = jnp.full(params.shape, -1e-3)
        own = {"count": i} if by == "count" else {"key": jax.random.key(i)}
        return ol.apply_updates(params, update, rounding="stochastic", **own), None

    params = jnp.ones((64, 64), dtype)
    got = jax.jit(lambda p: jax.lax.scan(step, p, jnp.arange(1000))[0])(params)
    assert abs(float(jnp.mean(got.astype(jnp.float32)))) < 0.005  # deviation 0.04 / 64


def test_to_nearest_they_do_not():
    params = jnp.ones(4, jnp.bfloat16)
    for _ in range(3):
        params = ol.apply_updates(params, jnp.full(4, -1e-3))
    np.testing.assert_array_equal(params.astype(jnp.float32), 1.0)


def test_wider_parameters_are_added_as_optax_does():
    params = {"a": jnp.arange(3.0), "b": None, "c": jnp.arange(3)}
    updates = {"a": jnp.full(3, 0.1), "b": None, "c": jnp.ones(3, jnp.int32)}
    expected = optax.apply_updates(params, updates)
    for options in ({}, {"rounding": "stochastic", "count": 0}):
        got = ol.apply_updates(params, updates, **options)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_updates_wider_than_parameters_are_rounded_once():
    """The sum is just above a tie of bf16; an update that is rounded first makes it the tie."""
    got = ol.apply_updates(jnp.ones(1, jnp.bfloat16), jnp.full(1, 0.00390625 + 2e-5))
    assert float(got[0]) == 1.0078125


def test_leaves_have_noise_of_their_own_and_other_seeds_other_noise():
    params = [jnp.ones(512, jnp.bfloat16)] * 2
    updates = [jnp.full(512, 2e-3)] * 2
    a, b = ol.apply_updates(params, updates, rounding="stochastic", count=1)
    c, _ = ol.apply_updates(params, updates, rounding="stochastic", count=1, seed=2)
    assert 0.2 < float(jnp.mean((a != b).astype(jnp.float32))) < 0.6
    assert 0.2 < float(jnp.mean((a != c).astype(jnp.float32))) < 0.6


def test_parameter_nodes_come_back_as_nodes():
    nnx = pytest.importorskip("flax.nnx")
    params = nnx.State({"w": nnx.Param(jnp.ones(2, jnp.bfloat16))})
    got = ol.apply_updates(params, jax.tree.map(jnp.ones_like, params))
    assert jax.tree.structure(got) == jax.tree.structure(params)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding": "up"}, "rounding must be 'nearest'"),
        ({"rounding": "stochastic"}, "got neither"),
        ({"rounding": "stochastic", "count": 1, "key": jax.random.key(0)}, "got both"),
        ({"rounding": "stochastic", "count": 1.5}, "one whole number.*got 1.5"),
        ({"rounding": "stochastic", "count": np.arange(3)}, "one whole number"),
        ({"rounding": "stochastic", "count": 1, "seed": -1}, "seed must be"),
        ({"rounding": "stochastic", "key": 0}, "one jax.random key, got 0"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ol.apply_updates(jnp.ones(2), jnp.ones(2), **options)


def test_trees_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"params and updates differ at 'a'"):
        ol.apply_updates({"a": jnp.ones(2)}, {"a": jnp.ones(3)})
