"""Division by the root of the second moment: turns `Moments` into an update.

After `accumulate_moments` and whatever corrects its moments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optlab.core import (
    Link,
    Moments,
    Transformation,
    checks,
    hyperparameter,
    map_moments,
    numerics,
    static,
)
from optlab.transforms._moment_links import require_squares


class DivideByRms(Link):
    """Attributes: eps (ε) >= 0, outside of the root; eps_root >= 0, inside of it."""

    eps: Any = hyperparameter(checks.nonnegative, default=1e-8)
    eps_root: Any = hyperparameter(checks.nonnegative, default=0.0)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        def divide(node: Moments) -> jax.Array:
            return node.first.value / root(node, self.eps, self.eps_root)

        return map_moments(self.record_name, divide, updates), state


def root(node: Moments, eps: Any, eps_root: Any = 0.0) -> jax.Array:
    """`sqrt(v + eps_root) + eps`, the size of a typical gradient; never 0."""
    value, dtype = node.second.value, node.second.value.dtype
    if node.power == 2:
        value = value + numerics.scalar(eps_root, dtype)
    # The floor, 1e-19 or less after the root, makes 0 / 0 into 0 and the derivative at 0 finite. A
    # lower one would underflow: XLA joins (m / weight) / floor into m / (weight * floor).
    floor = jnp.finfo(dtype).tiny ** (1 if node.power == 2 else 0.5)
    value = lax.max(value, lax.full_like(value, floor))
    return (lax.sqrt(value) if node.power == 2 else value) + numerics.scalar(eps, dtype)


def divide_by_rms(eps: Any = 1e-8, *, eps_root: Any = 0.0) -> Transformation:
    """Divides the mean by the root mean square: `u = m / (sqrt(v + eps_root) + eps)`.

    Args:
      eps: >= 0, in gradient units, or a schedule.
      eps_root: >= 0, in squared gradient units, or a schedule.

    Returns:
      A `Transformation` that turns `Moments` into plain updates, about 1 in size.

    Raises:
      ValueError: for values out of range. TypeError: for no number, or plain updates.

    Special cases:
      0 / 0 is 0: a zero gradient gives a zero update for eps = 0 too, and the derivative there is
      finite. Where the second moment is a magnitude (AdaMax) no root is taken and `eps_root` is not
      used.

    Place in a chain:
      After `accumulate_moments`; between them `correct_bias` and its like.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.accumulate_moments(b1=None, b2=0.75), ol.divide_by_rms(eps=1.0))
      >>> tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))[0]
      Array([1.3333334], dtype=float32)

    Source:
      Tieleman, Hinton, "Lecture 6.5: rmsprop", 2012; Kingma, Ba, 2014, arXiv:1412.6980.
    """
    return Transformation(DivideByRms(eps=eps, eps_root=eps_root))


class RectifiedState(NamedTuple):
    """count: int32 scalar, updates done."""

    count: jax.Array


class DivideByRectifiedRms(Link):
    """Attributes: eps (ε) >= 0; threshold (of ρ) >= 4; convention, where eps stands."""

    eps: Any = hyperparameter(checks.nonnegative, default=1e-8)
    threshold: Any = hyperparameter(checks.Interval(4.0, math.inf, "[)"), default=5.0)
    convention: str = static(checks.one_of("paper", "pytorch"), default="paper")

    def init(self, params: Any) -> RectifiedState:
        return RectifiedState(jnp.zeros((), jnp.int32))

    def update(self, updates: Any, state: RectifiedState, params: Any = None, **extra: Any) -> Any:
        count = numerics.increment(state.count)

        def divide(node: Moments) -> jax.Array:
            require_squares(self.record_name, node)
            dtype = node.second.value.dtype
            rest = numerics.complement(node.second.decay, dtype)
            weight = numerics.scalar(node.second.weight, dtype)
            rho, factor = _rectification(rest, count.astype(dtype))
            m, v = node.first.value, node.second.value
            eps = numerics.scalar(self.eps, dtype)
            if self.convention == "pytorch":  # eps against the uncorrected root
                rms = (numerics.safe_sqrt(v) + eps) / jnp.sqrt(weight)
            else:
                rms = numerics.safe_sqrt(v / weight) + eps
            trusted = rho > numerics.scalar(self.threshold, dtype)
            mean = numerics.safe_divide(m, numerics.scalar(node.first.weight, dtype))
            return jnp.where(trusted, factor * numerics.safe_divide(mean, rms), mean)

        return map_moments(self.record_name, divide, updates), RectifiedState(count)


def _rectification(rest: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ρ_t, the length of the average as a simple moving average, and r_t (paper's algorithm 2).

    The paper's `ρ_t = ρ_inf - 2 t b2**t / (1 - b2**t)` is a small difference of large numbers: 1e-4
    off in float32 when the rectification begins. With c = 1 - b2, L = -log(b2) and x = t L it is
    `(2/c - 1 - 2/L) + (2/L) (1 - x / (exp(x) - 1))`, whose parts are computed without cancelling.
    """
    rate = -jnp.log1p(-rest)
    # s = (L - c) / c², so that 2/c - 2/L = 2 s / (1 + c s).
    series = sum(rest**k / (k + 2) for k in range(8))
    s = jnp.where(rest < 0.01, series, (rate - rest) / rest**2)
    x = t * rate
    near = x / 2 - x**2 / 12 + x**4 / 720 - x**6 / 30240 + x**8 / 1209600
    far = jnp.where(x < 0.1, 1, x)
    drop = jnp.where(x < 0.1, near, 1 - far / jnp.expm1(far))
    rho_inf = 2 / rest - 1
    rho = 2 * s / (1 + rest * s) - 1 + 2 / rate * drop
    safe = jnp.where(rho > 4, rho, 5)  # r is real from 4 on, and not used below the threshold
    top = (safe - 4) * (safe - 2) * rho_inf
    bottom = (rho_inf - 4) * (rho_inf - 2) * safe
    # For b2 < 0.6 the average never gets long enough: rho_inf <= 4, and r is never used.
    return rho, jnp.sqrt(top / jnp.where(rho_inf > 4, bottom, top))


def divide_by_rectified_rms(
    eps: Any = 1e-8, *, threshold: Any = 5.0, convention: str = "paper"
) -> Transformation:
    """Adam's division, with the variance of the young second moment rectified (RAdam).

    While the average is too short (ρ_t <= threshold) the update is the corrected mean, undivided;
    then `r_t m̂ / (sqrt(v̂) + eps)`, with r_t growing to 1.

    Args:
      eps: >= 0, in gradient units, or a schedule.
      threshold: >= 4, the ρ from which on to divide: 4 in the paper, 5 in PyTorch and Optax; or a
        schedule.
      convention: `"paper"` adds eps to the corrected root, `"pytorch"` to the uncorrected one.

    Returns:
      A `Transformation` that turns `Moments` into plain updates.

    Raises:
      ValueError: for values out of range, or moments by the rule `"infinity"`. TypeError: for no
        number, or plain updates.

    Special cases:
      The first 5 steps with b2 = 0.999 are those of momentum SGD, whose length follows the
      gradient's.

    Cost:
      4 bytes in all.

    Place in a chain:
      Directly after `accumulate_moments`; it corrects the bias itself.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.accumulate_moments(), ol.divide_by_rectified_rms())
      >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
      Array([3.], dtype=float32)

    Source:
      Liu et al., "On the variance of the adaptive learning rate and beyond", 2019,
      arXiv:1908.03265, algorithm 2.
    """
    return Transformation(DivideByRectifiedRms(eps=eps, threshold=threshold, convention=convention))
