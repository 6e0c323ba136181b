"""Comparisons of trees that break a clause with path, values and expectation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import trees
from optlab.testing._clauses import Broken

PyTree = Any


def same_signature(did: str, expected: PyTree, got: PyTree, *, weak: bool = True) -> None:
    """Structure, shapes and dtypes agree (and weak types)."""
    if jax.tree.structure(expected) != jax.tree.structure(got):
        raise Broken(did, jax.tree.structure(got), f"the structure {jax.tree.structure(expected)}")
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True
    ):
        one, other = _signature(a, weak), _signature(b, weak)
        if one != other:
            raise Broken(did, f"{other} at {trees.path_text(path)!r}", one)


def array(leaf: Any) -> Any:
    """An array as it is, a number of Python's as JAX takes it: a weak scalar."""
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def _signature(leaf: Any, weak: bool) -> str:
    leaf = array(leaf)
    text = f"{leaf.dtype.name}{list(leaf.shape)}"
    return f"weak {text}" if weak and getattr(leaf, "weak_type", False) else text


def identical(did: str, got: PyTree, expected: PyTree, promise: str) -> None:
    """Equal to the bit."""
    close(did, got, expected, promise, rtol=0.0, atol=0.0)


def close(
    did: str, got: PyTree, expected: PyTree, promise: str, *, rtol: float, atol: float = 0.0
) -> None:
    """Equal within `atol + rtol · (largest magnitude of the leaf)`; NaNs equal NaNs."""
    if jax.tree.structure(expected) != jax.tree.structure(got):
        raise Broken(did, jax.tree.structure(got), f"{promise}: {jax.tree.structure(expected)}")
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True
    ):
        x, y = wide(a), wide(b)
        if x.shape != y.shape:
            raise Broken(did, f"shape {x.shape} at {trees.path_text(path)!r}", f"{y.shape}")
        scale = np.max(np.abs(y[np.isfinite(y)]), initial=0.0)
        agree = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            agree |= np.abs(x - y) <= atol + rtol * scale
        if not np.all(agree):
            at = tuple(int(i) for i in np.argwhere(~agree)[0]) if x.ndim else ()
            raise Broken(
                did,
                f"{x[at].item()!r} at {trees.path_text(path)!r}{list(at) if at else ''}",
                f"{y[at].item()!r}: {promise}",
            )


def finite(did: str, tree: PyTree, what: str) -> None:
    """No infinity and no NaN."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        x = wide(leaf)
        if not np.all(np.isfinite(x)):
            bad = x[~np.isfinite(x)].ravel()[0]
            raise Broken(did, f"{bad} in the {what} at {trees.path_text(path)!r}", "finite numbers")


def wide(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array of float64 (complex128), keys as their data."""
    leaf = array(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    x = np.asarray(leaf)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr, those of its inner jaxprs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)
