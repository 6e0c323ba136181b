"""A device mesh as data: what a record can hold, compare, pickle and store as JSON."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from optlab.core import Record, static


class MeshRecord(Record):
    """Attributes: names, sizes and types of the axes; ids of the devices, in the mesh's order."""

    names: tuple[str, ...] = static()
    sizes: tuple[int, ...] = static()
    types: tuple[str, ...] = static()
    devices: tuple[int, ...] = static()

    def check(self) -> None:
        if math.prod(self.sizes) != len(self.devices) or len(self.names) != len(self.sizes):
            raise ValueError(f"a mesh of {self.names} = {self.sizes} has {self.devices} devices")

    @property
    def shape(self) -> dict[str, int]:
        return dict(zip(self.names, self.sizes, strict=True))

    def mesh(self) -> Mesh:
        """The mesh itself, on this process's view of the devices."""
        return _mesh(self)

    def __repr__(self) -> str:
        axes = ", ".join(f"{n}={s}" for n, s in self.shape.items())
        return f"mesh({axes})"


def mesh_record(owner: str, mesh: Any) -> MeshRecord:
    """The record of a mesh.

    Raises:
      TypeError: if it is none, or an abstract one without devices.
    """
    if isinstance(mesh, AbstractMesh) or not isinstance(mesh, Mesh):
        raise TypeError(
            f"{owner}: mesh must be a jax.sharding.Mesh, got {mesh!r} of type "
            f"{type(mesh).__name__}. Make one with jax.make_mesh."
        )
    return MeshRecord(
        names=tuple(map(str, mesh.axis_names)),
        sizes=tuple(mesh.devices.shape),
        types=tuple(kind.name for kind in mesh.axis_types),
        devices=tuple(int(d.id) for d in mesh.devices.flat),
    )


@functools.lru_cache(maxsize=64)
def _mesh(record: MeshRecord) -> Mesh:
    known = {device.id: device for device in jax.devices()}
    missing = [i for i in record.devices if i not in known]
    if missing:
        raise ValueError(
            f"{record!r} has devices {missing[:4]} that are not among the {len(known)} of this "
            "run. Make the transformation anew with a mesh of these devices."
        )
    devices = np.asarray([known[i] for i in record.devices]).reshape(record.sizes)
    return Mesh(devices, record.names, axis_types=tuple(AxisType[t] for t in record.types))
