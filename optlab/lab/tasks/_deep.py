"""Deep narrow networks that start badly on purpose: the signal explodes, or fades away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import checks
from optlab.initializers import lecun_normal, variance_scaling
from optlab.lab._task import Task
from optlab.lab.tasks import _layers
from optlab.lab.tasks._digits_task import digits_task
from optlab.optimizers import adam


def deep_tanh(
    *,
    depth: int = 12,
    width: int = 32,
    kernel_init: Callable[..., Any] | None = None,
    batch_size: int = 64,
    steps: int = 300,
) -> Task:
    """Digits by a deep tanh network in which gradients explode.

    Args:
      depth: hidden layers.
      width: of each.
      kernel_init: of hidden kernels; None draws them from Normal(0, 2² / fan_in): above a
        deviation of 1 small differences grow from layer to layer, and gradients with them.
      batch_size: 1 to 1438, the training images.
      steps: budget.

    Returns:
      A task; metric "accuracy", as `digits_mlp`.

    Target:
      0.9. A linear model reaches 0.96 on these data, so that below it the layers do harm. Measured
      at the start: from the last hidden layer to the first the gradient grows by 4.5. With a
      deviation of 3 in place of 2 it grows by 40, and Adam stays below 0.75.

    Example:
      >>> import optlab as ol
      >>> shallow = ol.lab.tasks.deep_tanh(depth=4)
      >>> healthy = ol.lab.tasks.deep_tanh(kernel_init=ol.initializers.orthogonal())

    Source:
      B. Poole et al., Exponential expressivity in deep neural networks through transient chaos,
      2016, arXiv:1606.05340.
    """
    kernel_init = variance_scaling(4.0, "fan_in", "normal") if kernel_init is None else kernel_init
    return _deep("deep_tanh", jnp.tanh, depth, width, kernel_init, batch_size, steps, adam(3e-3))


def deep_relu(
    *,
    depth: int = 12,
    width: int = 32,
    kernel_init: Callable[..., Any] | None = None,
    batch_size: int = 64,
    steps: int = 300,
) -> Task:
    """Digits by a deep ReLU network in which signals and gradients fade.

    Args:
      depth: hidden layers.
      width: of each.
      kernel_init: of hidden kernels; None is LeCun's, Flax's default: half of the variance is lost
        at every layer.
      batch_size: 1 to 1438, the training images.
      steps: budget.

    Returns:
      A task; metric "accuracy", as `digits_mlp`.

    Target:
      0.9, as `deep_tanh`. Measured at the start: gradients are 0.01 of what He's start gives them;
      gradient descent with momentum stays below 0.6.

    Example:
      >>> import optlab as ol
      >>> healthy = ol.lab.tasks.deep_relu(kernel_init=ol.initializers.he_normal())

    Source:
      K. He et al., Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet
      Classification, 2015, arXiv:1502.01852, section 2.2.
    """
    kernel_init = lecun_normal() if kernel_init is None else kernel_init
    return _deep("deep_relu", jax.nn.relu, depth, width, kernel_init, batch_size, steps, adam(3e-3))


def _deep(
    name: str,
    activation: Callable[[jax.Array], jax.Array],
    depth: int,
    width: int,
    kernel_init: Callable[..., Any],
    batch_size: int,
    steps: int,
    baseline: Any,
) -> Task:
    checks.positive_count(name, "depth", depth)
    checks.positive_count(name, "width", width)
    widths = (64, *[width] * depth, 10)

    return digits_task(
        name,
        lambda key: _layers.network(key, widths, kernel_init),
        lambda params, images: _layers.apply_network(params, images, activation),
        batch_size=batch_size,
        target=0.9,
        steps=steps,
        baseline=baseline,
    )
