"""The random numbers of rounding: uniform, reproducible, and those of a place, not of a device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab import storage

LIKE = jnp.zeros((256, 1024))


def uniform(**options) -> np.ndarray:
    return np.asarray(storage.noise(**options).uniform(LIKE))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_noise_is_uniform():
    u = uniform(seed=1, count=2, name="w")
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, bins=64, range=(0, 1))[0]
    expected = u.size / 64
    chi_squared = np.sum((counts - expected) ** 2 / expected)
    assert 30 < chi_squared < 115  # 63 degrees of freedom: 5 deviations of 11


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (0, 2), (0, 16), (0, 256), (1, 1), (128, 0)])
def test_neighbours_have_nothing_to_do_with_each_other(shift):
    u = uniform(count=5)
    assert abs(correlation(u, np.roll(u, shift, (0, 1)))) < 5 / np.sqrt(u.size)


@pytest.mark.parametrize(
    "other", [{"count": 1}, {"seed": 1}, {"name": "v"}, {"count": 65536}, {"count": 2**31 - 1}]
)
def test_another_step_seed_or_name_has_other_noise(other):
    assert abs(correlation(uniform(), uniform(**other))) < 5 / np.sqrt(LIKE.size)


def test_the_same_entry_sees_independent_noise_at_each_step():
    counts = jnp.arange(4096, dtype=jnp.int32)
    u = np.asarray(jax.vmap(lambda c: storage.noise(count=c).uniform(jnp.zeros(8)))(counts))
    assert np.max(np.abs(u.mean(0) - 0.5)) < 5 / np.sqrt(12 * 4096)
    for lag in (1, 2, 4):
        assert abs(correlation(u[lag:], u[:-lag])) < 5 / np.sqrt(u.size)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((64, 1024), PartitionSpec("a", "b")),
        ((64, 1024), PartitionSpec(None, ("a", "b"))),
        ((4, 6, 640), PartitionSpec("b", None, "a")),
    ],
)
def test_codes_do_not_depend_on_the_sharding(kind, shape, spec):
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(kind, kind))
    value = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def coded(x):
        return [kept.encode(x, storage.noise(count=3)) for kept in (storage.int8(), storage.bf16())]

    expected = jax.device_get(jax.jit(coded)(value))
    with jax.set_mesh(mesh):
        spread = jax.device_put(value, NamedSharding(mesh, spec))
        got = jax.jit(coded)(spread)
        assert got[0].codes.sharding.is_equivalent_to(spread.sharding, len(shape))
        assert got[1].codes.sharding.is_equivalent_to(spread.sharding, len(shape))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), expected)


def test_whole_blocks_on_each_device_need_no_communication():
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    x = jax.device_put(np.ones((8, 1024), np.float32), NamedSharding(mesh, PartitionSpec("b", "a")))
    kept = storage.int8()
    compiled = jax.jit(lambda x: kept.decode(kept.encode(x, storage.noise()))).lower(x).compile()
    text = compiled.as_text()
    assert not [c for c in ("all-gather", "all-reduce", "collective-permute") if c in text]
