"""`check_initializer`: the clauses for initializers, optlab's, JAX's or plain functions."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optlab.testing import _compare as compare
from optlab.testing._clauses import ONE_DEVICE, Broken, NotApplicable
from optlab.testing._clauses import initializer_clauses as catalogue
from optlab.testing._report import Report
from optlab.testing._transformations import described, reproduction, require_function


@dataclasses.dataclass(frozen=True)
class InitializerSubject:
    """An initializer and what is promised of it; see `check_initializer`."""

    make: Callable[[], Any]
    shape: tuple[int, ...]
    mean: float
    variance: float | None
    random: bool

    def sample(self, seed: int = 0, dtype: Any = jnp.float32) -> jax.Array:
        return self.make()(jax.random.key(seed), self.shape, dtype)


@catalogue.clause()
def reproducible(subject: InitializerSubject) -> None:
    """One key gives the same array twice, to the bit."""
    compare.identical("drew twice from one key", subject.sample(), subject.sample(), "the same")


@catalogue.clause()
def key_separation(subject: InitializerSubject) -> None:
    """Other keys give other, uncorrelated arrays."""
    if not subject.random:
        raise NotApplicable("it is not random")
    one, other = (np.asarray(subject.sample(seed), np.float64).ravel() for seed in (0, 1))
    if np.array_equal(one, other):
        raise Broken("drew from two keys", "the same array twice", "two arrays")
    correlation, bound = np.corrcoef(one, other)[0, 1], 6 / np.sqrt(one.size)
    if abs(correlation) > bound:
        raise Broken("drew from two keys", f"correlation {correlation:.3f}",
                     f"within ±{bound:.3f}, as of {one.size} independent values")  # fmt: skip


@catalogue.clause(over={"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"})
def dtype(subject: InitializerSubject, name: str) -> None:
    """The array has the shape and dtype asked for (16 bits may be refused with an error)."""
    try:
        array = subject.sample(dtype=jnp.dtype(name))
    except (TypeError, ValueError) as error:
        if name == "float32":
            raise
        raise NotApplicable(f"it refuses {name}: {error}") from error
    if array.shape != subject.shape or array.dtype != jnp.dtype(name):
        raise Broken(f"asked for {name}{subject.shape}", f"{array.dtype}{array.shape}", "that")
    compare.finite(f"asked for {name}", array, "array")


@catalogue.clause()
def sample_mean(subject: InitializerSubject) -> None:
    """The sample mean is the promised one, within six standard errors."""
    x = np.asarray(subject.sample(), np.float64)
    error = 6 * np.std(x) / np.sqrt(x.size) + 1e-7
    if abs(np.mean(x) - subject.mean) > error:
        raise Broken("took the mean", f"{np.mean(x):.4g}", f"{subject.mean:.4g} ± {error:.2g}")


@catalogue.clause()
def sample_variance(subject: InitializerSubject) -> None:
    """The sample variance is within a chi-square bound of the promised one."""
    promised = subject.variance
    if promised is None:
        promise = getattr(subject.make(), "variance", None)
        if promise is None:
            raise NotApplicable("no variance was promised")
        promised = float(promise(subject.shape))
    x = np.asarray(subject.sample(), np.float64)
    # Wilson and Hilferty's cube-root normal approximation of chi-square, at six deviations.
    n = x.size - 1
    spread = np.sqrt(2 / (9 * n))
    low, high = ((1 - 2 / (9 * n) + z * spread) ** 3 for z in (-6, 6))
    got = np.var(x, ddof=1)
    if not low * promised - 1e-12 <= got <= high * promised + 1e-12:
        raise Broken(
            f"drew {x.size} values", f"variance {got:.5g}",
            f"{promised:.5g}, between {low * promised:.5g} and {high * promised:.5g}",
        )  # fmt: skip


@catalogue.clause()
def initializer_jit_equals_eager(subject: InitializerSubject) -> None:
    """Jitted, it gives what it gives eagerly, to a rounding."""
    compare.close("jitted it", _jitted(subject), subject.sample(), "as eager", rtol=1e-6)


@catalogue.clause("property")
def initializer_jit_bits(subject: InitializerSubject) -> None:
    """Jitted, it gives the same bits."""
    compare.identical("jitted it", _jitted(subject), subject.sample(), "the same bits")


def _jitted(subject: InitializerSubject) -> jax.Array:
    make = subject.make()
    return jax.jit(lambda key: make(key, subject.shape, jnp.float32))(jax.random.key(0))


@catalogue.clause()
def maps_over_keys(subject: InitializerSubject) -> None:
    """`vmap` over keys gives what a loop gives."""
    make = subject.make()
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    got = jax.vmap(lambda key: make(key, subject.shape, jnp.float32))(keys)
    expected = jnp.stack([subject.sample(0), subject.sample(1)])
    compare.close("vmapped over keys", got, expected, "as a loop", rtol=1e-5)


@catalogue.clause()
def sharded_equals_whole(subject: InitializerSubject) -> None:
    """Made under `jit` with its output sharded over devices, it is the same array."""
    if jax.device_count() < 2:
        raise NotApplicable(ONE_DEVICE)
    if not subject.shape or subject.shape[0] % 2:
        raise NotApplicable("the shape has no first axis of even length")
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    spread = NamedSharding(mesh, PartitionSpec("d"))
    make = subject.make()
    jitted = jax.jit(lambda key: make(key, subject.shape, jnp.float32), out_shardings=spread)
    got = jax.device_get(jitted(jax.random.key(0)))
    compare.close("sharded the output", got, jax.device_get(subject.sample()), "whole", rtol=1e-5)


def check_initializer(
    make_initializer: Callable[[], Any],
    *,
    shape: int | tuple[int, ...] = (128, 96),
    mean: float = 0.0,
    variance: float | None = None,
    random: bool = True,
    claims: str | Iterable[str] = (),
    allow: Mapping[str, str] | None = None,
    only: str | Iterable[str] | None = None,
) -> Report:
    """Holds an initializer, `(key, shape, dtype) -> array`, to its promises.

    Args:
      make_initializer: makes the initializer; optlab's, JAX's, Flax's, or any such function.
      shape: of the arrays drawn, an integer for vectors; large enough for statistics.
      mean: the mean promised.
      variance: the variance promised; asked of the initializer's own `variance(shape)` if None.
      random: False for constants.
      claims: properties it has beyond that: `"initializer_jit_bits"`.
      allow, only: as in `check_transformation`.

    Returns:
      A `Report`, false if a clause failed.

    Raises:
      ValueError: for names that are no clauses, or axes below 1.
      TypeError: if `make_initializer` is no factory of initializers, or a shape is no shape.

    Example:
      >>> import jax, optlab as ol
      >>> bool(ol.testing.check_initializer(ol.initializers.he_normal))
      True
      >>> report = ol.testing.check_initializer(jax.nn.initializers.he_normal, variance=1 / 128)
      >>> [result.clause for result in report.failures]
      ['sample_variance']
    """
    require_function(
        "make_initializer", make_initializer, "an initializer, a function of key, shape and dtype",
        "lambda: optlab.initializers.normal(0.02)",
    )  # fmt: skip
    try:
        sizes = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError as error:
        raise TypeError(f"check_initializer: shape must be integers, got {shape!r}.") from error
    if min(sizes, default=1) < 1:
        raise ValueError(f"check_initializer: every axis of shape must be >= 1, got {shape!r}.")
    subject = InitializerSubject(make_initializer, sizes, mean, variance, random)
    given = {"shape": subject.shape, "mean": mean, "variance": variance, "random": random}
    return catalogue.judge(
        subject,
        described(make_initializer),
        allow=allow,
        claims=claims,
        only=only,
        reproduce=lambda clause: reproduction("check_initializer", make_initializer, clause, given),
    )
