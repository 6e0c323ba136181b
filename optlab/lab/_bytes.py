"""Named arrays as bytes: a line of JSON with names, dtypes and shapes, then the raw values."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np


def pack(arrays: Mapping[str, Any]) -> bytes:
    """The arrays as bytes, little-endian.

    Raises:
      TypeError: for arrays that are not of numbers or booleans.
    """
    header, parts = [], []
    for name, value in arrays.items():
        array = np.asarray(value)
        dtype = array.dtype
        if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
            raise TypeError(f"store: {name or 'a state'} has dtype {dtype}; only numbers.")
        array = array.astype(dtype.newbyteorder("="))
        header.append([name, array.dtype.name, array.shape])
        parts.append(_little(array).tobytes())
    return b"\n".join([json.dumps(header).encode(), b"".join(parts)])


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What `pack` was given."""
    end = data.index(b"\n")
    place, arrays = end + 1, {}
    for name, dtype, shape in json.loads(data[:end]):
        count = math.prod(shape)
        array = np.frombuffer(data, jnp.dtype(dtype), count, place)
        arrays[name] = _little(array).reshape(shape).copy()
        place += array.nbytes
    return arrays


def _little(array: np.ndarray) -> np.ndarray:
    return array.byteswap() if sys.byteorder == "big" else array
