"""Storage of an inner transformation's state: the algorithm as it is, its arrays in fewer bytes.

Around any transformation, a whole chain or one link. Takes and gives what the inner one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optlab.core import (
    Link,
    Transformation,
    Wrapper,
    as_link,
    checks,
    is_moments,
    numerics,
    static,
)
from optlab.selectors import Selector, as_selector, embeddings
from optlab.storage import Exact, Storage, noise_of, salt
from optlab.transforms import _state_fields as fields
from optlab.transforms._averaging import Averaging

PyTree = Any

NONNEGATIVE = frozenset(
    ["second", "maximum", "nu", "nu_max", "sum_of_squares", "e_g", "e_x", "gradients", "steps", "n"]
)
SIGNED = frozenset(["first", "momentum", "average", "mu", "trace", "m", "ema", "acc_grads"])


class StoreState(NamedTuple):
    """State of `store`.

    Attributes:
      inner: that of the wrapped transformation, with stored arrays in place of those it has.
      count: int32 scalar, updates done; with the seed it determines the rounding.
    """

    inner: Any
    count: jax.Array


class Store(Wrapper):
    """Attributes: keys and storages, in order; where: what names mean; min_size; seed."""

    keys: tuple[Any, ...] = static()
    storages: tuple[Storage, ...] = static()
    where: Selector | None = static(default=None)
    min_size: int = static(checks.count, default=4096)
    seed: int = static(checks.count, default=0)

    def check(self) -> None:
        super().check()
        self.refuse(
            Store,
            "there is a store inside already. Give one store all storages: "
            "store(tx, {'first': ..., 'second': ...}).",
        )
        for key, storage in zip(self.keys, self.storages, strict=True):
            if not isinstance(storage, Storage):
                hint = " Did you forget to call it?" if callable(storage) else ""
                raise TypeError(
                    f"store: storages must be Storages such as storage.int8(), got {storage!r} of "
                    f"type {type(storage).__name__}.{hint}"
                )
            if not isinstance(key, str) and storage.coarse:
                self.refuse(
                    Averaging,
                    f"{key!r} means averages of the parameters too, which {storage!r} is too "
                    "coarse for. Keep them outside of it, as in average_params(store(tx, ...)), "
                    "or name the fields to store.",
                )

    def init(self, params: PyTree) -> StoreState:
        count = jnp.zeros((), jnp.int32)
        # Without the barrier, XLA would encode constants when compiling, for minutes.
        inner = jax.lax.optimization_barrier(self.inner.start(params))
        return StoreState(self._encode(params, inner, count), count)

    def update(
        self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, StoreState]:
        like = updates if params is None else params
        like = jax.tree.map(lambda n: n.gradient if is_moments(n) else n, like, is_leaf=is_moments)
        inner = self._decode(like, state.inner)
        updates, inner = self.inner.step(updates, inner, params, **extra)
        count = numerics.increment(state.count)
        return updates, StoreState(self._encode(like, inner, count), count)

    def substates(self, state: Any, params: PyTree = None) -> dict[str, tuple[Link, Any, PyTree]]:
        inner = state.inner if params is None else self._decode(params, state.inner)
        return {"inner": (self.inner, inner, params)}

    def with_substates(self, state: Any, parts: dict[str, Any], params: PyTree = None) -> Any:
        inner = parts["inner"]
        if params is not None:
            inner = self._encode(params, inner, state.count)
        return StoreState(inner, state.count)

    def _encode(self, params: PyTree, state: PyTree, count: jax.Array) -> PyTree:
        found = fields.find(params, state)
        leaves = list(found.leaves)
        for place, storage in self._storages(params, found):
            value = leaves[place.index]
            if value.dtype.itemsize < 4:
                raise ValueError(
                    f"store: the inner transformation itself keeps {place.leaf_path!r} in "
                    f"{value.dtype.name}, so it cannot be kept as {storage!r} with any accuracy. "
                    "Do not give it a dtype for that."
                )
            # By field and shape, so that neither names nor the order of parameters matter.
            name = f"{place.path}{value.shape}"
            leaves[place.index] = _encode(storage, value, count, salt(self.seed, name))
        return found.rebuilt(leaves)

    def _decode(self, params: PyTree, state: PyTree) -> PyTree:
        found = fields.find(params, state)
        leaves, dtypes = list(found.leaves), [p.dtype for p in jax.tree.leaves(params)]
        for place, storage in self._storages(params, found):
            stored, dtype = leaves[place.index], numerics.real_dtype(dtypes[place.parameter])
            expected = _kept_as(storage, fields.shape_of(stored), dtype)
            if _signature(expected) != _signature(stored):
                raise ValueError(
                    f"store: the state has {_shown(stored)} at {place.leaf_path!r}, but "
                    f"{storage!r} keeps {_shown(expected)} there. Make a new state with init, or "
                    "migrate the old one."
                )
            leaves[place.index] = _decode(storage, stored, dtype)
        for path, leaf in zip(found.paths, leaves, strict=True):
            if fields.is_stored(leaf):
                raise ValueError(
                    f"store: the state at {path!r} has shape {fields.shape_of(leaf)}, which no "
                    "parameter has there, or which is kept exactly now. Make a new state with init "
                    "for these parameters, or migrate the old one."
                )
        return found.rebuilt(leaves)

    def _storages(self, params: PyTree, found: fields.Fields) -> list[tuple[fields.Place, Storage]]:
        """The arrays that are not kept exactly, and how they are."""
        arrays = jax.tree.leaves(params)
        self._require_names(found.places, arrays)
        named = self._meant_by_names(params)
        rules = [
            (key, named if isinstance(key, str) else jax.tree.leaves(key.mask(params)), storage)
            for key, storage in zip(self.keys, self.storages, strict=True)
        ]
        chosen = []
        for place in found.places:
            param, leaf = arrays[place.parameter], found.leaves[place.index]
            if param.size < self.min_size or not _is_real(leaf):
                continue
            storage = next(
                (
                    storage
                    for key, mask, storage in rules
                    if mask[place.parameter] and _names(key, place)
                ),
                None,
            )
            if storage is not None and not isinstance(storage, Exact):
                chosen.append((place, _suited(storage, place.field)))
        return chosen

    def _meant_by_names(self, params: PyTree) -> list[bool]:
        """Whether a key that is a name means a parameter's arrays."""
        if self.where is not None:
            return jax.tree.leaves(self.where.mask(params))
        embedded = jax.tree.leaves(embeddings.mask(params, allow_empty=True))
        return [
            p.ndim > 1 and not e for p, e in zip(jax.tree.leaves(params), embedded, strict=True)
        ]

    def _require_names(self, places: list[fields.Place], arrays: list[Any]) -> None:
        for key in self.keys:
            if arrays and isinstance(key, str) and not any(_names(key, p) for p in places):
                paths = {p.path: p.field for p in places}
                several = [f for f, many in Counter(paths.values()).items() if many > 1]
                known = {*paths.values(), *(p for p, f in paths.items() if f in several)}
                raise ValueError(
                    "store: nothing in the state that is shaped like the parameters is called "
                    f"{key!r}; {checks.nearest(key, known)}"
                )

    def __repr__(self) -> str:
        pairs = ", ".join(f"{k!r}: {s!r}" for k, s in zip(self.keys, self.storages, strict=True))
        options = "".join(
            f", {name}={value!r}"
            for name, value, default in (
                ("where", self.where, None),
                ("min_size", self.min_size, 4096),
                ("seed", self.seed, 0),
            )
            if value != default
        )
        return f"store({self.inner!r}, {{{pairs}}}{options})"


# Compiled once for each shape, also where a step is not.
@partial(jax.jit, static_argnums=0)
def _encode(storage: Storage, value: jax.Array, count: jax.Array, salt: Any) -> Any:
    return storage.encode(value, noise_of(salt, count))


@partial(jax.jit, static_argnums=(0, 2))
def _decode(storage: Storage, stored: Any, dtype: Any) -> jax.Array:
    return storage.decode(stored, dtype)


@lru_cache(maxsize=4096)
def _kept_as(storage: Storage, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.eval_shape(storage.encode, jax.ShapeDtypeStruct(shape, dtype))


def _signature(stored: Any) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and dtype of each array."""
    names = stored._fields if fields.is_stored(stored) else ("",)
    arrays = zip(names, jax.tree.leaves(stored), strict=True)
    return [(name, tuple(array.shape), array.dtype.name) for name, array in arrays]


def _shown(stored: Any) -> str:
    if not fields.is_stored(stored):
        return f"an array of {stored.dtype.name}"
    return ", ".join(f"{name} of {dtype}{list(s)}" for name, s, dtype in _signature(stored))


def _names(key: Any, place: fields.Place) -> bool:
    return not isinstance(key, str) or key in (place.field, place.path)


def _is_real(leaf: Any) -> bool:
    return fields.is_stored(leaf) or jnp.issubdtype(leaf.dtype, jnp.floating)


def _suited(storage: Storage, field: str) -> Storage:
    """The storage for what a field of this name holds."""
    if field in NONNEGATIVE:
        return storage.suited(nonnegative=True)
    return storage.suited(nonnegative=False) if field in SIGNED else storage


def store(
    tx: optax.GradientTransformation,
    storages: Mapping[Any, Storage],
    *,
    where: Any = None,
    min_size: int = 4096,
    seed: int = 0,
) -> Transformation:
    """Keeps the state of a transformation in fewer bytes, whatever the transformation.

    Each update decodes the state, lets the transformation work in float32, and encodes what comes
    out. Only arrays shaped like their parameter are concerned; counts, rows and columns stay.

    Args:
      tx: a transformation, optlab's or Optax's.
      storages: a `Storage` (see `optlab.storage`) by the name of a field of the state (`"first"`,
        `"second"`; Optax's `"mu"`, `"nu"`, `"trace"`) or its path (`"0/first"`), or by a selector
        of parameters, which means all their fields. The first key that fits an array decides.
      where: the parameters that names mean; by default those of two or more axes that are no
        embeddings. Selectors mean what they select.
      min_size: whole number; arrays with fewer entries stay exact, whatever key fits.
      seed: whole number >= 0; it, the count of updates and an entry's place determine the rounding.

    Returns:
      A `Transformation` with the hyperparameters of `tx` under `"inner/..."`.

    Raises:
      ValueError: when parameters are first seen: for a name the state does not have, with those it
        has; for a selector that selects nothing; for a field the inner transformation itself keeps
        in 16 bits.
      TypeError: for keys and values of other kinds.

    Special cases:
      Complex arrays stay exact. Derivatives by what went into the state before the latest update
      are zero. A sharded parameter's state is sharded like it; where a device's part of the last
      axis is no multiple of the block, encoding moves data between devices.

    Cost:
      Adam keeps 8 bytes a parameter by itself, 4 in `bf16()`, 2.03 in `int8()`. A step on CPU takes
      about 3 times that of float32, less with `rounding="nearest"` (`benchmarks/storage.py`).

    Place in a chain:
      Around the chain or around any link of it.

    Differs from:
      `optax.adamw(mu_dtype=...)`, which rounds to nearest and has the first moment only.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> small = ol.storage.int8()
      >>> tx = ol.store(ol.adam(1e-3), {"first": small, "second": small})
      >>> state = tx.init({"kernel": jnp.ones((64, 256)), "bias": jnp.ones(256)})
      >>> moments = state.inner[0]
      >>> moments.second["kernel"].codes.dtype, moments.second["bias"].dtype
      (dtype('uint8'), dtype('float32'))
      >>> ol.store(ol.adam(1e-3), {"nu": small}).init({"kernel": jnp.ones((64, 256))})
      Traceback (most recent call last):
      ValueError: store: nothing in the state ... is called 'nu'; known: first, second.
    """
    if not isinstance(storages, Mapping):
        raise TypeError(
            "store: storages must be a dict of Storages by field name or selector, got "
            f"{storages!r} of type {type(storages).__name__}."
        )
    if not storages:
        raise ValueError("store: there is no storage. Give {name or selector: storage}.")
    return Transformation(
        Store(
            inner=as_link(tx),
            keys=tuple(
                key if isinstance(key, str) else as_selector("store", "storages", key)
                for key in storages
            ),
            storages=tuple(storages.values()),
            where=None if where is None else as_selector("store", "where", where),
            min_size=min_size,
            seed=seed,
        )
    )
