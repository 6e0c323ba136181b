"""Optax transformations inside a chain: run in float32, opaque, and no worse than on their own."""

import inspect

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from core_links import ema, params_and_grads, scale, signature

from optlab import core

ARGUMENTS = {
    "learning_rate": 0.1,
    "decay": 0.9,
    "weight_decay": 0.1,
    "max_norm": 1.0,
    "max_delta": 1.0,
    "threshold": 1.0,
    "step_size": 0.1,
    "clipping": 1.0,
    "eta": 0.1,
    "gamma": 0.5,
    "key": jax.random.key(0),
}
EXTRA = {"polyak_sgd": {"value": 1.0}, "scale_by_polyak": {"value": 1.0}}
LINE_SEARCH = {"lbfgs"}  # evaluates the loss function itself


def transformations():
    """Every public factory of Optax that the arguments above can call."""
    found = {}
    for name, factory in sorted(vars(optax).items()):
        if name.startswith("_") or not inspect.isfunction(factory) or name in LINE_SEARCH:
            continue
        parameters = inspect.signature(factory).parameters.values()
        needed = [
            p.name
            for p in parameters
            if (p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
            or p.name == "key"
        ]
        if not set(needed) <= set(ARGUMENTS):
            continue
        try:
            tx = factory(**{n: ARGUMENTS[n] for n in needed})
        except (TypeError, AttributeError, ValueError, DeprecationWarning):
            continue  # deprecated, or takes a tree or a function under one of these names
        if isinstance(tx, optax.GradientTransformation):
            found[name] = tx
    return found


FOREIGN = transformations()


def test_the_list_covers_the_optimizers_of_optax():
    expected = {"adabelief", "adafactor", "adam", "adamw", "lamb", "lars", "lion", "rmsprop", "sgd"}
    assert expected <= set(FOREIGN)
    assert len(FOREIGN) >= 50


@pytest.mark.parametrize("name", FOREIGN)
def test_the_state_of_an_optax_link_is_float32_and_does_not_change_its_signature(name):
    tx = core.chain(FOREIGN[name])
    params = {"a": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3, jnp.bfloat16)}
    state = tx.init(params)
    first = signature(state)
    dtypes = {x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)}
    assert dtypes <= {jnp.dtype(jnp.float32)}
    for grads_dtype in (jnp.float32, jnp.bfloat16):
        grads = jax.tree.map(lambda p, d=grads_dtype: p.astype(d), params)
        updates, state = tx.update(grads, state, params, **EXTRA.get(name, {}))
        assert signature(state) == first
        assert signature(updates) == signature(params)


def run(tx, steps=3, **extra):
    params, grads = params_and_grads()
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "rmsprop", "clip_by_global_norm"])
def test_an_optax_link_computes_what_it_computes_on_its_own(name):
    with jax.numpy_dtype_promotion("standard"):
        expected = run(FOREIGN[name])
    chex.assert_trees_all_equal(run(core.chain(FOREIGN[name])), expected)


def test_optax_links_and_ours_mix():
    ours = core.chain(optax.trace(0.9), core.chain(scale(0.5), optax.scale(-0.1)))
    theirs = optax.chain(optax.trace(0.9), optax.scale(-0.05))
    chex.assert_trees_all_close(run(ours), run(theirs), rtol=1e-6)


def test_an_optax_link_is_part_of_the_structure():
    one = optax.scale_by_adam()
    tx = core.chain(one, scale(2.0))
    assert jax.tree.leaves(tx) == [2.0]
    assert tx == core.chain(one, scale(2.0))
    assert hash(tx) == hash(core.chain(one, scale(2.0)))
    assert tx != core.chain(optax.scale_by_adam(), scale(2.0))  # closures cannot be compared


@pytest.mark.parametrize(
    ("tx", "text"),
    [
        (optax.scale_by_adam(), "optax.scale_by_adam(...)"),
        (optax.clip_by_global_norm(1.0), "optax.clip_by_global_norm(...)"),
        (optax.scale(2.0), "optax.scale(...)"),
        (optax.sgd(0.1), "optax.chain(...)"),
        (scale(2.0).as_optax(), "optax.optax(...)"),
    ],
)
def test_an_optax_link_is_shown_by_its_factory(tx, text):
    assert repr(core.chain(tx)) == f"chain({text})"


def test_extra_arguments_reach_optax_links():
    tx = core.chain(ema(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    params = jnp.ones(2)
    state = tx.init(params)
    for expected in (1.0, 0.5, 0.25):  # the loss, which does not fall, was seen
        updates, state = tx.update(params, state, params, value=jnp.asarray(1.0))
        chex.assert_trees_all_equal(updates, expected * params)
    with pytest.raises(TypeError, match="value"):
        tx.update(params, state, params)


def test_an_optax_link_that_takes_no_extra_arguments_is_not_given_any():
    plain = optax.GradientTransformation(lambda p: (), lambda u, s, p=None: (u, s))
    params = jnp.ones(2)
    chex.assert_trees_all_equal(core.chain(plain).update(params, ((),), params, value=1)[0], params)


def test_a_line_search_gets_the_loss_and_its_function():
    def loss(params):
        return jnp.sum((params - 1.0) ** 2)

    tx, params = core.chain(optax.polyak_sgd()), jnp.zeros(3)
    line_search = core.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5))
    for tx in (core.chain(optax.polyak_sgd()), line_search):
        value, grad = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grad, "value_fn": loss}
        updates, _ = tx.update(grad, tx.init(params), params, **extra)
        assert loss(optax.apply_updates(params, updates)) < value


@pytest.mark.parametrize(
    "tx",
    [optax.contrib.prodigy(), optax.contrib.dog(), optax.scale_by_lbfgs()],
    ids=["prodigy", "dog", "lbfgs"],
)
def test_states_that_hold_parameters_or_one_array_twice_can_be_donated(tx):
    params, grads = params_and_grads()
    tx = core.chain(tx)

    def step(params, state):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, _ = jax.jit(step, donate_argnums=(0, 1))(params, tx.init(params))
    chex.assert_tree_all_finite(params)
