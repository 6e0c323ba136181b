"""A quarter of the bytes: 8-bit floats and one scale a block."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optlab.core import checks, static
from optlab.storage._arguments import ROUNDINGS, VALUES
from optlab.storage._blocks import block_max, reciprocal, spread
from optlab.storage._int8 import Coded
from optlab.storage._noise import Noise
from optlab.storage._rounding import quantum
from optlab.storage._storage import Storage


class _Form(NamedTuple):
    """Of an 8-bit float: dtype, largest number, bits of mantissa, smallest normal exponent."""

    dtype: Any
    top: float
    mantissa: int
    least: int


_FORMATS = {
    "e4m3": _Form(jnp.float8_e4m3fn, 448.0, 3, -6),
    "e5m2": _Form(jnp.float8_e5m2, 57344.0, 2, -14),
}
FORMATS = checks.one_of("auto", *_FORMATS)


class FP8(Storage, name="fp8"):
    """Attributes: see `fp8`."""

    block: int = static(checks.positive_count, default=256)
    rounding: str = static(ROUNDINGS, default="stochastic")
    format: str = static(FORMATS, default="auto")
    values: str = static(VALUES, default="auto")

    coarse = True

    def suited(self, nonnegative):
        known = {"format": "e5m2", "values": "nonnegative"}
        if not nonnegative:
            known = {"format": "e4m3", "values": "signed"}
        open_ = {name: v for name, v in known.items() if getattr(self, name) == "auto"}
        return dataclasses.replace(self, **open_)

    def encode(self, value, noise=None):
        form = self._form
        scales = _with_room(block_max(value, self.block) / np.asarray(form.top, value.dtype))
        unit = value * spread(reciprocal(scales), value, self.block)
        noise = None if self.rounding == "nearest" else noise
        code = _rounded(unit, form, noise)
        if self.values == "nonnegative":  # never 0, as in int8
            code = jnp.where(value > 0, jnp.maximum(code, np.uint8(1)), code)
        return Coded(lax.bitcast_convert_type(code, form.dtype), scales)

    def decode(self, stored, dtype="float32"):
        scale = spread(stored.scales.astype(dtype), stored.codes, self.block)
        return _value(stored.codes, self._form, dtype) * scale

    @property
    def _form(self) -> _Form:
        return _FORMATS["e5m2" if self.format == "auto" else self.format]


def _with_room(scales: jax.Array) -> jax.Array:
    """The next number up that ends in four zero bits.

    A code, which has four bits, times a scale is then exact, so that what is decoded and encoded
    again has the same scale: from two units above, where a division may end, it goes down to it.
    """
    kind = jnp.int64 if scales.dtype.itemsize == 8 else jnp.int32
    bits = lax.bitcast_convert_type(scales, kind)
    above = lax.bitcast_convert_type((bits + kind(13)) & ~kind(15), scales.dtype)
    return jnp.where(jnp.isfinite(scales), above, scales)


# Conversions to and from 8-bit floats cost CPUs more than all the rest of an update, so both are
# put together from bits: codes in order count the numbers of the format from 0 upwards.


def _rounded(unit: jax.Array, form: _Form, noise: Noise | None) -> jax.Array:
    """The bits of a neighbour of each number in [-top, top]."""
    step = quantum(unit, form.mantissa, form.least)
    steps = jnp.abs(unit) / step  # exact: a step is a power of two
    steps = jnp.round(steps) if noise is None else jnp.floor(steps + noise.uniform(unit))
    wide = unit.dtype.itemsize == 8
    kind = jnp.int64 if wide else jnp.int32
    bits = lax.bitcast_convert_type(step, kind)
    exponent = (bits >> (52 if wide else 23)).astype(jnp.int32) - (1023 if wide else 127)
    binade = exponent + (form.mantissa - form.least)
    code = (binade << form.mantissa) + steps.astype(jnp.int32)
    sign = (lax.bitcast_convert_type(unit, kind) >> (56 if wide else 24)).astype(jnp.int32) & 128
    return (code | sign).astype(jnp.uint8)


def _value(codes: jax.Array, form: _Form, dtype: Any) -> jax.Array:
    if jnp.dtype(dtype) != jnp.float32:
        return codes.astype(dtype)
    code = lax.bitcast_convert_type(codes, jnp.uint8).astype(jnp.int32)
    count = code & 127
    # Below the smallest normal number, numbers are multiples of one step.
    small = count.astype(jnp.float32) * np.float32(2.0 ** (form.least - form.mantissa))
    bits = (count << (23 - form.mantissa)) + ((form.least - 1 + 127) << 23)
    large = lax.bitcast_convert_type(bits, jnp.float32)
    magnitude = jnp.where(count < 2**form.mantissa, small, large)
    return jnp.where(code > 127, -magnitude, magnitude)


def fp8(
    block: int = 256,
    *,
    rounding: str = "stochastic",
    format: str = "auto",
    values: str = "auto",
) -> FP8:
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

      values: `"signed"`, `"nonnegative"`: then what is not zero never becomes zero, see `int8`; or
        `"auto"`: `store` says which.

    Returns:
      A `Storage`.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      Zeros stay zero. A block with an entry that is not finite is not finite. Entries of
      blocks below 5e-35 (`"e4m3"`) or 6e-33 (`"e5m2"`) become 0.

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
    return FP8(block=block, rounding=rounding, format=format, values=values)
