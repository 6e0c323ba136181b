"""`Initializer`: a frozen callable `(key, shape, dtype) -> Array` that promises its variance.

The signature is that of `jax.nn.initializers`, so Flax takes one wherever it takes an initializer.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab.core import Record, numerics
from optlab.initializers import _fans


class Initializer(Record):
    """Base of every initializer. Subclasses override `sample`, `variance` and, if not 0, `mean`.

    A call draws in float32 (float64 or complex where the dtype asks for it) and casts once. It is
    compiled either way, so eager and jitted results agree bit for bit. The hyperparameters are the
    record's leaves: they may be traced, mapped and differentiated.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> class signs(ol.initializers.Initializer, name="signs"):
      ...     def sample(self, key, shape, dtype):
      ...         return jax.random.rademacher(key, shape, dtype)
      ...     def variance(self, shape):
      ...         return 1.0
      >>> jnp.abs(signs()(jax.random.key(0), (3,)))
      Array([1., 1., 1.], dtype=float32)
    """

    random: ClassVar[bool] = True
    """Whether the key is used; if not, it may be `None`."""
    kinds: ClassVar[tuple[Any, ...]] = (jnp.floating, jnp.complexfloating)
    """The kinds of dtype that make sense."""

    def __call__(
        self,
        key: Any,
        shape: Any,
        dtype: Any = jnp.float32,
        out_sharding: NamedSharding | PartitionSpec | None = None,
    ) -> jax.Array:
        """Draws an array.

        Args:
          key: a `jax.random.key`.
          shape: tuple of sizes; one of 0 gives an empty array.
          dtype: of the result.
          out_sharding: how to place it on a mesh; the values do not depend on it.
        """
        shape = _fans.check_shape(self.record_name, shape)
        dtype = self.check_dtype(dtype)
        key = self._check_key(key)
        self._check_scalars()
        self.check_shape(shape)
        explicit = AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types
        return _compiled(out_sharding, explicit)(self, key, shape, dtype)

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        """Draws a non-empty array in a dtype at least as wide as float32."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises `ValueError` for shapes this initializer has no meaning for."""

    def variance(self, shape: Any) -> Any:
        """The variance of an entry drawn at random from an array of this shape (E|w - mean|²)."""
        raise NotImplementedError(f"{type(self).__name__} must define variance")

    def mean(self, shape: Any) -> Any:
        """The mean of an entry."""
        del shape
        return 0.0

    def check_dtype(self, dtype: Any) -> np.dtype:
        """The dtype as JAX would store it; raises `TypeError` for kinds that make no sense."""
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        if not any(jnp.issubdtype(dtype, kind) for kind in self.kinds):
            allowed = " or ".join(kind.__name__ for kind in self.kinds)
            raise TypeError(
                f"{self.record_name}: the dtype must be {allowed}, got {dtype.name}. "
                "Use a dtype such as jnp.float32 or jnp.bfloat16."
            )
        return dtype

    def _check_key(self, key: Any) -> Any:
        if not self.random:
            return None
        dtype = getattr(key, "dtype", None)
        typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
        if typed or dtype == np.uint32:  # JAX itself refuses whole arrays of keys
            return key
        raise TypeError(
            f"{self.record_name}: the first argument must be a key, got {key!r} of type "
            f"{type(key).__name__}. Make one with jax.random.key(seed)."
        )

    def _check_scalars(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Initializer):
                value._check_scalars()
            elif field.metadata["data"] and jnp.ndim(value):
                raise ValueError(
                    f"{self.record_name}: {field.name} has shape {jnp.shape(value)}: this is a "
                    "population of initializers, not one. Map over it with jax.vmap."
                )


def _draw(initializer: Initializer, key: Any, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    wide = numerics.compute_dtype(dtype)
    # A number known to an outer jit would be merged with the sampler's own constants and rounded
    # otherwise than the same number passed in; behind a barrier it is only a number.
    initializer = jax.lax.optimization_barrier(initializer)
    return initializer.sample(key, shape, wide).astype(dtype)


@lru_cache(maxsize=256)
def _compiled(out_sharding: Any, explicit: bool) -> Any:
    """`_draw`, jitted. On an Explicit mesh, where shardings are types, the axes are Auto inside."""
    if out_sharding is None:
        return jax.jit(_draw, static_argnums=(2, 3))
    if not explicit:
        return jax.jit(_draw, static_argnums=(2, 3), out_shardings=out_sharding)

    def typed(initializer: Initializer, key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        draw = partial(_draw, shape=shape, dtype=dtype)
        placed: Any = jax.sharding.auto_axes(draw, out_sharding=out_sharding)
        return placed(initializer, key)

    return jax.jit(typed, static_argnums=(2, 3))
