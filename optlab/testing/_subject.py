"""The subject of a check: a factory, trees to feed it, and cached runs that clauses share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import Transformation, hyperparameters, replace
from optlab.testing._clauses import NotApplicable, doing

PyTree = Any
EXTRA_ARGS = ("value", "loss", "grad", "value_fn", "obj_fn")


class Run(NamedTuple):
    """A few steps on the same problem.

    Attributes:
      params, gradients, updates: what went in and what came out at each step.
      states: the state before the first step and after each.
    """

    params: list[PyTree]
    gradients: list[PyTree]
    updates: list[PyTree]
    states: list[PyTree]


class Subject:
    """What is checked, and the problem it is checked on.

    Args:
      make_tx: makes a fresh transformation; keywords with numeric defaults are its hyperparameters.
      params: tree of arrays to optimize, or None for a matrix, a vector and a scalar.
      needs: names of extra arguments that `update` demands: `value`, `grad`, `value_fn`, `loss`.
      variant: wraps the update of every plain run, such as `jax.jit`; none by default.
    """

    def __init__(
        self,
        make_tx: Callable[..., Any],
        params: PyTree = None,
        needs: Iterable[str] = (),
        variant: Callable[..., Any] | None = None,
    ):
        self.make_tx = make_tx
        self.needs = tuple(needs)
        self.variant = variant or (lambda update: update)
        self._params = _default_params() if params is None else params

    def tx(self, **values: Any) -> optax.GradientTransformationExtraArgs:
        """A fresh transformation."""
        return optax.with_extra_args_support(self.make_tx(**values))

    # Trees.

    def params(self, dtype: Any = np.float32) -> PyTree:
        return cast(self._params, dtype)

    def gradient(self, params: PyTree, step: int, dtype: Any = None) -> PyTree:
        """That of a quadratic with its minimum elsewhere, plus noise that depends on the step."""

        def slope(path, p):
            p = np.asarray(p)
            p = p.astype(np.float64 if p.dtype.kind != "c" else np.complex128)
            rng = np.random.default_rng([step, *map(ord, jax.tree_util.keystr(path))])
            target, noise = rng.normal(size=(2, *p.shape))
            narrow = np.complex64 if p.dtype.kind == "c" else np.float32
            return jnp.asarray(p - 0.5 + 0.3 * noise + 0.1 * target, dtype or narrow)

        return jax.tree_util.tree_map_with_path(slope, params)

    def extra(self, params: PyTree, gradient: PyTree) -> dict[str, Any]:
        """The extra arguments that the subject needs."""

        def value_fn(tree):
            parts = [jnp.sum(jnp.square(jnp.abs(x - 0.5))) for x in jax.tree.leaves(tree)]
            return 0.5 * sum((p.astype(jnp.float32) for p in parts), jnp.zeros(()))

        known = {"value": lambda: value_fn(params), "loss": lambda: value_fn(params)}
        known |= {"grad": lambda: gradient}
        known |= dict.fromkeys(("value_fn", "obj_fn"), lambda: value_fn)
        return {name: known[name]() for name in self.needs}

    # Runs.

    def update(self, tx: Any, gradient: PyTree, state: PyTree, params: PyTree) -> Any:
        return tx.update(gradient, state, params, **self.extra(params, gradient))

    def run(
        self,
        steps: int = 3,
        *,
        tx: Any = None,
        params: PyTree = None,
        dtype: Any = np.float32,
        gradient_dtype: Any = None,
        gradient: Callable[[PyTree, int], PyTree] | None = None,
        update: Callable[..., Any] | None = None,
    ) -> Run:
        """Steps from fresh parameters, eagerly unless another `update` is given.

        Args:
          steps: how many.
          tx: the transformation, else a fresh one.
          params: where to start, else the subject's parameters in `dtype`.
          gradient_dtype: of the gradients; that of the parameters if None.
          gradient: `(params, step) -> gradient`, else that of the built-in problem.
          update: `(gradient, state, params) -> (updates, state)` in place of the plain one.
        """
        kind = "the given" if params is not None else np.dtype(dtype).name
        words = f"took {steps} {'step' if steps == 1 else 'steps'} with {kind} parameters"
        if gradient_dtype is not None:
            words += f" and {np.dtype(gradient_dtype).name} gradients"
        tx = self.tx() if tx is None else tx
        params = self.params(dtype) if params is None else params
        with doing(words):
            return self._steps(steps, tx, params, gradient_dtype, gradient, update)

    def _steps(
        self, steps: int, tx: Any, params: Any, gradient_dtype: Any, gradient: Any, update: Any
    ) -> Run:
        step_fn = update or self.variant(functools.partial(self.update, tx))
        record = Run([params], [], [], [tx.init(copied(params))])
        for i in range(steps):
            g = (gradient or self.gradient)(params, i)
            g = cast_like(g, params) if gradient_dtype is None else cast(g, gradient_dtype)
            # Copies, so that a subject that changes its arguments spoils no other clause.
            updates, state = step_fn(*copied((g, record.states[-1], params)))
            params = apply(params, updates)
            for series, value in zip(record, (params, g, updates, state), strict=True):
                series.append(value)
        return record

    @functools.cached_property
    def plain(self) -> Run:
        """Three eager float32 steps, shared by all clauses."""
        return self.run(3)

    # Hyperparameters.

    @functools.cached_property
    def numbers(self) -> dict[str, Callable[[Any], Any]]:
        """By name of each numeric hyperparameter, how to make it with another value."""
        tx = self.make_tx()
        if isinstance(tx, Transformation):
            return {
                path: functools.partial(_replaced, tx, path)
                for path, value in hyperparameters(tx).items()
                if isinstance(value, float)
            }
        return {name: functools.partial(self._made_with, name) for name in self._defaults()}

    def number(self, name: str) -> float:
        """The value a hyperparameter has by default."""
        tx = self.make_tx()
        if isinstance(tx, Transformation):
            return hyperparameters(tx)[name]
        return self._defaults()[name]

    def _made_with(self, name: str, value: Any) -> Any:
        return self.tx(**{name: value})

    def _defaults(self) -> dict[str, float]:
        try:
            parameters = inspect.signature(self.make_tx).parameters.values()
        except (TypeError, ValueError) as error:
            raise NotApplicable(f"the factory's signature cannot be read: {error}") from error
        return {
            p.name: p.default
            for p in parameters
            if isinstance(p.default, float) and not isinstance(p.default, bool)
        }

    def learning_rate(self) -> str:
        """The name of the learning rate among `numbers`, or not applicable."""
        for name in self.numbers:
            if name.rsplit("/", 1)[-1] in ("learning_rate", "lr"):
                return name
        raise NotApplicable("it has no learning rate")


def _replaced(tx: Transformation, path: str, value: Any) -> Transformation:
    return replace(tx, {path: value})


def _default_params() -> PyTree:
    rng = np.random.default_rng(0)
    shapes = {"matrix": (4, 3), "vector": (5,), "scalar": ()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def copied(tree: PyTree) -> PyTree:
    """The same leaves in new containers; NumPy arrays, which can be written to, anew as well."""
    return jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, tree)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Every array of a tree in a dtype."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), dtype), tree)


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    return jax.tree.map(lambda x, p: jnp.asarray(np.asarray(x), p.dtype), tree, like)


def apply(params: PyTree, updates: PyTree) -> PyTree:
    """`optax.apply_updates`, also under strict promotion: the sum in the wider dtype, cast back."""

    def add(p, u):
        with jax.numpy_dtype_promotion("standard"):
            wide = jnp.promote_types(p.dtype, u.dtype)
        return (p.astype(wide) + u.astype(wide)).astype(p.dtype)

    return jax.tree.map(add, params, updates)
