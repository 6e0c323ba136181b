"""Laws on the values of every transform: zero, tiny, huge, NaN; eager, jit, scan; half precision.

All transforms are compiled together and passed as an argument, so a law costs no compilation.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transform_cases import (
    CASES,
    jit_init,
    jit_last,
    jit_run,
    kernel,
    make,
    quick,
    run,
    stack,
    tree,
)

# The contract's quick clauses stand for these by default.
pytestmark = pytest.mark.slow

every_case = pytest.mark.parametrize("name", CASES)
STEPS = 3
TXS = {name: make(name) for name in CASES}
SIZES = [1e-38, 1e-20, 1e15, 1e25, 1e37]


def finite(tree):
    return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree))


def gradients(factor=1.0):
    return stack(
        [jax.tree.map(lambda g: g * np.float32(factor), tree(1 + i)) for i in range(STEPS)]
    )


def from_start(gradients, params):
    """Also shows that states can be donated right after init, with the parameters."""
    return jit_last(TXS, jit_init(TXS, params), gradients, params)


@pytest.fixture(scope="module")
def ran():
    """Updates and states for gradients of some size, or for zero parameters, by name."""
    zeros = jax.tree.map(jnp.zeros_like, tree(0))
    results = {size: from_start(gradients(size), tree(0)) for size in [0.0, 1.0, *SIZES]}
    results["zero parameters"] = from_start(gradients(), zeros)
    results["nan"] = from_start(gradients() | {"scale": jnp.full(STEPS, jnp.nan)}, tree(0))
    return {
        key: {name: (updates[name], states[name]) for name in CASES}
        for key, (updates, states) in results.items()
    }


@every_case
def test_eager_equals_compiled(name, ran):
    params, tx = kernel(0), make(name)
    state = tx.init(params)
    for i in range(STEPS):
        updates, state = tx.update(kernel(1 + i), state, params)
    want = ran[1.0][name][0]["kernel"]
    if name == "clip_by_global_norm":  # that norm is of all leaves
        want *= jnp.linalg.norm(updates["kernel"]) / jnp.linalg.norm(want)
    chex.assert_trees_all_close(updates["kernel"], want, rtol=2e-5, atol=1e-6)


@every_case
def test_zero_gradients_give_zero_updates_and_a_finite_state(name, ran):
    updates, state = ran[0.0][name]
    assert finite((updates, state))
    if CASES[name].still:
        assert not any(np.any(np.asarray(u)) for u in jax.tree.leaves(updates))


@every_case
@pytest.mark.parametrize("size", SIZES)
def test_finite_gradients_of_any_size_give_finite_updates_and_states(name, size, ran):
    assert finite(ran[size][name])


@every_case
def test_zero_parameters_are_finite(name, ran):
    assert finite(ran["zero parameters"][name])


@every_case
def test_a_nan_is_not_hidden_and_stays_in_its_leaf_unless_norms_are_shared(name, ran):
    updates, _ = ran["nan"][name]
    assert jnp.isnan(updates["scale"])
    assert finite(updates["kernel"]) == (name != "clip_by_global_norm")


@every_case
def test_empty_and_missing_leaves_stay_what_they_are(name, ran):
    updates, _ = ran[1.0][name]
    assert updates["none"] is None
    assert updates["empty"].shape == (0, 2)


@pytest.fixture(scope="module")
def at_the_last_count():
    def full(leaf):
        return jnp.full_like(leaf, 2**31 - 1) if leaf.dtype == jnp.int32 else leaf

    states = jax.tree.map(full, jit_init(TXS, tree(0)))
    return jit_last(TXS, states, gradients(), tree(0))


@every_case
def test_the_count_saturates_instead_of_wrapping(name, at_the_last_count):
    updates, states = (part[name] for part in at_the_last_count)
    assert finite(updates)
    counts = [x for x in jax.tree.leaves(states) if x.dtype == jnp.int32]
    assert all(int(x) == 2**31 - 1 for x in counts)


@pytest.fixture(scope="module")
def complex_results():
    params, gradients = kernel(0, np.complex64), stack([kernel(i, np.complex64) for i in (1, 2)])
    return [quick(run)(TXS, f * gradients["kernel"], params["kernel"]) for f in (0, 1)]


@every_case
def test_complex_leaves_give_finite_complex_updates(name, complex_results):
    for updates, states in complex_results:
        assert updates[name].dtype == jnp.complex64
        assert finite((updates[name], states[name]))
    if CASES[name].still:
        assert not np.any(complex_results[0][0][name])


@pytest.fixture(scope="module")
def half():
    def cast(tree, dtype):
        return jax.tree.map(lambda x: x.astype(dtype), tree)

    params, grads = kernel(0, jnp.bfloat16), stack([kernel(i, jnp.bfloat16) for i in (1, 2)])
    got, _ = jit_run(TXS, grads, params)
    want, _ = jit_run(TXS, cast(grads, np.float32), cast(params, np.float32))
    return got, cast(want, jnp.bfloat16)


@every_case
def test_half_precision_is_float32_rounded_once(name, half):
    got, want = half
    if name == "add_gradient_noise":
        pytest.skip("random numbers")
    chex.assert_trees_all_equal(got[name], want[name])
