"""`Mean`: a sum and a count that batches add to, on the device, without losing small terms."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import numerics


class Mean(NamedTuple):
    """A running mean: what an evaluation step returns, merged over steps, read once at the end.

    Attributes:
      total: the sum, float32 (float64 for float64 values).
      error: what rounding took from `total`; add it to have the sum to about twice the digits.
      count: how many values are in, int32.

    Special cases:
      `merge` keeps the rounding error of every addition (TwoSum), so that 1e7 float32 values give
      the mean that float64 gives, to float32's last digit or two; a plain float32 sum of 1e7 ones
      and tenths drifts by percents. `jax.tree.map(jnp.add, a, b)` and `jax.lax.psum` are right too,
      without that care. Over 2³¹ - 1 values the count overflows, which `value` reports.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> mean = ol.training.metrics.Mean.zero()
      >>> for batch in (jnp.array([1.0, 2.0]), jnp.array([6.0, jnp.nan])):
      ...     mean = mean.merge(ol.training.metrics.Mean.of(batch, valid=~jnp.isnan(batch)))
      >>> mean.value(), mean.sum()
      (3.0, 9.0)

    Source:
      Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B (TwoSum).
    """

    total: Any
    error: Any
    count: Any

    @classmethod
    def zero(cls, dtype: Any = jnp.float32) -> Mean:
        """The mean of nothing: where a loop or a `scan` starts."""
        return cls(jnp.zeros((), dtype), jnp.zeros((), dtype), jnp.zeros((), jnp.int32))

    @classmethod
    def of(cls, values: Any, valid: Any = None) -> Mean:
        """The mean of a batch; entries where `valid`, of the same shape, is false are left out."""
        return cls(*_of(values, valid))

    def merge(self, other: Mean) -> Mean:
        """The mean of both."""
        return _merge(self, other)

    def sum(self) -> float:
        """The sum, on the host."""
        total, error = jax.device_get((self.total, self.error))
        return float(np.float64(total) + np.float64(error))

    def value(self) -> float:
        """The mean, on the host; NaN of nothing.

        Raises:
          OverflowError: if more values were counted than int32 holds.
        """
        count = int(self.count)
        if count < 0:
            raise OverflowError("Mean: more than 2**31 - 1 values; read it more often.")
        return self.sum() / count if count else math.nan


@jax.jit
def _of(values: Any, valid: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.float32)
    values = values.astype(numerics.compute_dtype(values.dtype))
    if valid is None:
        count = jnp.asarray(values.size, jnp.int32)
    else:
        valid = jnp.asarray(valid).astype(bool)
        if valid.shape != values.shape:
            raise ValueError(
                f"Mean.of: valid must have the shape of the values, {values.shape}, got "
                f"{valid.shape}."
            )
        values = jnp.where(valid, values, 0)  # what is left out may be NaN
        count = jnp.sum(valid, dtype=jnp.int32)
    total = jnp.sum(values)
    return total, jnp.zeros_like(total), count


@jax.jit
def _merge(left: Mean, right: Mean) -> Mean:
    total = left.total + right.total
    back = total - left.total
    lost = (left.total - (total - back)) + (right.total - back)
    lost = jnp.where(jnp.isfinite(total), lost, 0)
    return Mean(total, left.error + right.error + lost, left.count + right.count)
