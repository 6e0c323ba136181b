"""Clauses on trees: any container, any shape, nothing at all; and errors where trees do not fit."""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Subject

Pair = collections.namedtuple("Pair", ["left", "right"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    left: Any
    right: Any


def _frozen_dict(a: Any, b: Any) -> Any:
    return _module("flax.core").FrozenDict({"left": a, "right": b})


def _nnx_state(a: Any, b: Any) -> Any:
    nnx = _module("flax.nnx")
    return nnx.State({"left": nnx.Param(a), "right": nnx.Param(b)})


@functools.cache
def _equinox_class() -> Any:
    class Layer(_module("equinox").Module):
        left: Any
        right: Any

    return Layer


def _equinox(a: Any, b: Any) -> Any:
    return _equinox_class()(a, b)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotApplicable(f"{name.split('.')[0]} is not installed") from error


CONTAINERS: dict[str, Callable[[Any, Any], Any]] = {
    "tuple": lambda a, b: (a, b),
    "namedtuple": Pair,
    "nested": lambda a, b: {"outer": [{"inner": a}, (b,)]},
    "none": lambda a, b: [a, None, b],
    "masked_node": lambda a, b: [a, optax.MaskedNode(), b],
    "frozendict": _frozen_dict,
    "dataclass": Box,
    "nnx_state": _nnx_state,
    "equinox": _equinox,
}


def _two_leaves(subject: Subject) -> tuple[Any, Any]:
    leaves = jax.tree.leaves(subject.params())
    return leaves[0], leaves[-1]


@catalogue.clause(over=CONTAINERS)
def container(subject: Subject, make: Callable[[Any, Any], Any]) -> None:
    """Parameters in any container give the numbers they give in a list, and can be traced."""
    a, b = _two_leaves(subject)
    gradients = [0.3 * (1 + x) for x in (a, b)]
    params, gradient = make(a, b), make(*gradients)
    expected = _two_updates(subject, [a, b], gradients)
    got = _two_updates(subject, params, gradient)
    traced = jax.eval_shape(lambda g, p: _two_updates(subject, p, g), gradient, params)
    for did, tree in {"updated the container": got, "traced the update": traced}.items():
        if jax.tree.structure(tree) != jax.tree.structure(params):
            raise Broken(did, jax.tree.structure(tree), "its own structure")
    compare.close(
        "compared with the same leaves in a list",
        jax.tree.leaves(got),
        jax.tree.leaves(expected),
        "the same numbers",
        rtol=1e-5,
    )


def _two_updates(subject: Subject, params: Any, gradient: Any) -> Any:
    tx = subject.tx()
    _, state = subject.update(tx, gradient, tx.init(params), params)
    return subject.update(tx, gradient, state, params)[0]


@catalogue.clause()
def bare_array(subject: Subject) -> None:
    """A single array is a tree of parameters."""
    leaf = max(jax.tree.leaves(subject.params()), key=lambda x: x.size)
    with doing("updated one bare array"):
        run = subject.run(2, params=leaf)
    compare.same_signature("updated one bare array", leaf, run.updates[-1], weak=False)


@catalogue.clause()
def bare_scalar(subject: Subject) -> None:
    """A single scalar is a tree of parameters."""
    with doing("updated one bare scalar"):
        run = subject.run(2, params=jnp.asarray(0.7))
    compare.same_signature("updated one bare scalar", run.params[0], run.updates[-1], weak=False)
    compare.finite("updated one bare scalar", run.updates, "updates")


@catalogue.clause()
def empty_tree(subject: Subject) -> None:
    """No parameters at all: `init` and `update` run, and the state stays finite."""
    with doing("updated {} twice"):
        run = subject.run(2, params={})
    compare.finite("updated {} twice", [x for x in run.states if x is not None], "state")


@catalogue.clause()
def zero_size_leaf(subject: Subject) -> None:
    """A leaf without entries changes nothing for the others."""
    leaf = jax.tree.leaves(subject.params())[0]
    alone = subject.run(2, params={"a": leaf}).updates[-1]["a"]
    beside = subject.run(2, params={"a": leaf, "none": jnp.zeros((0, 3))}).updates[-1]
    compare.close("put a leaf of shape (0, 3) beside", beside["a"], alone, "as alone", rtol=1e-5)


@catalogue.clause()
def odd_shapes(subject: Subject) -> None:
    """Axes of length one and leaves of rank 5 and 6 work."""
    shapes = {"one": (1,), "thin": (1, 4), "five": (2, 1, 2, 1, 2), "six": (1, 2, 1, 2, 1, 2)}
    run = subject.run(2, params={name: jnp.full(shape, 0.4) for name, shape in shapes.items()})
    compare.same_signature("updated odd shapes", run.params[0], run.updates[-1], weak=False)
    compare.finite("updated odd shapes", run.updates, "updates")


def _refused(did: str, act: Callable[[], Any], words: tuple[str, ...]) -> None:
    try:
        with jax.numpy_rank_promotion("allow"):  # as users run it: JAX itself would not object
            got = act()
    except (ValueError, TypeError, KeyError) as error:
        if not any(word in str(error) for word in words):
            raise Broken(did, f"{type(error).__name__}: {error}", f"a word of {words}") from error
        return
    shapes = jax.tree.map(jnp.shape, got[0])
    raise Broken(did, f"updates of shapes {shapes}", "an error that names what differs")


@catalogue.clause("capability", over={"shape": "shape", "structure": "structure", "state": "state"})
def mismatched_trees(subject: Subject, kind: str) -> None:
    """Updates, parameters or state of other shapes are refused when traced, not broadcast."""
    tx, run = subject.tx(), subject.plain
    gradient, state, params = run.gradients[0], run.states[0], run.params[0]
    leaves, structure = jax.tree.flatten(gradient)
    if kind == "shape":
        other = jax.tree.unflatten(structure, [jnp.zeros((2, *x.shape)) for x in leaves])
        _refused(
            "gave updates with one more axis than the parameters",
            lambda: jax.eval_shape(lambda g: subject.update(tx, g, state, params), other),
            ("shape", "Shape", "mismatch"),
        )
    elif kind == "structure":
        _refused(
            "gave updates with one leaf more than the parameters",
            lambda: subject.update(tx, [gradient, leaves[0]], state, params),
            ("missing", "structure", "Structure", "mismatch", "Mismatch", "pytree"),
        )
    else:
        wider = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), params)
        foreign = tx.init(wider)
        if _shapes(foreign) == _shapes(state):
            raise NotApplicable("its state does not depend on the parameters' shapes")
        _refused(
            "gave the state of parameters with one more axis",
            lambda: jax.eval_shape(lambda s: subject.update(tx, gradient, s, params), foreign),
            ("shape", "Shape", "mismatch"),
        )


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [np.shape(x) for x in jax.tree.leaves(tree)]
