"""How leaves are handed to Orbax, and come back: what its formats lack, in what they have.

| leaf                                  | stored as                      |
|---------------------------------------|--------------------------------|
| float8, float4, int4, uint4, int2 ... | uint8, the bits of an entry    |
| keys of `jax.random`                  | their key data                 |
| arrays without entries                | one zero, as a mark            |
| Python numbers                        | arrays without axes            |
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optlab.training._checksums import unsigned

PyTree = Any


def stored(leaf: Any) -> Any:
    """What is written for a leaf; later changes of a NumPy array are not seen in it.

    Example:
      >>> import jax.numpy as jnp
      >>> from optlab.training._stored import stored
      >>> stored(jnp.asarray([-1, 1], jnp.int4))
      Array([15,  1], dtype=uint8)
    """
    if _is_empty(leaf):
        return np.zeros((), np.uint8)
    if _is_key(leaf):
        return stored(jax.random.key_data(leaf))
    if _is_narrow(leaf):
        return stored(unsigned(jnp.asarray(leaf)).astype(jnp.uint8))
    if isinstance(leaf, jax.Array):
        local = jax.process_count() > 1 and leaf.is_fully_addressable
        return np.asarray(leaf) if local else leaf
    return np.array(leaf)


def target(like: Any) -> Any:
    """What Orbax is asked for: a sharded array where the leaf has a place, else one of NumPy."""
    if _is_empty(like):
        return np.zeros((), np.uint8)
    shape, dtype = np.shape(like), getattr(like, "dtype", None) or np.asarray(like).dtype
    if _is_key(like):
        data = jax.eval_shape(jax.random.key_data, like)
        shape, dtype = data.shape, data.dtype
    elif _is_narrow(like):
        dtype = np.dtype(np.uint8)
    sharding = place(like)
    if sharding is None:
        return np.empty(shape, dtype)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def returned(found: Any, like: Any) -> Any:
    """The leaf again: of the kind of `like`, where `like` is."""
    if isinstance(like, bool | int | float | complex):
        return type(like)(found.item())
    if _is_empty(like):
        if _is_key(like):
            data = jax.eval_shape(jax.random.key_data, like)
            return jax.random.wrap_key_data(jnp.zeros(data.shape, data.dtype), impl=_kind(like))
        empty = np.zeros(like.shape, like.dtype)
        return empty if isinstance(like, np.ndarray) else jax.device_put(empty, place(like))
    if isinstance(like, np.ndarray | np.generic) and not _is_narrow(like):
        return found if isinstance(like, np.ndarray) else found[()]
    found = jnp.asarray(found)
    if _is_key(like):
        return jax.random.wrap_key_data(found, impl=_kind(like))
    if _is_narrow(like):
        found = lax.bitcast_convert_type(found.astype(_unsigned_of(like.dtype)), like.dtype)
    return np.asarray(found) if isinstance(like, np.ndarray) else found


def place(like: Any) -> Any:
    """The sharding to restore to; None for NumPy, and for arrays that are free to move."""
    if isinstance(like, jax.Array) and not like.committed:
        return None
    return getattr(like, "sharding", None)


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _is_empty(leaf: Any) -> bool:
    return 0 in np.shape(leaf)


def _is_narrow(leaf: Any) -> bool:
    """A dtype of a byte or less that NumPy does not know by itself."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or _is_key(leaf) or dtype == jnp.bool_:
        return False
    return dtype.itemsize == 1 and dtype not in (np.dtype("int8"), np.dtype("uint8"))


def _unsigned_of(dtype: Any) -> Any:
    return jax.eval_shape(unsigned, jax.ShapeDtypeStruct((), dtype)).dtype


def _kind(like: Any) -> Any:
    """The generator of keys, as `jax.random.wrap_key_data` takes it."""
    found = []
    jax.eval_shape(lambda keys: found.append(jax.random.key_impl(keys)), like)
    return found[0]
