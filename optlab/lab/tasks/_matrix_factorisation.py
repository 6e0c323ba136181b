"""A matrix of low rank from some of its entries: not convex, and a saddle at the start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.lab._task import Task
from optlab.optimizers import adam

_SIZE = 64
_NOISE = 0.1


def matrix_factorisation(
    *, rank: int = 4, observed: float = 0.5, batch_size: int = 128, steps: int = 300
) -> Task:
    """`U Vᵀ`, 64 x 64, from some entries of a planted matrix of that rank under noise.

    Entries of the planted matrix have variance 1, the noise a deviation of 0.1. U and V start at
    a hundredth of their size, near the saddle at zero. The matrix is the same for every seed.

    Args:
      rank: of the planted matrix and of U and V.
      observed: share of the entries to learn from, between 0 and 1; the others judge.
      batch_size: entries a step.
      steps: budget.

    Returns:
      A task; metric "loss", the mean squared error on entries not seen.

    Target:
      0.02, for the defaults, twice the variance of the noise. Derived: least squares with
      r (64 + 64 - r) = 496 free numbers from n = 2048 entries leaves
      `0.01 (1 + 496 / 2048) = 0.0124` in expectation, at the rank of the truth.

    Example:
      >>> import optlab as ol
      >>> task = ol.lab.tasks.matrix_factorisation(rank=2)
      >>> task.validation["value"].shape
      (2048,)

    Source:
      R. Ge, J. D. Lee, T. Ma, Matrix Completion has No Spurious Local Minimum, 2016,
      arXiv:1605.07272.
    """
    checks.Interval(1, _SIZE, "[]", integer=True)("matrix_factorisation", "rank", rank)
    checks.Interval(0.0, 1.0, "()")("matrix_factorisation", "observed", observed)
    random = np.random.default_rng(0)
    left, right = random.normal(size=(2, _SIZE, rank)) / rank**0.25
    entries = left @ right.T + _NOISE * random.normal(size=(_SIZE, _SIZE))
    order = random.permutation(_SIZE**2)
    seen = round(observed * _SIZE**2)

    def part(places):
        row, column = np.divmod(places, _SIZE)
        return {
            "row": jnp.asarray(row, jnp.int32),
            "column": jnp.asarray(column, jnp.int32),
            "value": jnp.asarray(entries[row, column], jnp.float32),
        }

    def init(key):
        left, right = 0.01 * jax.random.normal(key, (2, _SIZE, rank), jnp.float32)
        return {"left": left, "right": right}

    def error(params, batch):
        found = (params["left"][batch["row"]] * params["right"][batch["column"]]).sum(-1)
        return jnp.square(found - batch["value"]).mean()

    return Task(
        name="matrix_factorisation",
        init=init,
        loss=lambda params, batch, key: error(params, batch),
        batch=part(order[:seen]),
        batch_size=batch_size,
        evaluate=lambda params, batch: {"loss": error(params, batch)},
        validation=part(order[seen:]),
        metric="loss",
        target=0.02,
        steps=steps,
        baseline=adam(3e-2),
    )
