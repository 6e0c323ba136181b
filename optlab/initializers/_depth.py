"""Initialisation that knows the depth: residual branches add up, so each must start smaller.

Without a norm after the sum, L branches of unit variance give a sum of variance L + 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import jax

from optlab.core import checks, data, numerics
from optlab.initializers._base import Initializer
from optlab.initializers._constant import zeros
from optlab.initializers._named import he_normal


def _initializer(owner: str, name: str, value: Any) -> Initializer:
    if isinstance(value, Initializer):
        return value
    hint = " Did you forget to call it?" if callable(value) else ""
    raise TypeError(
        f"{owner}: {name} must be an initializer of optlab.initializers, got {value!r} of type "
        f"{type(value).__name__}.{hint}"
    )


class scaled(Initializer):
    """Another initializer times a factor: `w = factor * initializer(key, shape)`.

    Args:
      initializer: any of this package.
      factor: finite.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.scaled(ol.initializers.normal(0.02), 0.5).variance((3,)) == 0.01**2
      True
    """

    initializer: Initializer = data(_initializer)
    factor: Any = data(checks.finite)

    @property
    def random(self) -> bool:  # type: ignore[override]
        return self.initializer.random

    def check_dtype(self, dtype: Any) -> Any:
        self.initializer.check_dtype(dtype)
        return super().check_dtype(dtype)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        self.initializer.check_shape(shape)

    def sample(self, key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        kernel = self.initializer.sample(key, shape, dtype)
        return numerics.scalar(self.factor, dtype).astype(dtype) * kernel

    def variance(self, shape: Any) -> Any:
        return self.factor**2 * self.initializer.variance(shape)

    def mean(self, shape: Any) -> Any:
        return self.factor * self.initializer.mean(shape)


def depth_scaled(initializer: Initializer, layers: int, *, branches: int = 2) -> scaled:
    """GPT-2's rule for the last kernel of a residual branch: divide by `sqrt(branches * layers)`.

    The sum of all branches then has the variance that one would have had alone.

    Args:
      initializer: what the kernel would have started from; GPT-2: `normal(0.02)`.
      layers: >= 1, how many residual blocks the model has.
      branches: >= 1 in a block; 2 in a transformer (attention and MLP), whence 1/sqrt(2L).

    Raises:
      ValueError, TypeError: if a count is no whole number >= 1.

    Example:
      >>> import optlab as ol
      >>> init = ol.initializers
      >>> rules = {
      ...     "**/embedding": init.normal(0.02),
      ...     "**/attention/out/kernel": init.depth_scaled(init.normal(0.02), layers=12),
      ... }
      >>> round(rules["**/attention/out/kernel"].variance((8, 64, 512)) ** 0.5, 6)
      0.004082

    Source: A. Radford et al., Language models are unsupervised multitask learners, 2019, sect. 2.3.
    """
    layers = checks.positive_count("depth_scaled", "layers", layers)
    branches = checks.positive_count("depth_scaled", "branches", branches)
    return scaled(initializer, 1 / math.sqrt(branches * layers))


def fixup(
    *,
    branches: int,
    last: Hashable,
    inner: Hashable | None = None,
    head: Hashable | None = None,
    layers_per_branch: int = 2,
    initializer: Initializer | None = None,
) -> dict[Hashable, Initializer]:
    """Fixup's rules for `reinitialize`: deep residual networks that train without norms.

    The last kernel of every residual branch and the head start at 0; the other kernels inside
    branches are scaled by `branches ** (-1 / (2 * layers_per_branch - 2))`, so that one SGD step
    changes the network's output by Θ(learning rate), whatever the depth.

    Args:
      branches: >= 1, residual branches in the whole network (L).
      last: selector or glob of the last kernel of each branch.
      inner: selector or glob of the other kernels inside branches, those of `last` left out; None
        if branches have one layer.
      head: selector or glob of the classification layer's kernel and bias, or None.
      layers_per_branch: kernels in a branch (m): 2 in a basic block, 3 in a bottleneck.
      initializer: what `inner` would have started from; `he_normal()` if None.

    Returns:
      A dict of rules; add those of the kernels outside of branches.

    Raises:
      ValueError, TypeError: for counts that are no whole numbers >= 1; if `inner` is given for
        branches of one layer, or missing for longer ones.

    Special cases:
      The model itself needs the paper's third part: in every branch a scalar multiplier starting at
      1, and scalar biases starting at 0 before each layer and activation.

    Example:
      >>> import optlab as ol
      >>> rules = ol.initializers.fixup(
      ...     branches=16, inner="**/Conv_0/kernel", last="**/Conv_1/kernel", head="head/*"
      ... )
      >>> rules["**/Conv_0/kernel"].factor, rules["**/Conv_1/kernel"]
      (0.25, zeros())

    Source: H. Zhang, Y. Dauphin, T. Ma, Fixup initialization: residual learning without
      normalization, 2019, arXiv:1901.09321, section 3.
    """
    branches = checks.positive_count("fixup", "branches", branches)
    m = checks.positive_count("fixup", "layers_per_branch", layers_per_branch)
    if (inner is None) != (m == 1):
        raise ValueError(
            f"fixup: inner={inner!r} does not fit layers_per_branch={m}: a branch of one layer has "
            "only a last kernel, a longer one has inner kernels too. Give `inner` exactly if "
            "layers_per_branch > 1."
        )
    rules: dict[Hashable, Initializer] = {last: zeros}
    if inner is not None:
        rules[inner] = scaled(initializer or he_normal(), branches ** (-1 / (2 * m - 2)))
    if head is not None:
        rules[head] = zeros
    if len(rules) < 1 + (inner is not None) + (head is not None):
        raise ValueError(f"fixup: inner={inner!r}, last={last!r} and head={head!r} must differ.")
    return rules
