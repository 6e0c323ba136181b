"""Permutations that stay the same in every version of NumPy."""

from __future__ import annotations

import numpy as np

from optlab.core import checks


def permutation(length: int, *entropy: int) -> np.ndarray:
    """A permutation of `range(length)` that depends on the numbers in `entropy` only.

    NumPy promises the raw stream of a bit generator for good, but not what
    `Generator.permutation` makes of it; so the stream is sorted here. Two equal numbers of 64 bits
    keep their order.
    """
    for value in entropy:
        checks.count("data", "seed", value)
    bits = np.random.Philox(np.random.SeedSequence(entropy)).random_raw(length)
    return np.argsort(np.asarray(bits, np.uint64), kind="stable")
