"""What a probe finds in the links and states that it is around: clips, second moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from optlab.core import Chain, Foreign, Link, Wrapper
from optlab.transforms import _second_moments as second_moments
from optlab.transforms._accumulate_gradients import AccumulateGradients
from optlab.transforms._adaptive_clip import AdaptiveClip
from optlab.transforms._clipping import ClipByGlobalNorm, ClipByNorm, ClipByValue
from optlab.transforms._loss_scale import DynamicLossScale
from optlab.transforms._trust_ratio import ClipByRms

PyTree = Any

UNRECORDED = (ClipByValue, ClipByNorm, AdaptiveClip, ClipByRms)
CHANGE_GRADIENTS = (AccumulateGradients, DynamicLossScale)
OPTAX_SECONDS = ("nu", "sum_of_squares", "e_g")


def own_state(link: Link, state: Any) -> Any:
    return state.inner if link.kept() else state


def clips_recorded(link: Link, state: Any) -> Iterator[jax.Array]:
    """For each `clip_by_global_norm` in a link: whether it clipped at its latest step."""
    own = own_state(link, state)
    if isinstance(link, ClipByGlobalNorm):
        limit = state.values["max_norm"] if "max_norm" in link.kept() else link.max_norm
        yield own.norm > jnp.asarray(limit).astype(own.norm.dtype)
    for inner, part, _ in link.substates(own).values():
        yield from clips_recorded(inner, part)


def first_clips(link: Link, state: Any) -> Iterator[tuple[Link, Any]]:
    """The clips without a record that see the gradient before any other kind of link does."""
    own = own_state(link, state)
    if isinstance(link, UNRECORDED):
        yield link, state
    elif isinstance(link, Chain):
        for inner, part, _ in link.substates(own).values():
            found = list(first_clips(inner, part))
            yield from found
            if not (found or isinstance(inner, ClipByGlobalNorm)):
                return
    elif isinstance(link, Wrapper) and not isinstance(link, CHANGE_GRADIENTS):
        for inner, part, _ in link.substates(own).values():
            yield from first_clips(inner, part)


def has_clips(link: Link, state: Any) -> bool:
    return any(True for _ in clips_recorded(link, state)) or any(
        True for _ in first_clips(link, state)
    )


def second_moments_of(link: Link, state: Any, params: PyTree) -> dict[int, jax.Array]:
    """Second moments by the number of their parameter among all of them; the first that is found.

    optlab's by what links say of their state, Optax's by the names that its states have.
    """
    numbers = {id(leaf): i for i, leaf in enumerate(jax.tree.leaves(params))}
    found: dict[int, jax.Array] = {}

    def take(tree: PyTree, part: PyTree) -> None:
        leaves = jax.tree.leaves(tree, is_leaf=second_moments.is_factored_node)
        owners = jax.tree.leaves(part)
        if len(leaves) != len(owners):
            return
        for leaf, owner in zip(leaves, owners, strict=True):
            moment = second_moments.dense(leaf)
            if id(owner) in numbers and moment.shape == owner.shape:
                found.setdefault(numbers[id(owner)], moment)

    def walk(link: Link, state: Any, part: PyTree) -> None:
        own = own_state(link, state)
        for name, meaning in link.meanings().items():
            if name == "second" or meaning == "mean square":
                take(getattr(own, name), part)
        if isinstance(link, Foreign):
            for node in jax.tree.leaves(own, is_leaf=_has_second):
                for name in OPTAX_SECONDS if _has_second(node) else ():
                    take(getattr(node, name, None), part)
        for inner, substate, subparams in link.substates(own, part).values():
            walk(inner, substate, part if subparams is None else subparams)

    walk(link, state, params)
    return found


def _has_second(node: Any) -> bool:
    return any(name in getattr(node, "_fields", ()) for name in OPTAX_SECONDS)
