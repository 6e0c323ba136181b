"""Moments: the mean, its weight, what they are made of, and what is bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import follow, normal

from optlab import core
from optlab.core import is_moments
from optlab.transforms import accumulate_moments, clip_by_norm, correct_bias, divide_by_rms

G = normal(8, 4)


def moments(tx, gradients, dtype=np.float64):
    """The Moments after some gradients, computed eagerly with hyperparameters as given."""
    state = tx.init(jnp.asarray(gradients[0], dtype))
    for g in gradients:
        node, state = tx.update(jnp.asarray(g, dtype), state)
    return node, state


def test_mean_square_and_weights_follow_their_recursions():
    m = v = 0.0
    for g in G:
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
    with jax.enable_x64(True):
        node, state = moments(accumulate_moments(0.9, 0.99), G)
        np.testing.assert_allclose(node.first.value, m, rtol=1e-13)
        np.testing.assert_allclose(node.second.value, v, rtol=1e-13)
        np.testing.assert_allclose(float(node.first.weight), 1 - 0.9**8, rtol=1e-13)
        np.testing.assert_allclose(float(node.second.weight), 1 - 0.99**8, rtol=1e-13)
        np.testing.assert_array_equal(node.gradient, G[-1])
        assert (node.first.decay, node.second.decay, node.power) == (0.9, 0.99, 2)
        assert state.first is node.first.value or np.array_equal(state.first, node.first.value)


def test_without_b1_the_mean_is_the_gradient_and_no_memory_is_spent_on_it():
    node, state = moments(accumulate_moments(None, 0.99), G, np.float32)
    np.testing.assert_array_equal(node.first.value, G[-1].astype(np.float32))
    assert node.first.weight == 1.0
    assert state.first is None
    assert state.first_weight is None
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) == 4 * 4 + 4


def test_state_bytes_are_as_the_docstring_says():
    state = accumulate_moments().init(jnp.zeros((256, 512), jnp.bfloat16))
    leaves = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert leaves == 8 * 256 * 512 + 8
    state = accumulate_moments(None, second="factored").init(jnp.zeros((256, 512)))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) == 4 * (256 + 512) + 4


def test_at_step_one_the_unbiased_mean_is_the_gradient_to_the_bit():
    gradient = np.float32(G[0])
    tx = core.chain(accumulate_moments(0.9, 0.999), correct_bias())
    node, _ = moments(tx, [gradient], np.float32)
    weight = accumulate_moments().update(jnp.ones(1), accumulate_moments().init(jnp.ones(1)))[0]
    assert float(weight.second.weight) == np.float32(0.001)  # not 1 - float32(0.999)
    np.testing.assert_allclose(node.first.value, gradient, rtol=1.2e-7)
    np.testing.assert_allclose(node.second.value, gradient**2, rtol=2.4e-7)


def test_scheduled_decays_keep_the_average_unbiased():
    """A constant gradient comes back whatever the decays do."""
    b = jnp.asarray([0.5, 0.99, 0.2, 0.9, 0.0, 0.999])
    tx = core.chain(
        accumulate_moments(lambda count: b[count], lambda count: b[5 - count]), correct_bias()
    )
    state = tx.init(jnp.zeros(()))
    for _ in range(6):
        node, state = tx.update(jnp.array(3.0), state)
        assert float(node.first.value) == pytest.approx(3.0, rel=1e-6)
        assert float(node.second.value) == pytest.approx(9.0, rel=1e-6)


def test_huge_and_infinite_gradients_are_bounded_to_two_to_the_sixty():
    gradient = jnp.array([1e25, -1e25, np.inf, -np.inf, 1e17])
    node, state = moments(accumulate_moments(0.0, 0.0), [gradient], np.float32)
    np.testing.assert_array_equal(
        node.first.value, np.float32([2**60, -(2**60), 2**60, -(2**60), 1e17])
    )
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))


def test_a_nan_stays_in_the_state():
    gradients = np.float32([[np.nan, 1.0], [1.0, 1.0]])
    _, state = moments(accumulate_moments(), gradients, np.float32)
    np.testing.assert_array_equal(np.isnan(state.first), [True, False])
    np.testing.assert_array_equal(np.isnan(state.second), [True, False])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_moments_of_narrow_parameters_are_float32(dtype):
    state = accumulate_moments().init(jnp.zeros(3, dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}


def test_complex_gradients_have_a_real_second_moment():
    z = jnp.array([3 + 4j, 1j], jnp.complex64)
    node, state = moments(accumulate_moments(0.0, 0.0), [z], np.complex64)
    assert state.second.dtype == jnp.float32
    np.testing.assert_allclose(node.second.value, [25.0, 1.0], rtol=1e-6)
    updates, _ = divide_by_rms(0.0).update(node, divide_by_rms(0.0).init(z))
    np.testing.assert_allclose(updates, [0.6 + 0.8j, 1j], rtol=1e-6)


def test_every_leaf_becomes_a_moments_node():
    params = {"a": jnp.ones(2), "b": (jnp.ones(()), None)}
    tx = accumulate_moments()
    nodes, _ = tx.update(params, tx.init(params))
    structure = jax.tree.structure(nodes, is_leaf=is_moments)
    assert structure == jax.tree.structure(params)
    assert all(map(is_moments, jax.tree.leaves(nodes, is_leaf=is_moments)))


def test_a_gradient_of_another_shape_is_refused_also_without_a_mean():
    tx = accumulate_moments(b1=None)
    with pytest.raises(ValueError, match=r"second moment.*\(3,\)|\(3,\).*second moment"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(3)))


def test_initial_value_is_the_second_moment_before_the_first_gradient():
    tx = accumulate_moments(None, 0.75, initial_value=4.0)
    np.testing.assert_array_equal(tx.init(jnp.zeros(2)).second, [4, 4])
    node, _ = moments(tx, [np.zeros(2)], np.float32)
    np.testing.assert_array_equal(node.second.value, [3, 3])


@pytest.mark.parametrize("rule", ["square", "infinity", "belief", "yogi", "factored"])
def test_every_rule_but_the_sum_needs_a_decay(rule):
    with pytest.raises(ValueError, match=rf"second='{rule}' needs a decay b2, got None.*'sum'"):
        accumulate_moments(b2=None, second=rule)


def test_belief_needs_a_mean():
    with pytest.raises(ValueError, match=r"'belief' measures the gradient against its mean.*b1"):
        accumulate_moments(b1=None, second="belief")


def test_an_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"got 'sqaure'; did you mean 'square'"):
        accumulate_moments(second="sqaure")


def test_links_that_take_updates_say_that_a_division_is_missing():
    tx = core.chain(accumulate_moments(), clip_by_norm(1.0))
    with pytest.raises(TypeError, match=r"clip_by_norm takes plain updates, but got Moments.*divi"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_bias_correction_left_out_lengthens_the_first_steps_three_to_seven_times():
    """As the docstring of `correct_bias` says, for b1=0.9 and b2=0.999."""
    gradients = jnp.full((4000, 1), 0.3)
    without = core.chain(accumulate_moments(), divide_by_rms(0.0))
    updates = follow(without, gradients).ravel()
    assert updates[0] == pytest.approx(0.1 / np.sqrt(1e-3), rel=1e-4)
    assert 6 < updates.max() < 7
    assert updates[-1] == pytest.approx(1.0, rel=2e-2)
