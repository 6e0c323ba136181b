"""Half a cosine from a value to another, alone or after a warm-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data
from optlab.schedules._arithmetic import before, blend, half_cosine, minus, progress, warm_up
from optlab.schedules._base import Schedule
from optlab.schedules._fields import maybe_zero_count, require_order, steps_count


class cosine(Schedule):
    """Along half a period of a cosine: `end + (init - end) · (1 + cos(π count / steps)) / 2`.

    Args:
      init_value: at count 0; any finite number.
      steps: updates it takes, >= 1.
      end_value: from count `steps` on; any finite number.

    Raises:
      ValueError: for steps < 1 or values that are not finite. TypeError: for no number.

    Special cases:
      Both ends are exact; after the end it stays there.

    Differs from:
      `optax.cosine_decay_schedule` takes the end as a fraction `alpha` of the start. PyTorch's
      `CosineAnnealingLR` goes up again after the end.

    Example:
      >>> import optlab as ol
      >>> ol.schedules.cosine(1.0, steps=10)(5)
      Array(0.5, dtype=float32)

    Source:
      Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016,
      arXiv:1608.03983, equation 5 (one cycle of it).
    """

    init_value: Any = data(checks.finite)
    steps: Any = data(steps_count)
    end_value: Any = data(checks.finite, default=0.0)

    def evaluate(self, count: jax.Array) -> jax.Array:
        part = half_cosine(progress(count, 0, self.steps))
        return blend(self.init_value, self.end_value, part)

    def horizon(self) -> float:
        return self.steps * 1.1


class warmup_cosine(Schedule):
    """A linear warm-up to the peak, then half a cosine down to the end.

    `init + (peak - init) · count / warmup_steps` while count < warmup_steps, then
    `end + (peak - end) · (1 + cos(π (count - warmup_steps) / (steps - warmup_steps))) / 2`.

    Args:
      peak_value: at count `warmup_steps`; any finite number.
      steps: updates in all, warm-up included, >= 1.
      warmup_steps: updates before the peak, in 0 .. steps.
      init_value: at count 0. None is peak_value / warmup_steps, so that no update is wasted; 0.0
        spends the first one on nothing.
      end_value: from count `steps` on; any finite number.

    Raises:
      ValueError: for steps < 1, warmup_steps outside 0 .. steps, values that are not finite.
      TypeError: for no number.

    Special cases:
      warmup_steps = 0 starts at the peak. warmup_steps = steps never decays: the last update has
      count steps - 1 and is the last of the warm-up; `end_value` follows.

    Differs from:
      `optax.warmup_cosine_decay_schedule` needs an `init_value` and fails for warmup_steps = steps;
      with init_value=0.0 the two are equal.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.warmup_cosine(1.0, steps=100, warmup_steps=10)
      >>> [round(float(schedule(c)), 3) for c in (0, 10, 55, 100)]
      [0.1, 1.0, 0.5, 0.0]

    Source:
      Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017,
      arXiv:1706.02677, section 2.2 (warm-up); Loshchilov, Hutter, 2016, arXiv:1608.03983 (cosine).
    """

    peak_value: Any = data(checks.finite)
    steps: Any = data(steps_count)
    warmup_steps: Any = data(maybe_zero_count)
    init_value: Any = data(checks.optional(checks.finite), default=None)
    end_value: Any = data(checks.finite, default=0.0)

    def check(self) -> None:
        require_order(
            self.record_name,
            {"warmup_steps": self.warmup_steps},
            {"steps": self.steps},
            "steps counts the warm-up too.",
        )

    def evaluate(self, count: jax.Array) -> jax.Array:
        rise = warm_up(count, self.init_value, self.peak_value, self.warmup_steps)
        part = half_cosine(progress(count, self.warmup_steps, self.steps))
        fall = blend(self.peak_value, self.end_value, part)
        return jnp.where(before(count, self.warmup_steps), rise, fall)

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return minus(self.warmup_steps, 1), self.warmup_steps  # two: without decay it jumps

    def horizon(self) -> float:
        return self.steps * 1.1
