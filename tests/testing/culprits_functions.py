"""A broken schedule, and a broken initializer, for every clause on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from culprit_makers import doubled_in_batches, traced
from culprits import OTHER

from optlab import core


@dataclasses.dataclass(frozen=True)
class FunctionCulprit:
    """Breaks `clause`, or all of that name: how, what it promises falsely, words of the text."""

    clause: str
    fault: str
    make: Callable[[], Any]
    promises: dict[str, Any]
    words: tuple[str, ...]


def schedule(function: Callable[[Any], Any]) -> Callable[[], Any]:
    """A factory of `count -> function(count as float32)`."""
    return lambda: lambda count: function(jnp.asarray(count, jnp.float32))


class Falling(core.Record):
    """`start / (1 + count)`."""

    start: Any = core.data()

    def __call__(self, count: Any) -> Any:
        return jnp.asarray(self.start, jnp.float32) / (1 + jnp.asarray(count, jnp.float32))


class Guarded(Falling, name="guarded"):
    """Looks at its number in Python."""

    def __call__(self, count: Any) -> Any:
        return super().__call__(count) * (1 if self.start > 0 else 2)


class Rooted(Falling, name="rooted"):
    """Has an infinite slope at its number."""

    def __call__(self, count: Any) -> Any:
        return super().__call__(count) + jnp.sqrt(jnp.asarray(self.start, jnp.float32) - 1)


HEALTHY_SCHEDULE = {
    "steps": 8,
    "low": 0.0,
    "high": 1.0,
    "first": 1.0,
    "last": 0.0,
    "monotone": "decreasing",
    "joins": (4,),
}


def linear() -> Any:
    return lambda count: jnp.maximum(1 - jnp.asarray(count, jnp.float32) / 8, 0)


SCHEDULES = [
    FunctionCulprit("scalar_float32", "an integer", lambda: lambda count: jnp.int32(1), {},
                    ("called it with 0", "int32()", "float32 scalar")),
    FunctionCulprit("scalar_float32", "0 / 0 at count 0", schedule(lambda c: c / c), {},
                    ("called it with 0", "nan in the value", "finite")),
    FunctionCulprit("schedule_range", "rises above", schedule(lambda c: c / 4), {"high": 1.0},
                    ("called it with 5", "1.25", "within [-inf, 1]")),
    FunctionCulprit("schedule_range", "falls below after its steps", schedule(lambda c: 8 - c),
                    {"low": 0.0}, ("called it with 9", "-1.0", "within [0, inf]")),
    FunctionCulprit("end[first]", "begins a step late", schedule(lambda c: c + 1), {"first": 0.0},
                    ("called it with 0", "1.0", "expected: 0")),
    FunctionCulprit("end[last]", "does not stay", schedule(lambda c: c), {"last": 8.0},
                    ("called it with 9", "9.0", "expected: 8")),
    FunctionCulprit("monotone", "rises again", schedule(lambda c: jnp.abs(c - 5)),
                    {"monotone": "decreasing"}, ("walked on from 5", "against", "decreasing")),
    FunctionCulprit("monotone", "falls in the end", schedule(lambda c: -jnp.abs(c - 5)),
                    {"monotone": "increasing"}, ("walked on from 5", "against", "increasing")),
    FunctionCulprit("continuous_at_joins", "jumps",
                    schedule(lambda c: jnp.where(c < 4, 1.0, 0.5) - 0.01 * c), {"joins": (4,)},
                    ("from count 3 to 4", "a jump of 0.51", "about 0.01")),
    FunctionCulprit("schedule_jit_equals_eager", "doubles when traced",
                    lambda: lambda c: jnp.float32(c) * (2 if traced(c) else 1), {},
                    ("jitted it", "as eager")),
    FunctionCulprit("maps_over_counts", "doubles in batches",
                    schedule(lambda c: doubled_in_batches(c)), {}, ("vmapped it", "as a loop")),
    FunctionCulprit("large_counts", "a power of the count",
                    schedule(lambda c: (1 + c) ** 5), {},
                    ("called it with 2147483646", "inf in the value", "finite")),
    FunctionCulprit("traced_fields", "asks in Python", lambda: Guarded(1.0), {},
                    ("vmap", "TracerBoolConversionError", "self.start > 0", "no error")),
    FunctionCulprit("traced_fields", "an infinite slope", lambda: Rooted(1.0), {},
                    ("differentiated by start", "inf in the derivative", "finite")),
]  # fmt: skip


def normal(change: Callable[[Any], Any] = lambda x: x) -> Callable[[], Any]:
    """A factory of standard normal values, changed."""
    return lambda: lambda key, shape, dtype: change(jax.random.normal(key, shape, dtype))


HEALTHY_INITIALIZER = {"variance": 1.0, "shape": (32, 24)}

INITIALIZERS = [
    FunctionCulprit("reproducible", "draws from NumPy's generator",
                    lambda: lambda key, shape, dtype: jnp.asarray(
                        np.random.normal(size=shape), dtype),
                    {}, ("twice from one key", "the same")),
    FunctionCulprit("key_separation", "takes a key of its own",
                    lambda: lambda key, shape, dtype: jax.random.normal(
                        jax.random.key(3), shape, dtype),
                    {}, ("from two keys", "the same array twice", "two arrays")),
    FunctionCulprit("key_separation", "adds a little of the key to a fixed array",
                    lambda: lambda key, shape, dtype: 0.1 * jax.random.normal(key, shape, dtype)
                    + jax.random.normal(jax.random.key(3), shape, dtype),
                    {}, ("from two keys", "correlation 0.9", "within ±0.217")),
    *(FunctionCulprit(f"dtype[{name}]", "another dtype",
                      lambda other=other: lambda key, shape, dtype: jnp.ones(shape, other), {},
                      (f"asked for {name}(32, 24)", f"{other}(32, 24)"))
      for name, other in OTHER.items()),
    FunctionCulprit("dtype", "another shape",
                    lambda: lambda key, shape, dtype: jnp.ones(shape[::-1], dtype), {},
                    ("(32, 24)", "(24, 32)")),
    FunctionCulprit("sample_mean", "beside it", normal(lambda x: x + 1), {},
                    ("took the mean", "0 ±")),
    FunctionCulprit("sample_variance", "twice as wide", normal(lambda x: 2 * x), {},
                    ("drew 768 values", "variance", "1, between")),
    FunctionCulprit("sample_variance", "narrower", normal(lambda x: 0.8 * x), {},
                    ("drew 768 values", "variance 0.6", "1, between")),
    FunctionCulprit("initializer_jit_equals_eager", "doubles when traced",
                    normal(lambda x: x * (2 if traced(x) else 1)), {},
                    ("jitted it", "as eager")),
    FunctionCulprit("initializer_jit_bits", "a rounding more when traced",
                    normal(lambda x: x * (1 + 2e-7 * traced(x))), {},
                    ("jitted it", "the same bits")),
    FunctionCulprit("maps_over_keys", "doubles in batches", normal(doubled_in_batches), {},
                    ("vmapped over keys", "as a loop")),
    FunctionCulprit("sharded_equals_whole", "doubles when traced",
                    normal(lambda x: x * (2 if traced(x) else 1)), {},
                    ("sharded the output", "whole")),
]  # fmt: skip
