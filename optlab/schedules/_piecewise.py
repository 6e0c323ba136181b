"""Constant pieces of any lengths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks, data, show
from optlab.schedules._arithmetic import before, f32
from optlab.schedules._base import Schedule
from optlab.schedules._fields import each, maybe_zero_count, require_increasing


class piecewise(Schedule):
    """Multiplied by a factor at each of the given counts, and constant between them.

    Args:
      init_value: before the first change; any finite number.
      factors: `{count: factor}`, in any order: from that count on the value is multiplied by that
        finite number, and by those before it. Or the factors alone, as a tuple.
      boundaries: the counts, increasing, where `factors` is a tuple: the form for traced counts,
        and the one that is stored.

    Raises:
      ValueError: for counts below 0 or not increasing, as many counts as factors not given, or
        values that are not finite. TypeError: for no number.

    Special cases:
      A factor 0 switches off for good. No factor at all makes it constant.

    Differs from:
      `optax.piecewise_constant_schedule` needs factors >= 0. PyTorch's `MultiStepLR` has one factor
      for all of its milestones.

    Example:
      >>> import optlab as ol
      >>> schedule = ol.schedules.piecewise(1.0, {100: 0.5, 200: 0.1})
      >>> float(schedule(99)), float(schedule(100)), ol.hyperparameters(schedule)["boundaries/1"]
      (1.0, 0.5, 200)
    """

    init_value: Any = data(checks.finite)
    factors: Any = data(each(checks.finite))
    boundaries: Any = data(each(maybe_zero_count))

    def __init__(self, init_value: Any, factors: Any, boundaries: Any = None):
        if isinstance(factors, Mapping):
            if boundaries is not None:
                raise TypeError(
                    f"{self.record_name}: boundaries are the keys of factors already, got "
                    f"boundaries={boundaries!r} too. Give the factors as a tuple, or leave it out."
                )
            keys = list(factors)
            if checks.is_concrete(*keys):
                keys.sort()
            factors, boundaries = tuple(factors[k] for k in keys), tuple(keys)
        elif boundaries is None:
            raise TypeError(
                f"{self.record_name}: factors must be {{count: factor}}, got {factors!r} of type "
                f"{type(factors).__name__} without boundaries."
            )
        for name, value in {
            "init_value": init_value,
            "factors": factors,
            "boundaries": boundaries,
        }.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def check(self) -> None:
        if len(self.factors) != len(self.boundaries):
            raise ValueError(
                f"{self.record_name}: each boundary needs one factor, got {len(self.factors)} "
                f"factors and {len(self.boundaries)} boundaries."
            )
        require_increasing(self.record_name, "boundaries", self.boundaries)

    def evaluate(self, count: jax.Array) -> jax.Array:
        value = f32(self.init_value)
        for boundary, factor in zip(self.boundaries, self.factors, strict=True):
            value = value * jnp.where(before(count, boundary), 1, f32(factor))
        return jnp.broadcast_to(value, jnp.shape(count))

    def turns(self, first: jax.Array, last: jax.Array) -> Iterable[Any]:
        return self.boundaries

    def horizon(self) -> float:
        return max(1.25 * max(self.boundaries, default=0), 100)

    def __repr__(self) -> str:
        pairs = zip(self.boundaries, self.factors, strict=True)
        factors = ", ".join(f"{show(boundary)}: {show(factor)}" for boundary, factor in pairs)
        return f"{self.record_name}(init_value={show(self.init_value)}, factors={{{factors}}})"
