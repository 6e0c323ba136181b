"""Adding updates to parameters, with a choice of rounding for those of 16 bits."""

from __future__ import annotations

import reprlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks, trees
from optlab.storage import Noise, noise_of, salt, stochastic_round

PyTree = Any

_ROUNDINGS = checks.one_of("nearest", "stochastic")


def apply_updates(
    params: PyTree,
    updates: PyTree,
    *,
    rounding: str = "nearest",
    count: Any = None,
    key: Any = None,
    seed: int = 0,
) -> PyTree:
    """Adds updates to parameters: `θ <- θ + u`, rounded to the parameters' dtype once.

    A bf16 parameter has 8 bits: an update of less than 1/512 of it is lost when rounded to nearest,
    whatever its optimizer does. Rounded stochastically, up or down with the probabilities that make
    the mean exact, the parameter moves as often as it should.

    Args:
      params: tree of arrays.
      updates: tree of the same structure and shapes, of any float dtype.
      rounding: `"nearest"`, or `"stochastic"` for bfloat16 and float16 parameters; wider ones are
        added exactly either way.
      count: number of the step (an int or an int32 scalar, such as the train state's); with `seed`
        it determines the rounding, so that a resumed run goes on as the same run.
      key: a `jax.random` key, another for every step, in place of the count.
      seed: whole number, with `count`.

    Returns:
      The parameters, in their own dtypes.

    Raises:
      ValueError: for trees that differ, for an unknown rounding, and unless stochastic rounding is
        given either count, one whole number, or key. TypeError: for a leaf that is no number, a
        key that is none.

    Special cases:
      `None` and masked leaves stay. An infinity or NaN is added as usual. Rounding depends on an
      entry's place, not on the sharding.

    Differs from:
      `optax.apply_updates`, which rounds to nearest and adds in the parameter's dtype.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> params, update = jnp.ones(4096, jnp.bfloat16), jnp.full(4096, -1e-3)
      >>> ol.apply_updates(params, update).astype(jnp.float32).mean()
      Array(1., dtype=float32)
      >>> new = ol.apply_updates(params, update, rounding="stochastic", count=0)
      >>> round(float(new.astype(jnp.float32).mean()), 3)
      0.999

    Source:
      Zamirai et al., "Revisiting bfloat16 training", 2020, arXiv:2010.06192.
    """
    _ROUNDINGS("apply_updates", "rounding", rounding)
    given, params, updates = params, trees.unbox(params), trees.unbox(updates)
    trees.require_numbers("params", params)
    trees.check_same("params", params, "updates", updates)
    noises = iter(_noises(params, count, key, seed) if rounding == "stochastic" else ())

    def add(p: Any, u: Any) -> Any:
        noise = next(noises, None)
        p, u = jnp.asarray(p), jnp.asarray(u)
        if noise is None or p.dtype not in (jnp.bfloat16, jnp.float16):
            wide = _wider(p.dtype, u.dtype)
            return (p.astype(wide) + u.astype(wide)).astype(p.dtype)
        wide = _wider(jnp.float32, u.dtype)
        return stochastic_round(p.astype(wide) + u.astype(wide), p.dtype, noise)

    return trees.rebox(given, jax.tree.map(add, params, updates))


def _wider(a: Any, b: Any) -> Any:
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def _is_whole(count: Any) -> bool:
    if isinstance(count, jax.Array | np.ndarray | np.generic):
        return count.ndim == 0 and jnp.issubdtype(count.dtype, jnp.integer)
    return isinstance(count, int)


def _bits(key: Any) -> jax.Array:
    try:
        return jax.random.bits(key, (), jnp.uint32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"apply_updates: key must be one jax.random key, got {reprlib.repr(key)}. Give the "
            "number of the step as count=."
        ) from error


def _noises(params: PyTree, count: Any, key: Any, seed: int) -> list[Noise]:
    if (count is None) == (key is None):
        raise ValueError(
            "apply_updates: stochastic rounding needs either count=, the number of the step, or "
            f"key=, a jax.random key for this step; got {'neither' if key is None else 'both'}."
        )
    seed = checks.count("apply_updates", "seed", seed)
    if key is not None:
        count = _bits(key)
    elif not _is_whole(count):
        raise ValueError(
            "apply_updates: count must be one whole number, the number of the step, got "
            f"{reprlib.repr(count)}."
        )
    leaves = enumerate(jax.tree.leaves(params))
    return [noise_of(salt(seed, f"params/{i}"), count) for i, _ in leaves]
