"""A state made afresh for some parameters."""

from __future__ import annotations

from typing import Any

import jax

from optlab.core import as_link, numerics, trees
from optlab.selectors import Selector, everything
from optlab.transforms import _state_entries as state_entries
from optlab.transforms._state_entries import Part

PyTree = Any


def reset(state: PyTree, tx: Any, params: PyTree, where: Selector = everything) -> PyTree:
    """The state with what it holds for some parameters as `init` makes it.

    For parameters that were replaced: a new head, revived units, a merged checkpoint.

    Args:
      state: of `tx`.
      tx: optlab's or Optax's transformation.
      params: the parameters (or their shapes) it is for.
      where: whose moments to forget.

    Returns:
      A state of the same structure. Counts stay, so that a schedule goes on; resetting everything
      is `tx.init(params)`, which starts the counts anew too.

    Raises:
      ValueError: if the selector selects nothing, or the state is of other parameters.

    Special cases:
      The weight that corrects Adam's bias is one for all parameters, and stays: where only some are
      reset late in training, their first steps are up to `(1 - b1) / sqrt(1 - b2)` times the usual,
      3.2 by default. `route` gives a group weights of its own.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> params = {"head": jnp.ones(1), "trunk": jnp.ones(1)}
      >>> tx = ol.adam(1e-3)
      >>> _, state = tx.update(params, tx.init(params), params)
      >>> ol.reset(state, tx, params, ol.path("head"))[0].first
      {'head': Array([0.], dtype=float32), 'trunk': Array([0.1], dtype=float32)}
    """
    link = as_link(tx)
    params = numerics.promote(trees.unbox(params))
    fresh = link.start(params)
    trees.check_same("this optimizer's state", fresh, "the given state", state)
    mask = jax.tree.leaves(where.mask(params))
    paths = jax.tree_util.tree_leaves_with_path(params)
    chosen = {state_entries.keys(path) for (path, _), yes in zip(paths, mask, strict=True) if yes}
    parameters = state_entries.parameter_shapes(params)
    news = {part.place: part.state for part in state_entries.parts(link, fresh, params)}

    def forget(part: Part) -> Any:
        entries = state_entries.entries(part, parameters)
        leaves = [
            new if entry.parameter in chosen else entry.leaf
            for entry, new in zip(entries, jax.tree.leaves(news[part.place]), strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(part.state), leaves)

    return state_entries.edited(link, state, params, forget)
