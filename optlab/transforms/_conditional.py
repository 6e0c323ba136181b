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
) -> tuple[PyTree, Any]:
    """`link.step` on the prepared updates if wanted, else zero updates and the very same state.

    The branch not taken costs nothing. It hands the updates through, to be zeroed behind it: so
    the result can take the memory of the gradients, as in a bare step, and the zeroing joins the
    addition to the parameters.
    """

    def take(updates, state):
        new, after = link.step(prepare(updates), state, params, **extra)
        require_arrays(owner, new)
        return jax.tree.map(lambda u, n: n.astype(u.dtype), updates, new), after

    def zero(u):
        return jnp.zeros((), u.dtype)

    if checks.is_concrete(wanted):  # outside of jit, lax.cond would compile both at every step
        if wanted:
            return take(updates, state)
        return jax.tree.map(numerics.zeros_like, updates), state
    new, after = lax.cond(wanted, take, lambda *same: same, updates, state)
    return jax.tree.map(lambda n: jnp.where(wanted, n, zero(n)), new), after


def all_finite(tree: PyTree) -> jax.Array:
    """Whether no entry is NaN, infinite, or within a factor 4 of overflow.

    The margin lets a verdict stand when the same numbers are computed again, rounded differently.
    """

    def largest(leaf):
        parts = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
        return [jnp.max(jnp.abs(p), initial=0) <= jnp.finfo(p.dtype).max / 4 for p in parts]

    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    return jnp.all(jnp.asarray([ok for x in leaves for ok in largest(x)], bool))
