"""What experiments are made of and what they leave: trials, and the runs made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Trial(NamedTuple):
    """One choice of hyperparameters.

    Fields:
      number: its place in the study, from 0.
      hyperparameters: what `make_tx` was called with, by name: numbers, strings, booleans, None.

    Example:
      >>> import optlab as ol
      >>> ol.lab.Trial(0, {"learning_rate": 0.1}).hyperparameters
      {'learning_rate': 0.1}
    """

    number: int
    hyperparameters: Mapping[str, Any]


class Outcome(NamedTuple):
    """One run: a trial with a seed.

    Fields:
      trial: number of the trial.
      seed: of the run: parameters, order of the data, dropout.
      status: "done", "diverged", or "stopped" (by successive halving).
      steps: updates done.
      diverged_at: the first step whose loss was not finite, or at which the loss had been above its
        start for too long; None otherwise.
      losses: float32[steps], the training loss of each step, before its update.
      evaluated: int[evaluations], updates done at each evaluation.
      metrics: {name: float[evaluations]}, those of `Task.evaluate`, and "train_loss", the mean of
        the losses since the evaluation before.
      seconds: that the run took; of a chunk of runs, an equal share. Compilation apart.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(
      ...     ol.lab.tasks.quadratic(dimension=4), ol.sgd, {"learning_rate": 0.1}, progress=False
      ... )
      >>> outcome = results.outcomes[0]
      >>> outcome.status, outcome.steps, outcome.losses.shape
      ('done', 300, (300,))
    """

    trial: int
    seed: int
    status: str
    steps: int
    diverged_at: int | None
    losses: np.ndarray
    evaluated: np.ndarray
    metrics: Mapping[str, np.ndarray]
    seconds: float
