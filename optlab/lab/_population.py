"""Many transformations as one: those that differ in numbers alone share a compiled program."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optlab import core

PyTree = Any
MakeTx = Callable[..., optax.GradientTransformation]


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """An Optax transformation made anew inside the program, from hyperparameters as leaves.

    Optax's transformations hide their numbers inside functions; called with traced numbers, their
    factory gives functions of these numbers.
    """

    make_tx: MakeTx
    numbers: Mapping[str, Any]
    others: tuple[tuple[str, Any], ...]

    def _made(self) -> optax.GradientTransformationExtraArgs:
        tx = self.make_tx(**self.numbers, **dict(self.others))
        return optax.with_extra_args_support(tx)

    def init(self, params: PyTree) -> Any:
        with _lenient():
            return self._made().init(params)

    def update(self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        with _lenient():
            return self._made().update(updates, state, params, **extra)

    def tree_flatten_with_keys(self):
        names = tuple(sorted(self.numbers))
        children = [(jax.tree_util.DictKey(name), self.numbers[name]) for name in names]
        return children, (self.make_tx, names, self.others)

    @classmethod
    def tree_unflatten(cls, aux, children):
        make_tx, names, others = aux
        return cls(make_tx, dict(zip(names, children, strict=True)), others)


def transformations(make_tx: MakeTx, choices: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One transformation a choice of hyperparameters, each checked by its factory.

    Where numbers are hidden inside something of Optax, so that every choice would need a program of
    its own, the transformation is made inside the program, if its factory can be traced.
    """
    made = [_made(make_tx, choice) for choice in choices]
    if all(isinstance(tx, core.Transformation) for tx in made):
        kinds = {_split(choice)[1] for choice in choices}
        if len({structure(tx) for tx in made}) <= len(kinds):
            return made
    rebuilt = [Rebuilt(make_tx, *_split(choice)) for choice in choices]
    if all(map(_traceable, {structure(tx): tx for tx in rebuilt}.values())):
        return rebuilt
    return [
        tx if isinstance(tx, core.Transformation) else Rebuilt(make_tx, {}, tuple(choice.items()))
        for tx, choice in zip(made, choices, strict=True)
    ]


def structure(tx: Any) -> Any:
    """What two transformations must share to run in one program; hashable."""
    leaves, tree = jax.tree.flatten(tx)
    return tree, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


def together(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one of arrays, with a leading axis on every leaf; one as it is."""
    trees = [jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree) for tree in trees]
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *trees)


@contextlib.contextmanager
def _lenient():
    """JAX's default promotion: parts of Optax fail under the strict settings a user may have."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _made(make_tx: MakeTx, choice: Mapping[str, Any]) -> Any:
    tx = make_tx(**choice)
    if not isinstance(tx, optax.GradientTransformation):
        given = ", ".join(f"{name}={value!r}" for name, value in choice.items())
        raise TypeError(
            f"make_tx must return a gradient transformation, got {type(tx).__name__} for {given}."
        )
    return tx


def _split(choice: Mapping[str, Any]) -> tuple[dict[str, float], tuple[tuple[str, Any], ...]]:
    """What may be traced, and what is part of the program."""
    numbers = {name: value for name, value in choice.items() if isinstance(value, float)}
    return numbers, tuple((name, value) for name, value in choice.items() if name not in numbers)


def _traceable(tx: Rebuilt) -> bool:
    params = jax.ShapeDtypeStruct((2, 2), jnp.float32)
    try:
        jax.eval_shape(lambda tx, p: tx.update(p, tx.init(p), p, value=p[0, 0]), tx, params)
    except (jax.errors.ConcretizationTypeError, TypeError, ValueError):
        return False
    return True
