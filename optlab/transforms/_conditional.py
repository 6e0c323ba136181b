"""The step of a wrapped link, or none: what guards, loss scales and accumulation are made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from optlab.core import Link, checks, numerics, require_arrays

PyTree = Any


def step_if(
    wanted: jax.Array,
    owner: str,
    link: Link,
    updates: PyTree,
    state: Any,
    params: PyTree,
    extra: dict[str, Any],
    *,
    prepare: Callable[[PyTree], PyTree] = lambda updates: updates,
    judged: bool = False,
) -> tuple[jax.Array, PyTree, Any]:
    """`link.step` on the prepared updates if wanted, else zero updates and the very same state.

    The branch not taken costs nothing. It hands the updates through, to be zeroed behind it: so
    the result can take the memory of the gradients, as in a bare step, and the zeroing joins the
    addition to the parameters.

    Args:
      wanted: bool scalar.
      owner: who asks, for errors.
      prepare: what the link is given, made from the updates.
      judged: whether a step whose updates or state are not finite is not taken either.

    Returns:
      Whether the step was taken, updates, state.
    """

    def take(updates, state):
        new, after = link.step(prepare(updates), state, params, **extra)
        require_arrays(owner, new)
        new = jax.tree.map(lambda u, n: n.astype(u.dtype), updates, new)
        if not judged:
            return jnp.asarray(True), new, after
        finite = lax.stop_gradient(all_finite((new, after)))
        return finite, *_select(finite, (new, after), (updates, state))

    if checks.is_concrete(wanted):  # outside of jit, lax.cond would compile both at every step
        taken, new, after = take(updates, state) if wanted else (wanted, updates, state)
        if checks.is_concrete(taken) and not taken:
            return taken, jax.tree.map(numerics.zeros_like, updates), state
    else:
        taken, new, after = lax.cond(
            wanted, take, lambda *same: (jnp.asarray(False), *same), updates, state
        )
    return taken, jax.tree.map(lambda n: jnp.where(taken, n, jnp.zeros((), n.dtype)), new), after


def _select(first: jax.Array, one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), one, other)


def all_finite(tree: PyTree) -> jax.Array:
    """Whether no entry is NaN or infinite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    parts = [p for x in leaves for p in ((x.real, x.imag) if jnp.iscomplexobj(x) else (x,))]
    # Six times faster than isfinite and all on a CPU; NaN is the maximum wherever it is.
    bounds = [jnp.max(jnp.abs(p), initial=0) <= jnp.finfo(p.dtype).max for p in parts]
    return jnp.all(jnp.asarray(bounds, bool))
