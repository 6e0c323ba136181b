"""A quarter of the bytes: 8-bit codes and one scale a block, companded."""

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
from optlab.storage._noise import Noise
from optlab.storage._storage import Storage


class Coded(NamedTuple):
    """An array kept as codes relative to the largest magnitude of each block.

    Attributes:
      codes: shaped like the array; int8 where it has signs, uint8 where it has none.
      scales: of each block along the last axis, (..., ceil(n / block)): its largest magnitude
        (int8), or what a code of 1 stands for (fp8).

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.storage.int8().encode(jnp.ones((2, 512))).scales.shape
      (2, 2)
    """

    codes: jax.Array
    scales: jax.Array

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)


def power(owner: str, name: str, value: Any) -> int | None:
    if value not in (None, 1, 2, 4) or isinstance(value, bool):
        raise ValueError(f"{owner}: {name} must be None, 1, 2 or 4, got {value!r}.")
    return value


class Int8(Storage, name="int8"):
    """Attributes: see `int8`."""

    block: int = static(checks.positive_count, default=256)
    rounding: str = static(ROUNDINGS, default="stochastic")
    values: str = static(VALUES, default="auto")
    power: int | None = static(power, default=None)

    coarse = True

    def suited(self, nonnegative):
        if self.values != "auto":
            return self
        return dataclasses.replace(self, values="nonnegative" if nonnegative else "signed")

    @property
    def _root(self) -> int:
        return self.power or (2 if self.values == "signed" else 4)

    def encode(self, value, noise=None):
        signed = self.values != "nonnegative"
        top = 127 if signed else 255
        scales = block_max(value, self.block)
        unit = value * spread(reciprocal(scales), value, self.block)
        unit = jnp.abs(unit) if signed else jnp.where(unit > 0, unit, jnp.zeros_like(unit))
        code = _code(unit, self._root, top, None if self.rounding == "nearest" else noise)
        if signed:
            code = jnp.where(value < 0, -code, code)
        else:  # a second moment of 0 beside a first that is not would be divided by
            code = jnp.where(value > 0, jnp.maximum(code, 1), code)
        return Coded(code.astype(jnp.int8 if signed else jnp.uint8), scales)

    def decode(self, stored, dtype="float32"):
        signed = self.values != "nonnegative"
        # In [-1, 1] before the scale comes, which may be so small that a part of it is zero.
        level = stored.codes.astype(jnp.int32).astype(dtype)
        level = level * np.asarray(1 / (127 if signed else 255), dtype)
        raised = level
        if self._root >= 2:
            raised = level * (jnp.abs(level) if signed else level)
        if self._root == 4:
            raised = raised * (level * level)
        return raised * spread(stored.scales, stored.codes, self.block)


def _code(unit: jax.Array, root: int, top: int, noise: Noise | None) -> jax.Array:
    """The integer in [0, top] whose power stands for a number in [0, 1].

    With noise, code n or n + 1 such that the *power* is right in the mean, not the root: a root
    that is right in the mean has a power too large, by more than a decay of 0.999 takes away.
    """
    rooted = unit
    for _ in range(root // 2):
        rooted = jnp.sqrt(rooted)
    rooted = rooted * np.asarray(top, unit.dtype)
    if noise is None:
        return jnp.minimum(_integer(jnp.round(rooted)), top)
    if root == 1:
        return jnp.minimum(_integer(jnp.floor(rooted + noise.uniform(unit))), top)
    low = jnp.floor(rooted)
    power, gap = low * low, 2 * low + 1
    if root == 4:
        gap = gap * (power + power + gap)  # (n+1)**4 - n**4 = ((n+1)**2 - n**2) ((n+1)**2 + n**2)
        power = power * power
    above = unit * np.asarray(top**root, unit.dtype) - power
    up = noise.uniform(unit) * gap < above
    return jnp.minimum(_integer(low) + up.astype(jnp.int32), top)


def _integer(whole: jax.Array) -> jax.Array:
    """A small whole number as int32: the last bits of its sum with a number that has no others.

    Conversions check for NaN and for what does not fit, at three times the price.
    """
    wide = whole.dtype.itemsize == 8
    anchor = np.asarray(2.0**52 if wide else 2.0**23, whole.dtype)
    bits = lax.bitcast_convert_type(whole + anchor, jnp.int64 if wide else jnp.int32)
    return bits.astype(jnp.int32) & 511


def int8(
    block: int = 256,
    *,
    rounding: str = "stochastic",
    values: str = "auto",
    power: int | None = None,
) -> Int8:
    """Keeps arrays as 8-bit codes of their roots: 1 byte an entry, and 4 bytes a block.

    With s the largest magnitude of a block of the last axis, an entry x is kept as

    - `sign(x) round(127 (|x| / s)**(1/2))`, int8, if it may be negative (a first moment);
    - `round(255 (x / s)**(1/4))`, uint8, if it cannot be (a second moment): Adam divides by its
      root, so its small entries count as much as its large ones. Linear codes, which take them for
      larger than they are, train worse.

    Args:
      block: >= 1, entries that share a scale. An axis that is shorter is one block, a last block
        may be.
      rounding: `"stochastic"`: the mean of what is kept is the entry itself. `"nearest"` is faster,
        and leaves an entry that changes by less than half a code a step (1 to 2 % of a large
        entry, more of a small one) where it is in relation to its block's largest.
      values: `"signed"`, `"nonnegative"`, or `"auto"`: `store` says which by the field's name
        (`second`, `nu` ... are not negative); where nobody does, signed codes of the fourth root.
      power: 1, 2 or 4, the root that is kept; None as above.

    Returns:
      A `Storage`.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Special cases:
      A block of zeros stays zero, the largest entry of a block is exact (to a rounding), a block
      with an entry that is not finite is not finite. Entries of blocks below 1e-37 become 0.
      Negative entries of `"nonnegative"` arrays become 0; positive ones never do, but at least the
      least code, 2.4e-10 of their block's largest. So with both of Adam's moments in int8 no update
      is larger than about 25 learning rates, however different the gradients in a block are
      (measured with log-normal sizes: 2 at sigma = 1, 24 at 2 and 4). A first moment in int8
      beside an exact second has no such bound.

    Cost:
      Adam: 2 + 8 / 256 = 2.03 bytes a parameter where the last axis is a multiple of 256.

    Differs from:
      bitsandbytes and torchao look codes up in a table of 256 values, which needs a gather and is
      nearest only.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> second = ol.storage.int8(values="nonnegative")
      >>> second.decode(second.encode(jnp.array([1.0, 1e-4, 1e-8])))
      Array([1.00...e+00, 1.08...e-04, 1.91...e-08], dtype=float32)

    Source:
      Dettmers et al., "8-bit optimizers via block-wise quantization", 2021, arXiv:2110.02861.
    """
    return Int8(block=block, rounding=rounding, values=values, power=power)
