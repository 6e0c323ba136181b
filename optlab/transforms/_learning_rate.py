"""The step: multiplies by minus the learning rate, and records the value it used.

Last in most chains. Takes plain updates (a direction of ascent), gives what `optax.apply_updates`
adds to the parameters.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from optlab.core import (
    LearningRate,
    Link,
    Transformation,
    checks,
    hyperparameter,
    numerics,
    require_arrays,
)


class ScaleByLearningRate(Link):
    """Attributes: learning_rate (η): >= 0, parameter units per unit of update."""

    learning_rate: Any = hyperparameter(checks.nonnegative)
    recorded: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def find_learning_rate(self, state: Any) -> LearningRate:
        held = (state.is_held("learning_rate"), state.values["learning_rate"])
        return LearningRate(self.learning_rate, state.count, applied=False, held=held)

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        return jax.tree.map(
            lambda u: -numerics.scalar(self.learning_rate, u.dtype) * u, updates
        ), state


def scale_by_learning_rate(learning_rate: Any) -> Transformation:
    """Multiplies updates by minus the learning rate: `u <- -η u`.

    Args:
      learning_rate: number >= 0, or a schedule of the number of updates done.

    Returns:
      A `Transformation` whose state always keeps a count and the learning rate used last, so that a
      constant can become a schedule, and `read(state)["learning_rate"]` works either way.

    Raises:
      ValueError: if it is negative or not finite. TypeError: if it is no number.

    Special cases:
      0 gives zero updates. Non-finite updates pass through (0 times inf is NaN).

    Cost:
      9 bytes of state in all.

    Differs from:
      `optax.scale_by_learning_rate` has no `flip_sign`: use `scale` for a positive factor; a
      constant rate is counted and recorded too.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.scale_by_learning_rate(0.5)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([-1.], dtype=float32)
    """
    return Transformation(ScaleByLearningRate(learning_rate=learning_rate))
