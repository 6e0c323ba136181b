"""Rosenbrock's valley: curved, its floor a hundred times flatter than its walls."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from optlab.lab._task import Task
from optlab.optimizers import sgd


def rosenbrock(*, steps: int = 1000) -> Task:
    """`f(x, y) = (1 - x)² + 100 (y - x²)²`, from (-1.2, 1) with noise of deviation 0.1.

    Args:
      steps: budget.

    Returns:
      A task; metric "loss", f itself.

    Target:
      1e-2: about (0.9, 0.81), well round the bend; at (0, 0), half way, f is 1. Derived from f,
      whose minimum is 0 at (1, 1).

    Example:
      >>> import optlab as ol
      >>> ol.lab.tasks.rosenbrock().target
      0.01

    Source:
      H. H. Rosenbrock, An automatic method for finding the greatest or least value of a function,
      1960.
    """

    def value(point):
        x, y = point[0], point[1]
        return jnp.square(1 - x) + 100 * jnp.square(y - jnp.square(x))

    def init(key):
        start = jnp.array([-1.2, 1.0], jnp.float32)
        return start + 0.1 * jax.random.normal(key, (2,), jnp.float32)

    return Task(
        name="rosenbrock",
        init=init,
        loss=lambda point, batch, key: value(point),
        batch=lambda key, step: (),
        evaluate=lambda point: {"loss": value(point)},
        metric="loss",
        target=1e-2,
        steps=steps,
        baseline=sgd(1e-3, momentum=0.9),
    )
