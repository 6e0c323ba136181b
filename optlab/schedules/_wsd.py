"""Warm-up, stable, decay: the length of training can be decided late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, numerics, static
from optlab.schedules._arithmetic import (
    Part,
    alike,
    before,
    blend,
    half_cosine,
    minus,
    progress,
    warm_up,
)
from optlab.schedules._base import Schedule
from optlab.schedules._fields import maybe_zero_count, require_order, steps_count


class wsd(Schedule):
    """A linear warm-up, the peak for as long as there is time, then a short decay (cooldown).

    With t the fraction of the decay done, the last part is `end + (peak - end) · f(t)`, where f is
    `1 - t`, `(1 + cos(π t)) / 2` or `1 - sqrt(t)`.

    Args:
      peak_value: from count `warmup_steps` on; any finite number.
      steps: updates in all, warm-up and decay included, >= 1.
      warmup_steps: updates before the peak, >= 0.
      decay_steps: updates after it, >= 0; usually 10 to 20% of `steps`.
      end_value: from count `steps` on; any finite number.
      shape: 'linear', 'cosine' or '1-sqrt'.

    Raises:
      ValueError: for steps < 1, warmup_steps + decay_steps > steps, an unknown shape, values that
        are not finite.
      TypeError: for no number.

    Special cases:
      The warm-up starts at peak / warmup_steps, so no update is wasted; with 0 at the peak. With
      decay_steps = 0 the last update is still at the peak, and only then comes `end_value`. With
      decay_steps = steps - warmup_steps there is no plateau.

    Differs from:
      The paper decays exponentially; these shapes are those of Hägele et al. The infinitely long
      plateau is `join([linear(...), constant(...)], ...)`.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.wsd(1.0, steps=100, warmup_steps=10, decay_steps=20)
      >>> [round(float(schedule(c)), 3) for c in (0, 10, 80, 90, 100)]
      [0.1, 1.0, 1.0, 0.5, 0.0]

    Source:
      Hu et al., "MiniCPM: unveiling the potential of small language models with scalable training
      strategies", 2024, arXiv:2404.06395; Hägele et al., "Scaling laws and compute-optimal training
      beyond fixed training durations", 2024, arXiv:2405.18392 (1-sqrt).
    """

    peak_value: Any = data(checks.finite)
    steps: Any = data(steps_count)
    warmup_steps: Any = data(maybe_zero_count)
    decay_steps: Any = data(maybe_zero_count)
    end_value: Any = data(checks.finite, default=0.0)
    shape: str = static(checks.one_of("linear", "cosine", "1-sqrt"), default="linear")

    def check(self) -> None:
        require_order(
            self.record_name,
            {"warmup_steps": self.warmup_steps, "decay_steps": self.decay_steps},
            {"steps": self.steps},
            "steps counts both.",
        )

    def evaluate(self, count: jax.Array) -> jax.Array:
        rise = warm_up(count, None, self.peak_value, self.warmup_steps)
        steps, decay_steps = alike(self.steps, self.decay_steps)
        part = progress(count, steps - decay_steps, steps)
        if self.shape == "cosine":
            part = half_cosine(part)
        elif self.shape == "1-sqrt":
            root = numerics.safe_sqrt(part.gone)
            part = Part(root, part.left / (1 + root))  # = 1 - root, without cancellation
        fall = blend(self.peak_value, self.end_value, part)
        return jnp.where(before(count, self.warmup_steps), rise, fall)

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return minus(self.warmup_steps, 1), self.warmup_steps

    def horizon(self) -> float:
        return self.steps * 1.1
