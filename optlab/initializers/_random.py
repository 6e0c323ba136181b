"""Independent entries with a spread of your choice: `uniform`, `normal`, `truncated_normal`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, data, numerics
from optlab.initializers._base import Initializer


class uniform(Initializer):
    """Uniform on `[low, high)`; a small symmetric start is `uniform(-a, a)`.

    Args:
      low, high: finite numbers, low < high.

    Raises:
      ValueError: if a bound is not finite, or low >= high. TypeError: for dtypes not real floating.

    Special cases:
      Variance (high - low)²/12, whatever the shape: deep networks want it to follow the fans, see
      `variance_scaling`. Rounding to bfloat16 or float16 can reach `high`.

    Differs from:
      `jax.nn.initializers.uniform(scale)` is `uniform(0, scale)`, which has a mean of scale/2.
      PyTorch's default bounds are 0 and 1.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.uniform(-0.1, 0.1)(jax.random.key(0), (784, 128)).shape
      (784, 128)
    """

    kinds: ClassVar[tuple[Any, ...]] = (jnp.floating,)
    low: Any = data(checks.finite, default=-0.01)
    high: Any = data(checks.finite, default=0.01)

    def check(self) -> None:
        if checks.is_concrete(self.low, self.high) and not np.all(self.low < self.high):
            raise ValueError(
                f"uniform: low must be < high, got low={self.low!r}, high={self.high!r}. "
                "For numbers between -a and a write uniform(-a, a)."
            )

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        low, high = (numerics.scalar(bound, dtype) for bound in (self.low, self.high))
        return jax.random.uniform(key, shape, dtype, low, high)

    def variance(self, shape: Any) -> Any:
        del shape
        return (self.high - self.low) ** 2 / 12

    def mean(self, shape: Any) -> Any:
        del shape
        return (self.low + self.high) / 2


class normal(Initializer):
    """Normal with mean 0: `w ~ N(0, stddev²)`; for complex dtypes E|w|² = stddev².

    Args:
      stddev: >= 0.

    Raises:
      ValueError: if it is negative or not finite. TypeError: if it is no number.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.normal(0.02).variance((50257, 768))
      0.0004
    """

    stddev: Any = data(checks.nonnegative, default=0.01)

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        stddev = numerics.scalar(self.stddev, dtype).astype(dtype)
        return stddev * jax.random.normal(key, shape, dtype)

    def variance(self, shape: Any) -> Any:
        del shape
        return self.stddev**2


class truncated_normal(Initializer):
    """Normal within bounds: `w = stddev * z`, where z ~ N(0, 1) given lower < z < upper.

    Args:
      stddev: >= 0, that of the normal before it is cut. Cut at ±2, what comes out has 0.8796 of it:
        divide by that, or use `variance_scaling`, which does.
      lower, upper: the bounds in units of `stddev`; lower < upper, lower <= 3, upper >= -3.

    Raises:
      ValueError: for bounds out of order or far in a tail. TypeError: for dtypes not real floating.

    Differs from:
      PyTorch's `trunc_normal_(a, b)` gives its bounds in units of w. `stddev` is that before the
      cut in JAX and PyTorch alike; `variance(shape)` is that after it.

    Example:
      >>> import optlab as ol
      >>> round(ol.initializers.truncated_normal(1.0).variance(()) ** 0.5, 4)
      0.8796
    """

    kinds: ClassVar[tuple[Any, ...]] = (jnp.floating,)
    stddev: Any = data(checks.nonnegative, default=0.01)
    lower: Any = data(checks.finite, default=-2.0)
    upper: Any = data(checks.finite, default=2.0)

    def check(self) -> None:
        if not checks.is_concrete(self.lower, self.upper):
            return
        if not np.all(self.lower < self.upper):
            raise ValueError(
                f"truncated_normal: lower must be < upper, got lower={self.lower!r}, "
                f"upper={self.upper!r}; both are in units of stddev."
            )
        if np.any(self.lower > 3) or np.any(self.upper < -3):
            raise ValueError(
                "truncated_normal: the bounds must reach within 3 standard deviations of 0 "
                f"(float32 cannot draw from the tail beyond), got lower={self.lower!r}, "
                f"upper={self.upper!r}; both are in units of stddev."
            )

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        stddev, lower, upper = (
            numerics.scalar(value, dtype) for value in (self.stddev, self.lower, self.upper)
        )
        return stddev * jax.random.truncated_normal(key, lower, upper, shape, dtype)

    def variance(self, shape: Any) -> Any:
        del shape
        return self.stddev**2 * truncated_moments(self.lower, self.upper)[1]

    def mean(self, shape: Any) -> Any:
        del shape
        return self.stddev * truncated_moments(self.lower, self.upper)[0]


def truncated_moments(lower: Any, upper: Any) -> tuple[Any, Any]:
    """Mean and variance of a standard normal between bounds; floats unless a bound is traced."""
    concrete = checks.is_concrete(lower, upper)
    exp, erf = (math.exp, math.erf) if concrete else (jnp.exp, jax.scipy.special.erf)

    def density(z: Any) -> Any:
        return exp(-z * z / 2) / math.sqrt(2 * math.pi)

    mass = (erf(upper / math.sqrt(2)) - erf(lower / math.sqrt(2))) / 2
    mean = (density(lower) - density(upper)) / mass
    return mean, 1 + (lower * density(lower) - upper * density(upper)) / mass - mean**2
