"""The parameters to evaluate with, out of any state that keeps an average of them.

A state offers one by a method `averaged()`: the tree, and whether it holds anything yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from optlab.core import checks, numerics, trees
from optlab.storage import Rounded
from optlab.transforms._state_fields import is_stored

PyTree = Any
_REQUIRED = object()


class _Average(NamedTuple):
    """name: its place in the state. leaves: by path; pick: (kept leaf, parameter) -> value."""

    name: str
    leaves: dict[tuple[str, ...], Any]
    pick: Callable[[Any, Any], Any]


def eval_params(
    state: Any, params: PyTree, *, which: str | None = None, default: Any = _REQUIRED
) -> PyTree:
    """The average of the parameters that the optimizer's state keeps.

    Args:
      state: the state of an optimizer with `average_params`, `lookahead` or `schedule_free` in it,
        however nested; also a train state that holds it, and `optax.contrib.schedule_free`'s.
      params: the parameters, for their structure and dtypes; where nothing is averaged yet, or
        another group of a `route` or mask is averaged only, they are the result. Of
        `optax.LookaheadParams` the result is the slow ones.
      which: of several averages, the one to give, by its place in the state or the end of it:
        `"lookahead"`, `"kernels/average_params"`.
      default: what to return if the state keeps no average. Not given: that is an error.

    Returns:
      A tree like `params`, in their dtypes, in arrays of its own.

    Raises:
      ValueError: if there is no average, if several are kept of one parameter, if `which` fits none
        or more than one, and where the average has another shape than its parameter.

    Special cases:
      Averages of different parameters, in the groups of a `route`, are put together. Works inside
      `jit`; for a batch of states, under `vmap`. A state restored as plain dicts must first be put
      into the structure of `tx.init(params)`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.clip_by_global_norm(1.0), ol.average_params(ol.sgd(1.0), ema=0.9))
      >>> params = jnp.array([4.0])
      >>> updates, state = tx.update(jnp.ones(1), tx.init(params), params)
      >>> ol.eval_params(state, params)
      Array([3.], dtype=float32)
    """
    if isinstance(params, optax.LookaheadParams):
        return params.slow
    plain = trees.unbox(params)
    found = list(_averages(trees.unbox(state), ""))
    if not found:
        if default is not _REQUIRED:
            return default
        raise ValueError(
            "eval_params: the state keeps no average of the parameters. Put average_params(...), "
            "lookahead(...) or schedule_free(...) around the optimizer, give the state that its "
            "update returned, or say what to evaluate otherwise: default=params."
        )
    if which is not None:
        found = [_chosen(which, found)]
    leaves = jax.tree_util.tree_leaves_with_path(plain)
    values = [_value(_keys(path), leaf, found) for path, leaf in leaves]
    return trees.rebox(params, jax.tree.unflatten(jax.tree.structure(plain), values))


def _averages(tree: Any, prefix: str) -> Iterator[_Average]:
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_offers):
        if not _offers(node):
            continue
        place = "/".join(filter(None, (prefix, trees.path_text(path))))
        name = f"{place}/{_kind(node)}" if place else _kind(node)
        if isinstance(node, optax.contrib.ScheduleFreeState):
            yield _Average(name, _by_path(node.z), _recovered(node.b1))
            inner = node.base_optimizer_state
        else:
            inner = getattr(node, "inner", None)
            average, ready = _decoded(name, node).averaged()
            yield _Average(name, _by_path(average), _where(ready))
        yield from _averages(inner, name)


def _offers(node: Any) -> bool:
    is_optax = isinstance(node, optax.contrib.ScheduleFreeState)
    return is_optax or callable(getattr(node, "averaged", None))


def _decoded(name: str, node: Any) -> Any:
    """The state with what `store` keeps in fewer bits as it was, but for the one inside."""

    def decode(leaf):
        if not is_stored(leaf):
            return leaf
        if not isinstance(leaf, Rounded):
            raise ValueError(
                f"eval_params: {name} is kept as {type(leaf).__name__}, which only its storage can "
                "read, and which is too coarse for parameters. Keep the average "
                "exactly: average_params(store(tx, ...)) instead of store(average_params(tx), ...)."
            )
        return leaf.codes.astype(numerics.compute_dtype(leaf.codes.dtype))

    if hasattr(node, "inner"):
        node = node._replace(inner=None)
    return jax.tree.map(decode, node, is_leaf=is_stored)


def _kind(node: Any) -> str:
    """`"average_params"` for an `AverageParamsState`."""
    name = type(node).__name__.removesuffix("State")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _where(ready: jax.Array) -> Callable[[Any, Any], Any]:
    return lambda average, param: jnp.where(ready, average, param)


def _recovered(b1: Any) -> Callable[[Any, Any], Any]:
    """x of y = (1 - β) z + β x."""

    def x(z, y):
        beta = jnp.asarray(b1).astype(y.dtype)
        return (y - (1 - beta) * z.astype(y.dtype)) / beta

    return x


def _keys(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(trees.path_text((key,)) for key in path)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _by_path(tree: PyTree) -> dict[tuple[str, ...], Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_masked)
    return {_keys(path): leaf for path, leaf in leaves}


def _chosen(which: str, found: list[_Average]) -> _Average:
    fits = [a for a in found if a.name == which] or [
        a for a in found if f"/{a.name}".endswith(f"/{which}")
    ]
    names = [a.name for a in fits or found]
    if len(fits) > 1:
        raise ValueError(
            f"eval_params: which={which!r} fits {len(fits)} averages; give one of "
            f"{', '.join(names)}."
        )
    if not fits:
        known = [*names, *(name.rsplit("/", 1)[-1] for name in names)]
        raise ValueError(
            f"eval_params: which={which!r} is no average of this state; "
            f"{checks.nearest(which, known)}"
        )
    return fits[0]


def _value(path: tuple[str, ...], param: Any, found: list[_Average]) -> jax.Array:
    own = [(average, leaf) for average in found if (leaf := _leaf(path, average)) is not None]
    text = "/".join(path)
    if len(own) > 1:
        names = [average.name for average, _ in own]
        raise ValueError(
            f"eval_params: the state keeps {len(own)} averages of "
            f"{f'the parameter {text!r}' if text else 'the parameters'}: {', '.join(names)}. "
            f"Say which: eval_params(state, params, which={names[0]!r})."
        )
    wide = numerics.promote(param)
    if not own:
        return jnp.array(param)
    average, leaf = own[0]
    if leaf.shape != wide.shape:
        raise ValueError(
            f"eval_params: {average.name} has shape {leaf.shape} at {text!r}, the parameters have "
            f"{wide.shape}. The state belongs to other parameters; for a batch of states use "
            "jax.vmap."
        )
    return average.pick(leaf, wide).astype(jnp.asarray(param).dtype)


def _leaf(path: tuple[str, ...], average: _Average) -> Any:
    """The kept leaf of a parameter; None if it, or a tree around it, is masked out."""
    if path in average.leaves:
        leaf = average.leaves[path]
        return None if _is_masked(leaf) else leaf
    if any(_is_masked(average.leaves.get(path[:n])) for n in range(len(path))):
        return None
    raise ValueError(
        f"eval_params: {average.name} keeps nothing for {'/'.join(path)!r}. The state "
        "belongs to other parameters: give those it was initialised with, or migrate it."
    )
