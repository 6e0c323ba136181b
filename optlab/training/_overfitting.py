"""Overfitting: validation that gets worse while training gets better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from optlab.core import better
from optlab.training import _curves

_AFTER = 3  # evaluations behind the best one, all of which must be worse
_REPORTS = 3  # of the training loss, a mean


class Overfitting(NamedTuple):
    """What says that a run learned its examples by heart; `str` of it is a sentence.

    Attributes:
      metric: of validation, less is better.
      best, best_step: its least value, and where.
      last, last_step: its value at the last evaluation.
      loss_then, loss_now: the training loss about `best_step`, and at the end.

    Example:
      >>> import optlab as ol
      >>> found = ol.training.Overfitting("validation_loss", 0.5, 20, 0.6, 80, 0.4, 0.1)
      >>> print(f"{found.generalization_loss:.0%}")
      20%
    """

    metric: str
    best: float
    best_step: int
    last: float
    last_step: int
    loss_then: float
    loss_now: float

    @property
    def generalization_loss(self) -> float:
        """last / best - 1, which Prechelt stops at."""
        return self.last / self.best - 1

    def __str__(self) -> str:
        return (
            f"overfits since step {self.best_step:,}: {self.metric} was {self.best:.4g} there and "
            f"is {self.last:.4g} at step {self.last_step:,}, while the training loss fell from "
            f"{self.loss_then:.4g} to {self.loss_now:.4g}. Keep the parameters of that step "
            "(patience stops soon behind it); decay, dropout, augmentation or more data may help."
        )


def overfitting(
    rows: Sequence[Mapping[str, Any]], *, threshold: float = 0.05
) -> Overfitting | None:
    """Whether validation got worse while training got better.

        last / best - 1 > threshold

    for each of the last three evaluations, all behind the best one, and the training loss fell
    since. "Best" is the least of `validation_loss`, or of the first metric of validation of which
    less is better.

    Args:
      rows: of a run, as in `metrics.jsonl`.
      threshold: the generalization loss from which on it counts, relative, > 0.

    Returns:
      What was found, or None: also with fewer than three evaluations behind the best, as with a
      patience of 1 or 2, and for losses that are not above zero, whose ratio says nothing.

    Raises:
      ValueError: for a threshold that is not above zero.

    Example:
      >>> import optlab as ol
      >>> validation = [0.9, 0.7, 0.6, 0.7, 0.8, 0.9]
      >>> rows = [
      ...     {"step": 10 * i, "loss": 1 / i, "validation_loss": value}
      ...     for i, value in enumerate(validation, 1)
      ... ]
      >>> ol.training.overfitting(rows).best_step
      30

    Source:
      L. Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998: the
      generalization loss, there in per cent, and thresholds of 1 to 5 %.
    """
    if not threshold > 0:
        raise ValueError(f"overfitting: threshold must be above 0, got {threshold!r}.")
    name = _judge(rows)
    if name is None:
        return None
    steps, values = _curves.series(rows, name)
    best = _curves.best_index(values, "min")
    behind = values[best + 1 :]
    if not values[best] > 0 or len(behind) < _AFTER:
        return None
    if not (behind[-_AFTER:] / values[best] - 1 > threshold).all() or not np.isfinite(behind[-1]):
        return None
    at, losses = _curves.series(rows, "loss")
    at, losses = at[np.isfinite(losses)], losses[np.isfinite(losses)]
    then = losses[at <= max(steps[best], at.min(initial=np.inf))][-_REPORTS:]
    now = losses[at > steps[best]][-_REPORTS:]
    if not len(then) or not len(now) or not now.mean() < then.mean():
        return None
    return Overfitting(
        name, float(values[best]), int(steps[best]), float(values[-1]), int(steps[-1]),
        float(then.mean()), float(now.mean()),
    )  # fmt: skip


def _judge(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The metric of validation to look at, if there is one."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = [n for n in names if n.startswith(_curves.VALIDATION) and better(n) == "min"]
    loss = _curves.VALIDATION + "loss"
    return loss if loss in found else next(iter(found), None)
