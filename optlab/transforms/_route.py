"""Groups of parameters, each with a transformation of its own.

Anywhere in a chain, or a whole optimizer. Takes plain updates or `Moments`, gives what the groups
give. A group's transformation sees its own parameters only, all others are `optax.MaskedNode`s: it
keeps no state for them, and its norms and averages do not count them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import optax

from optlab.core import LearningRate, Link, Transformation, as_link, data, is_moments, static, trees
from optlab.selectors import Selector, as_selector, everything, is_selector

PyTree = Any


class RouteState(NamedTuple):
    """groups: state of each group's transformation by the group's name."""

    groups: dict[str, Any]


class Route(Link):
    """Attributes: links and selectors of the groups, in order; default: the link of the rest."""

    links: tuple[Link, ...] = data()
    selectors: tuple[Selector, ...] = static()
    default: Link | None = data(default=None)

    def check(self) -> None:
        if len(self.links) != len(self.selectors):
            raise ValueError(
                f"route: {len(self.links)} links for {len(self.selectors)} selectors; "
                "each group needs one of each."
            )
        for selector in self.selectors:
            is_selector(self.record_name, "selectors", selector)

    def children(self) -> dict[str, Any]:
        """The links by the names of their groups: the selector's expression, with `.` for `/`."""
        links = [*self.links] if self.default is None else [*self.links, self.default]
        named: dict[str, Any] = {}
        for label, link in zip([*map(_label, self.selectors), "default"], links, strict=False):
            name, again = label, 1
            while name in named:
                name, again = f"{label}[{again}]", again + 1
            named[name] = link
        return named

    def with_child(self, name: str, value: Any) -> Route:
        links = [*(self.children() | {name: as_link(value)}).values()]
        default = None if self.default is None else links.pop()
        return Route(links=tuple(links), default=default, selectors=self.selectors)

    def owners(self, params: PyTree) -> PyTree:
        """The number of the group each parameter belongs to.

        Raises:
          ValueError: for a selector that selects nothing, a parameter in two groups or in none.
        """
        masks = [selector.mask(params) for selector in self.selectors]
        rest = everything.mask(params)
        groups = [
            [i for i, chosen in enumerate(answers) if chosen] or [len(self.links)]
            for _, *answers in zip(*map(jax.tree.leaves, [rest, *masks]), strict=True)
        ]
        if any(len(g) > 1 for g in groups):
            place = next(i for i, g in enumerate(groups) if len(g) > 1)
            first, second = (self.selectors[i] for i in groups[place][:2])
            raise ValueError(
                f"route: {everything.paths(params)[place]!r} belongs to {first!r} and to "
                f"{second!r}; a parameter must have exactly one group. Take it out of one of them "
                "with `& ~`."
            )
        if self.default is None and [len(self.links)] in groups:
            paths = zip(everything.paths(params), groups, strict=True)
            lost = [path for path, g in paths if g == [len(self.links)]]
            shown = ", ".join(map(repr, lost[:6]))
            more = f" and {len(lost) - 6} more" if len(lost) > 6 else ""
            raise ValueError(
                f"route: no group has {shown}{more}. Add a selector for them, or default= with the "
                "transformation of whatever is left (freeze() to leave it as it is)."
            )
        return jax.tree.unflatten(jax.tree.structure(rest), [g[0] for g in groups])

    def parts(self, params: PyTree) -> list[tuple[str, Link, PyTree]]:
        """Name, link and masked parameters of each group."""
        owners = self.owners(params)
        named = enumerate(self.children().items())
        return [(name, link, _only(i, owners, params)) for i, (name, link) in named]

    def init(self, params: PyTree) -> RouteState:
        return RouteState({name: link.start(part) for name, link, part in self.parts(params)})

    def update(
        self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, RouteState]:
        states = self._states(state)
        extra = self._without_own_rate(extra, state)
        owners = self.owners(updates if params is None else params)
        results, new_states = [], {}
        for i, (name, link) in enumerate(self.children().items()):
            result, new_states[name] = link.step(
                _only(i, owners, updates),
                states[name],
                None if params is None else _only(i, owners, params),
                **{key: _shared_or_only(i, owners, value) for key, value in extra.items()},
            )
            results.append(result)
        merged = jax.tree.map(lambda i, *candidates: candidates[i], owners, *results)
        return merged, RouteState(new_states)

    def substates(self, state: Any, params: PyTree = None) -> dict[str, tuple[Link, Any, PyTree]]:
        states = self._states(state)
        if params is None:
            return {name: (link, states[name], None) for name, link in self.children().items()}
        return {name: (link, states[name], part) for name, link, part in self.parts(params)}

    def with_substates(self, state: Any, parts: dict[str, Any], params: Any = None) -> RouteState:
        return RouteState(parts)

    def find_learning_rate(self, state: Any) -> LearningRate | None:
        """That of the only group; of several groups, one that says so when it is asked for."""
        children, states = self.children(), self._states(state)
        found = [link.find_learning_rate(states[name]) for name, link in children.items()]
        rates = [rate for rate in found if rate is not None]
        if not rates or len(children) == 1:
            return rates[0] if rates else None
        return rates[0]._replace(hyperparameter=_SeveralRates(tuple(children)))

    def _states(self, state: Any) -> dict[str, Any]:
        children = self.children()
        if not isinstance(state, RouteState) or set(state.groups) != set(children):
            found = ", ".join(getattr(state, "groups", None) or [type(state).__name__])
            raise ValueError(
                f"route: the state does not belong to the groups {', '.join(children)}; it has "
                f"{found}. Make a new state with init, or migrate the old one."
            )
        return state.groups

    def _without_own_rate(self, extra: dict[str, Any], state: Any) -> dict[str, Any]:
        """A chain tells its first learning rate; when not applied yet, that may be ours."""
        rate = extra.get("chain_lr")
        if rate is None or rate.applied or self.find_learning_rate(state) is None:
            return extra
        return {key: value for key, value in extra.items() if key != "chain_lr"}

    def __repr__(self) -> str:
        parts = [f"{s!r}: {link!r}" for s, link in zip(self.selectors, self.links, strict=True)]
        rest = "" if self.default is None else f", default={self.default!r}"
        line = f"route({{{', '.join(parts)}}}{rest})"
        if len(line) <= 88:
            return line
        body = ",\n".join(parts).replace("\n", "\n    ")
        return f"route({{\n    {body},\n}}{rest})"


class _SeveralRates:
    """Stands for the learning rate after a route whose groups have their own."""

    def __init__(self, groups: tuple[str, ...]):
        self.groups = groups

    def __call__(self, count: Any) -> Any:
        raise ValueError(
            f"the groups of route ({', '.join(self.groups)}) have learning rates of their own, so "
            "what stands beside route in the chain cannot use one. Put it into the groups, or one "
            "scale_by_learning_rate behind route."
        )

    def peak(self) -> Any:
        return self(None)


def _label(selector: Any) -> str:
    return repr(selector).replace('"', "").replace("/", ".")


def _only(group: int, owners: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda i, x: x if i == group else optax.MaskedNode(), owners, tree)


def _shared_or_only(group: int, owners: PyTree, value: Any) -> Any:
    """Extra arguments in the shape of the parameters are masked like them; others are shared."""
    structure = jax.tree.structure(owners)
    if jax.tree_util.treedef_is_leaf(structure) or structure.num_leaves == 0:
        return value
    unboxed = trees.unbox(value)
    if jax.tree.structure(unboxed, is_leaf=is_moments) != structure:
        return value
    return _only(group, owners, unboxed)


def route(
    groups: Mapping[Any, optax.GradientTransformation],
    default: optax.GradientTransformation | None = None,
) -> Transformation:
    """Gives each group of parameters a transformation of its own.

    Args:
      groups: transformations, optlab's or Optax's, by selector. Every parameter must be selected
        exactly once.
      default: the transformation of the parameters no selector selects.

    Returns:
      A `Transformation` whose state is a dict of the groups' states. `hyperparameters` and
      `replace` call the groups by their selectors, `"kernels/accumulate_moments/b1"`, with `.` for
      the `/` of globs: `"path(head.**)/factor"`; the rest is `"default"`.

    Raises:
      ValueError: when parameters are first seen: for one in two groups (with both selectors), in
        none and without default, and for a selector that selects nothing; always with the paths.
      TypeError: for keys that are no selectors and values that are no transformations.

    Special cases:
      A frozen group is `freeze()`, without state. Without `params`, `update` tells the groups from
      the updates. Inside `optax.masked` or another route, selectors mean what they mean for the
      whole model. Extra arguments shaped like the parameters are split like them.

    Cost:
      What the groups' transformations cost; the grouping itself happens when tracing.

    Place in a chain:
      Anywhere. Groups may each scale by a learning rate of their own, or all leave that to one
      `scale_by_learning_rate` behind route. With rates of their own, links beside route cannot ask
      the chain for its learning rate (decay belongs into the groups).

    Differs from:
      `optax.partition` takes labels for every leaf, hides all hyperparameters and gives leaves
      without a label an error without paths.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.route({ol.kernels: ol.scale(-0.1), ol.biases: ol.scale(-0.2)})
      >>> ol.hyperparameters(tx)
      {'kernels/factor': -0.1, 'biases/factor': -0.2}
      >>> params = {"Dense_0": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}}
      >>> tx.update(params, tx.init(params), params)[0]["Dense_0"]["bias"]
      Array([-0.2], dtype=float32)
    """
    if not isinstance(groups, Mapping):
        raise TypeError(
            "route: groups must be a dict of transformations by selector, got "
            f"{groups!r} of type {type(groups).__name__}."
        )
    if not groups and default is None:
        raise ValueError("route: there is no group. Give {selector: transformation}, or default=.")
    return Transformation(
        Route(
            links=tuple(map(as_link, groups.values())),
            default=None if default is None else as_link(default),
            selectors=tuple(as_selector("route", "groups", key) for key in groups),
        )
    )
