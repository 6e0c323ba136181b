"""Optuna's samplers, asked for a population and told a population; many machines may share a study.

optuna is imported when a study starts.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.lab._dimensions import Dimension
from optlab.lab._sampler import Mode, Sampler, Told
from optlab.lab._space import Space

METHODS = ("tpe", "gp", "cmaes")
_NEEDS = {"gp": "torch", "cmaes": "cmaes"}
_POPULATION = 8
_STARTUP = 8  # random trials, before the method knows enough to propose: one such population


@dataclasses.dataclass(frozen=True)
class OptunaSampler:
    """Which of Optuna's methods to use, and with whom to share it; made by `optuna_sampler`.

    Example:
      >>> import optlab as ol
      >>> isinstance(ol.lab.optuna_sampler("tpe"), ol.lab.OptunaSampler)
      True
    """

    method: str
    storage: Any
    study_name: str
    population: int | None

    def start(self, space: Space, *, budget: int, seed: int, mode: Mode) -> Sampler:
        """The sampler of a study."""
        return _Optuna(self, space, budget, seed, mode)


def optuna_sampler(
    method: str,
    *,
    storage: Any = None,
    study_name: str = "optlab",
    population: int | None = None,
) -> OptunaSampler:
    """Searches with Optuna: what did well decides what is tried next.

    Args:
      method: "tpe", tree-structured Parzen estimators (multivariate); "gp", a Gaussian process
        (needs PyTorch, and half a CPU second a trial; greenlet makes it faster); "cmaes", an
        evolution strategy, for two or more ranges of numbers. The first eight trials are random.
      storage: None keeps the study in memory. A path is a journal file and a URL a database, which
        processes and machines share: each makes its own `budget` of trials, and all learn from all.
        Or one of Optuna's storage objects.
      study_name: of the study in the storage.
      population: how many trials to ask for before any of them is told, >= 1; more of them compute
        together, fewer learn sooner. None for 8, or CMA-ES's own 4 + 3 log(dimensions).

    Returns:
      What `sweep` takes as its `sampler`.

    Raises:
      ValueError, TypeError: for another method or population.
      ImportError: when the study starts, without Optuna or what the method needs.

    Special cases:
      A run that diverged is told as infinitely bad, which each of these methods can rank. Without
      storage a study depends on the seed alone; a shared one on who asks first, too.

    Example:
      >>> import optlab as ol
      >>> ol.lab.optuna_sampler("tpe", population=4).method
      'tpe'

    Source: T. Akiba, S. Sano, T. Yanase, T. Ohta, M. Koyama, Optuna: A Next-generation
    Hyperparameter Optimization Framework, 2019, arXiv:1907.10902.
    """
    checks.one_of(*METHODS)("optuna_sampler", "method", method)
    if population is not None:
        population = int(checks.positive_count("optuna_sampler", "population", population))
    return OptunaSampler(method, storage, study_name, population)


class _Optuna(Sampler):
    def __init__(self, chosen: OptunaSampler, space: Space, budget: int, seed: int, mode: Mode):
        optuna = _optuna(chosen.method)
        _check(chosen.method, space)
        own = 4 + math.floor(3 * math.log(len(space.dimensions)))
        self.population = chosen.population or (own if chosen.method == "cmaes" else _POPULATION)
        self.name = f"{chosen.method}(population={self.population})"
        self.budget = budget
        self._optuna, self._space = optuna, space
        self._distributions = {n: _distribution(optuna, d) for n, d in space.dimensions.items()}
        self._shared = chosen.storage is not None
        self._method, self._seed = chosen.method, None if self._shared else seed
        self._bad = math.inf if mode == "min" else -math.inf
        self._open: dict[str, list[int]] = collections.defaultdict(list)
        with self._quiet():
            self._study = optuna.create_study(
                storage=_storage(optuna, chosen.storage),
                sampler=_sampler(optuna, chosen.method, self._seed, self.population),
                direction="minimize" if mode == "min" else "maximize",
                study_name=chosen.study_name,
                load_if_exists=True,
            )
        self._check_study(mode)

    def ask(self, n: int) -> list[dict[str, Any]]:
        with self._quiet():
            self._reseed()
            asked = [self._study.ask(self._distributions) for _ in range(n)]
        found = [self._hyperparameters(trial.params) for trial in asked]
        for trial, hyperparameters in zip(asked, found, strict=True):
            self._open[_key(hyperparameters)].append(trial.number)
        return found

    def tell(self, trials: Sequence[Told]) -> None:
        for hyperparameters, value in trials:
            numbers = self._open[_key(hyperparameters)]
            if not numbers:
                raise ValueError(f"sweep: {dict(hyperparameters)} was told, but not asked for.")
            with self._quiet():
                self._study.tell(numbers.pop(0), self._value(value))

    def repeat(self, trials: Sequence[Told]) -> None:
        """Adds the trials; of a shared study, tells what was not told.

        CMA-ES keeps what it learned in the trials it asked for, so it is asked again. (Another
        version of it may propose other trials than those that were made; they count all the same.)
        """
        if self._shared:
            self._find_open()
        elif self._method == "cmaes":
            self.ask(len(trials))
        for hyperparameters, value in trials:
            key = _key(hyperparameters)
            if self._open[key]:
                self.tell([(hyperparameters, value)])
            elif not (self._shared and key in self._told()):
                self._add(hyperparameters, value)
        if not self._shared:
            for number in (n for numbers in self._open.values() for n in numbers):
                self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
            self._open.clear()

    # --- inside

    def _reseed(self) -> None:
        """What is asked depends on the seed and the trials before, not on how often was asked."""
        if self._seed is not None and self._method != "cmaes":
            count = len(self._study.get_trials(deepcopy=False))
            seed = int(np.random.SeedSequence([self._seed, count]).generate_state(1)[0])
            self._study.sampler = _sampler(self._optuna, self._method, seed, 0)

    def _hyperparameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, dimension in self._space.dimensions.items():
            value = params[name]
            found[name] = dimension.values[value] if dimension.kind == "grid" else value
        return {**found, **self._space.constants}

    def _params(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: dimension.values.index(hyperparameters[name])
            if dimension.kind == "grid"
            else hyperparameters[name]
            for name, dimension in self._space.dimensions.items()
        }

    def _value(self, value: float | None) -> float:
        return self._bad if value is None or math.isnan(value) else float(value)

    def _add(self, hyperparameters: Mapping[str, Any], value: float | None) -> None:
        with self._quiet():
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params=self._params(hyperparameters),
                    distributions=self._distributions,
                    value=self._value(value),
                )
            )

    def _find_open(self) -> None:
        """Trials of the shared study that nobody has told; those of other machines are among them,
        but not in what is repeated here."""
        running = (self._optuna.trial.TrialState.RUNNING,)
        self._open.clear()
        for trial in self._study.get_trials(deepcopy=False, states=running):
            if trial.params.keys() == self._distributions.keys():
                self._open[_key(self._hyperparameters(trial.params))].append(trial.number)

    def _told(self) -> set[str]:
        done = (self._optuna.trial.TrialState.COMPLETE,)
        trials = self._study.get_trials(deepcopy=False, states=done)
        return {_key(self._hyperparameters(trial.params)) for trial in trials}

    def _check_study(self, mode: Mode) -> None:
        """A shared study must be of the same space and direction."""
        name, mine = self._study.study_name, json.dumps([mode, self._space.to_dict()])
        with self._quiet():
            theirs = self._study.user_attrs.get("optlab")
            if theirs is None and not self._study.get_trials(deepcopy=False):
                self._study.set_user_attr("optlab", mine)
                return
        if theirs != mine:
            raise ValueError(
                f"optuna_sampler: the study {name!r} in this storage searches {theirs}, "
                f"not {mine}; name another: study_name=..."
            )

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Without news of what is experimental or was created."""
        logs = self._optuna.logging
        old = logs.get_verbosity()
        logs.set_verbosity(max(old, logs.WARNING))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                warnings.filterwarnings("ignore", "Clip non-finite values")  # as documented above
                yield
        finally:
            logs.set_verbosity(old)


def _optuna(method: str) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            f'sampler "{method}" needs Optuna, which is not installed: pip install "optlab[lab]"'
        ) from error
    needed = _NEEDS.get(method)
    if needed and importlib.util.find_spec(needed) is None:
        raise ImportError(
            f'sampler "{method}" needs {needed}, which is not installed: pip install {needed}; '
            '"tpe" works without.'
        )
    return optuna


def _check(method: str, space: Space) -> None:
    if method != "cmaes":
        return
    names = [name for name, dimension in space.dimensions.items() if dimension.kind == "choice"]
    if names:
        raise ValueError(
            f'sweep: sampler "cmaes" searches numbers, {names[0]} is a choice; take "tpe", or '
            "grid([...]) if its values are numbers in an order."
        )
    if len(space.dimensions) < 2:
        raise ValueError(
            'sweep: sampler "cmaes" needs two dimensions at least; take "tpe" or "sobol" for one.'
        )


def _sampler(optuna: Any, method: str, seed: int | None, population: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if method == "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True
            )
        if method == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_STARTUP)
        return optuna.samplers.CmaEsSampler(seed=seed, popsize=max(population, 2))


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    given = optuna.distributions
    if dimension.kind == "choice":
        return given.CategoricalDistribution(dimension.values)
    if dimension.kind == "grid":
        return given.IntDistribution(0, len(dimension.values) - 1)
    kind = given.IntDistribution if dimension.kind == "integers" else given.FloatDistribution
    bounds = dimension.to_dict()
    return kind(bounds["low"], bounds["high"], log=dimension.log)


def _storage(optuna: Any, storage: Any) -> Any:
    if isinstance(storage, os.PathLike) or (isinstance(storage, str) and "://" not in storage):
        backend = optuna.storages.journal.JournalFileBackend(os.fspath(storage))
        return optuna.storages.JournalStorage(backend)
    return storage


def _key(hyperparameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(hyperparameters), sort_keys=True)
