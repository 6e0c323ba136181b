"""What travels between links that gather statistics and links that use them.

`accumulate_*` turns each gradient leaf into a `Moments` node; `correct_bias`, maxima, look-aheads
and rectifications change nodes; `divide_by_*` turns each node back into one array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax


@partial(jax.tree_util.register_dataclass, data_fields=["value", "weight", "decay"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Estimate:
    """A running average and how much evidence it holds.

    Attributes:
      value: the average, shaped like the parameter.
      weight: scalar; the same average of ones. `value / weight` is the unbiased average. It is 1
        for what is not biased towards zero (a sum, a maximum, the gradient itself).
      decay: scalar; the decay used at this step, so that later links need not be told again.
    """

    value: Any
    weight: Any = 1.0
    decay: Any = 0.0


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["gradient", "first", "second"],
    meta_fields=["power"],
)
@dataclasses.dataclass(frozen=True)
class Moments:
    """Statistics of one parameter's gradient.

    Attributes:
      gradient: this step's gradient.
      first: Estimate of the gradient's mean.
      second: Estimate of `|gradient|**power`.
      power: 2 for mean squares, 1 where `second` already is a magnitude (AdaMax).
    """

    gradient: Any
    first: Estimate
    second: Estimate
    power: int = 2


def is_moments(node: Any) -> bool:
    return isinstance(node, Moments)


def moment_nodes(owner: str, updates: Any) -> list[Moments]:
    """The `Moments` nodes of a tree, in order.

    Raises:
      TypeError: if the updates are plain arrays: the accumulating link is missing.
    """
    nodes = jax.tree.leaves(updates, is_leaf=is_moments)
    if not all(map(is_moments, nodes)):
        raise TypeError(
            f"{owner} takes Moments, but got plain updates. Put accumulate_moments(...) before "
            f"{owner} in the chain, with nothing between them that turns Moments into arrays."
        )
    return nodes


def map_moments(owner: str, function: Callable[..., Any], updates: Any, *rest: Any) -> Any:
    """Applies a function to every `Moments` node (and the matching nodes of other trees)."""
    moment_nodes(owner, updates)
    return jax.tree.map(function, updates, *rest, is_leaf=is_moments)


def require_arrays(owner: str, updates: Any) -> None:
    """Raises `TypeError` if the updates still are `Moments`: a dividing link is missing."""
    if any(map(is_moments, jax.tree.leaves(updates, is_leaf=is_moments))):
        raise TypeError(
            f"{owner} takes plain updates, but got Moments. Put divide_by_rms(...) (or another "
            f"link that turns Moments into an update) before {owner} in the chain."
        )
