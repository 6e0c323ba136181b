"""Groups: covered exactly once, equal to separate optimizers, transparent to everything around."""

import json
import pickle

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from route_models import PARAMS, THREE, adam, params_like, part, steps

from optlab.core import (
    Link,
    Transformation,
    chain,
    from_dict,
    hyperparameters,
    replace,
    to_dict,
)
from optlab.selectors import biases, everything, heads, kernels, norms, path
from optlab.transforms import (
    accumulate_moments,
    correct_bias,
    divide_by_rms,
    scale,
)
from optlab.transforms._freeze import freeze
from optlab.transforms._route import route


def test_route_equals_separate_optimizers():
    params, _ = steps(THREE, PARAMS)
    groups = {
        "Dense_0/kernel": adam(0.1),
        "norm": optax.sgd(0.2),
        "Dense_0/bias": scale(-0.5),
        "head": scale(-0.5),
    }
    for place, tx in groups.items():
        alone = part(PARAMS, place)
        state = tx.init(alone)
        for seed in range(3):
            updates, state = tx.update(part(params_like(seed + 1), place), state, alone)
            alone = optax.apply_updates(alone, updates)
        chex.assert_trees_all_close(part(params, place), alone, rtol=1e-6)


leaf_names = st.sampled_from(["kernel", "bias", "scale", "embedding"])
models = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.lists(leaf_names, min_size=1, unique=True),
    min_size=1,
)


@given(models, st.floats(2.0, 10.0))
@settings(max_examples=20, deadline=None)
def test_a_group_never_feels_the_others(model, other):
    ones = {name: {leaf: jnp.ones((2, 2)) for leaf in leaves} for name, leaves in model.items()}
    ones["z"] = {"kernel": jnp.ones((2, 2))}
    mine = kernels.mask(ones)
    grads = jax.tree.map(lambda chosen, g: g if chosen else other * g, mine, ones)
    tx = route({kernels: optax.clip_by_global_norm(1.0)}, default=scale(1.0))
    updates, _ = tx.update(grads, tx.init(ones))
    length = 1 / (4 * sum(jax.tree.leaves(mine))) ** 0.5  # were its entries alone in the world
    expected = jax.tree.map(lambda chosen, g: length * g if chosen else g, mine, grads)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_hyperparameters_are_found_by_group():
    assert hyperparameters(route({kernels: adam(0.1)}, default=scale(2.0))) == {
        "kernels/accumulate_moments/b1": 0.9,
        "kernels/accumulate_moments/b2": 0.999,
        **{
            f"kernels/{k}": v
            for k, v in hyperparameters(adam(0.1)).items()
            if not k.endswith(("b1", "b2"))
        },
        "default/factor": 2.0,
    }


def test_replace_reaches_into_one_group():
    tx = route({kernels: adam(0.1), path("norm/*"): scale(1.0)}, default=adam(0.2))
    new = replace(tx, {"kernels/scale_by_learning_rate/learning_rate": 0.3, "factor": 4.0})
    values = hyperparameters(new)
    assert values["kernels/scale_by_learning_rate/learning_rate"] == 0.3
    assert values["default/scale_by_learning_rate/learning_rate"] == 0.2
    assert values["path(norm.*)/factor"] == 4.0
    swapped = replace(tx, {"default": freeze()})
    assert repr(swapped.link.default) == "freeze()"
    assert swapped.link.selectors == tx.link.selectors


def test_replace_works_without_a_default():
    tx = replace(route({kernels: scale(1.0), ~kernels: scale(2.0)}), {"kernels/factor": 3.0})
    assert tx == route({kernels: scale(3.0), ~kernels: scale(2.0)})


def test_groups_whose_names_meet_are_told_apart():
    groups = {path("a/b/c"): scale(1.0), path("a.b/c"): scale(2.0), path("a/b.c"): scale(3.0)}
    assert hyperparameters(route(groups, default=scale(4.0))) == {
        "path(a.b.c)/factor": 1.0,
        "path(a.b.c)[1]/factor": 2.0,
        "path(a.b.c)[2]/factor": 3.0,
        "default/factor": 4.0,
    }


def test_a_record_of_a_route_refuses_what_is_no_selector():
    link = route({kernels: scale(1.0)}).link
    with pytest.raises(TypeError, match="route: selectors"):
        type(link)(links=link.links, selectors=("kernels",))


def test_a_route_prints_as_it_was_made():
    tx = route({kernels: scale(1.0), path("*"): scale(2.0)}, default=freeze())
    assert repr(tx) == (
        'route({kernels: scale(factor=1.0), path("*"): scale(factor=2.0)}, default=freeze())'
    )
    wide = route({kernels: scale(1.0), biases: scale(2.0), norms: scale(3.0)}, default=freeze())
    assert repr(wide).startswith("route({\n    kernels: scale(factor=1.0),\n")
    namespace = {f.__name__: f for f in (route, path, scale, freeze)} | {"kernels": kernels}
    assert eval(repr(tx), namespace) == tx


def test_a_route_pickles_and_stores():
    tx = route({kernels: adam(0.1), path("norm/*"): scale(1.0)}, default=freeze())
    assert pickle.loads(pickle.dumps(tx)) == tx
    assert from_dict(json.loads(json.dumps(to_dict(tx)))) == tx
    no_default = route({everything: scale(1.0)})
    assert from_dict(json.loads(json.dumps(to_dict(no_default)))) == no_default


# Coverage


def test_a_parameter_in_two_groups_is_an_error_naming_both():
    tx = route({kernels: scale(1.0), heads: scale(1.0)}, default=freeze())
    with pytest.raises(ValueError, match=r"'head/kernel' belongs to kernels and to heads"):
        tx.init(PARAMS)


def test_a_parameter_in_no_group_is_an_error_with_its_path():
    tx = route({kernels: scale(1.0), biases: scale(1.0)})
    with pytest.raises(ValueError, match=r"no group has 'norm/bias', 'norm/scale'\. .*default="):
        tx.init(PARAMS)


def test_a_selector_that_selects_nothing_is_an_error():
    with pytest.raises(ValueError, match="selects none of the 6 parameters"):
        route({path("body/**"): scale(1.0)}, default=freeze()).init(PARAMS)


def test_update_judges_coverage_too():
    tx = route({kernels: scale(1.0)}, default=freeze())
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="selects none"):
        tx.update({"b": jnp.ones(2)}, state)


def test_a_state_of_other_groups_is_refused():
    tx = route({kernels: scale(1.0)}, default=freeze())
    other = route({norms: scale(1.0)}, default=freeze())
    with pytest.raises(ValueError, match="groups kernels, default; it has norms, default"):
        tx.update(PARAMS, other.init(PARAMS))
    with pytest.raises(ValueError, match="it has tuple"):
        chain(tx).update(PARAMS, ((),))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: route({}), ValueError, "no group"),
        (lambda: route([(kernels, scale(1.0))]), TypeError, "must be a dict"),
        (lambda: route({"head/**": scale(1.0)}), TypeError, r"Did you mean path\('head/\*\*'\)"),
        (lambda: route({kernels: 0.1}), TypeError, "expected a gradient transformation"),
        (lambda: route({kernels: scale}), TypeError, "forget to call it"),
        (lambda: route({kernels: scale(1.0)}, default=freeze), TypeError, "forget to call it"),
    ],
)
def test_bad_groups_are_refused_early(bad, error, message):
    with pytest.raises(error, match=message):
        bad()


def test_an_empty_tree_and_missing_leaves_are_no_error():
    tx = route({kernels: adam(0.1)}, default=freeze())
    assert tx.update({}, tx.init({}), {})[0] == {}
    params = {"Dense_0": {"kernel": jnp.ones((2, 2)), "bias": None}}
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["Dense_0"]["bias"] is None


def test_one_bare_array_is_a_group_too():
    tx = route({everything: scale(-1.0)})
    assert (tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=jnp.ones(()))[0] == -1).all()


def test_functions_and_optax_transformations_are_taken():
    def vectors(params):
        return jax.tree.map(lambda p: p.ndim == 1, params)

    tx = route({vectors: optax.scale(2.0)}, default=optax.scale(3.0))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS))
    chex.assert_trees_all_close(updates["norm"], jax.tree.map(lambda p: 2 * p, PARAMS["norm"]))
    chex.assert_trees_all_close(updates["head"]["kernel"], 3 * PARAMS["head"]["kernel"])


# State


def test_frozen_groups_hold_no_state_and_do_not_move():
    for frozen in (freeze(), optax.set_to_zero()):
        tx = route({heads: adam(0.1)}, default=frozen)
        state = tx.init(PARAMS)
        assert jax.tree.leaves(state.groups["default"]) == []
        grads = PARAMS | {"norm": {"scale": jnp.full(3, jnp.nan), "bias": jnp.full(3, jnp.inf)}}
        updates, _ = tx.update(grads, state, PARAMS)
        assert all(not u.any() for u in jax.tree.leaves(updates["Dense_0"]))
        if frozen == freeze():
            assert all(not u.any() for u in jax.tree.leaves(updates["norm"]))
        assert updates["head"]["kernel"].all()


def test_moments_exist_only_for_the_groups_own_leaves():
    state = route({norms: adam(0.1)}, default=freeze()).init(PARAMS)
    sizes = [leaf.size for leaf in jax.tree.leaves(state.groups["norms"][0])]
    assert sum(sizes) == pytest.approx(2 * 6, abs=3)  # and a few scalars


def test_a_schedule_counts_in_its_group():
    tx = route({kernels: scale(lambda count: 1.0 + count)}, default=freeze())
    state = tx.init(PARAMS)
    for factor in (1.0, 2.0, 3.0):
        updates, state = tx.update(PARAMS, state)
        chex.assert_trees_all_close(updates["head"]["kernel"], factor * PARAMS["head"]["kernel"])


def test_the_state_is_a_fixed_point_for_low_precision_parameters():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    tx = route({kernels: adam(0.1), norms: optax.adam(0.1)}, default=freeze())
    state = tx.init(params)
    updates, new_state = tx.update(PARAMS, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new_state)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)


# In company


class _Keep(Link, name="keep_for_route_tests"):
    def update(self, updates, state, params=None, **extra):
        return updates, state


def test_moments_travel_through_a_route():
    inside = chain(
        accumulate_moments(),
        route({kernels: correct_bias()}, default=Transformation(_Keep())),
        divide_by_rms(),
    )
    updates, _ = inside.update(PARAMS, inside.init(PARAMS), PARAMS)
    corrected = chain(accumulate_moments(), correct_bias(), divide_by_rms())
    plain = chain(accumulate_moments(), divide_by_rms())
    expected, _ = corrected.update(PARAMS, corrected.init(PARAMS))
    chex.assert_trees_all_close(updates["Dense_0"]["kernel"], expected["Dense_0"]["kernel"])
    expected, _ = plain.update(PARAMS, plain.init(PARAMS))
    chex.assert_trees_all_close(updates["norm"], expected["norm"])


def test_moments_and_updates_may_leave_different_groups():
    tx = chain(
        route({kernels: accumulate_moments()}, default=scale(2.0)),
        route({kernels: chain(correct_bias(), divide_by_rms())}, default=scale(3.0)),
    )
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(updates["norm"]["scale"], 6 * PARAMS["norm"]["scale"])
    chex.assert_trees_all_close(
        updates["head"]["kernel"], jnp.sign(PARAMS["head"]["kernel"]), rtol=1e-5
    )
