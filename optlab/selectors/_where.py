"""`where=`: what users may give for a selector, and applying a function where it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from optlab.core import is_moments
from optlab.selectors._masks import MaskFunction, MaskTree, mask_entries
from optlab.selectors._selector import Selector

PyTree = Any


def as_selector(owner: str, name: str, value: Any) -> Selector:
    """The selector a user meant; the check of every `where=` field.

    Args:
      owner: the transformation that asks, for error messages.
      name: its field.
      value: a selector, a function `params -> mask`, or a tree of bools (also a prefix of the
        parameters' tree), as Optax takes them.

    Returns:
      A selector. One made from a function cannot be stored as JSON.

    Raises:
      TypeError: for anything else.

    Example:
      >>> import optlab as ol
      >>> ol.selectors.as_selector("decay", "where", {"encoder": True, "head": False})
      mask(1 of 2)
    """
    if isinstance(value, Selector):
        return value
    leaves = [] if value is None or isinstance(value, bool) else jax.tree.leaves(value)
    if leaves and all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        entries = mask_entries(owner, value)
        by_answer = {True: [], False: []}
        for parts, answer in entries:
            by_answer[answer].append("/".join(parts))
        return MaskTree(selected=tuple(by_answer[True]), others=tuple(by_answer[False]))
    if callable(value) and not isinstance(value, type):
        return MaskFunction(function=value)
    hint = f" Did you mean path({value!r})?" if isinstance(value, str) else ""
    raise TypeError(
        f"{owner}: {name} must be a selector (kernels, biases, norms, embeddings, heads, matrices, "
        "everything, path(...)), a tree of bools, or a function from parameters to one; got "
        f"{value!r} of type {type(value).__name__}.{hint}"
    )


def mask_for(where: Any, updates: PyTree, params: PyTree = None) -> PyTree:
    """The mask of a selector over updates, which may be `Moments`.

    Args:
      where: what `as_selector` accepts.
      updates: updates, one array or `Moments` node for each parameter.
      params: the parameters; without them the updates tell paths and shapes.

    Returns:
      One Python bool for each parameter.

    Raises:
      ValueError: if nothing is selected. TypeError: if `where` is no selector.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.selectors.mask_for(ol.biases, {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
      {'bias': True, 'kernel': False}
    """
    selector = as_selector("mask_for", "where", where)
    return selector.mask(updates if params is None else params)


def map_where(
    where: Any, function: Callable[..., Any], updates: PyTree, params: PyTree = None, *rest: PyTree
) -> PyTree:
    """Applies a function to the selected updates and leaves the others as they are.

    Args:
      where: what `as_selector` accepts.
      function: of one update (or `Moments` node) and the matching nodes of the other trees given.
      updates: updates, one array or `Moments` node for each parameter.
      params: the parameters, which decide the mask; `None` to do without, then the function is
        not given any.
      *rest: more trees of the same structure.

    Returns:
      The updates, changed where selected.

    Raises:
      ValueError: if nothing is selected. TypeError: if `where` is no selector.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> updates = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
      >>> ol.selectors.map_where(ol.biases, lambda u: -u, updates)["bias"]
      Array([-1.], dtype=float32)
    """
    mask = mask_for(where, updates, params)
    trees = rest if params is None else (params, *rest)
    return jax.tree.map(
        lambda update, chosen, *others: function(update, *others) if chosen else update,
        updates,
        mask,
        *trees,
        is_leaf=is_moments,
    )
