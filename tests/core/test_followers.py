"""Which parameter, and which of its axes, the leaves of a state follow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from optlab import core


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


class Pair(NamedTuple):
    codes: object
    scales: object


@pytest.mark.parametrize(
    ("state", "param", "axes"),
    [
        ((8, 4), (8, 4), (0, 1)),
        ((), (8, 4), ()),
        ((8,), (8, 4), (0,)),
        ((4,), (8, 4), (1,)),
        ((8,), (8, 8), (0,)),  # either would do: the first
        ((2, 4), (2, 8, 4), (0, 2)),
        ((3,), (8, 4), (None,)),
        ((4, 8), (2, 8, 4), (None, None)),  # not in this order
        ((8, 2), (8, 512), (0, 1)),  # two blocks
        ((8, 3), (8, 512), (0, None)),  # blocks that no split of the axis keeps whole
        ((8, 1), (8, 512), (0, 1)),
        ((8, 8), (8, 4), (0, None)),
        ((8, 0), (8, 4), (0, None)),
        ((10, 8, 4), (8, 4), (None, 0, 1)),  # a history
        ((8, 2, 256), (8, 512), (0, 1, None)),  # the last axis in blocks
        ((5, 2, 256), (8, 512), (None, None, None)),
        ((1,), (), (None,)),
    ],
)
def test_dimensions_run_along_the_axes_their_sizes_allow(state, param, axes):
    assert core.followers({"w": shape(*state)}, {"w": shape(*param)}) == [core.Follower(0, axes)]


def test_the_innermost_tree_built_like_the_parameters_counts():
    params = (shape(8, 4), shape(4))
    state = ({"mean": (shape(8, 4), shape(4)), "count": shape()}, optax.EmptyState())
    numbers = [f.param for f in core.followers(state, params)]
    assert numbers == [None, 0, 1]  # and not 0, 0, 0, as the outer pair would have it


def test_several_arrays_in_a_parameters_place_follow_it():
    params = {"a": shape(8, 4), "b": shape(4)}
    state = {"a": Pair(shape(8, 4), shape(8, 1)), "b": Pair(shape(4), None)}
    assert [f.param for f in core.followers(state, params)] == [0, 0, 1]


def test_masked_and_missing_parts_are_passed_over():
    params = {"a": {"x": shape(2), "y": None}, "b": shape(3), "c": {"z": shape(4)}}
    masked = {"a": {"x": optax.MaskedNode(), "y": None}, "b": shape(3), "c": optax.MaskedNode()}
    assert core.followers((masked, shape()), params) == [
        core.Follower(1, (0,)),
        core.Follower(None, ()),
    ]


def test_a_node_may_tell_its_axes():
    class Columns(NamedTuple):
        values: object

        def parameter_axes(self, ndim):
            return Columns((ndim - 1,))

    for params in ({"w": shape(8, 8)}, shape(8, 8)):
        state = jax.tree.map(lambda p: Columns(shape(8)), params)
        assert core.followers(state, params) == [core.Follower(0, (1,))]


def test_a_bare_parameter_is_followed_by_what_has_its_shape():
    state = (shape(), {"mean": shape(8, 4), "buffer": shape(7)})
    assert [f.axes for f in core.followers(state, shape(8, 4))] == [(), (None,), (0, 1)]


def test_nothing_follows_an_empty_tree():
    assert core.followers({"count": shape()}, {}) == [core.Follower(None, ())]
