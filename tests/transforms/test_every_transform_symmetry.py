"""Symmetries of every transform: order of leaves, order along axes, sign; and determinism."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import CASES, jit_run, kernel, make, normal, stack

# The contract's quick clauses stand for these by default.
pytestmark = pytest.mark.slow


TXS = {name: make(name) for name in CASES}
GRADIENTS, PARAMS = stack([kernel(1), kernel(2)]), kernel(0)
NOISY = "add_gradient_noise"  # drawn by path and position: it has none of these symmetries
# The others work leaf by leaf: a NaN does not leave its leaf, see test_every_transform_values.py.
TOGETHER = ["clip_by_global_norm", "clip_by_norm", "accumulate_moments"]
symmetric = pytest.mark.parametrize("name", [name for name in CASES if name != NOISY])


@pytest.fixture(scope="module")
def plain():
    return jit_run(TXS, GRADIENTS, PARAMS)


@pytest.fixture(scope="module")
def permuted():
    """Rows and columns in another order, on the way in and back."""
    rows, columns = np.array([2, 0, 3, 1]), np.array([1, 2, 0])

    def forth(x):
        return x[..., rows, :][..., columns]

    def back(x):
        return x[..., np.argsort(rows), :][..., np.argsort(columns)]

    updates, _ = jit_run(TXS, jax.tree.map(forth, GRADIENTS), jax.tree.map(forth, PARAMS))
    return jax.tree.map(back, updates)


@symmetric
def test_permuting_rows_and_columns_permutes_the_update(name, permuted, plain):
    chex.assert_trees_all_close(permuted[name], plain[0][name], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def negated():
    def minus(tree):
        return jax.tree.map(jnp.negative, tree)

    updates, _ = jit_run(TXS, minus(GRADIENTS), minus(PARAMS))
    return minus(updates)


@symmetric
def test_negating_gradients_and_parameters_negates_the_update(name, negated, plain):
    chex.assert_trees_all_equal(negated[name], plain[0][name])


@pytest.fixture(scope="module")
def two_leaves():
    """A pair of leaves, and the same pair the other way round."""
    a, b = (np.float32(normal(2, 3, 2, seed=i)) for i in (3, 4))
    p, q = (np.float32(normal(3, 2, seed=i)) for i in (5, 6))
    txs = {name: TXS[name] for name in TOGETHER}
    forward, _ = jit_run(txs, [a, b], [p, q])
    backward, _ = jit_run(txs, [b, a], [q, p])
    return forward, backward


@pytest.mark.parametrize("name", TOGETHER)
def test_the_order_of_leaves_does_not_matter(name, two_leaves):
    forward, backward = (part[name] for part in two_leaves)
    chex.assert_trees_all_close(forward, backward[::-1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_the_same_inputs_give_the_same_outputs_to_the_bit(name, plain):
    again = jit_run(TXS, GRADIENTS, PARAMS)
    chex.assert_trees_all_equal(again[0][name], plain[0][name])
    chex.assert_trees_all_equal(again[1][name], plain[1][name])
