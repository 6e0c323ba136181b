"""Meshes and placed parameters shared by the tests of where states lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

P = PartitionSpec
needs_8_devices = pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}


def make_mesh(kind, shape=(4, 2), names=("data", "model")):
    return jax.make_mesh(shape, names, axis_types=(KINDS[kind],) * len(names))


SHAPES = {"kernel": (16, 16), "bias": (24,), "odd": (3, 5), "scale": ()}


def shapes():
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in SHAPES.items()}


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {n: np.asarray(rng.normal(size=s), np.float32) for n, s in SHAPES.items()}


def placed(mesh, specs, seed=0):
    """The parameters (or a gradient), each on its spec."""
    tree = arrays(seed)
    return {n: jax.device_put(x, NamedSharding(mesh, specs[n])) for n, x in tree.items()}


WHOLE = {"kernel": P(), "bias": P(), "odd": P(), "scale": P()}
SPLIT = {"kernel": P(None, "model"), "bias": P("model"), "odd": P(), "scale": P()}


def bytes_per_device(tree):
    """On the device that holds most."""
    totals = {}
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            totals[shard.device] = totals.get(shard.device, 0) + shard.data.nbytes
    return max(totals.values())


def lies_on(leaf, sharding):
    return leaf.sharding.is_equivalent_to(sharding, leaf.ndim) and (
        leaf.sharding.memory_kind == (sharding.memory_kind or "device")
    )
