"""Groups inside of masks, chains, loops and models; and what they are told."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from flax.core import FrozenDict
from route_models import PARAMS, THREE, adam

from optlab.core import (
    Link,
    Transformation,
    chain,
    read,
    replace,
)
from optlab.selectors import biases, everything, kernels, matrices, norms, path
from optlab.transforms import (
    accumulate_moments,
    add_decayed_weights,
    correct_bias,
    scale,
    scale_by_learning_rate,
)
from optlab.transforms._freeze import freeze
from optlab.transforms._route import route


def test_routes_nest_and_selectors_keep_their_meaning_inside():
    inner = route({path("head/*"): scale(2.0), norms: scale(5.0)}, default=scale(3.0))
    tx = route({~kernels: inner}, default=scale(1.0))
    updates, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    factors = {"Dense_0": (1, 3), "head": (1, 2)}
    for name, (of_kernel, of_bias) in factors.items():
        chex.assert_trees_all_close(
            updates[name],
            {"kernel": of_kernel * PARAMS[name]["kernel"], "bias": of_bias * PARAMS[name]["bias"]},
        )
    chex.assert_trees_all_close(updates["norm"], jax.tree.map(lambda p: 5 * p, PARAMS["norm"]))
    assert set(state.groups["~kernels"].groups) == {"path(head.*)", "norms", "default"}


def test_a_where_inside_a_group_may_find_nothing_there():
    decay = add_decayed_weights(0.1, where=kernels)
    tx = route({biases: decay}, default=decay)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    assert not updates["head"]["bias"].any()
    chex.assert_trees_all_close(updates["head"]["kernel"], 0.1 * PARAMS["head"]["kernel"])


BY_LEAF = {"Dense_0": True, "norm": {"scale": False, "bias": False}, "head": True}
BY_BRANCH = {"Dense_0": True, "norm": False, "head": True}


@pytest.mark.parametrize("mask", [BY_LEAF, BY_BRANCH])
def test_inside_optax_masked_other_leaves_pass_through(mask):
    tx = route({kernels: scale(2.0), norms: scale(4.0)}, default=freeze())
    masked = optax.masked(tx, mask)
    updates, _ = masked.update(PARAMS, masked.init(PARAMS), PARAMS)
    chex.assert_trees_all_equal(updates["norm"], PARAMS["norm"])
    chex.assert_trees_all_close(updates["head"]["kernel"], 2 * PARAMS["head"]["kernel"])
    assert not updates["head"]["bias"].any()


def test_without_parameters_the_updates_tell_the_groups():
    with_params, _ = THREE.update(PARAMS, THREE.init(PARAMS), PARAMS)
    without, _ = THREE.update(PARAMS, THREE.init(PARAMS))
    chex.assert_trees_all_equal(with_params, without)
    tx = chain(accumulate_moments(), route({norms: correct_bias()}, default=correct_bias()))
    nodes, _ = tx.update(PARAMS, tx.init(PARAMS))
    assert set(nodes) == set(PARAMS)


@pytest.mark.parametrize("wrap", [FrozenDict, lambda p: ({"params": p},)])
def test_updates_have_the_structure_of_the_parameters(wrap):
    params = wrap(PARAMS)
    updates, _ = THREE.update(params, THREE.init(params), params)
    chex.assert_trees_all_equal_structs(updates, params)


def test_carries_through_scan_and_jit_without_retracing():
    traces = []

    @jax.jit
    def train(tx, params):
        traces.append(tx)

        def body(carry, _):
            params, state = carry
            updates, state = tx.update(params, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), None, length=3)[0][0]

    tx = route({kernels: adam(0.1)}, default=scale(-0.1))
    first = train(tx, PARAMS)
    second = train(replace(tx, {"learning_rate": 0.2}), PARAMS)
    assert len(traces) == 1
    chex.assert_trees_all_equal(first["norm"], second["norm"])
    assert (first["head"]["kernel"] != second["head"]["kernel"]).all()


def test_maps_over_a_hyperparameter_of_one_group():
    tx = route({kernels: scale_by_learning_rate(0.1)}, default=scale_by_learning_rate(1.0))
    state = tx.init(PARAMS)

    def step(rate):
        new = replace(tx, {"kernels/learning_rate": rate})
        return new.update(PARAMS, state, PARAMS)[0]

    updates = jax.vmap(step)(jnp.array([0.1, 0.2]))
    kernel = PARAMS["head"]["kernel"]
    chex.assert_trees_all_close(updates["head"]["kernel"][1], -0.2 * kernel)
    chex.assert_trees_all_close(updates["norm"]["scale"][0], -PARAMS["norm"]["scale"])
    slope = jax.grad(lambda r: step(r)["head"]["kernel"].sum())(0.1)
    chex.assert_trees_all_close(slope, -kernel.sum(), rtol=1e-6)


class _Seen(Link, name="seen_for_route_tests"):
    """Keeps the extra arguments it was given where the test can see them."""

    def update(self, updates, state, params=None, **extra):
        SEEN.append(extra)
        return updates, state


SEEN: list = []


def test_extra_arguments_reach_every_group_split_where_they_look_like_parameters():
    SEEN.clear()
    tx = route({kernels: Transformation(_Seen())}, default=Transformation(_Seen()))
    tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=jnp.ones(()), curvature=PARAMS)
    first, second = SEEN
    assert first["value"] is second["value"]
    assert set(first) == {"value", "curvature"}
    assert first["curvature"]["norm"] == {"scale": optax.MaskedNode(), "bias": optax.MaskedNode()}
    assert isinstance(second["curvature"]["head"]["kernel"], optax.MaskedNode)
    assert second["curvature"]["head"]["bias"] is PARAMS["head"]["bias"]


def test_a_number_is_no_tree_of_parameters():
    SEEN.clear()
    tx = route({everything: scale(1.0)}, default=Transformation(_Seen()))
    tx.update(jnp.ones(()), tx.init(jnp.ones(())), value=jnp.ones(()))
    assert SEEN[0]["value"] == 1


def test_frozen_moments_are_refused():
    tx = chain(accumulate_moments(), route({kernels: freeze()}, default=correct_bias()))
    with pytest.raises(TypeError, match="freeze takes plain updates, but got Moments"):
        tx.update(PARAMS, tx.init(PARAMS))


# Learning rates


def decayed(tx, params=PARAMS):
    """The update for zero gradients: what the decay alone does."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return tx.update(zeros, tx.init(params), params)[0]


@pytest.mark.parametrize("first", [True, False])
def test_groups_know_the_common_learning_rate_before_and_after_it(first):
    groups = route({kernels: add_decayed_weights(0.1)}, default=add_decayed_weights(0.0))
    rate = scale_by_learning_rate(0.5)
    updates = decayed(chain(groups, rate) if first else chain(rate, groups))
    chex.assert_trees_all_close(updates["head"]["kernel"], -0.05 * PARAMS["head"]["kernel"])
    assert not updates["norm"]["scale"].any()


def test_a_group_is_told_the_learning_rate_behind_route():
    decay = add_decayed_weights(0.1, kernels, coupling="schedule")
    tx = chain(route({kernels: decay}, default=scale(1.0)), scale_by_learning_rate(0.5))
    alone = chain(decay, scale_by_learning_rate(0.5))
    chex.assert_trees_all_equal(decayed(tx), decayed(alone))
    assert jnp.any(decayed(tx)["head"]["kernel"] != 0)


def test_each_group_decays_by_its_own_learning_rate():
    def group(rate):
        return chain(scale_by_learning_rate(rate), add_decayed_weights(0.1))

    updates = decayed(chain(route({kernels: group(0.5)}, default=group(2.0)), scale(1.0)))
    chex.assert_trees_all_close(updates["head"]["kernel"], -0.05 * PARAMS["head"]["kernel"])
    chex.assert_trees_all_close(updates["head"]["bias"], -0.2 * PARAMS["head"]["bias"])


def test_a_single_group_tells_its_learning_rate():
    tx = chain(route({everything: scale_by_learning_rate(0.5)}), add_decayed_weights(0.1))
    chex.assert_trees_all_close(decayed(tx), jax.tree.map(lambda p: -0.05 * p, PARAMS), rtol=1e-6)


@pytest.mark.parametrize("other", [scale_by_learning_rate(0.1), freeze()])
def test_decay_behind_several_learning_rates_is_an_error_and_not_a_wrong_sign(other):
    tx = chain(
        route({kernels: scale_by_learning_rate(0.5)}, default=other), add_decayed_weights(0.1)
    )
    with pytest.raises(ValueError, match=r"groups of route \(kernels, default\) have learning"):
        decayed(tx)


def test_links_within_a_group_are_not_told_the_rates_of_the_others():
    tx = chain(route({kernels: scale_by_learning_rate(0.5)}, default=add_decayed_weights(0.1)))
    updates = decayed(tx)
    chex.assert_trees_all_close(updates["norm"]["scale"], 0.1 * PARAMS["norm"]["scale"])


def test_links_within_a_group_are_told_the_rate_applied_before_the_route():
    groups = route({kernels: scale_by_learning_rate(0.2)}, default=add_decayed_weights(0.1))
    updates = decayed(chain(scale_by_learning_rate(0.5), groups))
    chex.assert_trees_all_close(updates["norm"]["scale"], -0.05 * PARAMS["norm"]["scale"])


def test_read_finds_what_groups_record():
    tx = route({kernels: adam(0.1)}, default=adam(0.2))
    state = tx.init(PARAMS)
    rates = {k: float(v) for k, v in read(state).items() if k.endswith("learning_rate")}
    assert sorted(rates.values()) == pytest.approx([0.1, 0.2])
    assert any("kernels" in key for key in rates)


# Real models


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Dense(4)(x))
        return nn.MultiHeadDotProductAttention(num_heads=2)(x)


def test_trains_a_linen_model_by_kind():
    with jax.numpy_rank_promotion("allow"):
        shapes = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 3, 4)))["params"]
    params = jax.tree.map(lambda p: jnp.ones(p.shape), shapes)
    tx = route({matrices: adam(0.1), norms: freeze(), biases: optax.sgd(0.1)})
    updates, _ = tx.update(params, tx.init(params), params)
    chex.assert_trees_all_equal_structs(updates, params)
    assert not updates["LayerNorm_0"]["scale"].any()


def test_trains_an_nnx_model_through_its_optimizer():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    before = model.kernel.get_value()
    tx = route({kernels: scale_by_learning_rate(0.5), biases: adam(0.1)})
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    with jax.numpy_rank_promotion("allow"):
        grads = nnx.grad(lambda m: m(jnp.ones((1, 2))).sum())(model)
    optimizer.update(model, grads)
    chex.assert_trees_all_close(model.kernel.get_value(), before - 0.5, rtol=1e-6)
    chex.assert_trees_all_close(model.bias.get_value(), jnp.full(3, -0.1), rtol=1e-3)
