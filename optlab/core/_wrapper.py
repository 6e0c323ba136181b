"""Wrappers: links around one other link, which stays visible to the chain and to its user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from optlab.core import _link, _records, _transformation


class Wrapper(_link.Link):
    """Base of links that run another one, `inner`, and keep its state as `inner` of their own.

    `update` calls `self.inner.step(updates, state.inner, params, **extra)`, and `init`
    `self.inner.start(params)`: the wrapped link's schedules then count its own updates. The wrapped
    hyperparameters are found under `"inner/..."`, its learning rate by the links beside it.

    Example:
      >>> from typing import NamedTuple
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> from optlab import core
      >>> class TwiceState(NamedTuple):
      ...     inner: object
      >>> class Twice(core.Wrapper):
      ...     def init(self, params):
      ...         return TwiceState(self.inner.start(params))
      ...     def update(self, updates, state, params=None, **extra):
      ...         updates, inner = self.inner.step(updates, state.inner, params, **extra)
      ...         return jax.tree.map(lambda u: 2 * u, updates), TwiceState(inner)
      >>> tx = core.Transformation(Twice(core.as_link(ol.scale_by_learning_rate(0.1))))
      >>> tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0], ol.hyperparameters(tx)
      (Array([-0.2], dtype=float32), {'inner/learning_rate': 0.1})
    """

    inner: _link.Link = _records.data()

    outermost: ClassVar[bool] = False  # whether it goes around other wrappers only

    def check(self) -> None:
        for link in self._inside():
            if isinstance(link, Wrapper) and link.outermost:
                name = link.record_name
                raise ValueError(
                    f"{self.record_name}: {name} must stand outside of it, not inside. Write "
                    f"{name}({self.record_name}(tx, ...), ...)."
                )

    def with_child(self, name: str, value: Any) -> Any:
        if name == "inner":
            value = _transformation.as_link(value)
        return super().with_child(name, value)

    def refuse(self, kind: type, why: str) -> None:
        """Raises a `ValueError` that says why if a link of that kind is inside, at any depth."""
        if any(isinstance(link, kind) for link in self._inside()):
            raise ValueError(f"{self.record_name}: {why}")

    def _inside(self) -> Iterator[_link.Link]:
        waiting = [self.inner]
        while waiting:
            link = waiting.pop()
            yield link
            waiting += [part for part in link.children().values() if isinstance(part, _link.Link)]

    def substates(self, state: Any, params: Any = None) -> dict[str, tuple[_link.Link, Any, Any]]:
        return {"inner": (self.inner, state.inner, params)}

    def with_substates(self, state: Any, parts: dict[str, Any], params: Any = None) -> Any:
        return state._replace(**parts)

    def find_learning_rate(self, state: Any) -> _link.LearningRate | None:
        own = state.inner if self.kept() else state
        return self.inner.find_learning_rate(own.inner)
