"""The learning rate: the sign, the count, and what is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from transform_cases import follow, once, once_optax

from optlab import core
from optlab.transforms import scale_by_learning_rate


def test_updates_are_multiplied_by_minus_the_learning_rate():
    np.testing.assert_array_equal(
        once(scale_by_learning_rate(0.5), jnp.array([2.0, -4.0])), [-1, 2]
    )


def test_a_schedule_is_evaluated_at_the_number_of_updates_done():
    tx = scale_by_learning_rate(lambda count: 0.1 / (1 + count))
    want = -0.1 / np.arange(1, 5)
    np.testing.assert_allclose(follow(tx, jnp.ones((4, 1))).ravel(), want, rtol=1e-6)


def test_the_learning_rate_is_recorded_also_where_it_is_a_number():
    tx, g = scale_by_learning_rate(0.5), jnp.ones(2)
    state = tx.init(g)
    assert core.read(state) == {"learning_rate": 0.5}
    _, state = tx.update(g, state)
    assert core.read(state) == {"learning_rate": 0.5}
    assert int(state.count) == 1
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) == 9


def test_recorded_is_the_value_used_by_the_latest_update():
    tx, g = scale_by_learning_rate(lambda count: 1.0 + count), jnp.ones(())
    state = tx.init(g)
    for step in range(3):
        updates, state = tx.update(g, state)
        assert -float(updates) == float(core.read(state)["learning_rate"]) == 1.0 + step


def test_a_constant_can_become_a_schedule_with_the_same_state():
    tx, g = scale_by_learning_rate(0.5), jnp.ones(())
    _, state = tx.update(g, tx.init(g))
    changed = core.replace(tx, {"learning_rate": lambda count: 0.25 * count})
    updates, _ = changed.update(g, state)
    assert float(updates) == -0.25


def test_a_learning_rate_of_zero_gives_zero_updates_and_nan_for_infinities():
    updates = once(scale_by_learning_rate(0.0), jnp.array([3.0, np.inf]))
    assert float(updates[0]) == 0.0
    assert np.isnan(updates[1])


def test_a_learning_rate_is_never_rounded_to_the_parameters_dtype():
    update = jnp.array([1.0], jnp.bfloat16)
    tx = core.chain(scale_by_learning_rate(1 + 2**-12), scale_by_learning_rate(1 - 2**-12))
    np.testing.assert_array_equal(once(tx, update), update)


def test_it_agrees_with_optax():
    u = jnp.array([1.0, -3.0])
    theirs = once_optax(optax.scale_by_learning_rate(0.3), u)
    np.testing.assert_allclose(once(scale_by_learning_rate(0.3), u), theirs, rtol=1e-7)
