"""Samplers: which hyperparameters a study tries, in which order."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.lab._optuna import METHODS, optuna_sampler
from optlab.lab._sampler import Mode, Sampler
from optlab.lab._space import Space


class _Grid(Sampler):
    """Every point of a space of lists."""

    name = "grid"

    def __init__(self, space: Space, budget: int | None):
        endless = [name for name, d in space.dimensions.items() if d.values is None]
        if endless:
            raise ValueError(
                f"sweep: a grid needs lists; {endless[0]} is a range of real numbers. Write "
                f'{endless[0]}=grid([...]), or take sampler="sobol" and a budget.'
            )
        assert space.size is not None
        if budget is not None and budget < space.size:
            raise ValueError(
                f"sweep: the grid has {space.size} points, budget is {budget}; leave budget out, "
                'or take sampler="sobol" for a part of them.'
            )
        self.budget = space.size
        self._space, self._asked = space, 0

    def ask(self, n: int) -> list[dict[str, Any]]:
        begin, self._asked = self._asked, min(self._asked + n, self.budget)
        return [self._space.point(i) for i in range(begin, self._asked)]


class _Sequence(Sampler):
    """Points of the unit cube by their place in a sequence that depends on the seed alone, so that
    a longer study begins with the trials of a shorter one."""

    def __init__(self, name: str, space: Space, budget: int, seed: int):
        self.name, self.budget = name, budget
        self._space, self._seed, self._asked = space, seed, 0

    def ask(self, n: int) -> list[dict[str, Any]]:
        begin, self._asked = self._asked, self._asked + n
        points = _POINTS[self.name](len(self._space.dimensions), self._asked, self._seed)
        return [self._space.at(point) for point in points[begin : self._asked]]


def _random(d: int, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def _sobol(d: int, n: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    # Drawn by powers of two: other counts are warned of, although a later ask may complete them.
    return qmc.Sobol(d, **_seeded(qmc.Sobol, seed)).random_base2(math.ceil(math.log2(max(n, 1))))


def _halton(d: int, n: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Halton(d, **_seeded(qmc.Halton, seed)).random(n)


def _seeded(engine: Any, seed: int) -> dict[str, Any]:
    """SciPy 1.15 renamed the argument."""
    name = "rng" if "rng" in inspect.signature(engine).parameters else "seed"
    return {name: np.random.default_rng(seed)}


_POINTS = {"random": _random, "sobol": _sobol, "halton": _halton}


def make_sampler(
    sampler: Any, space: Space, *, budget: int | None = None, seed: int = 0, mode: Mode = "min"
) -> Sampler:
    """The sampler of a study.

    Args:
      sampler: "grid", every point; "random"; "sobol" or "halton", quasi-random and scrambled;
        "tpe", "gp", "cmaes", or `optuna_sampler(...)`. None for "grid" where every dimension is a
        list and the budget, if there is one, is enough for all, else "sobol".
      space: what to search, checked.
      budget: how many trials; None for all points of a grid.
      seed: of what is random about it.
      mode: whether values told are better small, "min", or large, "max".

    Raises:
      ValueError: for another name, a budget that is missing or does not fit, a space with nothing
        to search.
      TypeError: for what is no sampler.
    """
    if budget is not None:
        budget = int(checks.positive_count("sweep", "budget", budget))
    if sampler is None:
        size = space.size
        whole = size is not None and (budget is None or (space.dimensions and budget >= size))
        sampler = "grid" if whole else "sobol"
    if isinstance(sampler, str):
        checks.one_of("grid", *_POINTS, *METHODS)("sweep", "sampler", sampler)
    if sampler == "grid":
        return _Grid(space, budget)
    if budget is None:
        raise ValueError(
            "sweep: budget must say how many trials to make, since the space holds a range or the "
            "sampler has no end: budget=32."
        )
    if not space.dimensions:
        raise ValueError(
            "sweep: every hyperparameter in the space is fixed, so there is nothing to search; "
            'leave sampler and budget out, or write a range: "learning_rate": log_uniform(1e-4, 1).'
        )
    if isinstance(sampler, str) and sampler in _POINTS:
        return _Sequence(sampler, space, budget, seed)
    if isinstance(sampler, str):
        sampler = optuna_sampler(sampler)
    if not callable(getattr(sampler, "start", None)):
        raise TypeError(
            'sweep: sampler must be "grid", "random", "sobol", "halton", "tpe", "gp", "cmaes" or '
            f"optuna_sampler(...), got {sampler!r}."
        )
    return sampler.start(space, budget=budget, seed=seed, mode=mode)
