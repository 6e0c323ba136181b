"""Chains: links applied in order, and what they know of one another's learning rate."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optax

from optlab.core import _link, _records, _transformation
from optlab.core._transformation import Transformation

PyTree = Any


def link_name(link: _link.Link) -> str:
    """How a link is called in paths and tables: by its record, an Optax one by its factory.

    Example:
      >>> import optax, optlab as ol
      >>> ol.core.link_name(ol.core.as_link(optax.scale_by_adam()))
      'scale_by_adam'
    """
    return getattr(link, "label", link.record_name)


class Chain(_link.Link):
    """Links in order; the state is the tuple (by names: the dict) of theirs.

    Example:
      >>> import optlab as ol
      >>> link = ol.chain(ol.scale_by_learning_rate(0.1)).link
      >>> link.children()
      {'scale_by_learning_rate': scale_by_learning_rate(learning_rate=0.1)}
    """

    links: tuple[_link.Link, ...] = _records.data()
    names: tuple[str, ...] | None = _records.static(default=None)

    def check(self) -> None:
        for link in self.links:
            if not isinstance(link, _link.Link):
                raise TypeError(f"chain: links must be Links, got {link!r}; use chain(...)")
        if self.names is None:
            return
        if len(self.names) != len(self.links):
            raise ValueError(f"chain: {len(self.links)} links need as many names, got {self.names}")
        for name in self.names:
            if not name or "/" in name:
                raise ValueError(f"chain: a name must not be empty or contain '/', got {name!r}")

    def init(self, params: PyTree) -> Any:
        return self._pack([link.start(params) for link in self.links])

    def update(self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> Any:
        states = self._unpack(state)
        position, own = self._own_learning_rate(states)
        new_states = []
        for i, (link, link_state) in enumerate(zip(self.links, states, strict=True)):
            if own is not None:
                extra["chain_lr"] = own._replace(applied=i > position)
            updates, new_state = link.step(updates, link_state, params, **extra)
            new_states.append(new_state)
        return updates, self._pack(new_states)

    def find_learning_rate(self, state: Any) -> _link.LearningRate | None:
        return self._own_learning_rate(self._unpack(state))[1]

    def _own_learning_rate(self, states: Any) -> tuple[int, _link.LearningRate | None]:
        for i, (link, state) in enumerate(zip(self.links, states, strict=True)):
            link.require_state(state)
            found = link.find_learning_rate(state)
            if found is not None:
                return i, found
        return -1, None

    def _pack(self, states: list[Any]) -> Any:
        return tuple(states) if self.names is None else dict(zip(self.names, states, strict=True))

    def _unpack(self, state: Any) -> list[Any]:
        self.require_state(state)
        return list(state) if self.names is None else [state[name] for name in self.names]

    def substates(
        self, state: Any, params: PyTree = None
    ) -> dict[str, tuple[_link.Link, Any, PyTree]]:
        parts = zip(self.children().items(), self._unpack(state), strict=True)
        return {name: (link, part, params) for (name, link), part in parts}

    def with_substates(self, state: Any, parts: dict[str, Any], params: Any = None) -> Any:
        return self._pack(list(parts.values()))

    def require_state(self, state: Any) -> None:
        if self.names is None:
            plain = isinstance(state, tuple) and not hasattr(state, "_fields")
            fits = plain and len(state) == len(self.links)
        else:
            fits = isinstance(state, dict) and set(state) == set(self.names)
        if not fits:
            raise ValueError(
                f"chain: the state does not belong to this chain of {len(self.links)} links "
                f"({', '.join(self.children())}); got {type(state).__name__}"
                f"{f' of length {len(state)}' if hasattr(state, '__len__') else ''}. "
                "Make a new state with init, or migrate the old one."
            )

    def children(self) -> dict[str, Any]:
        if self.names is not None:
            return dict(zip(self.names, self.links, strict=True))
        plain = [link_name(link) for link in self.links]
        repeated, seen = Counter(plain), Counter()
        children = {}
        for name, link in zip(plain, self.links, strict=True):
            children[f"{name}[{seen[name]}]" if repeated[name] > 1 else name] = link
            seen[name] += 1
        return children

    def with_child(self, name: str, value: Any) -> Chain:
        children = self.children() | {name: _transformation.as_link(value)}
        return Chain(links=tuple(children.values()), names=self.names)

    def __repr__(self) -> str:
        if self.names is None:
            call, parts = "chain", [repr(link) for link in self.links]
        else:
            call = "named_chain"
            parts = [f"{n}={link!r}" for n, link in zip(self.names, self.links, strict=True)]
        line = f"{call}({', '.join(parts)})"
        if len(line) <= 88:
            return line
        body = ",\n".join(parts).replace("\n", "\n    ")
        return f"{call}(\n    {body},\n)"


def chain(*transformations: optax.GradientTransformation) -> Transformation:
    """Applies transformations one after the other; the first sees the gradient.

    Args:
      *transformations: optlab's or Optax's. An Optax transformation is run in float32 (float64)
        like every link, so its state keeps its dtypes for bf16 parameters too; its hyperparameters
        stay hidden in its closures.

    Returns:
      A `Transformation` whose state is the tuple of the links' states.

    Raises:
      TypeError: if an argument is not a gradient transformation.

    Special cases:
      No argument gives the identity. Inside, updates are not rounded to the parameter's dtype
      between links; the chain casts once, at its end.

    Differs from:
      `optax.chain`: the hyperparameters of every optlab link stay visible as leaves, nested chains
      included, and links are told the chain's learning rate.

    Example:
      >>> import optlab as ol
      >>> tx = ol.chain(ol.clip_by_global_norm(1.0), ol.scale_by_learning_rate(0.1))
      >>> ol.hyperparameters(tx)
      {'clip_by_global_norm/max_norm': 1.0, 'scale_by_learning_rate/learning_rate': 0.1}
    """
    return Transformation(Chain(links=tuple(map(_transformation.as_link, transformations))))


def named_chain(**transformations: optax.GradientTransformation) -> Transformation:
    """`chain` with names of your own: they head the paths, and the state is a dict of them.

    Args:
      **transformations: as for `chain`, by name, in order.

    Returns:
      A `Transformation` whose state is a dict of the links' states.

    Raises:
      TypeError: if an argument is not a gradient transformation.
      ValueError: if a name contains `/`, which separates the parts of a path.

    Example:
      >>> import optlab as ol
      >>> tx = ol.named_chain(clip=ol.clip_by_global_norm(1.0), step=ol.scale_by_learning_rate(0.1))
      >>> ol.hyperparameters(tx)
      {'clip/max_norm': 1.0, 'step/learning_rate': 0.1}
    """
    links = tuple(map(_transformation.as_link, transformations.values()))
    return Transformation(Chain(links=links, names=tuple(transformations)))
