"""Variance that follows the fans, so that signals keep their size from layer to layer.

`variance_scaling` is the rule; Xavier, He and LeCun are settings of it:

    lecun   1 / fan_in                   linear layers, SELU
    xavier  2 / (fan_in + fan_out)       tanh, sigmoid: a compromise of forward and backward pass
    he      2 / fan_in                   ReLU, which halves the second moment

Often misprinted as standard deviations 2/sqrt(n) for He and 1/sqrt(n) for Xavier; the first doubles
the variance at every layer.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, numerics, static
from optlab.initializers import _fans
from optlab.initializers._base import Initializer
from optlab.initializers._random import truncated_moments

_TRUNCATED_STDDEV = math.sqrt(truncated_moments(-2.0, 2.0)[1])  # 0.87962566103423978


class variance_scaling(Initializer):
    """Mean 0 and variance `scale / n`, where n is fan_in, fan_out or an average of the two.

    Args:
      scale: >= 0: 1 keeps the second moment through a linear layer, `gain(activation)**2` through
        one followed by that activation.
      mode: `"fan_in"` keeps the forward signal, `"fan_out"` the backward gradient; `"fan_avg"` is
        (fan_in + fan_out) / 2, `"fan_geo_avg"` sqrt(fan_in * fan_out).
      distribution: `"truncated_normal"` (cut at two standard deviations, and widened so that the
        variance is as promised after the cut), `"normal"`, `"uniform"` on ±sqrt(3 scale / n).
      in_axis, out_axis: axis or axes of input and output units, -2 and -1 if None. An attention
        query (d, heads, d_head) has in_axis=0, out_axis=(1, 2).
      batch_axis: axes over independent kernels (scanned layers, experts); not part of a fan.

    Raises:
      ValueError: for a negative scale, an unknown name, a shape without the axes (a bias), an axis
        with two roles. TypeError: for integer dtypes.

    Special cases:
      Axes with no role are the receptive field and count towards both fans. Grouped convolutions
      have the right fan_in (their kernels hold the inputs of one group); their fan_out counts all
      groups. Complex dtypes: E|w|² = scale / n, real and imaginary part drawn independently.

    Differs from:
      JAX's lets axes overlap (Flax's `Embed` uses that to write fan_in = features); here each
      axis has one role: in_axis=1, out_axis=0 says the same.

    Example:
      >>> import jax, optlab as ol
      >>> he = ol.initializers.variance_scaling(2.0, "fan_in", "normal")
      >>> he(jax.random.key(0), (784, 128)).shape, he.variance((784, 128)) == 2 / 784
      ((784, 128), True)

    Source: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010; K. He et al., Delving deep into rectifiers, 2015, arXiv:1502.01852.
    """

    scale: Any = data(checks.nonnegative, default=1.0)
    mode: str = static(
        checks.one_of("fan_in", "fan_out", "fan_avg", "fan_geo_avg"), default="fan_in"
    )
    distribution: str = static(
        checks.one_of("truncated_normal", "normal", "uniform"), default="truncated_normal"
    )
    in_axis: Any = static(_fans.axis_field, default=None)
    out_axis: Any = static(_fans.axis_field, default=None)
    batch_axis: Any = static(_fans.axis_field, default=None)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        self._axes(shape)

    def variance(self, shape: Any) -> Any:
        shape = _fans.check_shape(self.record_name, shape)
        fan_in, fan_out = _fans.count_fans(shape, self._axes(shape))
        n = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[self.mode]
        return self.scale / max(n, 1)  # a fan is 0 only where there is nothing to draw

    def sample(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        real = numerics.real_dtype(dtype)
        stddev = jnp.sqrt(numerics.scalar(self.variance(shape), real))
        if not jnp.issubdtype(dtype, jnp.complexfloating):
            return stddev * self._standard(key, shape, real)
        parts = (self._standard(k, shape, real) for k in jax.random.split(key))
        return jax.lax.complex(*(stddev * math.sqrt(0.5) * part for part in parts))

    def _standard(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Mean 0, variance 1."""
        if self.distribution == "normal":
            return jax.random.normal(key, shape, dtype)
        if self.distribution == "uniform":
            bound = math.sqrt(3.0)
            return jax.random.uniform(key, shape, dtype, -bound, bound)
        z = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)
        return z * (1 / _TRUNCATED_STDDEV)

    def _axes(self, shape: tuple[int, ...]) -> _fans.Axes:
        return _fans.resolve_axes(
            self.record_name, shape, self.in_axis, self.out_axis, self.batch_axis
        )
