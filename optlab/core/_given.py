"""What parameters were before they were promoted, for links whose state depends on it."""

from __future__ import annotations

import contextlib
import contextvars
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any

_given: contextvars.ContextVar[dict[int, Any] | None] = contextvars.ContextVar(
    "given", default=None
)


@contextlib.contextmanager
def giving(promoted: PyTree, params: PyTree):
    """While a state is made: leaves of the promoted tree stand for those of the given one."""
    pairs = zip(jax.tree.leaves(promoted), jax.tree.leaves(params), strict=True)
    token = _given.set(
        {
            id(leaf): jnp.asarray(p).dtype if not hasattr(p, "dtype") else p.dtype
            for leaf, p in pairs
        }
    )
    try:
        yield
    finally:
        _given.reset(token)


def given_dtype(leaf: Any) -> Any:
    """The dtype a parameter had before it was promoted; only while `init` runs.

    Rules see every parameter in its compute dtype. One that keeps something beside a parameter,
    such as the bits it lacks, asks here what the parameter itself holds.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> class Ask(ol.core.Link):
      ...     def init(self, params):
      ...         return jax.tree.map(ol.core.given_dtype, params)
      >>> ol.Transformation(Ask()).init({"a": jnp.ones(1, jnp.bfloat16), "b": jnp.ones(1)})
      {'a': dtype(bfloat16), 'b': dtype('float32')}
    """
    return jnp.dtype((_given.get() or {}).get(id(leaf), leaf.dtype))
