"""Checksums: every bit and its place count, and the sharding does not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optlab.training._checksums import checksums

DTYPES = (  # noqa: SIM905
    "bool int4 uint4 int8 int16 int32 float4_e2m1fn float8_e4m3fn bfloat16 float16 complex64"
).split()


def pair(x):
    return tuple(int(part) for part in checksums([x])[0])


def numbers(dtype, shape=(16, 24)):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return jnp.asarray(x).astype(dtype)


# Few shapes, so that few programs are compiled; the values are drawn.
words = st.lists(st.integers(0, 2**32 - 1), min_size=6, max_size=6)


@settings(deadline=None, max_examples=50)
@given(words, st.integers(0, 5), st.integers(0, 31))
def test_a_flipped_bit_changes_both_sums(values, entry, bit):
    x = np.array(values, np.uint32)
    y = x.copy()
    y[entry] ^= np.uint32(1 << bit)
    for kind in (np.uint32, np.float32, np.int32):
        before, after = pair(x.view(kind)), pair(y.view(kind))
        assert before[0] != after[0]
        assert before[1] != after[1]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**16 - 1), min_size=6, max_size=6), st.integers(0, 95))
def test_a_flipped_bit_of_a_narrow_entry_changes_both_sums(values, bit):
    x = np.array(values, np.uint16)
    y = x.copy()
    y[bit // 16] ^= np.uint16(1 << bit % 16)
    for kind in (jnp.bfloat16, np.float16, np.int16):
        before, after = pair(x.view(kind)), pair(y.view(kind))
        assert before[0] != after[0]
        assert before[1] != after[1]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4), st.integers(0, 255))
def test_both_halves_of_64_bits_count(values, bit):
    x = np.array(values, np.uint64)
    y = x.copy()
    y[bit // 64] ^= np.uint64(1 << bit % 64)
    for kind in (np.float64, np.int64, np.complex64):
        before, after = pair(x.view(kind)), pair(y.view(kind))
        assert before[0] != after[0]
        assert before[1] != after[1]


@pytest.mark.parametrize("dtype", ["int4", "uint4", "float8_e4m3fn", "float4_e2m1fn", "bool"])
def test_every_value_of_a_narrow_dtype_has_sums_of_its_own(dtype):
    count = {"bool": 2, "float8_e4m3fn": 256}.get(dtype, 16)
    codes = jnp.arange(count, dtype=jnp.uint8)
    if dtype == "bool":
        values = codes.astype(bool)
    else:
        bits = jnp.uint8 if count == 256 else jnp.uint4
        values = jax.lax.bitcast_convert_type(codes.astype(bits), jnp.dtype(dtype))
    pairs = {tuple(map(int, p)) for p in jax.device_get(jax.vmap(checksums)(values))}
    assert len(pairs) == count


@settings(deadline=None, max_examples=50)
@given(words, st.permutations(range(6)))
def test_entries_in_another_order_have_other_sums(values, order):
    x = np.array(values, np.uint32)
    y = x[list(order)]
    assert (pair(x) == pair(y)) == np.array_equal(x, y)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_have_places(axis):
    x = numbers("float32")
    assert pair(x) != pair(jnp.flip(x, axis))


def test_what_counts_are_bits_not_numbers():
    zero, quiet = np.zeros(3, np.float32), np.full(3, 0x7FC00000, np.uint32)
    payload = quiet.copy()
    payload[1] += 1
    assert pair(zero) != pair(-zero)
    assert np.isnan(quiet.view(np.float32)).all()
    assert np.isnan(payload.view(np.float32)).all()
    assert pair(quiet.view(np.float32)) != pair(payload.view(np.float32))
    assert pair(jnp.asarray(quiet.view(np.float32))) != pair(jnp.asarray(payload.view(np.float32)))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_the_sharding_does_not_matter(kind):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))
    tree = {dtype: numbers(dtype) for dtype in ("float32", "uint4", "bool")}
    plain = jax.device_get(checksums(tree))
    for spec in (P("data", "model"), P(None, "data")):
        spread = jax.device_put(tree, NamedSharding(mesh, spec))
        chex.assert_trees_all_equal(jax.device_get(checksums(spread)), plain)


def test_leaves_may_live_on_other_meshes_and_devices():
    x = numbers("float32")
    meshes = [
        jax.make_mesh((8,), ("data",), axis_types=(kind,))
        for kind in (AxisType.Auto, AxisType.Explicit)
    ]
    copies = [jax.device_put(x, NamedSharding(mesh, P("data"))) for mesh in meshes]
    copies += [jax.device_put(x, jax.devices()[3]), x, np.asarray(x)]
    assert {tuple(map(int, p)) for p in checksums(copies)} == {pair(x)}


def test_numpy_and_jax_agree():
    tree = {dtype: numbers(dtype) for dtype in DTYPES}
    host = jax.tree.map(np.asarray, tree)
    chex.assert_trees_all_equal(jax.device_get(checksums(tree)), jax.device_get(checksums(host)))


def test_64_bits_have_the_same_sums_with_x64_and_without():
    x = np.random.default_rng(0).normal(size=6)
    for dtype in ("float64", "int64", "complex128"):
        host = pair(x.astype(dtype))
        with jax.enable_x64(True):
            assert pair(jnp.asarray(x.astype(dtype))) == host
            assert pair(x.astype(dtype)) == host


def test_a_key_counts_through_its_data():
    keys = jax.random.split(jax.random.key(0), 3)
    assert pair(keys) == pair(jax.random.key_data(keys))
    assert pair(jax.random.key(0)) != pair(jax.random.key(1))


def test_scalars_empty_arrays_numbers_and_none():
    tree = {"scalar": jnp.float32(2), "empty": jnp.zeros((0, 3)), "number": 3, "nothing": None}
    sums = checksums(tree)
    assert jax.tree.structure(sums) == jax.tree.structure(tree)
    assert all(s.shape == (2,) and s.dtype == jnp.uint32 for s in jax.tree.leaves(sums))
    assert pair(tree["empty"]) == (0, 0)
    assert pair(tree["scalar"]) == pair(jnp.full((1,), 2.0))
    assert checksums({}) == {}


def test_it_is_the_same_under_jit():
    tree = {"a": numbers("bfloat16"), "b": jax.random.key(3)}
    chex.assert_trees_all_equal(jax.jit(checksums)(tree), checksums(tree))


def test_the_sums_are_those_they_have_always_been():
    """Manifests of older checkpoints hold them."""
    assert pair(np.arange(6, dtype=np.float32).reshape(2, 3)) == (337903552, 3626284927)
