"""Many devices and many processes: where a training state and its batches lie."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from optlab.transforms import state_sharding, zero1

PyTree = Any
AXIS = "data"
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start_processes() -> None:
    """Joins the other processes of a run, if its environment says that there are any.

    Either the variables JAX_COORDINATOR_ADDRESS (`host:port` of process 0), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID tell (one machine, Kubernetes), or SLURM's own do. Call it before anything else
    uses JAX; without such variables nothing happens.

    Raises:
      ValueError: if only some of the variables are set, or one is no whole number.

    Example:
      >>> import jax, optlab as ol
      >>> ol.training.start_processes()
      >>> jax.process_count()
      1
    """
    given = {name: os.environ.get(name, "") for name in _VARIABLES}
    if any(given.values()):
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise ValueError(
                f"{', '.join(missing)} must be set too: a run of several processes needs "
                f"{', '.join(_VARIABLES)}."
            )
        address, count, index = given.values()
        try:
            numbers = int(count), int(index)
        except ValueError:
            raise ValueError(
                f"JAX_NUM_PROCESSES and JAX_PROCESS_ID must be whole numbers, got {count!r} and "
                f"{index!r}."
            ) from None
        jax.distributed.initialize(address, *numbers)
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        jax.distributed.initialize()


def data_mesh(spec: str) -> Mesh:
    """The mesh that `"data=8"` describes: so many devices, which share out each batch.

    Raises:
      ValueError: for another form, or more devices than there are.

    Example:
      >>> import optlab as ol
      >>> ol.training.data_mesh("data=1").axis_names
      ('data',)
    """
    name, _, size = spec.partition("=")
    if name != AXIS or not size.isdecimal() or int(size) < 1:
        raise ValueError(f"a mesh must be given as {AXIS}=NUMBER, such as {AXIS}=8, got {spec!r}.")
    count, there = int(size), jax.device_count()
    if count > there:
        raise ValueError(
            f"a mesh of {count} devices was asked for, but there are {there}. On a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} makes virtual ones."
        )
    if jax.process_count() > 1 and count != there:
        raise ValueError(
            f"a run of {jax.process_count()} processes must use all {there} devices, got {spec!r}."
        )
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


class Placement:
    """Where things lie: on the default device, or over the devices of a mesh.

    On a mesh, batches are split over its axis `data`, parameters are whole on every device, and
    the optimizer's state is split like the batches (ZeRO-1).

    Args:
      mesh: with an axis `data`, or None for the default device.

    Example:
      >>> import numpy as np, optlab as ol
      >>> place = ol.training.Placement(ol.training.data_mesh("data=1"))
      >>> place.batch({"x": np.ones((8, 2), np.float32)})["x"].sharding.spec
      P('data',)
    """

    def __init__(self, mesh: Mesh | None = None):
        self.mesh = mesh
        many = mesh is not None and mesh.size > 1 and jax.default_backend() == "cpu"
        # Collectives of many queued steps starve each other's threads on CPUs, for ever.
        self.most_in_flight = 2 if many else 64
        whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        self._whole = jax.jit(lambda tree: tree, out_shardings=whole)

    def optimizer(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        return tx if self.mesh is None else zero1(tx, self.mesh, AXIS)

    def state(
        self,
        init: Callable[..., Any],
        tx: optax.GradientTransformation,
        params: PyTree,
        key: jax.Array,
        batch: PyTree,
        variables: PyTree,
    ) -> Any:
        """`init(params, key, batch, variables)`, a training state, made where it is to lie."""
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        if self.mesh is None:
            return init(params, key, shapes, variables)
        # On the host: every process has them, and can give them to all devices.
        given = jax.tree.map(np.asarray, (params, jax.random.key_data(key), variables))
        implementation = jax.random.key_impl(key)

        def make(params, words, variables):
            own = jax.random.wrap_key_data(words, impl=implementation)
            return init(params, own, shapes, variables)

        whole = NamedSharding(self.mesh, PartitionSpec())
        table = jax.tree.map(lambda _: whole, jax.eval_shape(make, *given))
        table = table._replace(opt_state=state_sharding(tx, given[0], whole, mesh=self.mesh))
        return jax.jit(make, out_shardings=table)(*given)

    def without(self, state: Any) -> Any:
        """The state as one device has it: a checkpoint can be read with any mesh or none."""
        return state if self.mesh is None else state._replace(opt_state=state.opt_state.inner)

    def back(self, state: Any, like: Any) -> Any:
        """What `without` gave, as a state of this placement again, such as `like`."""
        if self.mesh is None:
            return state
        return state._replace(opt_state=like.opt_state._replace(inner=state.opt_state))

    def alone(self, tree: PyTree) -> PyTree:
        """Part of a state, whole, on one device of this process: to be used as if it had no mesh.

        Where batches are not split over a mesh, its devices would all compute the same.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: x.addressable_data(0), self._whole(tree))

    def batch(self, batch: PyTree) -> PyTree:
        """A batch of this process on the devices, as part of the global batch."""
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, batch)
        split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(split, np.asarray(x)), batch
        )

    def ahead(self, batches: Iterable[PyTree], size: int = 2) -> Iterator[PyTree]:
        """The batches on the devices, so many of them before they are asked for."""
        waiting: deque[PyTree] = deque()
        for batch in batches:
            waiting.append(self.batch(batch))
            if len(waiting) > size:
                yield waiting.popleft()
        yield from waiting
