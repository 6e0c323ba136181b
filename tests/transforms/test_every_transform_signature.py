"""What every transform keeps fixed: the signature of its state, and the dtypes of its updates."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transform_cases import CASES, kernel, make, stack, tree

from optlab import core, transforms

# The contract's quick clauses stand for these by default.
pytestmark = pytest.mark.slow


BF16 = jnp.bfloat16
F32, F16, F64, C64 = np.float32, np.float16, np.float64, np.complex64
PAIRS = [
    (F32, F32), (BF16, BF16), (F16, F16), (BF16, F32), (F32, BF16), (F16, F32), (F32, F16),
    (C64, C64),
]  # fmt: skip
AFTER_MOMENTS = {
    "correct_bias",
    "keep_maximum",
    "subtract_squared_mean",
    "look_ahead",
    "divide_by_rms",
    "divide_by_rectified_rms",
}
BYTES = {  # for a parameter, and in all: what the docstrings say under Cost; no row, no state
    "clip_by_global_norm": (0, 4),
    "accumulate_momentum": (4, 1),
    "accumulate_average": (4, 0),
    "accumulate_moments": (8, 8),
    "keep_maximum": (4, 0),
    "look_ahead": (0, 8),
    "divide_by_rectified_rms": (0, 4),
    "interpolate_momentum": (4, 0),
    "scale_by_adadelta": (8, 0),
    "add_gradient_noise": (0, 4),
    "scale_by_learning_rate": (0, 8),
}
WRAPPERS = {"_average_params", "_lookahead", "_schedule_free"}
OWNED_ELSEWHERE = {"_route", "_describe", "_freeze", "_eval_params", *WRAPPERS}

every_case = pytest.mark.parametrize("name", CASES)


def signature(tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in leaves]


def abstract_step(tx, params, gradients):
    """Signatures of state and update, and the jaxpr: traced only, nothing compiled."""
    state = jax.eval_shape(tx.init, params)
    jaxpr, (updates, new_state) = jax.make_jaxpr(tx.update, return_shape=True)(
        gradients, state, params
    )
    return state, updates, new_state, jaxpr


def array_dtypes(jaxpr):
    """Floating-point dtypes of all intermediate arrays; scalars may be what they like."""
    found = set()
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            if variable.aval.shape and jnp.issubdtype(variable.aval.dtype, jnp.inexact):
                found.add(variable.aval.dtype)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if hasattr(inner, "jaxpr"):
                    found |= array_dtypes(inner.jaxpr)
    return found


def test_every_public_factory_has_a_row():
    factories = {
        name
        for name in transforms.__all__
        if inspect.isfunction(value := getattr(transforms, name))
        and value.__module__.rsplit(".", 1)[-1] not in OWNED_ELSEWHERE
    }
    assert factories == {name.split("[")[0] for name in CASES}


@every_case
def test_rows_know_every_traced_hyperparameter(name):
    own = name.split("[")[0]
    paths = {path: path.rsplit("/", 1) for path in core.hyperparameters(make(name))}
    here = {parts[-1] for parts in paths.values() if len(parts) == 1 or parts[0] == own}
    assert here >= set(CASES[name].numbers)
    if name == own:  # variants of a row need not repeat them all
        assert here == set(CASES[name].numbers)


@every_case
@pytest.mark.parametrize("dtypes", PAIRS, ids=lambda p: "-".join(np.dtype(d).name for d in p))
def test_state_and_updates_keep_their_signature(name, dtypes):
    params, gradients = (tree(0, dtype) for dtype in dtypes)
    state, updates, new_state, _ = abstract_step(make(name), params, gradients)
    assert signature(new_state) == signature(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert signature(updates) == signature(jax.eval_shape(lambda: params))
    narrow = [x for x in jax.tree.leaves(state) if x.dtype in (np.dtype(BF16), np.dtype(F16))]
    assert not narrow, "moments of narrow parameters are kept in float32"


@every_case
def test_a_step_can_be_skipped_by_cond_and_carried_by_scan(name):
    """Both refuse, at trace time, a state whose signature changes; here for mixed dtypes."""
    tx, params, gradients = make(name), kernel(0, BF16), stack([kernel(1), kernel(2)])

    def step(state, g):
        skipped = jnp.sum(g["kernel"]) > 0
        return jax.lax.cond(skipped, lambda: state, lambda: tx.update(g, state, params)[1]), None

    jax.eval_shape(lambda: jax.lax.scan(step, tx.init(params), gradients))


@every_case
@pytest.mark.parametrize("dtype", [F32, F64])
def test_with_x64_arrays_keep_their_width(name, dtype):
    with jax.enable_x64(True):
        params = tree(0, dtype)
        state, updates, new_state, jaxpr = abstract_step(make(name), params, params)
        assert signature(new_state) == signature(state)
        assert signature(updates) == signature(jax.eval_shape(lambda: params))
        assert array_dtypes(jaxpr.jaxpr) <= {np.dtype(dtype)}


@every_case
def test_updates_have_the_gradients_dtype_without_parameters(name):
    if CASES[name].needs_params:
        pytest.skip("needs parameters")
    tx, gradients = make(name), tree(0, BF16)
    updates, _ = jax.eval_shape(tx.update, gradients, jax.eval_shape(tx.init, gradients))
    assert signature(updates) == signature(jax.eval_shape(lambda: gradients))


@every_case
def test_eager_init_equals_jitted_and_shape_only_init(name):
    tx, params = make(name), tree(0)
    eager = tx.init(params)
    assert signature(eager) == signature(jax.eval_shape(tx.init, params))
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    assert signature(tx.init(shapes)) == signature(eager)


@every_case
def test_state_shares_no_buffer_so_that_it_can_be_donated(name):
    params = tree(0)
    leaves = [*jax.tree.leaves(make(name).init(params)), *jax.tree.leaves(params)]
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("name", [name for name in CASES if "[" not in name])
def test_states_cost_what_the_docstrings_say(name):
    def size(tx):
        state = jax.eval_shape(tx.init, jax.ShapeDtypeStruct((128, 64), np.dtype(BF16)))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))

    before = size(transforms.accumulate_moments()) if name in AFTER_MOMENTS else 0
    each, fixed = BYTES.get(name, (0, 0))
    assert size(make(name)) - before == each * 128 * 64 + fixed


@every_case
def test_without_parameters_it_runs_or_names_the_link(name):
    tx, gradients = make(name), tree(0)
    state = jax.eval_shape(tx.init, gradients)
    if CASES[name].needs_params:
        link = name.split("[")[0]
        with pytest.raises(ValueError, match=rf"{link} needs the parameters.*params=None"):
            jax.eval_shape(tx.update, gradients, state)
    else:
        jax.eval_shape(tx.update, gradients, state)


@every_case
def test_unknown_extra_arguments_are_ignored(name):
    tx, params = make(name), tree(0)
    state = jax.eval_shape(tx.init, params)
    given = {"value": 1.0, "loss": 2.0, "updates_done": 3, "link": None}
    jax.eval_shape(lambda *args: tx.update(*args, **given), params, state, params)


@every_case
def test_another_shape_is_an_error_with_path_and_both_shapes(name):
    tx, params = make(name), tree(0)
    state = jax.eval_shape(tx.init, params)
    wrong = params | {"kernel": params["kernel"].T}
    with pytest.raises(ValueError, match=r"'kernel'.*\(3, 4\).*\(4, 3\)"):
        jax.eval_shape(tx.update, wrong, state, params)
    if jax.tree.leaves(state) and not CASES[name].needs_params and _like(state, (4, 3)):
        with pytest.raises(ValueError, match=r"kernel.*\(3, 4\).*\(4, 3\)"):
            jax.eval_shape(tx.update, wrong, state)


@every_case
def test_a_missing_leaf_is_an_error_with_its_path(name):
    tx, params = make(name), tree(0)
    state = jax.eval_shape(tx.init, params)
    fewer = {key: leaf for key, leaf in params.items() if key != "scale"}
    with pytest.raises(ValueError, match=r"'scale': updates has missing, params has shape \(\)"):
        jax.eval_shape(tx.update, fewer, state, params)


def _like(state, shape):
    return any(leaf.shape == shape for leaf in jax.tree.leaves(state))


@every_case
def test_empty_trees_none_and_masked_leaves_pass_through(name):
    tx = make(name)
    for params in ({}, {"a": None, "b": tree(0)}, {"a": optax.MaskedNode(), "b": tree(0)}):
        state = jax.eval_shape(tx.init, params)
        updates, new_state = jax.eval_shape(tx.update, params, state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        assert signature(new_state) == signature(state)


@every_case
def test_trees_may_be_any_container_or_one_array(name):
    tx, leaf = make(name), tree(0)["kernel"]
    for params in (leaf, [leaf, leaf], (leaf, (leaf,)), leaf[0, 0], leaf[None, :, None]):
        state = jax.eval_shape(tx.init, params)
        updates, new_state = jax.eval_shape(tx.update, params, state, params)
        assert signature(updates) == signature(jax.eval_shape(lambda params=params: params))
        assert signature(new_state) == signature(state)
