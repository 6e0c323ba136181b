"""The six rules of the second moment, each against its paper's recursion in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import normal

from optlab import core
from optlab.transforms import accumulate_moments, correct_bias, divide_by_rms

B1, B2, EPS = 0.9, 0.95, 1e-3
G = normal(7, 4, 6)


def second(rule, gradients=G, b1=B1, b2=B2, initial=0.0, **options):
    tx = accumulate_moments(b1, b2, second=rule, offset=EPS, initial_value=initial, **options)
    with jax.enable_x64(True):
        state = tx.init(jnp.asarray(gradients[0]))
        for g in gradients:
            node, state = tx.update(jnp.asarray(g), state)
        return np.asarray(node.second.value), node, state


def recursion(step, start=0.0):
    m, v = 0.0, start
    for g in G:
        m = B1 * m + (1 - B1) * g
        v = step(v, g, m)
    return v


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ("square", lambda v, g, m: B2 * v + (1 - B2) * (g**2 + EPS)),
        ("sum", lambda v, g, m: v + g**2 + EPS),
        ("infinity", lambda v, g, m: np.maximum(B2 * v, np.abs(g) + EPS)),
        ("belief", lambda v, g, m: B2 * v + (1 - B2) * (g - m) ** 2 + EPS),
        ("yogi", lambda v, g, m: v - (1 - B2) * np.sign(v - g**2 - EPS) * (g**2 + EPS)),
    ],
)
@pytest.mark.parametrize("initial", [0.0, 0.5])
def test_each_rule_follows_its_recursion(rule, step, initial):
    value, node, _ = second(rule, initial=initial)
    np.testing.assert_allclose(value, recursion(step, initial), rtol=1e-12)
    assert node.power == (1 if rule == "infinity" else 2)


@pytest.mark.parametrize("rule", ["sum", "infinity"])
def test_what_is_no_average_has_weight_one_and_is_not_corrected(rule):
    value, node, state = second(rule)
    assert node.second.weight == 1.0
    assert state.second_weight is None
    tx = correct_bias()
    with jax.enable_x64(True):
        np.testing.assert_array_equal(tx.update(node, tx.init(None))[0].second.value, value)


def test_factored_rows_and_columns_are_means_of_the_squares():
    rows, columns = np.zeros(4), np.zeros(6)
    for g in G:
        s = g**2 + EPS
        rows = B2 * rows + (1 - B2) * s.mean(axis=1)
        columns = B2 * columns + (1 - B2) * s.mean(axis=0)
    value, _, state = second("factored", min_size=4)
    np.testing.assert_allclose(state.second.rows, rows, rtol=1e-12)
    np.testing.assert_allclose(state.second.columns, columns, rtol=1e-12)
    np.testing.assert_allclose(value, np.outer(rows, columns) / rows.mean(), rtol=1e-12)


def test_factored_is_exact_for_squares_of_rank_one():
    outer = np.abs(normal(4, 1)) * np.abs(normal(1, 6, seed=1))
    link = accumulate_moments(B1, B2, second="factored", min_size=2)
    with jax.enable_x64(True):
        state = link.init(jnp.asarray(outer))
        for sign in np.sign(G):
            node, state = link.update(jnp.asarray(outer * sign), state)
        want = outer**2 * (1 - B2 ** len(G))
        np.testing.assert_allclose(node.second.value, want, rtol=1e-12)


def test_factored_matrices_of_a_stack_are_factored_each_for_itself():
    stacked = normal(7, 3, 4, 6)
    whole, _, state = second("factored", stacked, min_size=2)
    assert state.second.rows.shape == (3, 4)
    assert state.second.columns.shape == (3, 6)
    for i in range(3):
        alone, *_ = second("factored", stacked[:, i], min_size=2)
        np.testing.assert_allclose(whole[i], alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "factored"),
    [((128, 128), True), ((127, 512), False), ((512, 127), False), ((128,), False), ((), False),
     ((3, 128, 200), True), ((128, 200, 3), False), ((0, 200), False)],
)  # fmt: skip
def test_only_leaves_with_two_long_last_axes_are_factored(shape, factored):
    state = jax.eval_shape(
        accumulate_moments(second="factored").init, jax.ShapeDtypeStruct(shape, np.float32)
    )
    assert (not isinstance(state.second, jax.ShapeDtypeStruct)) == factored


def test_unfactored_leaves_follow_the_plain_rule():
    value, *_ = second("factored")  # 4 x 6 is shorter than min_size
    plain, *_ = second("square")
    np.testing.assert_array_equal(value, plain)


def test_a_sum_of_many_huge_squares_stays_finite():
    """256 squares of 2**60 reach the end of float32."""
    tx = accumulate_moments(None, None, second="sum")
    huge = jnp.full((300, 1), 1e25)

    def step(state, g):
        return tx.update(g, state)[1], None

    state, _ = jax.lax.scan(step, tx.init(huge[0]), huge)
    assert float(state.second[0]) == np.finfo(np.float32).max


@pytest.mark.parametrize("jit", [False, True])
def test_a_wide_factored_matrix_survives_finite_spikes(jit):
    """Sums of 512 squares of 2**60 would overflow; means of them need not."""
    tx = core.chain(
        accumulate_moments(None, 0.9, second="factored"), correct_bias(), divide_by_rms(0.0)
    )
    update = jax.jit(tx.update) if jit else tx.update
    spikes = jnp.full((256, 512), 1e25)
    updates, state = update(spikes, tx.init(spikes))
    np.testing.assert_allclose(updates, 1.0, rtol=1e-5)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))


def test_zero_gradients_of_a_factored_matrix_give_zero_not_nan():
    tx = core.chain(accumulate_moments(None, second="factored", min_size=2), divide_by_rms(0.0))
    zeros = jnp.zeros((2, 3))
    np.testing.assert_array_equal(tx.update(zeros, tx.init(zeros))[0], zeros)


def test_a_factored_state_of_another_shape_is_an_error_with_both_shapes():
    tx = accumulate_moments(second="factored", min_size=2)
    state = tx.init({"w": jnp.ones((4, 6))})
    with pytest.raises(ValueError, match=r"'w'.*shape \(4, 5\).*shape \(4, 6\)"):
        tx.update({"w": jnp.ones((4, 5))}, state)
    tx = accumulate_moments(None, second="factored", min_size=2)
    with pytest.raises(ValueError, match=r"second moment.*'w'.*shape \(4, 5\).*shape \(4, 6\)"):
        tx.update({"w": jnp.ones((4, 5))}, tx.init({"w": jnp.ones((4, 6))}))


def test_rows_and_columns_know_which_axes_of_their_parameter_they_have():
    shape = (2, 3, 4)
    kept = accumulate_moments(second="factored", min_size=2).init(jnp.zeros(shape)).second
    for statistic, axes in zip(kept, kept.parameter_axes(len(shape)), strict=True):
        assert statistic.shape == tuple(shape[axis] for axis in axes)
