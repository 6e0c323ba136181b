"""Arrays that do not depend on the key: `zeros`, `ones`, `constant`.

Symmetry: units of a layer that start equal receive equal gradients and stay equal for ever, so a
hidden kernel filled with one number is a layer of one unit. Fine are biases, norm scales and the
output kernels of residual branches; use a random initializer for every other kernel.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.initializers._base import Initializer


class Zeros(Initializer):
    """All zeros. `zeros` and `zeros()` are one initializer; the key is not used and may be None.

    Special cases:
      Symmetry: a hidden layer whose kernel is zero passes no signal forward and no gradient back;
      with every kernel zero only the last bias learns. Use it for biases, for the last kernel of a
      residual branch (the block starts as the identity), for a classification head. Any dtype.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.zeros(jax.random.key(0), (2,))
      Array([0., 0.], dtype=float32)
    """

    random: ClassVar[bool] = False
    kinds: ClassVar[tuple[Any, ...]] = (jnp.number, jnp.bool_)
    value: ClassVar[int] = 0

    def __call__(
        self, key: Any = None, shape: Any = None, dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> Any:
        if key is None and shape is None:
            return self  # JAX writes zeros, Flax zeros_init(): both spellings work
        return super().__call__(key, shape, dtype, out_sharding)

    def sample(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        del key
        return jnp.full(shape, self.value, dtype)

    def variance(self, shape: Any) -> float:
        del shape
        return 0.0

    def mean(self, shape: Any) -> float:
        del shape
        return float(self.value)


class Ones(Zeros):
    """All ones. `ones` and `ones()` are one initializer; the key is not used and may be None.

    Special cases:
      For the scales of norms. As a kernel: see the symmetry note of `constant`. Any dtype.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.ones(jax.random.key(0), (2,))
      Array([1., 1.], dtype=float32)
    """

    value: ClassVar[int] = 1


zeros = Zeros()
ones = Ones()


class constant(Initializer):
    """One number everywhere: `w = value`.

    Args:
      value: finite number.

    Raises:
      ValueError: if it is not finite. TypeError: if it is no number, or for an integer dtype.

    Special cases:
      Symmetry: all units of a layer with a constant kernel compute the same, get the same gradient
      and stay equal for ever, however small the constant. For biases and scales.

    Example:
      >>> import jax, optlab as ol
      >>> ol.initializers.constant(0.5)(jax.random.key(0), (2,))
      Array([0.5, 0.5], dtype=float32)
    """

    random: ClassVar[bool] = False
    value: Any = data(checks.finite)

    def sample(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        del key
        return jnp.full(shape, jnp.asarray(self.value).astype(dtype))

    def variance(self, shape: Any) -> float:
        del shape
        return 0.0

    def mean(self, shape: Any) -> Any:
        del shape
        return self.value
