"""Multiplication by a number or a schedule."""

import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import follow, once

from optlab import core
from optlab.transforms import scale


@pytest.mark.parametrize("factor", [3.0, -0.5, 0.0, 7])
def test_updates_are_multiplied(factor):
    np.testing.assert_array_equal(
        once(scale(factor), jnp.array([2.0, -4.0])), np.float32([2, -4]) * factor
    )


def test_a_schedule_is_evaluated_at_the_number_of_updates_done():
    tx = scale(lambda count: 10.0 ** -count.astype(jnp.float32))
    np.testing.assert_allclose(follow(tx, jnp.ones((3, 1))).ravel(), [1, 0.1, 0.01], rtol=1e-6)


def test_a_number_needs_no_state_and_a_schedule_nine_bytes():
    import jax

    assert jax.tree.leaves(scale(2.0).init(jnp.ones(3))) == []
    state = scale(lambda count: 2.0).init(jnp.ones(3))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) == 9


def test_non_finite_updates_pass_and_zero_times_infinity_is_nan():
    updates = jnp.array([np.inf, np.nan])
    np.testing.assert_array_equal(once(scale(-2.0), updates), [-np.inf, np.nan])
    assert np.isnan(once(scale(0.0), updates)).all()


def test_bf16_updates_are_multiplied_in_float32_by_the_float32_factor():
    update = jnp.array([3.0], jnp.bfloat16)
    tx = core.chain(scale(1.001), scale(1 / 1.001))
    np.testing.assert_array_equal(once(tx, update), update)
