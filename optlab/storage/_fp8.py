"""A quarter of the bytes: 8-bit floats and one scale a block."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, static
from optlab.storage._arguments import ROUNDINGS
from optlab.storage._blocks import block_max, reciprocal, spread
from optlab.storage._int8 import Coded
from optlab.storage._noise import Noise
from optlab.storage._rounding import quantum
from optlab.storage._storage import Storage

_FORMATS = {  # dtype, largest number, bits of mantissa, exponent of the smallest normal number
    "e4m3": (jnp.float8_e4m3fn, 448.0, 3, -6),
    "e5m2": (jnp.float8_e5m2, 57344.0, 2, -14),
}
FORMATS = checks.one_of("auto", *_FORMATS)


class FP8(Storage, name="fp8"):
    """Attributes: see `fp8`."""

    block: int = static(checks.positive_count, default=256)
    rounding: str = static(ROUNDINGS, default="stochastic")
    format: str = static(FORMATS, default="auto")

    def suited(self, nonnegative):
        if self.format != "auto":
            return self
        return dataclasses.replace(self, format="e5m2" if nonnegative else "e4m3")

    def encode(self, value, noise=None):
        dtype, top, mantissa, least = _FORMATS["e5m2" if self.format == "auto" else self.format]
        scales = block_max(value, self.block)
        factor = reciprocal(scales) * np.asarray(top, value.dtype)
        unit = value * spread(factor, value, self.block)
        noise = None if self.rounding == "nearest" else noise
        return Coded(_round(unit, top, mantissa, least, noise).astype(dtype), scales)

    def decode(self, stored, dtype="float32"):
        top = _FORMATS["e5m2" if self.format == "auto" else self.format][1]
        unit = stored.scales * np.asarray(1 / top, dtype)
        return stored.codes.astype(dtype) * spread(unit, stored.codes, self.block)


def _round(
    unit: jax.Array, top: float, mantissa: int, least: int, noise: Noise | None
) -> jax.Array:
    """The numbers of the format, in the array's own dtype."""
    step = quantum(unit, mantissa, least)
    magnitude = jnp.abs(unit) / step  # exact: a step is a power of two
    if noise is None:
        rounded = jnp.round(magnitude)
    else:
        rounded = jnp.floor(magnitude + noise.uniform(unit))
    return jnp.sign(unit) * jnp.minimum(rounded * step, np.asarray(top, unit.dtype))


def fp8(block: int = 256, *, rounding: str = "stochastic", format: str = "auto") -> FP8:
    """Keeps arrays as 8-bit floats: 1 byte an entry, and 4 bytes a block.

    Entries are scaled so that the largest magnitude of a block of the last axis is the format's
    largest number.

    Args:
      block: >= 1, entries that share a scale. An axis that is shorter is one block.
      rounding: `"stochastic"`: the mean of what is kept is the entry itself; or `"nearest"`.
      format: `"e4m3"`: 3 bits of mantissa (steps of 6 to 12 %), down to 4e-6 of the block's
        largest; `"e5m2"`: 2 bits (12 to 25 %), down to 3e-10. `"auto"` is e5m2 for second moments,
        whose small entries Adam divides by, e4m3 for what has signs; `store` says which by the
        field's name, and where nobody does it is e5m2.

    Returns:
      A `Storage`.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      Zeros stay zero. A block with an entry that is not finite is not finite.

    Differs from:
      `int8` spends its codes evenly on the root and is 2 to 6 times finer near a block's largest;
      here steps are relative, and neither roots nor powers are computed.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> kept = ol.storage.fp8(format="e4m3").encode(jnp.array([448.0, -3.3]))
      >>> kept.codes
      Array([448, -3.25], dtype=float8_e4m3fn)

    Source:
      Micikevicius et al., "FP8 formats for deep learning", 2022, arXiv:2209.05433.
    """
    return FP8(block=block, rounding=rounding, format=format)
