"""Successive halving: most trials train for a part of the steps, the best of them go on.

Source: K. Jamieson, A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
Optimization, 2016, arXiv:1502.07943.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from optlab.core import checks


class Rung(NamedTuple):
    """A part of successive halving.

    Fields:
      steps: that its runs have made when it ends.
      trials: how many trials train so far.
    """

    steps: int
    trials: int


def rungs(trials: int, factor: int | None, boundaries: Sequence[int]) -> list[Rung]:
    """From the first rung, with all trials, to the last, whose trials train to the end.

    From one rung to the next, one in `factor` trials goes on, to `factor` times the steps; rungs
    end where metrics are taken.

    Args:
      trials: how many there are.
      factor: >= 2, or None for no halving: one rung.
      boundaries: the step counts at which metrics are taken, ascending.

    Raises:
      ValueError: for a factor < 2, or one so large that no trial would be stopped.
    """
    steps = boundaries[-1]
    if factor is None:
        return [Rung(steps, trials)]
    if checks.positive_count("sweep", "halving", factor) < 2:
        raise ValueError(f"sweep: halving must be >= 2, one in so many goes on; got {factor}.")
    ends, part = [steps], steps / factor
    while len(ends) <= _depth(trials, factor) and part >= boundaries[0]:
        ends.append(min(boundaries, key=lambda boundary: abs(boundary - part)))
        part /= factor
    ends = sorted(set(ends))
    if len(ends) == 1:
        raise ValueError(
            f"sweep: halving={factor} stops nothing among {trials} trials of {steps} steps with "
            f"{len(boundaries)} evaluations; it needs at least {factor} trials and evaluations."
        )
    return [Rung(end, max(trials // factor**i, 1)) for i, end in enumerate(ends)]


def _depth(trials: int, factor: int) -> int:
    depth = 0
    while trials >= factor:
        trials, depth = trials // factor, depth + 1
    return depth
