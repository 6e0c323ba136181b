"""`Transformation`: what every optlab factory returns. An Optax transformation, and a pytree.

It is an `optax.GradientTransformationExtraArgs`, so `optax.chain`, Flax and Equinox take it as it
is; and it is a pytree whose leaves are its hyperparameters, so it passes through `jit` as an
argument, sweeps under `jax.vmap`, and has a gradient. It is also where precision is settled: on the
way in everything is promoted to its compute dtype, on the way out cast to the parameter's.
"""

from __future__ import annotations

import contextlib
import reprlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optlab.core import _followers, _given, _link, _moments, _numerics, _records, _trees

PyTree = Any


class Transformation(optax.GradientTransformationExtraArgs):
    """A gradient transformation that is data.

    Attributes:
      link: the record of hyperparameters that does the work.
      init: `params -> state`; also takes a tree of `jax.ShapeDtypeStruct`.
      update: `(updates, state, params=None, **extra) -> (updates, state)`.

    Example:
      >>> import jax, jax.numpy as jnp, optax, optlab as ol
      >>> tx = ol.scale_by_learning_rate(0.5)
      >>> isinstance(tx, optax.GradientTransformationExtraArgs), jax.tree.leaves(tx)
      (True, [0.5])
      >>> params = jnp.array([2.0])
      >>> jax.grad(lambda tx: tx.update(params, tx.init(params), params)[0][0])(tx)
      scale_by_learning_rate(learning_rate=array(-2., float32))
    """

    link: _link.Link

    def __new__(cls, link: _link.Link):
        if not isinstance(link, _link.Link):
            raise TypeError(f"Transformation needs a Link, got {link!r}")
        self = super().__new__(cls, partial(_init, link), partial(_update, link))
        self.__dict__["link"] = link
        return self

    def as_optax(self) -> optax.GradientTransformationExtraArgs:
        """The same two functions as a plain Optax tuple, for code that refuses arrays in it."""
        return optax.GradientTransformationExtraArgs(self.init, self.update)

    @classmethod
    def _make(cls, iterable: Any) -> Any:
        return optax.GradientTransformationExtraArgs._make(iterable)

    def _replace(self, **functions: Any) -> optax.GradientTransformationExtraArgs:
        # A tuple's fields are its functions; with others in place it is no longer this record.
        return self.as_optax()._replace(**functions)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a Transformation is immutable; use optlab.replace(tx, {{{name!r}: ...}})"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Transformation is immutable; {name!r} cannot be deleted")

    def __reduce__(self):
        return Transformation, (self.link,)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Transformation) and self.link == other.link)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.link)

    def __repr__(self) -> str:
        return repr(self.link)


def _flatten(tx: Transformation):
    leaves, aux = tx.link._flatten()
    return leaves, (type(tx.link), aux)


def _flatten_with_keys(tx: Transformation):
    leaves, aux = tx.link._flatten_with_keys()
    return leaves, (type(tx.link), aux)


def _unflatten(aux: Any, leaves: Any) -> Transformation:
    kind, link_aux = aux
    return Transformation(kind._unflatten(link_aux, leaves))


jax.tree_util.register_pytree_with_keys(Transformation, _flatten_with_keys, _unflatten, _flatten)


def _init(link: _link.Link, params: PyTree) -> optax.OptState:
    params = _trees.unbox(params)
    _trees.require_numbers("params", params)
    promoted = _numerics.promote(params)
    with _given.giving(promoted, params):
        return link.start(promoted)


def _update(
    link: _link.Link,
    /,  # so that no extra argument can collide with it
    updates: PyTree,
    state: optax.OptState,
    params: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, optax.OptState]:
    given, updates, params = updates, _trees.unbox(updates), _trees.unbox(params)
    _trees.require_numbers("updates", updates)
    if params is not None:
        _trees.check_same("updates", updates, "params", params, is_leaf=_moments.is_moments)
    like = updates if params is None else params
    if params is None:
        updates = _numerics.promote(updates)
    else:
        params = _numerics.promote(params)
        updates = jax.tree.map(_promote_update, updates, params, is_leaf=_moments.is_moments)
    with _promotion(updates):
        result, state = link.step(updates, state, params, **extra)
    result = jax.tree.map(_cast_like, result, like, is_leaf=_moments.is_moments)
    return _trees.rebox(given, result), state


def _promotion(updates: PyTree) -> contextlib.AbstractContextManager:
    """Rules multiply leaves by real numbers, which "strict" forbids for complex leaves only."""
    if any(map(jnp.iscomplexobj, jax.tree.leaves(updates))):
        return jax.numpy_dtype_promotion("standard")
    return contextlib.nullcontext()


def _promote_update(update: Any, param: Any) -> Any:
    """To the dtype of the promoted parameter, hence of the state made from it."""
    update = _numerics.promote(update)
    if _moments.is_moments(update) or not jnp.issubdtype(param.dtype, jnp.inexact):
        return update
    loses_imaginary_part = jnp.iscomplexobj(update) and not jnp.iscomplexobj(param)
    return update if loses_imaginary_part else update.astype(param.dtype)


def _cast_like(new: Any, like: Any) -> Any:
    """An update takes its parameter's dtype; `Moments` travel on to the next link as they are."""
    if _moments.is_moments(new) or _moments.is_moments(like):
        return new
    return new.astype(jnp.asarray(like).dtype)


def as_link(tx: Any) -> _link.Link:
    """The link of a transformation, ours or Optax's.

    Raises:
      TypeError: for anything else, and for a factory that was not called.

    Example:
      >>> import optax, optlab as ol
      >>> ol.core.as_link(optax.scale_by_adam())
      optax.scale_by_adam(...)
      >>> ol.core.as_link(optax.adam)
      Traceback (most recent call last):
      TypeError: expected a gradient transformation of optlab or Optax, ... forget to call it?
    """
    if isinstance(tx, Transformation):
        return tx.link
    if isinstance(tx, _link.Link):
        return tx
    if isinstance(tx, optax.GradientTransformation):
        return Foreign(tx)
    hint = " Did you forget to call it?" if callable(tx) else ""
    if hasattr(tx, "gradient_transformation"):  # optax.MultiSteps
        hint = " Pass its gradient_transformation()."
    raise TypeError(
        f"expected a gradient transformation of optlab or Optax, got {reprlib.repr(tx)} of type "
        f"{type(tx).__name__}.{hint}"
    )


@contextlib.contextmanager
def _lenient():
    """JAX's default promotion: parts of Optax fail under the strict settings a user may have."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Foreign(_link.Link):
    """An Optax transformation inside an optlab chain: run in the compute dtype, opaque, static.

    Because it is initialised with promoted parameters, its state is float32 for bf16 parameters and
    its dtypes do not change with those of the gradients, whatever it does on its own.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> tx = ol.chain(optax.trace(0.9), ol.scale_by_learning_rate(0.1))
      >>> tx.init(jnp.ones(1, jnp.bfloat16))[0]
      TraceState(trace=Array([0.], dtype=float32))
      >>> ol.hyperparameters(tx)
      {'scale_by_learning_rate/learning_rate': 0.1}
    """

    tx: Any = _records.static()

    @property
    def label(self) -> str:
        for function in (self.tx.init, self.tx.update):
            factory, found, _ = getattr(function, "__qualname__", "").partition(".<locals>")
            if found:  # not one of the helpers that Optax shares among stateless transformations
                return factory
        return "optax"

    def init(self, params: PyTree) -> Any:
        with _lenient(), _followers.placements() as placed:
            state = self.tx.init(params)
        return _followers.place_like_params(state, params, done=placed)

    def update(self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        _moments.require_arrays(self.label, updates)
        extra.pop("chain_lr", None)  # the chain's own word to its links
        with _lenient():
            return optax.with_extra_args_support(self.tx).update(updates, state, params, **extra)

    def __repr__(self) -> str:
        return f"optax.{self.label}(...)"
