"""Half the bytes: bfloat16, rounded stochastically."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import static
from optlab.storage._arguments import ROUNDINGS
from optlab.storage._rounding import stochastic_round
from optlab.storage._storage import Storage


class Rounded(NamedTuple):
    """An array kept in fewer bits. codes: the rounded array.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.storage.bf16().encode(jnp.ones(1))
      Rounded(codes=Array([1], dtype=bfloat16))
    """

    codes: jax.Array

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)


class BF16(Storage, name="bf16"):
    """Attributes: rounding."""

    rounding: str = static(ROUNDINGS, default="stochastic")

    def encode(self, value, noise=None):
        if noise is None or self.rounding == "nearest":
            return Rounded(value.astype(jnp.bfloat16))
        return Rounded(stochastic_round(value, jnp.bfloat16, noise))

    def decode(self, stored, dtype="float32"):
        return stored.codes.astype(dtype)


def bf16(rounding: str = "stochastic") -> BF16:
    """Keeps arrays in bfloat16: 2 bytes an entry, at a relative error below 2**-7.

    Args:
      rounding: `"stochastic"` rounds up or down at random so that the mean is exact: a moment that
        changes by less than half a unit a step still follows. `"nearest"` does not: Adam's second
        moment with b2 = 0.999 then never falls (a unit is 1/128, a step changes it by 1/1000).

    Returns:
      A `Storage`.

    Special cases:
      Zeros, infinities and NaN are kept as they are.

    Example:
      >>> import optlab as ol
      >>> ol.store(ol.adam(1e-3), {"second": ol.storage.bf16()}).link.storages
      (bf16(),)

    Source:
      Zamirai et al., "Revisiting bfloat16 training", 2020, arXiv:2010.06192.
    """
    rounding = ROUNDINGS("bf16", "rounding", rounding)
    return BF16(rounding=rounding)
