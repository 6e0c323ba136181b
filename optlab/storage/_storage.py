"""What a storage is, and the trivial one."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from optlab.core import Record
from optlab.storage._noise import Noise


class Storage(Record):
    """How one array of an optimizer's state is kept between steps.

    A record without numbers, so that it is part of a transformation's structure. Subclasses define
    `encode` and `decode`, pure functions of one array.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> kept = ol.storage.int8(block=4).encode(jnp.array([1.0, -0.25, 0.0, 0.5]))
      >>> kept.codes.dtype, kept.scales
      (dtype('int8'), Array([1.], dtype=float32))
      >>> ol.storage.int8(block=4).decode(kept).round(2)
      Array([ 1.  , -0.25,  0.  ,  0.5 ], dtype=float32)
    """

    coarse: ClassVar[bool] = False  # too much so for parameters, and averages of them

    def suited(self, nonnegative: bool) -> Storage:
        """The storage for arrays known to have no negative entry, or known to have both signs."""
        del nonnegative
        return self

    def encode(self, value: jax.Array, noise: Noise | None = None) -> Any:
        """What is kept of an array.

        Args:
          value: real array of float32 or float64.
          noise: for stochastic rounding; None rounds to nearest.

        Returns:
          A NamedTuple of arrays with a property `kept_shape`, the value's shape; or the value
          itself.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encode")

    def decode(self, stored: Any, dtype: Any = "float32") -> jax.Array:
        """The array again, in a dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define decode")


class Exact(Storage):
    """Arrays as they are; `exact()` makes it.

    Example:
      >>> import optlab as ol
      >>> ol.storage.Exact()
      exact()
    """

    def encode(self, value, noise=None):
        return value

    def decode(self, stored, dtype="float32"):
        return stored


def exact() -> Exact:
    """Keeps arrays as they are: 4 bytes an entry.

    Example:
      >>> import optlab as ol
      >>> tx = ol.store(ol.adam(1e-3), {ol.heads: ol.storage.exact(), "first": ol.storage.int8()})
    """
    return Exact()
