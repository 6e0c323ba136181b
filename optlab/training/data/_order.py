"""Permutations that stay the same in every version of NumPy."""

from __future__ import annotations

import hashlib

import numpy as np

from optlab.core import checks


def permutation(length: int, *entropy: int) -> np.ndarray:
    """A permutation of `range(length)` that depends on the numbers in `entropy` only.

    NumPy promises the raw stream of a bit generator for good, but not what
    `Generator.permutation` makes of it; so the stream is sorted here, each number with its place in
    its lowest bits. The key is a hash, since `SeedSequence((0, 2))` is `SeedSequence(2 << 32)`.
    """
    for value in entropy:
        checks.count("data", "seed", value)
    key = hashlib.sha256(repr([int(value) for value in entropy]).encode()).digest()[:16]
    bits = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(length)
    mask = np.uint64((1 << max(length - 1, 0).bit_length()) - 1)
    numbers = np.asarray(bits, np.uint64) & ~mask | np.arange(length, dtype=np.uint64)
    numbers.sort()
    return (numbers & mask).astype(np.int64)
