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
@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no truth value to compare by
class Estimate:
    """A running average and how much evidence it holds.

    Attributes:
      value: the average, shaped like the parameter.
      weight: scalar; the same average of ones. `value / weight` is the unbiased average. It is 1
        for what is not biased towards zero (a sum, a maximum, the gradient itself).
      decay: scalar; the decay used at this step, so that later links need not be told again.

    Example:
      >>> from optlab import core
      >>> mean = core.Estimate(value=0.5, weight=0.25, decay=0.75)
      >>> mean.value / mean.weight
      2.0
    """

    value: Any
    weight: Any = 1.0
    decay: Any = 0.0


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["gradient", "first", "second"],
    meta_fields=["power"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of one parameter's gradient.

    Attributes:
      gradient: this step's gradient.
      first: Estimate of the gradient's mean.
      second: Estimate of `|gradient|**power`.
      power: 2 for mean squares, 1 where `second` already is a magnitude (AdaMax).

    Example:
      >>> import jax
      >>> from optlab import core
      >>> node = core.Moments(-3.0, first=core.Estimate(-3.0), second=core.Estimate(9.0))
      >>> jax.tree.map(abs, node).gradient
      3.0
    """

    gradient: Any
    first: Estimate
    second: Estimate
    power: int = 2


def is_moments(node: Any) -> bool:
    """True for a `Moments` node; the `is_leaf` of trees that hold them.

    Example:
      >>> from optlab import core
      >>> core.is_moments(0.0)
      False
    """
    return isinstance(node, Moments)


def moment_nodes(owner: str, updates: Any) -> list[Moments]:
    """The `Moments` nodes of a tree, in order.

    Args:
      owner: the link that asks, named in the error.
      updates: the tree that reached it.

    Raises:
      TypeError: if the updates are plain arrays: the accumulating link is missing.

    Example:
      >>> from optlab import core
      >>> node = core.Moments(1.0, core.Estimate(1.0), core.Estimate(1.0))
      >>> core.moment_nodes("my_link", {"w": node}) == [node]
      True
    """
    nodes = jax.tree.leaves(updates, is_leaf=is_moments)
    if not all(map(is_moments, nodes)):
        raise TypeError(
            f"{owner} takes Moments, but got plain updates. Put accumulate_moments(...) before "
            f"{owner} in the chain, with nothing between them that turns Moments into arrays."
        )
    return nodes


def map_moments(owner: str, function: Callable[..., Any], updates: Any, *rest: Any) -> Any:
    """Applies a function to every `Moments` node (and the matching nodes of other trees).

    Args:
      owner: the link that asks, named in the error.
      function: `(node, *others) -> result`, for each leaf of the parameters.
      updates: a tree of `Moments`.
      *rest: trees of the same structure.

    Raises:
      TypeError: if the updates are plain arrays: the accumulating link is missing.

    Example:
      >>> from optlab import core
      >>> node = core.Moments(1.0, core.Estimate(0.5, weight=0.25), core.Estimate(1.0))
      >>> core.map_moments("my_link", lambda m: m.first.value / m.first.weight, {"w": node})
      {'w': 2.0}
    """
    moment_nodes(owner, updates)
    return jax.tree.map(function, updates, *rest, is_leaf=is_moments)


def require_arrays(owner: str, updates: Any) -> None:
    """Raises `TypeError` if the updates still are `Moments`: a dividing link is missing.

    Example:
      >>> from optlab import core
      >>> core.require_arrays("my_link", {"w": core.Moments(1.0, None, None)})
      Traceback (most recent call last):
      TypeError: my_link takes plain updates, but got Moments. ...
    """
    if any(map(is_moments, jax.tree.leaves(updates, is_leaf=is_moments))):
        raise TypeError(
            f"{owner} takes plain updates, but got Moments. Put divide_by_rms(...) (or another "
            f"link that turns Moments into an update) before {owner} in the chain."
        )
