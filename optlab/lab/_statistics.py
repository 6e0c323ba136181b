"""Whether two tuned optimizers differ, when the tuning was a matter of luck as well as the seeds.

A paired test over the test seeds of two winners takes the winners as given, and finds differences
between an optimizer and itself: another draw of hyperparameters gave another winner. Here the unit
is the trial. If two names stood for one process, their trials would be exchangeable, so the test
asks how often labels dealt at random to the pooled trials would set the two sides as far apart.

How far apart they are is said in ranks within each test seed, among the best of the pool. So any
increasing transformation of the metric gives the same verdict, a failed run is simply the worst,
and what a test seed does to all runs cancels.

Everything here is less-is-better, and failures are inf.

Sources: E. Pitman, Significance Tests Which May be Applied to Samples from any Populations, 1937;
S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979; B. Efron, Bootstrap Methods:
Another Look at the Jackknife, 1979.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Study(NamedTuple):
    """One tuning of one optimizer.

    Fields:
      scores: float[trials], of tuning; the least wins.
      ties: float[trials], what decides between equal scores.
      tests: float[trials, seeds], on the test seeds; rows of NaN for trials that were not tested.
    """

    scores: np.ndarray
    ties: np.ndarray
    tests: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Trials from the winner on."""
        return np.lexsort((self.ties, self.scores))

    @property
    def known(self) -> np.ndarray:
        """bool[trials]: a trial that failed in tuning needs no test to count as failed."""
        return ~np.isnan(self.tests).any(axis=1) | np.isposinf(self.scores)


def study(scores, tests, ties=None) -> Study:
    """A `Study` from anything like arrays; scores and single results that are NaN count as inf."""
    scores, tests = np.array(scores, float), np.array(tests, float)
    scores[np.isnan(scores)] = np.inf
    tested = ~np.isnan(tests).all(axis=1)
    tests[np.isnan(tests) & np.reshape(tested, (-1, 1))] = np.inf
    tests[np.isposinf(scores) & ~tested] = np.inf
    ties = np.arange(len(scores)) if ties is None else ties
    return Study(scores, np.array(ties, float), tests)


def median_high(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """What more than half of them reach: the middle one, of an even number the worse."""
    middle = values.shape[axis] // 2
    return np.take(np.partition(values, middle, axis=axis), middle, axis=axis)


def score(studies: Sequence[Study]) -> float:
    """The median over studies of the median over test seeds of the winner."""
    return float(median_high(np.array([median_high(one.tests[one.order[0]]) for one in studies])))


# --- the test

DEALS = 20_000


def finalists_needed(trials: int, studies: int, comparisons: int, level: float) -> int:
    """How many trials of each to test: enough that the smallest p-value is far below the level."""
    bits = 2 + math.log2(comparisons / level)  # one side has them all by chance: 2 * 2**-bits
    return min(trials, max(5, math.ceil(bits / studies)))


def smallest_p(trials: int, studies: int, finalists: int) -> float:
    """The p-value where all finalists of every study are of one side; no data give less."""
    drawn = np.arange(min(finalists, trials))
    one_side = float(np.prod((trials - drawn) / (2 * trials - drawn)))
    return min(1.0, max(2 * one_side**studies, 1 / (1 + DEALS)))


def exchange_test(a: Sequence[Study], b: Sequence[Study], finalists: int | None = None) -> float:
    """The p-value of "a and b are one process", two-sided; labels are dealt within each study.

    What is compared is how tuning on a random half of the trials would turn out: its best trial is
    the one of rank r with probability 2**-r, so the result expected is that average of the places
    of the first few, which is less a matter of luck than the winner's alone. A trial's place is the
    share of runs of the pool's best `finalists`, seed by seed, that it is worse than; trials
    that are not among those count as worse than all.

    Args:
      a, b: their studies, in the same order, of the same size, on the same test seeds.
      finalists: how many of each were tested, if not all.

    Returns:
      The share of deals with a difference, summed over studies, at least as large as the one seen;
      that one counts as a deal.

    Raises:
      ValueError: if a and b had different numbers of studies, trials or test seeds.
    """
    if len(a) != len(b):
        raise ValueError(f"exchange_test: {len(a)} studies against {len(b)}; they must be equal.")
    seen, dealt = 0.0, np.zeros(DEALS)
    for number, (x, y) in enumerate(zip(a, b, strict=True)):
        one, many = _differences(x, y, finalists, number)
        seen, dealt = seen + one, dealt + many
    extreme = np.sum(np.abs(dealt) >= abs(seen))
    return float((1 + extreme) / (1 + DEALS))


def _differences(a: Study, b: Study, finalists: int | None, number: int):
    """b's expected place less a's, as seen and in each deal. All sums are exact in floats: whole
    numbers times powers of two."""
    trials = len(a.scores)
    if len(b.scores) != trials or a.tests.shape[1] != b.tests.shape[1]:
        raise ValueError(
            f"exchange_test: tunings of {trials} and {len(b.scores)} trials on "
            f"{a.tests.shape[1]} and {b.tests.shape[1]} test seeds cannot be compared; give both "
            "the same budget."
        )
    tested = min(_leading(a), _leading(b), finalists or trials)
    pool = Study(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))
    # Equal scores and ties are ordered by results, so that it does not matter which side is first.
    order = np.lexsort((*pool.tests.T, pool.ties, pool.scores))[:tested]
    best = pool.tests[order]
    # Twice the runs that are better, once those as good; less what the others have, who have most.
    places = 2.0 * (best[:, None] < best).sum((0, 2)) + (best[:, None] == best).sum((0, 2))
    gains = places - 2 * best.size
    weights_a, weights_b = _deals(trials, tested, number)
    mine = order < trials
    seen = (_weights(~mine) - _weights(mine)) @ gains
    return seen, (weights_b - weights_a) @ gains


def _weights(side: np.ndarray) -> np.ndarray:
    """2**-r for the r-th of one side, 0 for the other's, along the last axis."""
    return side * 0.5 ** np.cumsum(side, axis=-1)


@functools.lru_cache(maxsize=64)
def _deals(trials: int, tested: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights on either side of the first of a pool, of random halves of it, [DEALS, tested]."""
    random = np.random.default_rng([trials, number]).random((DEALS, 2 * trials), np.float32)
    first = random <= np.partition(random, trials - 1, axis=1)[:, trials - 1, None]
    return _weights(first[:, :tested]), _weights(~first[:, :tested])


def _leading(one: Study) -> int:
    """How many trials from the winner on are known."""
    return int(np.cumprod(one.known[one.order]).sum())


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values adjusted so that below a level, the chance of any false rejection is below it."""
    p = np.array(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


# --- intervals


def replicates(studies: Sequence[Study], *, key: Sequence[int], resamples: int) -> np.ndarray:
    """Scores had the tuning and the test seeds been drawn again, float[resamples].

    A hierarchical bootstrap: in each study, as many trials as there were, drawn with replacement,
    tuned again; then test seeds, drawn with replacement.

    Args:
      studies: of one optimizer.
      key: `key[0]` draws the test seeds, the same for all that are compared; all of it the trials.
      resamples: how many.
    """
    tune, test = np.random.default_rng(list(key)), np.random.default_rng([key[0], 1])
    results = []
    for one in studies:
        trials, seeds = one.tests.shape
        # The winner of a resample is of rank r or more with probability (1 - r / trials)**trials.
        u = tune.random(resamples)
        rank = np.floor(trials * (1 - u ** (1 / trials))).astype(int)
        winner = one.order[np.minimum(rank, max(_leading(one), 1) - 1)]
        drawn = test.integers(seeds, size=(resamples, seeds))
        results.append(median_high(one.tests[winner[:, None], drawn]))
    return median_high(np.stack(results), axis=0)


def interval(values: np.ndarray, level: float = 0.05) -> tuple[float, float]:
    """The middle 1 - level of them, ends that occur among them (inf among the rest stays apart)."""
    ordered = np.sort(values)
    cut = int(level / 2 * len(ordered))
    return float(ordered[cut]), float(ordered[len(ordered) - 1 - cut])


def share_better(a: np.ndarray, b: np.ndarray) -> float:
    """The share of paired replicates in which a is truly better."""
    return float(np.mean(a < b))
