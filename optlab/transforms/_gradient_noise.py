"""Annealed gradient noise. First in a chain, after clipping. Plain updates in and out."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optlab.core import (
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
    static,
    trees,
)


class NoiseState(NamedTuple):
    """count: int32 scalar, updates done; with the seed it determines the noise."""

    count: jax.Array


class AddGradientNoise(Link):
    """Attributes: variance (η) >= 0; annealing (γ) >= 0; seed >= 0."""

    variance: Any = hyperparameter(checks.nonnegative)
    annealing: Any = hyperparameter(checks.nonnegative, default=0.55)
    seed: int = static(checks.count, default=0)

    def init(self, params: Any) -> NoiseState:
        return NoiseState(jnp.zeros((), jnp.int32))

    def update(self, updates: Any, state: NoiseState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        key = jax.random.fold_in(jax.random.key(self.seed), state.count)

        def add(path, u):
            real = numerics.real_dtype(u.dtype)
            time = 1 + state.count.astype(real)
            variance = numerics.scalar(self.variance, real)
            variance = variance / time ** numerics.scalar(self.annealing, real)
            # By path, not by position: adding a layer changes no other layer's noise.
            leaf_key = jax.random.fold_in(key, zlib.crc32(trees.path_text(path).encode()))
            return u + numerics.safe_sqrt(variance) * jax.random.normal(leaf_key, u.shape, u.dtype)

        noisy = jax.tree_util.tree_map_with_path(add, updates)
        return noisy, NoiseState(numerics.increment(state.count))


def add_gradient_noise(variance: Any, annealing: Any = 0.55, *, seed: int = 0) -> Transformation:
    """Adds normal noise that fades: `g <- g + N(0, η / (1 + t)**γ)`, t updates done.

    Args:
      variance: η >= 0, of the first noise, in squared gradient units (0.01 to 1 in the paper), or a
        schedule.
      annealing: γ >= 0, how fast it fades; 0 keeps it.
      seed: whole number >= 0; the noise depends on seed, step and the leaf's path only.

    Returns:
      A `Transformation`. A complex leaf gets complex noise of that variance.

    Raises:
      ValueError: for values out of range. TypeError: for no number.

    Cost:
      4 bytes in all, and the random numbers.

    Differs from:
      `optax.add_noise` splits one key over leaves by position.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.add_gradient_noise(0.0)
      >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
      Array([1.], dtype=float32)

    Source:
      Neelakantan et al., "Adding gradient noise improves learning for very deep networks", 2015,
      arXiv:1511.06807, equation 1.
    """
    return Transformation(AddGradientNoise(variance=variance, annealing=annealing, seed=seed))
