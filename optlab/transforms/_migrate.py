"""A state edited into that of another transformation, with a report of what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import Link, as_link, numerics, trees
from optlab.transforms import _state_entries as state_entries
from optlab.transforms._state_entries import Entry, Parameters, Part

PyTree = Any


class Migration(NamedTuple):
    """What became of each leaf of a state; prints as a summary.

    Attributes:
      kept: old path by new path.
      computed: new paths of scalars worked out from the number of updates done.
      fresh: new paths that start anew.
      dropped: old paths that nothing took over.
      count: the number of updates the old state had done, or None where it does not say.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> params = jnp.ones(1)
      >>> old, new = ol.scale(-0.1), ol.scale_by_learning_rate(0.1)
      >>> _, report = ol.migrate(old.init(params), old, new, params)
      >>> report.fresh, report.count
      (('count',), None)
    """

    kept: dict[str, str]
    computed: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]
    count: int | None

    def __str__(self) -> str:
        done = "unknown" if self.count is None else self.count
        lines = [f"migrated a state after {done} updates"]
        lines += [f"  kept      {new} <- {old}" for new, old in self.kept.items()]
        for word in ("computed", "fresh", "dropped"):
            lines += [f"  {word:<9} {path}" for path in getattr(self, word)]
        return "\n".join(lines)


def migrate(
    old_state: PyTree, old_tx: Any, new_tx: Any, params: PyTree
) -> tuple[PyTree, Migration]:
    """The state another transformation goes on with: moments and counts are carried over.

    A leaf of the new state takes over what the same kind of link held for the same parameter, else
    what holds the same quantity by another name (`mu` of Optax is `first` here). The count that a
    schedule needs, and the weights that correct a bias, follow from the number of updates done.

    Args:
      old_state: state of `old_tx`; also one restored without its classes, as nested dicts and lists
        (Orbax, msgpack, JSON).
      old_tx: optlab's or Optax's transformation that it is a state of.
      new_tx: the transformation to go on with.
      params: the parameters (or their shapes) that both are for.

    Returns:
      `(state, migration)`: a state of `new_tx`, and a `Migration` that tells what was kept,
      computed, is fresh and was dropped, by path.

    Raises:
      ValueError: if the old state is not one of `old_tx` for these parameters, with the first path
        and both shapes.
      TypeError: for anything but transformations.

    Special cases:
      Several links of a kind take over from one another in order. What a masked or new parameter
      needs starts fresh. Where the old state counts nothing, averages are taken to be old enough to
      need no correction. If all that is gathered starts fresh, so do the weights and counts that go
      with it; the learning rate's schedule goes on all the same.

    Cost:
      Runs once, eagerly; kept arrays are not copied.

    Differs from:
      Optax has nothing of the kind: a restored state fits the transformation it was made by only.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> params = {"w": jnp.ones(2)}
      >>> old = optax.adam(1e-3)
      >>> _, state = old.update(params, old.init(params), params)
      >>> state, report = ol.migrate(state, old, ol.adam(ol.schedules.cosine(1e-3, 100)), params)
      >>> print(report)
      migrated a state after 1 updates
        kept      accumulate_moments/first/w <- 0/mu/w
        kept      accumulate_moments/second/w <- 0/nu/w
        computed  accumulate_moments/first_weight
        computed  accumulate_moments/second_weight
        computed  scale_by_learning_rate/count
      >>> state[0].first_weight
      Array(0.1, dtype=float32)
    """
    old_link, new_link = as_link(old_tx), as_link(new_tx)
    shapes = numerics.promote(trees.unbox(params))
    old_state = _adopted(old_state, jax.eval_shape(old_link.start, shapes))
    source = _Source(_entries(old_link, old_state, shapes))
    fresh = new_link.start(shapes)
    source.assign(_entries(new_link, fresh, shapes))
    parameters = state_entries.parameter_shapes(shapes)
    state = state_entries.edited(
        new_link, fresh, shapes, lambda part: _filled(part, source, parameters)
    )
    return state, source.report()


def _entries(link: Link, state: PyTree, params: PyTree) -> list[Entry]:
    parameters = state_entries.parameter_shapes(params)
    return [
        entry
        for part in state_entries.parts(link, state, params)
        for entry in state_entries.entries(part, parameters)
    ]


def _adopted(given: PyTree, template: PyTree) -> PyTree:
    """The state in the classes of the template, matched by path if it has lost them."""
    if jax.tree.structure(given) == jax.tree.structure(template):
        trees.check_same("this optimizer's state", template, "the given state", given)
        return given
    known = {trees.path_text(p): x for p, x in jax.tree_util.tree_leaves_with_path(given)}
    leaves = []
    for path, wanted in jax.tree_util.tree_leaves_with_path(template):
        place = trees.path_text(path)
        found = known.pop(place, None)
        if np.shape(found) != wanted.shape or found is None:
            has = "nothing" if found is None else f"shape {np.shape(found)}"
            raise ValueError(
                f"migrate: the state does not belong to old_tx and these parameters: at {place!r} "
                f"it has {has}, they need shape {wanted.shape}. Pass the transformation and the "
                "parameters that it was made with."
            )
        leaves.append(found)
    if known:
        raise ValueError(
            f"migrate: the state has {min(known)!r}, which old_tx does not keep for these "
            "parameters. Pass the transformation and the parameters that it was made with."
        )
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


class _Source:
    """The old state's leaves, what each leaf of the new one takes over, and what became of all."""

    def __init__(self, entries: list[Entry]):
        self.entries = entries
        counts = [int(entry.leaf) for entry in self.entries if entry.is_count]
        self.count = max(counts, default=None)
        self.held = any(bool(entry.leaf) for entry in self.entries if entry.is_hold)
        self.taken: dict[str, Entry] = {}
        self.kept: dict[str, str] = {}
        self.computed: list[str] = []
        self.fresh: list[str] = []

    def assign(self, wanted: list[Entry]) -> None:
        """Decides which old leaf each new one takes: of the same link first, else by meaning."""
        for key_of in (_same_link, _same_meaning):
            used = {id(entry) for entry in self.taken.values()}
            offered = defaultdict(list)
            for entry in self.entries:
                if id(entry) not in used and key_of(entry) is not None:
                    offered[key_of(entry)].append(entry)
            rank = Counter()
            for entry in wanted:
                key = key_of(entry)
                if key is None or entry.text in self.taken or not offered[key]:
                    continue
                place, last = rank[key], len(offered[key]) - 1
                if place > last and entry.parameter is not None:
                    continue
                old = offered[key][min(place, last)]  # groups of one optimizer share its scalars
                rank[key] += 1
                if np.shape(old.leaf) == np.shape(entry.leaf):
                    self.taken[entry.text] = old
        self.gathered = any(entry.parameter is not None for entry in self.taken.values())

    def report(self) -> Migration:
        used = set(self.kept.values())
        unused = (e for e in self.entries if e.text not in used)
        return Migration(
            kept=self.kept,
            computed=tuple(self.computed),
            fresh=tuple(self.fresh),
            dropped=tuple(e.text for e in unused if not (e.is_count or e.is_schedule)),
            count=self.count,
        )


def _same_link(entry: Entry) -> Any:
    return entry.same_link


def _same_meaning(entry: Entry) -> Any:
    return entry.same_meaning


def _filled(part: Part, source: _Source, parameters: Parameters) -> Any:
    fresh = state_entries.entries(part, parameters)
    of_parameters = [entry for entry in fresh if entry.parameter is not None]
    # Scalars belong to what is gathered: where that starts anew, so do they.
    taken = source.gathered
    if of_parameters:
        taken = any(entry.text in source.taken for entry in of_parameters)
    resumed = _resumed(part, source.count, taken)
    leaves = []
    for entry, leaf in zip(fresh, jax.tree.leaves(resumed), strict=True):
        old = source.taken.get(entry.text)
        goes_on = taken or entry.is_schedule
        told = entry.is_count or not entry.is_schedule  # values and holds go with their count
        if old is not None and goes_on and (told or source.held):
            leaf = jnp.asarray(old.leaf, leaf.dtype)
            if told:
                source.kept[entry.text] = old.text
        elif entry.is_count and source.count is not None and goes_on:
            leaf = jnp.asarray(source.count, leaf.dtype)
            source.computed.append(entry.text)
        elif told:
            (source.fresh if leaf is entry.leaf else source.computed).append(entry.text)
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(part.state), leaves)


def _resumed(part: Part, updates_done: int | None, taken: bool) -> Any:
    inner = part.state.inner if part.is_scheduled else part.state
    if taken:
        many = jnp.iinfo(jnp.int32).max
        count = many if updates_done is None else updates_done
        inner = part.link.resumed(inner, jnp.asarray(count, jnp.int32))
    if not part.is_scheduled:
        return inner
    if updates_done is None:
        return part.state._replace(inner=inner)
    return part.link.scheduled(inner, jnp.asarray(updates_done, jnp.int32))
