"""A quadratic whose minimum is somewhere else in every example: the rate trades bias for noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.lab._task import Task
from optlab.optimizers import sgd
from optlab.schedules import linear


def noisy_quadratic(*, dimension: int = 100, batch_size: int = 1, steps: int = 300) -> Task:
    """`Σ h_i (x_i - c_i)² / 2` with curvatures h_i = 1 / i and noise c_i ~ Normal(0, 1 / h_i).

    The covariance of the gradient is the Hessian, as it is for maximum likelihood near the
    optimum. The start is normal, of variance 1.

    Args:
      dimension: of x.
      batch_size: noise is averaged over that many examples.
      steps: budget.

    Returns:
      A task; metric "loss", the expected loss without its constant, `Σ h_i x_i² / 2`.

    Target:
      0.25, for the defaults. Derived: under gradient descent of rate η, `E[x_i²]` goes to
      `(1 - η h_i)² E[x_i²] + η² h_i / batch_size`, so that the best constant η, 0.15, leaves 0.32
      of 2.59, and the baseline, which falls from 0.5 to 0 along a line, 0.20.

    Example:
      >>> import optlab as ol
      >>> task = ol.lab.tasks.noisy_quadratic(batch_size=8)
      >>> task.metric
      'loss'

    Source:
      G. Zhang et al., Which Algorithmic Choices Matter at Which Batch Sizes? Insights From a Noisy
      Quadratic Model, 2019, arXiv:1907.04164.
    """
    checks.positive_count("noisy_quadratic", "dimension", dimension)
    checks.positive_count("noisy_quadratic", "batch_size", batch_size)
    curvatures = jnp.asarray(1 / np.arange(1, dimension + 1), jnp.float32)
    spread = jnp.sqrt(1 / (curvatures * batch_size))

    def value(x):
        return (curvatures * jnp.square(x)).sum() / 2

    return Task(
        name="noisy_quadratic",
        init=lambda key: jax.random.normal(key, (dimension,), jnp.float32),
        loss=lambda x, noise, key: value(x - spread * noise),
        batch=lambda key, step: jax.random.normal(key, (dimension,), jnp.float32),
        evaluate=lambda x: {"loss": value(x)},
        metric="loss",
        target=0.25,
        steps=steps,
        baseline=sgd(linear(0.5, 0.0, steps)),
    )
