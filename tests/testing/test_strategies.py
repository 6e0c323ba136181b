"""The Hypothesis strategies draw what they promise, and everything they promise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from optlab.testing import strategies

few = settings(max_examples=25, deadline=None)
seek = settings(max_examples=2000, deadline=None, database=None, phases=[Phase.generate])


def with_nones(tree):
    return jax.tree.leaves(tree, is_leaf=lambda x: x is None)


def nodes(tree):
    """Every container of a tree, and its leaves."""
    yield tree
    if isinstance(tree, dict):
        children = list(tree.values())
    elif isinstance(tree, tuple):
        children = list(tree)
    elif isinstance(tree, strategies.Box):
        children = [tree.content]
    else:
        children = []
    for child in children:
        yield from nodes(child)


FOUND = {
    "a bare array": lambda tree: isinstance(tree, jax.Array),
    "a dict": lambda tree: any(isinstance(x, dict) for x in nodes(tree)),
    "a dict in a dict": lambda tree: (
        isinstance(tree, dict) and any(isinstance(x, dict) for x in tree.values())
    ),
    "a plain tuple": lambda tree: any(type(x) is tuple for x in nodes(tree)),
    "a NamedTuple": lambda tree: any(isinstance(x, strategies.Pair) for x in nodes(tree)),
    "a dataclass": lambda tree: any(isinstance(x, strategies.Box) for x in nodes(tree)),
    "None": lambda tree: any(x is None for x in nodes(tree)),
    "a scalar": lambda tree: any(x.ndim == 0 for x in jax.tree.leaves(tree)),
    "a leaf without entries": lambda tree: any(x.size == 0 for x in jax.tree.leaves(tree)),
    "a matrix": lambda tree: any(x.ndim == 2 and x.size > 1 for x in jax.tree.leaves(tree)),
    "four axes": lambda tree: any(x.ndim == 4 for x in jax.tree.leaves(tree)),
}


@pytest.mark.parametrize("kind", FOUND)
def test_params_include(kind):
    find(strategies.params(), FOUND[kind], settings=seek)


def test_params_of_several_dtypes_mix_them():
    dtypes = (np.float32, jnp.bfloat16)
    find(
        strategies.params(dtypes=dtypes),
        lambda tree: len({x.dtype for x in jax.tree.leaves(tree)}) == 2,
        settings=seek,
    )


@few
@given(strategies.params(dtypes=(np.float16, jnp.bfloat16), shapes=((2,), (0, 3))))
def test_params_are_finite_arrays_of_the_dtypes_and_shapes_given(tree):
    assert jax.tree.leaves(tree)
    for leaf in jax.tree.leaves(tree):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype in (jnp.float16, jnp.bfloat16)
        assert leaf.shape in ((2,), (0, 3))
        assert np.all(np.isfinite(np.asarray(leaf, np.float64)))


@few
@given(strategies.problems(dtypes=(np.float32, jnp.bfloat16, np.float16)))
def test_gradients_are_finite_and_match_their_parameters(problem):
    params, gradients = problem
    assert jax.tree.structure(params) == jax.tree.structure(gradients)
    assert len(with_nones(params)) == len(with_nones(gradients))
    for p, g in zip(jax.tree.leaves(params), jax.tree.leaves(gradients), strict=True):
        assert (p.shape, p.dtype) == (g.shape, g.dtype)
        assert np.all(np.isfinite(np.asarray(g, np.float64)))


BOUNDS = {"zero": (0, 0), "tiny": (0, 1e-37), "usual": (1e-5, 10), "huge": (1e25, 1e31)}


@pytest.mark.parametrize("size", BOUNDS)
@few
@given(data=st.data())
def test_gradients_have_the_magnitude_asked_for(size, data):
    like = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(())}
    drawn = data.draw(strategies.gradients(like, magnitudes=(size,)))
    low, high = BOUNDS[size]
    for leaf in jax.tree.leaves(drawn):
        magnitudes = np.abs(np.asarray(leaf, np.float64))
        assert np.all((low <= magnitudes) & (magnitudes <= high))
        assert size != "tiny" or np.all(magnitudes > 0)


@few
@given(strategies.gradients(jnp.zeros((4,), jnp.float16), magnitudes=("huge",)))
def test_huge_gradients_end_at_the_largest_number_of_their_dtype(gradient):
    assert np.all(np.abs(np.asarray(gradient, np.float64)) == 65504)


@few
@given(st.data())
def test_an_unknown_magnitude_is_refused(data):
    with pytest.raises(ValueError, match="no magnitude 'hug'; did you mean 'huge'"):
        data.draw(strategies.gradients(jnp.ones(2), magnitudes=("hug",)))


def test_leaves_of_one_tree_differ_in_magnitude():
    like = [jnp.ones(2), jnp.ones(2)]
    find(
        strategies.gradients(like),
        lambda tree: np.all(np.abs(tree[0]) > 1e25) and np.all(np.abs(tree[1]) < 1e-30),
        settings=seek,
    )


@few
@given(strategies.learning_rates(), strategies.decays())
def test_hyperparameters_stay_in_range(rate, decay):
    assert rate == 0 or 1e-8 <= rate <= 10
    assert 0 <= decay < 1


def test_hyperparameters_reach_their_ends():
    find(strategies.learning_rates(), lambda x: x == 0, settings=seek)
    find(strategies.learning_rates(), lambda x: x > 1, settings=seek)
    find(strategies.decays(), lambda x: x == 0, settings=seek)
    find(strategies.decays(), lambda x: x >= 0.999, settings=seek)


def test_the_public_names_are_strategies():
    for name in strategies.__all__:
        made = getattr(strategies, name)
        drawn = made(jnp.ones(2)) if name == "gradients" else made()
        assert isinstance(drawn, st.SearchStrategy)
