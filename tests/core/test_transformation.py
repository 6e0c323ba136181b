"""A Transformation is an Optax transformation, and it is data."""

import copy
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_links import Scale, count_traces, decay, ema, params_and_grads, scale, signature
from hypothesis import given
from hypothesis import strategies as st

from optlab import core


def sentence():
    """A chain with a state, a schedule-free rate and a use of the parameters."""
    return core.chain(ema(0.9), decay(0.01), scale(-0.1))


def run(tx, steps=3, dtype=jnp.float32):
    params, grads = params_and_grads(dtype)
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


# --- as an Optax transformation


def test_it_is_what_optax_checks_for():
    tx = scale(2.0)
    assert isinstance(tx, optax.GradientTransformation)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert isinstance(tx, tuple)
    assert len(tx) == 2


def test_it_unpacks_into_init_and_update():
    init, update = scale(2.0)
    updates, _ = update(jnp.ones(2), init(jnp.ones(2)))
    chex.assert_trees_all_equal(updates, jnp.full((2,), 2.0))


def test_replacing_a_function_gives_an_optax_tuple():
    tx = scale(2.0)
    other = tx._replace(update=lambda updates, state, params=None, **extra: (updates, state))
    assert type(other) is optax.GradientTransformationExtraArgs
    assert other.init is tx.init
    chex.assert_trees_all_equal(other.update(jnp.ones(2), ())[0], jnp.ones(2))
    assert type(tx._make([tx.init, tx.update])) is optax.GradientTransformationExtraArgs


def test_as_optax_is_the_same_two_functions_without_the_leaves():
    tx = sentence()
    plain = tx.as_optax()
    assert type(plain) is optax.GradientTransformationExtraArgs
    assert jax.tree.leaves(plain) == [plain.init, plain.update]
    chex.assert_trees_all_equal(run(plain), run(tx))


def test_it_cannot_be_changed():
    tx = scale(2.0)
    with pytest.raises(AttributeError, match=r"immutable; use optlab.replace\(tx, {'factor': ...}"):
        tx.factor = 3.0
    with pytest.raises(AttributeError, match="immutable"):
        del tx.link
    with pytest.raises(TypeError):
        tx[0] = None


def test_it_is_made_of_a_link_only():
    with pytest.raises(TypeError, match="Transformation needs a Link, got 3"):
        core.Transformation(3)


def test_update_does_not_change_its_inputs():
    tx, (params, grads) = sentence(), params_and_grads()
    state = tx.init(params)
    before = jax.tree.map(np.array, (params, grads, state))
    tx.update(grads, state, params)
    chex.assert_trees_all_equal((params, grads, state), before)


# --- as data


def test_leaves_are_the_hyperparameters():
    tx = sentence()
    assert jax.tree.leaves(tx) == [0.9, 0.01, -0.1]
    assert jax.tree.leaves(jax.tree.map(lambda x: 2 * x, tx)) == [1.8, 0.02, -0.2]
    assert isinstance(jax.tree.map(lambda x: x, tx), core.Transformation)


@given(st.floats(-10, 10), st.floats(-10, 10), st.booleans(), st.booleans())
def test_equality_is_equality_of_hyperparameters_and_flags(a, b, flip_a, flip_b):
    one, two = scale(a, flip_a), scale(b, flip_b)
    assert (one == two) == ((a, flip_a) == (b, flip_b))
    assert (one != two) == ((a, flip_a) != (b, flip_b))
    assert one != two or hash(one) == hash(two)


def test_it_equals_no_plain_tuple_and_no_other_kind():
    tx = scale(1.0)
    assert tx != tuple(tx)
    assert tx != tx.as_optax()
    assert tx != ema(0.5)
    assert tx != core.chain(tx)


def pickled(tx):
    return pickle.loads(pickle.dumps(tx))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_copies_and_pickles_are_equal_and_work(duplicate):
    tx = sentence()
    other = duplicate(tx)
    assert other == tx
    assert hash(other) == hash(tx)
    chex.assert_trees_all_equal(run(other), run(tx))


def test_repr_is_the_call():
    assert repr(scale(2.0, flip=True)) == "scale(factor=2.0, flip=True)"


# --- under JAX's transformations


def test_three_learning_rates_compile_once():
    params, grads = params_and_grads()
    step, traces = count_traces(lambda tx, state: tx.update(grads, state, params))
    for rate in (-0.1, -0.2, -0.3):
        tx = core.chain(ema(0.9), scale(rate))
        updates, _ = step(tx, tx.init(params))
        eager, _ = tx.update(grads, tx.init(params), params)
        chex.assert_trees_all_close(updates, eager, rtol=1e-6)
    assert len(traces) == 1


def test_many_steps_compile_once():
    step, traces = count_traces(lambda tx, *args: tx.update(*args))
    tx, (params, grads) = sentence(), params_and_grads(jnp.bfloat16)
    state = tx.init(params)
    for _ in range(4):
        updates, state = step(tx, grads, state, params)
        params = optax.apply_updates(params, updates)
    assert len(traces) == 1


def test_a_sweep_is_a_vmap():
    params, grads = params_and_grads()
    rates = jnp.array([-0.1, -0.2, -0.3])

    def train(rate):
        return run(core.replace(sentence(), {"factor": rate}))[0]

    swept = jax.jit(jax.vmap(train))(rates)
    for i, rate in enumerate(rates):
        one = jax.tree.map(lambda x, i=i: x[i], swept)
        chex.assert_trees_all_close(one, train(float(rate)), rtol=1e-6)
    del params, grads


def test_a_population_is_a_transformation_with_batched_leaves():
    population = jax.tree.map(lambda x: x * jnp.arange(1.0, 3.0), sentence())
    params, _ = jax.vmap(run)(population)
    assert params["gain"].shape == (2,)


@pytest.mark.parametrize("path", ["ema/decay", "decay/rate", "scale/factor"])
def test_gradient_with_respect_to_a_hyperparameter(path):
    tx = sentence()

    def loss(value):
        params, _ = run(core.replace(tx, {path: value}))
        return optax.tree.norm(params, squared=True)

    with jax.enable_x64(True):

        def loss64(value):
            params, _ = run(core.replace(tx, {path: value}), dtype=jnp.float64)
            return optax.tree.norm(params, squared=True)

        value, h = core.hyperparameters(tx)[path], 1e-6
        difference = (loss64(value + h) - loss64(value - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(value), difference, rtol=1e-4)


def test_the_gradient_with_respect_to_a_transformation_is_one():
    params, grads = params_and_grads()
    slope = jax.grad(lambda tx: tx.update(grads, tx.init(params), params)[0]["gain"])(scale(2.0))
    assert isinstance(slope, core.Transformation)
    assert slope.link == Scale(factor=jnp.float32(grads["gain"]))


def test_a_sweep_over_one_hyperparameter_maps_one_leaf():
    params, grads = params_and_grads()
    swept = core.replace(sentence(), {"scale/factor": jnp.array([-1.0, -2.0])})
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, swept)
    step = jax.vmap(lambda tx: tx.update(grads, tx.init(params), params)[0], in_axes=(axes,))
    one = core.replace(swept, {"scale/factor": -2.0})
    expected, _ = one.update(grads, one.init(params), params)
    chex.assert_trees_all_close(step(swept)["gain"][1], expected["gain"], rtol=1e-6)


def test_as_a_static_argument_an_equal_transformation_does_not_trace_again():
    traces = []

    def step(tx, x):
        traces.append(tx)
        return tx.update(x, tx.init(x), x)[0]

    step = jax.jit(step, static_argnums=0)
    for rate in (0.1, 0.1, jnp.float32(0.2), jnp.float32(0.2), 0.1):
        step(core.chain(ema(0.9), scale(rate)), jnp.ones(2))
    assert len(traces) == 2


def test_nothing_traced_is_kept():
    tx, (params, grads) = sentence(), params_and_grads()
    with jax.checking_leaks():
        jax.jit(lambda tx, *args: tx.update(*args))(tx, grads, tx.init(params), params)
        jax.jit(jax.grad(lambda tx: tx.update(grads, tx.init(params), params)[0]["gain"]))(tx)


def test_scan_carries_the_state():
    tx, (params, grads) = sentence(), params_and_grads(jnp.bfloat16)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = (params, tx.init(params))
    final, _ = jax.jit(lambda carry: jax.lax.scan(body, carry, length=3))(carry)
    chex.assert_trees_all_close(final, run(tx, dtype=jnp.bfloat16), rtol=1e-2)


def test_cond_may_skip_a_step():
    tx, (params, grads) = sentence(), params_and_grads()
    state = tx.init(params)

    @jax.jit
    def maybe(pred, state):
        return jax.lax.cond(pred, lambda s: tx.update(grads, s, params)[1], lambda s: s, state)

    chex.assert_trees_all_equal(maybe(False, state), state)


def test_jit_equals_eager():
    tx, (params, grads) = sentence(), params_and_grads()
    state = jax.jit(tx.init)(params)
    chex.assert_trees_all_equal(state, tx.init(params))
    assert signature(state) == signature(tx.init(params))
    compiled = jax.jit(tx.update)(grads, state, params)
    chex.assert_trees_all_close(compiled, tx.update(grads, state, params), rtol=1e-6)


def test_init_from_shapes_alone():
    tx, (params, _) = sentence(), params_and_grads(jnp.bfloat16)
    shapes = jax.eval_shape(lambda: params)
    assert signature(tx.init(shapes)) == signature(tx.init(params))
    assert signature(jax.eval_shape(tx.init, params)) == signature(tx.init(params))


def test_params_and_state_can_be_donated_right_after_init():
    params, grads = params_and_grads()
    rate = jnp.float32(0.1)
    tx = core.chain(ema(0.9), optax.scale_by_adam(), decay(rate), scale(-rate))
    expected = run(tx, steps=2)

    def step(tx, params, state):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    # keep_unused, since an argument that the step does not read would not be donated
    donating = jax.jit(step, donate_argnames=("params", "state"), keep_unused=True)
    state = tx.init(params)
    params = jax.tree.map(jnp.copy, params)
    for _ in range(2):
        params, state = donating(tx, params=params, state=state)
    chex.assert_trees_all_close(params, expected[0], rtol=1e-5, atol=1e-7)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(tx) if isinstance(leaf, jax.Array))


# --- bad input


def test_wrong_shapes_and_structures_are_refused_under_jit():
    tx, (params, grads) = sentence(), params_and_grads()
    state = tx.init(params)
    wrong = jax.tree.map(lambda g: g, grads) | {"gain": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"updates and params differ at 'gain': .*\(2,\).*\(\)"):
        jax.jit(tx.update)(wrong, state, params)
    with pytest.raises(ValueError, match="updates and params differ at 'gain'"):
        tx.update({"dense": grads["dense"]}, state, params)


def test_a_state_of_other_parameters_is_refused():
    tx = ema(0.5)
    with pytest.raises(ValueError, match=r"the mean differ at the root: .* \(3,\), .* \(2,\)"):
        tx.update(jnp.ones(3), tx.init(jnp.ones(2)), jnp.ones(3))


def test_missing_parameters_are_named_by_the_link_that_needs_them():
    tx, (params, grads) = sentence(), params_and_grads()
    with pytest.raises(ValueError, match="decay needs the parameters, but update was called with"):
        tx.update(grads, tx.init(params))


@pytest.mark.parametrize("leaf", ["text", jax.random.key(0), jnp.array(True)])
def test_leaves_that_are_no_numbers_are_refused_by_path(leaf):
    with pytest.raises(TypeError, match="params at 'a/b' is"):
        scale(1.0).init({"a": {"b": leaf}})


def test_gradients_of_integers_are_refused_by_path():
    params = {"n": jnp.arange(3), "w": jnp.ones(3)}
    grads = jax.grad(lambda p: (p["w"] ** 2).sum(), allow_int=True)(params)
    tx = scale(1.0)
    with pytest.raises(TypeError, match="updates at 'n' is a float0 array"):
        tx.update(grads, tx.init(params), params)
    masked = optax.masked(tx, {"n": False, "w": True})
    updates, _ = masked.update(grads, masked.init(params), params)
    chex.assert_trees_all_equal(updates["w"], grads["w"])


# --- degenerate trees


@pytest.mark.parametrize("tree", [{}, (), {"a": None, "b": ()}, [optax.MaskedNode()]])
def test_empty_trees_pass_through(tree):
    tx = sentence()
    updates, state = tx.update(tree, tx.init(tree), tree)
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(tree))


def test_none_and_masked_leaves_keep_their_place():
    params = {"a": jnp.ones(2), "b": None, "c": optax.MaskedNode()}
    tx = sentence()
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["b"] is None
    assert updates["c"] == optax.MaskedNode()
    assert updates["a"].shape == (2,)


def test_bare_arrays_scalars_and_zero_sizes():
    tx = sentence()
    for params in (jnp.ones(()), jnp.ones((2, 0)), jnp.ones((1, 1, 1, 1, 1)), 2.0):
        updates, _ = tx.update(params, tx.init(params), params)
        assert updates.shape == jnp.shape(params)


def test_zero_gradients_do_not_move_without_decay():
    tx, (params, grads) = core.chain(ema(0.9), scale(-0.1)), params_and_grads()
    zeros = jax.tree.map(jnp.zeros_like, grads)
    chex.assert_trees_all_equal(tx.update(zeros, tx.init(params), params)[0], zeros)


# --- extra arguments


def test_unknown_extra_arguments_are_ignored_whatever_their_name():
    tx, (params, grads) = sentence(), params_and_grads()
    state = tx.init(params)
    plain = tx.update(grads, state, params)
    chex.assert_trees_all_equal(tx.update(grads, state, params, value=1.0, link=2, tx=3), plain)
