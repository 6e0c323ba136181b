"""What `where=` accepts, and functions applied where it says."""

import json
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from optlab import core
from optlab.selectors import as_selector, kernels, map_where, mask_for

PARAMS = {"a": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "b": {"kernel": jnp.ones(3)}}
MASK = {"a": {"kernel": True, "bias": False}, "b": {"kernel": False}}


def where(value):
    return as_selector("decay", "where", value)


def test_a_selector_stays_itself():
    assert where(kernels) is kernels


def test_a_tree_of_bools_is_that_mask():
    assert where(MASK).mask(PARAMS) == MASK
    assert repr(where(MASK)) == "mask(1 of 3)"
    assert where(jax.tree.map(np.bool_, MASK)).mask(PARAMS) == MASK
    assert where(FrozenDict(MASK)).mask(PARAMS) == MASK


def test_a_prefix_of_the_tree_speaks_for_its_branches():
    assert where({"a": False, "b": True}).paths(PARAMS) == ("b/kernel",)
    assert where({"a": {"kernel": False, "bias": True}, "b": True}).paths(PARAMS) == (
        "a/bias",
        "b/kernel",
    )


def test_a_mask_tree_hashes_compares_pickles_and_stores():
    selector = where(MASK)
    assert selector == where(MASK) != where({"a": True, "b": False})
    assert pickle.loads(pickle.dumps(selector)) == selector
    assert core.from_dict(json.loads(json.dumps(core.to_dict(selector)))) == selector
    assert hash(selector & kernels) == hash(where(MASK) & kernels)


def test_a_function_of_the_parameters_gives_the_mask():
    def matrices_only(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    selector = where(matrices_only)
    assert selector.paths(PARAMS) == ("a/kernel",)
    assert repr(selector) == "matrices_only"
    one = core.Estimate(jnp.ones(1), jnp.ones(()))
    nodes = jax.tree.map(lambda p: core.Moments(p, one, one), PARAMS)
    assert selector.mask(nodes) == MASK
    with pytest.raises(TypeError, match="cannot be stored"):
        core.to_dict(selector)


def test_masks_work_within_a_group():
    group = {"a": {"kernel": PARAMS["a"]["kernel"], "bias": optax.MaskedNode()}, "b": PARAMS["b"]}
    expected = {"a": {"kernel": True, "bias": optax.MaskedNode()}, "b": {"kernel": False}}
    assert where(MASK).mask(group) == expected
    assert where(lambda p: jax.tree.map(lambda x: x.ndim > 1, p)).mask(group) == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("head/*", r"Did you mean path\('head/\*'\)"),
        (None, "of type NoneType"),
        (True, "of type bool"),
        (1.0, "of type float"),
        ({"a": 1.0}, "of type dict"),
        ({}, "of type dict"),
        ({"a": True, "b": 1}, "of type dict"),
        (type(kernels), "of type type"),
        (jnp.ones(3, bool), "must be a selector"),
    ],
)
def test_anything_else_is_refused_by_name(bad, message):
    with pytest.raises(TypeError, match=message) as caught:
        where(bad)
    assert "decay: where" in str(caught.value)


def test_a_mask_of_another_tree_is_refused():
    with pytest.raises(ValueError, match="no entry for 'b/kernel'"):
        where({"a": True}).mask(PARAMS)
    with pytest.raises(ValueError, match="entries for 'c', which are no parameters"):
        where({"a": True, "b": True, "c": True}).mask(PARAMS)
    with pytest.raises(ValueError, match="no entry for 'a/bias'"):
        where(lambda p: {"a": {"kernel": True}, "b": True}).mask(PARAMS)
    with pytest.raises(TypeError, match="bools, got 1 of type int at 'b'"):
        where(lambda p: {"a": True, "b": 1}).mask(PARAMS)


def test_map_where_changes_the_selected_leaves_only():
    result = map_where(kernels, lambda u, p: u + p, PARAMS, PARAMS)
    expected = {
        "a": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)},
        "b": {"kernel": jnp.full(3, 2.0)},
    }
    chex.assert_trees_all_equal(result, expected)
    chex.assert_trees_all_equal(map_where(kernels, lambda u: 2 * u, PARAMS), expected)
    chex.assert_trees_all_equal(map_where(MASK, lambda u: -u, PARAMS)["b"], PARAMS["b"])
    thrice = map_where(kernels, lambda u, p, q: u + p + q, PARAMS, PARAMS, PARAMS)
    chex.assert_trees_all_equal(thrice["b"]["kernel"], jnp.full(3, 3.0))


def test_map_where_sees_moments_as_one_leaf():
    one = core.Estimate(jnp.ones(1), jnp.ones(()))
    nodes = jax.tree.map(lambda p: core.Moments(p, one, one), PARAMS)
    result = map_where(kernels, lambda node, p: node.gradient + p, nodes, PARAMS)
    assert isinstance(result["a"]["bias"], core.Moments)
    chex.assert_trees_all_equal(result["b"]["kernel"], jnp.full(3, 2.0))


def test_mask_for_reads_the_parameters_first_and_the_updates_without_them():
    assert mask_for(MASK, PARAMS) == mask_for(MASK, PARAMS, PARAMS) == MASK
    updates = jax.tree.map(lambda p: p[None], PARAMS)
    by_rank = lambda tree: jax.tree.map(lambda x: x.ndim == 1, tree)  # noqa: E731
    assert mask_for(by_rank, updates, PARAMS)["b"] == {"kernel": True}
    with pytest.raises(TypeError, match="must be a selector"):
        map_where("kernels", lambda u: u, PARAMS)
