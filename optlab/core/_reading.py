"""Reading a state: what the links recorded, whatever the nesting."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jax

from optlab.core._link import ScheduledState
from optlab.core._trees import path_text


def read(state: Any) -> dict[str, jax.Array]:
    """What the links of a chain recorded at the latest update.

    Args:
      state: the state of any transformation, however nested; also one inside a train state.

    Returns:
      Values by name: `"learning_rate"`, `"norm"` (a clip's, before clipping), the current value of
      every scheduled hyperparameter. A name recorded more than once is headed by its place in the
      state: `"0/norm"`, `"3/norm"`. Works inside `jit`.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.read(ol.scale_by_learning_rate(0.5).init(jnp.zeros(2)))
      {'learning_rate': Array(0.5, dtype=float32)}
    """
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    _collect(state, "", found)
    return {
        name if len(places) == 1 else f"{place}/{name}" if place else name: value
        for name, places in found.items()
        for place, value in places
    }


def is_recording(node: Any) -> bool:
    """True for a state that keeps values for `read`; a wrapper's holds another one as `inner`."""
    return callable(getattr(node, "recorded", None))


def place_inside(node: Any, place: str) -> str:
    """The place of what a recording state holds: a link's own state is where its values are."""
    own = isinstance(node, ScheduledState)
    return place if own else "/".join(filter(None, (place, "inner")))


def _collect(tree: Any, prefix: str, found: dict[str, list[tuple[str, Any]]]) -> None:
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_recording):
        if not is_recording(node):
            continue
        place = "/".join(filter(None, (prefix, path_text(path))))
        for name, value in node.recorded().items():
            found[name].append((place, value))
        inner = getattr(node, "inner", None)
        if inner is not None:
            _collect(inner, place_inside(node, place), found)
