"""Chains: links applied in order, and what they know of one another's learning rate."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optax

from optlab.core import _link, _records, _transformation
from optlab.core._transformation import Transformation

PyTree = Any


def link_name(link: _link.Link) -> str:
    """How a link is called in paths and tables."""
    return getattr(link, "label", link.record_name)


class Chain(_link.Link):
    """Links in order; the state is the tuple (by names: the dict) of theirs."""

    links: tuple[_link.Link, ...] = _records.data()
    names: tuple[str, ...] | None = _records.static(default=None)

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
            found = link.find_learning_rate(state)
            if found is not None:
                return i, found
        return -1, None

    def _pack(self, states: list[Any]) -> Any:
        return tuple(states) if self.names is None else dict(zip(self.names, states, strict=True))

    def _unpack(self, state: Any) -> list[Any]:
        ok = isinstance(state, tuple if self.names is None else dict) and len(state) == len(self.links)
        if not ok:
            raise ValueError(
                f"chain: the state does not belong to this chain of {len(self.links)} links "
                f"({', '.join(self.children())}); got {type(state).__name__}"
                f"{f' of length {len(state)}' if hasattr(state, '__len__') else ''}. "
                "Make a new state with init, or migrate the old one."
            )
        return list(state) if self.names is None else [state[name] for name in self.names]

    def children(self) -> dict[str, Any]:
        names = self.names
        if names is None:
            plain = [link_name(link) for link in self.links]
            repeated, seen = Counter(plain), Counter()
            names = []
            for name in plain:
                names.append(f"{name}[{seen[name]}]" if repeated[name] > 1 else name)
                seen[name] += 1
        return dict(zip(names, self.links, strict=True))

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
      *transformations: optlab's or Optax's. An Optax transformation is run in float32 (float64) like
        every link, so its state keeps its dtypes for bf16 parameters too; its hyperparameters stay
        hidden in its closures.

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

    Example:
      >>> import optlab as ol
      >>> tx = ol.named_chain(clip=ol.clip_by_global_norm(1.0), step=ol.scale_by_learning_rate(0.1))
      >>> ol.hyperparameters(tx)
      {'clip/max_norm': 1.0, 'step/learning_rate': 0.1}
    """
    links = tuple(map(_transformation.as_link, transformations.values()))
    return Transformation(Chain(links=links, names=tuple(transformations)))
