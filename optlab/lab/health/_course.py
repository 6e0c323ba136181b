"""A training as the rules see it, and how they say what they found."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from optlab.lab.health._findings import Finding
from optlab.lab.health._samples import Samples
from optlab.lab.health._thresholds import FAINT_RATIO, FALL_ERRORS


class Course(NamedTuple):
    """A training: its samples, and its losses with the updates they are of."""

    samples: Samples
    loss_steps: np.ndarray
    losses: np.ndarray

    def losses_at_start(self) -> np.ndarray:
        """The first twentieth."""
        return self.losses[: max(len(self.losses) // 20, 1)]

    def loss_at_start(self) -> float:
        return float(np.mean(self.losses_at_start()))

    def losses_at_end(self) -> np.ndarray:
        """The last tenth."""
        return self.losses[-max(len(self.losses) // 10, 1) :]

    def loss_at_end(self) -> float:
        return float(np.mean(self.losses_at_end()))

    def kept(self) -> float:
        """The loss at the end over that at the start; NaN where that says nothing."""
        if len(self.losses) < 5 or not self.loss_at_start() > 0:
            return float("nan")
        return self.loss_at_end() / self.loss_at_start()

    def faint(self) -> bool:
        """Whether each layer's gradient is next to nothing beside its weights, in most samples."""
        weights, gradients = (
            self.samples.columns["weight_norm"],
            self.samples.columns["gradient_norm"],
        )
        typical = np.median(over(gradients, weights), axis=0)[weights.all(axis=0)]
        return bool(typical.size and gradients.any() and (typical < FAINT_RATIO).all())

    def falls(self) -> bool:
        """Whether the loss ends below its start by more than its own noise explains.

        The noise is that from one loss to the next, which a slow fall does not add to.
        """
        if len(self.losses) < 5 or not np.isfinite(self.losses).all():
            return False
        noise = np.mean(np.diff(self.losses) ** 2) / 2
        error = np.sqrt(noise / len(self.losses_at_start()) + noise / len(self.losses_at_end()))
        return bool(self.loss_at_start() - self.loss_at_end() > FALL_ERRORS * error)

    def later(self) -> slice:
        """The second half of the samples."""
        return slice(len(self.samples.steps) // 2, None)


def finding_of(
    course: Course,
    rule: str,
    groups: np.ndarray | None,
    samples: Any,
    measure: str,
    value: float,
    threshold: float,
    source: str,
    advice: str,
) -> Finding:
    names = course.samples.groups
    chosen = () if groups is None else tuple(n for n, yes in zip(names, groups, strict=True) if yes)
    steps = course.samples.steps[np.asarray(list(samples), int)]
    return Finding(
        rule, chosen, int(steps[0]), int(steps[-1]), measure, value, threshold, source, advice
    )


def over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where the denominator is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, 0.0)
