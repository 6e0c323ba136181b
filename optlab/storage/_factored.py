"""Two vectors in place of a matrix: row and column means, for what has no signs."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from optlab.core import checks, numerics, static
from optlab.storage._storage import Storage

F = TypeVar("F", bound="Factors")
_VALUES = checks.one_of("auto", "nonnegative")


class Factors(NamedTuple):
    """A stack of matrices without negative entries, as the means of their rows and columns.

    Attributes:
      rows: the mean over the last axis, shape (..., n).
      columns: the mean over the axis before it, shape (..., m).

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> ol.storage.Factors.of(jnp.ones((3, 2))).kept_shape
      (3, 2)
    """

    rows: jax.Array
    columns: jax.Array

    @classmethod
    def of(cls: type[F], matrix: jax.Array) -> F:
        return cls(_mean(matrix, axis=-1), _mean(matrix, axis=-2))

    def dense(self) -> jax.Array:
        """`rows · columns / mean(rows)`, 0 where a matrix is 0."""
        rows = numerics.safe_divide(self.rows, _mean(self.rows, axis=-1)[..., None])
        return rows[..., :, None] * self.columns[..., None, :]

    @property
    def kept_shape(self) -> tuple[int, ...] | None:
        return (*self.rows.shape, self.columns.shape[-1])

    def parameter_axes(self, ndim: int) -> Factors:
        """The axes of the parameter that rows and columns run along."""
        leading = tuple(range(ndim - 2))
        rows, columns = (*leading, ndim - 2), (*leading, ndim - 1)
        return type(self)(rows=rows, columns=columns)  # type: ignore[arg-type]


def _mean(x: jax.Array, axis: int) -> jax.Array:
    """Divided before it is summed: sums of many squares would overflow."""
    return jnp.sum(x / max(x.shape[axis], 1), axis=axis)


class FactoredStorage(Storage, name="factored"):
    """Attributes: see `factored`."""

    values: str = static(_VALUES, default="auto")

    coarse = True

    def suited(self, nonnegative):
        if self.values != "auto":
            return self
        if nonnegative:
            return FactoredStorage(values="nonnegative")
        raise ValueError(
            "storage.factored: row and column means keep no signs, so they are for second moments "
            "only. Name those: {'second': factored()}."
        )

    def encode(self, value, noise=None):
        if self.values == "auto":
            raise ValueError(
                "storage.factored: what is kept may have negative entries, whose signs would be "
                "lost. If it has none, say so: factored(values='nonnegative')."
            )
        return value if value.ndim < 2 else Factors.of(value)

    def decode(self, stored, dtype="float32"):
        return stored.dense().astype(dtype) if isinstance(stored, Factors) else stored


def factored(*, values: str = "auto") -> FactoredStorage:
    """Keeps the row and column means of each matrix: `4 (n + m)` bytes in place of `4 n m`.

    What comes back is `rows · columns / mean(rows)`, exact for matrices of rank one. Around Adam's
    second moment this is Adafactor's memory with Adam's rule: means are linear, so those of a
    running average are the running averages of the means of the squares.

    Args:
      values: `"nonnegative"`: the entries have no signs to lose; or `"auto"`: `store` says so by
        the field's name (`second`, `nu`, ...), and everything else is refused.

    Returns:
      A `Storage`.

    Raises:
      ValueError: for arrays that are not known to be without negative entries.

    Special cases:
      Arrays of fewer than two axes stay exact; of more, the last two are the matrix. A row or
      column with an entry that is not finite is not finite. What is decoded and encoded again
      changes by rounding errors: where skipped steps must keep the state to the bit, put `guard`
      around the `store`.

    Differs from:
      `adafactor`, which divides by the factored average alone; here the latest square enters whole.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.store(ol.adam(1e-3), {"second": ol.storage.factored()})
      >>> second = tx.init({"kernel": jnp.ones((64, 256))}).inner[0].second["kernel"]
      >>> second.rows.shape, second.columns.shape
      ((64,), (256,))

    Source:
      Shazeer, Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018,
      arXiv:1804.04235, algorithm 1.
    """
    return FactoredStorage(values=_VALUES("factored", "values", values))
