"""State in the host's memory: between steps it takes no room on the device.

Around a whole optimizer or any part of a chain; takes and gives what that takes and gives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.core
from jax.sharding import Sharding

from optlab.core import Transformation, Wrapper, as_link, followers, has_placed, static
from optlab.selectors import as_selector, everything
from optlab.transforms import _sharding as sharding

PyTree = Any
KIND = "pinned_host"


class OffloadState(NamedTuple):
    """inner: the wrapped transformation's state, its arrays in the host's memory."""

    inner: Any


class Offload(Wrapper):
    """Attributes: where: selector of the parameters whose state is kept on the host."""

    where: Any = static(as_selector, default=everything)

    def check(self) -> None:
        """Moves to the host leave layouts as they are: anything may stand inside."""

    def init(self, params: PyTree) -> OffloadState:
        state = self.inner.start(params)
        chosen = self._chosen(state, params)
        if not sharding.is_abstract():
            _require_memory(params)
            state = _moved(state, chosen, to_host=True)
        leaves = jax.tree.leaves(state)
        has_placed([x for x, (_, on_host) in zip(leaves, chosen, strict=True) if on_host], _on_host)
        return OffloadState(state)

    def update(
        self, updates: PyTree, state: OffloadState, params: PyTree = None, **extra: Any
    ) -> Any:
        like = sharding.arrays(updates) if params is None else params
        inner = _moved(state.inner, self._chosen(state.inner, like), to_host=False)
        updates, inner = self.inner.step(updates, inner, params, **extra)
        return updates, OffloadState(_moved(inner, self._chosen(inner, like), to_host=True))

    def _chosen(self, state: PyTree, params: PyTree) -> list[tuple[Any, bool]]:
        """Each leaf, and whether it is kept on the host: no scalar, no unselected parameter's."""
        selected = jax.tree.leaves(self.where.mask(params))
        return [
            (leaf, leaf.ndim > 0 and (f.param is None or selected[f.param]))
            for leaf, f in zip(jax.tree.leaves(state), followers(state, params), strict=True)
        ]


def _moved(state: PyTree, chosen: list[tuple[Any, bool]], *, to_host: bool) -> PyTree:
    host, device = jax.memory.Space.Host, jax.memory.Space.Device
    # Told where a leaf comes from, the move can be differentiated.
    target, source = (host, device) if to_host else (device, host)
    leaves = [jax.device_put(x, target, src=source) if c else x for x, c in chosen]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def _on_host(shape: tuple[int, ...], place: Sharding) -> Sharding:
    return place.with_memory_kind(KIND)


def _require_memory(params: PyTree) -> None:
    """Raises unless the devices that hold the parameters can address the host's pinned memory."""
    known = [
        device
        for leaf in jax.tree.leaves(params)
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
        for device in leaf.devices()
        if device.process_index == jax.process_index()
    ]
    device = (known or jax.local_devices())[0]
    kinds = sorted(memory.kind for memory in device.addressable_memories())
    if KIND not in kinds:
        raise ValueError(
            f"offload: {device!r} has no memory of kind {KIND!r}, only {', '.join(kinds)}. Leave "
            "offload out on this backend, or keep the state in fewer bytes with store."
        )


def offload(tx: Any, where: Any = everything) -> Transformation:
    """Keeps the state of a transformation in pinned host memory between steps.

    Inside the jitted step the state is copied to the device, used, and copied back; XLA overlaps
    the copies with other work where it can.

    Args:
      tx: the transformation to wrap, optlab's or Optax's.
      where: selector of the parameters whose state goes to the host; what belongs to no single
        parameter goes too.

    Returns:
      A `Transformation`. The arrays of its state have the memory kind `pinned_host`; scalars stay
      on the device. Shardings are kept, and `state_sharding(offload(...), ...)` tells them.

    Raises:
      ValueError: by `init`, if the parameters' device (under `jit`: the first local one) has no
        such memory; if `where` selects nothing. TypeError: for no transformation or selector.

    Special cases:
      A state that comes from elsewhere, such as a checkpoint read to the device, works and is on
      the host after the step. Outside of `update` JAX computes with such an array only together
      with others on the host; `jax.device_get` and checkpoints read it as any other.

    Cost:
      State bytes on the device between steps: scalars. During a step up to all of the state is on
      the device, and it crosses the bus twice: worth it where large batches or many accumulated
      micro-batches leave time for that.

    Place in a chain:
      Around the links that hold state. Around `zero1`, not inside it.

    Differs from:
      Moving the whole train state by hand: here the counters stay where the schedules need them.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.offload(ol.adam(1e-3))
      >>> tx.init(jnp.ones(2)).inner[0].first.sharding.memory_kind
      'pinned_host'

    Source:
      Ren et al., "ZeRO-Offload: democratizing billion-scale model training", 2021,
      arXiv:2101.06840 (there the update runs on the host, too; here on the device).
    """
    return Transformation(Offload(inner=as_link(tx), where=as_selector("offload", "where", where)))
