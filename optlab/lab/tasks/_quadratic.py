"""A quadratic form whose curvatures differ by a factor, turned so that no coordinate is special."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.lab._task import Task
from optlab.optimizers import sgd


def quadratic(*, condition: float = 1000.0, dimension: int = 50, steps: int = 300) -> Task:
    """`f(x) = Σ λ_i (q_i · x)² / 2`, λ from 1 down to 1/condition in equal ratios.

    The directions q_i are a random rotation, the same for every seed; the start is normal, of
    variance 1 in every direction. There is no noise.

    Args:
      condition: κ >= 1, largest by smallest curvature.
      dimension: of x, at least 2.
      steps: budget.

    Returns:
      A task; metric "loss", f itself.

    Target:
      1e-5, for the defaults. Derived: gradient descent multiplies what is left in direction i by
      1 - η λ_i a step; its best constant η leaves 1e-3 after 300 steps in expectation. Heavy ball
      of rate 1 and momentum (1 - 1/√κ)², the baseline, contracts by 1 - 1/√κ = 0.968 a step.

    Example:
      >>> import jax, optlab as ol
      >>> task = ol.lab.tasks.quadratic(dimension=4)
      >>> task.init(jax.random.key(0)).shape
      (4,)

    Source:
      B. T. Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    checks.Interval(1.0, np.inf, "[)")("quadratic", "condition", condition)
    checks.Interval(2, np.inf, "[)", integer=True)("quadratic", "dimension", dimension)
    curvatures = np.geomspace(1.0, 1.0 / condition, dimension)
    random = np.random.default_rng(0).normal(size=(dimension, dimension))
    directions, _ = np.linalg.qr(random)
    root = jnp.asarray(np.sqrt(curvatures)[:, None] * directions.T, jnp.float32)

    def value(x):
        return jnp.square(root @ x).sum() / 2

    return Task(
        name="quadratic",
        init=lambda key: jax.random.normal(key, (dimension,), jnp.float32),
        loss=lambda x, batch, key: value(x),
        batch=lambda key, step: (),
        evaluate=lambda x: {"loss": value(x)},
        metric="loss",
        target=1e-5,
        steps=steps,
        baseline=sgd(1.0, (1 - np.sqrt(1.0 / condition)) ** 2),
    )
