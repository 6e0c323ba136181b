"""Trees: paths as text, parameter nodes, and mismatches that name the path."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

from optlab.core import trees


class Pair(NamedTuple):
    left: object
    right: object


def test_path_text():
    tree = {"encoder": [{"kernel": 1.0}, Pair(2.0, None)]}
    paths = [trees.path_text(path) for path, _ in jax.tree.leaves_with_path(tree)]
    assert paths == ["encoder/0/kernel", "encoder/1/left"]
    assert trees.path_text(()) == ""


def test_map_leaves_maps_matching_trees():
    tree = {"a": jnp.ones(2), "b": None}
    out = trees.map_leaves(lambda x, y: x + y, tree, tree)
    chex.assert_trees_all_equal(out, {"a": jnp.full((2,), 2.0), "b": None})
    assert trees.map_leaves(lambda x: x, {}) == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": jnp.ones((3, 2)), "b": jnp.ones(3)}, r"at 'a': .* \(2, 3\), .* \(3, 2\)"),
        ({"a": jnp.ones((2, 3))}, r"at 'b': updates has shape \(3,\), the mean has missing"),
        (
            {"a": jnp.ones((2, 3)), "b": jnp.ones(3), "c": jnp.ones(())},
            r"at 'c': updates has missing, the mean has shape \(\)",
        ),
        ({"a": jnp.ones((2, 3)), "b": None}, "at 'b': .* the mean has missing"),
        (jnp.ones(3), "differ at 'a'"),
    ],
)
def test_mismatched_trees_are_named_by_path_and_shapes(other, message):
    tree = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match=message) as error:
        trees.map_leaves(lambda x, y: x, tree, other, names=("the mean",))
    assert str(error.value).startswith("updates and the mean differ")
    assert "make a new state with init" in str(error.value)


def test_a_leaf_that_would_broadcast_is_refused_inside_jit():
    with pytest.raises(ValueError, match=r"differ at the root: .* \(3,\), .* \(\)"):
        jax.jit(lambda x, y: trees.map_leaves(jnp.add, x, y))(jnp.ones(3), jnp.ones(()))


def test_the_same_leaves_in_other_containers_are_refused():
    with pytest.raises(ValueError, match="in containers of other kinds"):
        trees.check_same("updates", [jnp.ones(2)], "params", (jnp.ones(2),))


def test_python_numbers_are_scalars():
    trees.check_same("updates", {"a": 1.0}, "params", {"a": jnp.ones(())})
    with pytest.raises(ValueError, match="differ at 'a'"):
        trees.check_same("updates", {"a": 1.0}, "params", {"a": jnp.ones(1)})


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        ("text", "'text' of type str"),
        (object, "of type type"),
        (jax.random.key(0), "an array of key<fry>"),
        (jnp.ones(2, bool), "an array of bool"),
        (
            jax.grad(lambda n: n.astype(jnp.float32).sum(), allow_int=True)(jnp.arange(2)),
            "a float0 array, the gradient of integers",
        ),
    ],
)
def test_leaves_that_are_no_numbers_are_named(leaf, kind):
    with pytest.raises(TypeError, match="params at 'b/0' is") as error:
        trees.require_numbers("params", {"a": jnp.ones(2), "b": [leaf]})
    assert kind in str(error.value)


def test_numbers_of_any_kind_pass():
    leaves = [
        1,
        2.0,
        1j,
        jnp.ones(2),
        jnp.arange(2),
        jax.ShapeDtypeStruct((2,), jnp.bfloat16),
        None,
    ]
    trees.require_numbers("params", leaves)


class Box:
    """Looks like a parameter node of NNX."""

    def __init__(self, value, kind="kernel"):
        self.value, self.kind = value, kind

    def get_value(self):
        return self.value

    def get_metadata(self):
        return {"kind": self.kind}


jax.tree_util.register_pytree_node(
    Box, lambda box: ((box.value,), box.kind), lambda kind, children: Box(children[0], kind)
)


def test_parameter_nodes_are_unwrapped_and_given_back():
    tree = {"a": Box(jnp.ones(2)), "b": jnp.ones(3)}
    plain = trees.unbox(tree)
    chex.assert_trees_all_equal(plain, {"a": jnp.ones(2), "b": jnp.ones(3)})
    back = trees.rebox(tree, {"a": jnp.zeros(2), "b": jnp.zeros(3)})
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert back["a"].kind == "kernel"
    result = object()
    assert trees.rebox(plain, result) is result
