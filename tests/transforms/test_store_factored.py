"""Row and column means in place of second moments; gradients of very different sizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import optlab as ol
from optlab import storage


def test_factored_adam_is_adam_where_squares_have_rank_one():
    rng = np.random.default_rng(0)
    gradient = np.outer(rng.normal(size=32), rng.normal(size=256)).astype(np.float32)
    grads, bare = {"w": jnp.asarray(gradient)}, ol.adam(1e-2)
    stored = ol.store(bare, {"second": storage.factored()})
    states = [tx.init(grads) for tx in (bare, stored)]
    for _ in range(3):
        steps = [tx.update(grads, s) for tx, s in zip((bare, stored), states, strict=True)]
        states = [state for _, state in steps]
        np.testing.assert_allclose(steps[1][0]["w"], steps[0][0]["w"], rtol=1e-5)


def test_rows_and_columns_are_split_like_the_matrix():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    spread = NamedSharding(mesh, PartitionSpec("data", "model"))
    tx = ol.store(ol.adam(1e-2), {"second": storage.factored()})
    second = ol.state_sharding(tx, {"w": jnp.ones((64, 128))}, spread).inner[0].second["w"]
    assert second.rows.spec == PartitionSpec("data")
    assert second.columns.spec == PartitionSpec("model")


def test_a_factored_second_moment_moves_to_another_storage():
    params = {"w": jnp.ones((64, 128))}
    old = ol.store(ol.adam(1e-2), {"second": storage.factored()})
    _, state = old.update(params, old.init(params), params)
    state, report = ol.migrate(state, old, ol.adam(1e-2), params)
    np.testing.assert_allclose(state[0].second["w"], 1e-3, rtol=1e-5)
    assert not report.fresh


def test_first_moments_are_refused():
    params = {"w": jnp.ones((64, 128))}
    with pytest.raises(ValueError, match="second moments only"):
        ol.store(ol.adam(1e-2), {ol.everything: storage.factored()}).init(params)


@pytest.mark.parametrize("kept", [storage.int8(), storage.fp8()], ids=repr)
def test_no_weight_is_thrown_away_where_gradients_of_a_block_differ_by_far(kept):
    rng = np.random.default_rng(0)
    sizes = np.exp(2 * rng.normal(size=(64, 256)))
    gradients = (rng.normal(size=(30, 64, 256)) * sizes).astype(np.float32)
    tx = ol.store(ol.adam(1.0), {"first": kept, "second": kept})

    def step(state, gradient):
        updates, state = tx.update(gradient, state)
        return state, jnp.max(jnp.abs(updates))

    largest = jax.jit(lambda s: jax.lax.scan(step, s, gradients)[1])(tx.init(gradients[0]))
    assert np.max(largest) < 25
