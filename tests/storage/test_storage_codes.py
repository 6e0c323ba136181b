"""Storages: how far a decoded array may be from what was encoded, and that its mean is right."""

from __future__ import annotations

import json
import pickle
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optlab as ol
from optlab import storage

SHAPE = (3, 300)
CODES = {
    "signed": (storage.int8(values="signed"), 2, 127),
    "nonnegative": (storage.int8(values="nonnegative"), 4, 255),
    "either": (storage.int8(), 4, 127),
    "linear": (storage.int8(values="signed", power=1), 1, 127),
}
FLOATS = {"e4m3": (storage.fp8(format="e4m3"), 3, 2.0**-9 / 448)}
FLOATS["e5m2"] = (storage.fp8(format="e5m2"), 2, 2.0**-16 / 57344)


@jax.jit
def nearest(value):
    return {name: kept.decode(kept.encode(value)) for name, (kept, _, _) in CODES.items()}


@jax.jit
def stochastic(value, count):
    noise = storage.noise(count=count)
    return {name: kept.decode(kept.encode(value, noise)) for name, (kept, _, _) in CODES.items()}


@jax.jit
def floats(value, count):
    noise = storage.noise(count=count)
    return {
        name: (kept.decode(kept.encode(value)), kept.decode(kept.encode(value, noise)))
        for name, (kept, _, _) in FLOATS.items()
    }


@jax.jit
def halves(value, count):
    near, random = storage.bf16("nearest"), storage.bf16()
    noise = storage.noise(count=count)
    return near.decode(near.encode(value)), random.decode(random.encode(value, noise))


def drawn(seed: int, exponent: int, spread: float) -> np.ndarray:
    """Entries of sizes that differ by powers of ten, a row of zeros among them."""
    rng = np.random.default_rng(abs(seed))
    value = rng.normal(size=SHAPE) * 10.0 ** (exponent + spread * rng.uniform(-1, 0, SHAPE))
    value[1] = 0
    return value.astype(np.float32)


def block_max(value: np.ndarray) -> np.ndarray:
    padded = np.pad(np.abs(value), ((0, 0), (0, 212))).reshape(3, 2, 256)
    return np.repeat(padded.max(-1), 256, axis=-1)[:, :300]


arrays = st.builds(drawn, st.integers(0, 2**30), st.integers(-28, 28), st.floats(0, 8))


@settings(max_examples=40, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_codes_are_the_neighbours_of_what_they_stand_for(value, count):
    rows = {"nearest": (nearest(value), nearest(np.abs(value)), 0.5)}
    rows["stochastic"] = (stochastic(value, count), stochastic(np.abs(value), count), 1.0)
    for signed, magnitudes, most in rows.values():
        for name, (_, power, top) in CODES.items():
            given_ = np.abs(value) if name == "nonnegative" else value
            got = np.asarray((magnitudes if name == "nonnegative" else signed)[name])
            scale = np.where(block_max(value) == 0, 1, block_max(value)).astype(np.float64)
            assert np.all(np.sign(got) * np.sign(given_) >= 0)
            there = (np.abs(given_) / scale) ** (1 / power) * top
            here = (np.abs(got) / scale) ** (1 / power) * top
            assert np.max(np.abs(there - here)) <= most * (1 + 1e-4)
            assert np.all(got[1] == 0)


@settings(max_examples=40, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_8_bit_floats_are_within_half_a_unit_to_nearest_and_within_one_stochastically(value, count):
    for name, (near, random) in floats(value, count).items():
        _, mantissa, smallest = FLOATS[name]
        unit = np.maximum(np.abs(value) * 2.0**-mantissa, block_max(value) * smallest)
        assert np.all(np.abs(near - value) <= 0.5001 * unit)
        assert np.all(np.abs(random - value) <= 1.0001 * unit)
        assert np.all(np.asarray(random)[1] == 0)


@settings(max_examples=40, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_bf16_is_within_half_a_unit_to_nearest_and_within_one_stochastically(value, count):
    near, random = halves(value, count)
    assert np.all(np.abs(near - value) <= 2.0**-8 * np.abs(value))
    assert np.all(np.abs(random - value) < 2.0**-7 * np.abs(value) + 1e-45)
    assert np.all(np.asarray(near == value) <= np.asarray(random == value))


@pytest.mark.parametrize("name", [*CODES, *FLOATS, "bf16"])
def test_what_is_decoded_and_encoded_again_stays_what_it_is(name):
    kept = {**CODES, **FLOATS, "bf16": (storage.bf16(),)}[name][0]
    value = np.concatenate([drawn(seed, seed, 4.0) for seed in range(-20, 20)])
    value = np.abs(value) if name == "nonnegative" else value
    first = jax.jit(lambda value: kept.encode(value, storage.noise(count=0)))(value)
    again = jax.jit(lambda stored, count: kept.encode(kept.decode(stored), storage.noise(1, count)))
    for count in range(5):
        chex.assert_trees_all_equal(again(first, count), first)


@pytest.mark.parametrize("name", [*CODES, *FLOATS])
def test_blocks_of_tiny_numbers_are_kept_as_well_as_others(name):
    kept = {**CODES, **FLOATS}[name][0]
    there = jax.jit(lambda value: kept.decode(kept.encode(value)))
    value = jnp.asarray(np.random.default_rng(0).uniform(0.01, 1, 256), jnp.float32)
    for size in (1e-32, 1e-20, 1e36):
        error = jnp.abs(there(value * size) / size - there(value))
        # Where codes are a rounding apart, they are one code apart.
        assert np.sort(error)[-3] <= 3e-6, size


@pytest.mark.parametrize("kept", [*CODES, *FLOATS, "bf16", "float16", "float64 to bf16"])
def test_stochastic_rounding_is_right_in_the_mean(kept):
    value = np.abs(drawn(0, 0, 3.0))[:, :260]
    repeats = 4000
    with jax.enable_x64("64" in kept):
        value = value.astype(np.float64) if "64" in kept else value

        def decoded(count):
            noise = storage.noise(7, count, "w")
            if kept in CODES or kept in FLOATS:
                chosen = (CODES | FLOATS)[kept][0]
                return chosen.decode(chosen.encode(value_, noise), value.dtype)
            to = jnp.float16 if kept == "float16" else jnp.bfloat16
            return storage.stochastic_round(value_, to, noise).astype(value.dtype)

        def step(sums, count):
            error = decoded(count) - value_
            return (sums[0] + error, sums[1] + error * error), None

        @jax.jit
        def total(x):
            nonlocal value_
            value_ = x
            start = (jnp.zeros_like(x), jnp.zeros_like(x))
            return jax.lax.scan(step, start, jnp.arange(repeats, dtype=jnp.int32))[0]

        value_ = jnp.asarray(value)
        sums, squares = map(np.asarray, total(jnp.asarray(value)))
    mean, deviation = sums / repeats, np.sqrt(squares / repeats)
    # 780 entries: the largest of as many normal numbers is about 3.2 of these, 5 is one in 2,000.
    sigmas = np.abs(mean) / np.maximum(deviation / np.sqrt(repeats), 1e-7)
    assert np.max(sigmas) < 5
    assert np.sqrt(np.mean(sigmas**2)) < 1.1
    assert np.mean(deviation > 0) > 0.5


def test_the_root_is_not_what_is_right_in_the_mean():
    """A root rounded without bias has a power too large by 6 var / u**2: u = 20 means 0.4 %."""
    exact = (20.5 / 255) ** 4
    value = np.full(SHAPE, exact, np.float32)
    value[:, [0, 256]] = 1
    got = np.stack([stochastic(value, c)["nonnegative"] for c in range(500)])
    biased = np.mean([(20 / 255) ** 4, (21 / 255) ** 4])
    assert abs(np.mean(got[:, :, 1:256]) / exact - 1) < 1e-3
    assert biased / exact - 1 > 3e-3


def test_what_is_not_finite_stays_within_its_block():
    value = np.ones((3, 300), np.float32)
    value[0, 3], value[1, 290] = np.nan, np.inf
    for bits in range(64):
        decoded = stochastic(value, bits)
        for got in decoded.values():
            assert not np.isfinite(got[0, 3])
            assert not np.isfinite(got[1, 290])
            assert np.all(got[0, 256:] == 1)
            assert np.all(got[1, :256] == 1)
        np.testing.assert_array_equal(halves(value, bits)[1], value)


def test_any_shape_is_kept():
    shapes = [(), (1,), (7,), (0, 3), (3, 0), (2, 257), (2, 3, 16)]
    values = [jnp.full(shape, -2.0) for shape in shapes]
    kinds = (
        storage.int8(),
        storage.bf16(),
        storage.exact(),
        storage.int8(block=5),
        storage.fp8(),
    )

    @jax.jit
    def both(values):
        coded = [[kept.encode(v, storage.noise()) for v in values] for kept in kinds]
        return coded, [
            [kept.decode(c) for c in row] for kept, row in zip(kinds, coded, strict=True)
        ]

    coded, decoded = both(values)
    for codes, row in zip(coded, decoded, strict=True):
        for value, code, got in zip(values, codes, row, strict=True):
            assert jax.tree.leaves(code)[0].shape == value.shape
            np.testing.assert_allclose(got, value, rtol=2e-6)  # fp8 rounds scales
    assert [c.scales.shape for c in coded[0][3:]] == [(0, 1), (3, 0), (2, 2), (2, 3, 1)]


def test_negative_entries_of_what_cannot_be_negative_become_zero():
    kept = storage.int8(values="nonnegative")
    got = kept.decode(kept.encode(jnp.array([1.0, -0.5])))
    np.testing.assert_array_equal(got, [1.0, 0.0])


@pytest.mark.parametrize(
    "kept", [storage.int8(64, rounding="nearest", power=4), storage.bf16(), storage.fp8()]
)
def test_storages_are_records(kept):
    restored = ol.from_dict(json.loads(json.dumps(ol.to_dict(kept))))
    assert restored == kept == pickle.loads(pickle.dumps(kept))
    assert jax.tree.leaves(kept) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: storage.int8(0), "block must be a whole number >= 1, got 0"),
        (lambda: storage.int8(power=3), "power must be None, 1, 2 or 4, got 3"),
        (
            lambda: storage.int8(rounding="up"),
            "rounding must be 'stochastic' | 'nearest', got 'up'",
        ),
        (lambda: storage.fp8(format="e3m4"), "format must be 'auto' | 'e4m3' | 'e5m2', got 'e3m4'"),
        (lambda: storage.bf16("up"), "rounding must be 'stochastic' | 'nearest', got 'up'"),
        (lambda: storage.int8(values="positive"), "'auto' | 'signed' | 'nonnegative'"),
    ],
)
def test_mistakes_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_stochastic_round_refuses_other_dtypes():
    with pytest.raises(TypeError, match="bfloat16 or float16, got int8"):
        storage.stochastic_round(jnp.ones(2), jnp.int8, storage.noise())


def test_a_matrix_of_rank_one_is_its_row_and_column_means():
    rows, columns = np.array([1.0, 2.0, 0.0], np.float32), np.array([3.0, 1e-20], np.float32)
    kept = storage.factored(values="nonnegative")
    stack = jnp.asarray(np.stack([rows[:, None] * columns, np.zeros((3, 2), np.float32)]))
    stored = kept.encode(stack)
    assert [x.shape for x in stored] == [(2, 3), (2, 2)]
    np.testing.assert_allclose(kept.decode(stored), stack, rtol=1e-6)
    np.testing.assert_array_equal(kept.decode(kept.encode(stack[0, 0])), stack[0, 0])


def test_factors_of_huge_squares_do_not_overflow():
    kept = storage.factored(values="nonnegative")
    value = jnp.full((4096, 64), 5e37)
    np.testing.assert_allclose(kept.decode(kept.encode(value)), value, rtol=1e-5)


def test_signs_are_not_factored_away():
    with pytest.raises(ValueError, match=r"second moments only.*'second': factored"):
        storage.factored().suited(nonnegative=False)
    with pytest.raises(ValueError, match=r"say so: factored\(values='nonnegative'\)"):
        storage.factored().encode(jnp.ones((2, 2)))
