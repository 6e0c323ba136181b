"""`compare`: tunes optimizers with equal budgets, and tells which differ by more than luck."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import checks
from optlab.lab import _compare_inputs as inputs
from optlab.lab import _planner, _population, _programs, _statistics
from optlab.lab._compare_runs import MEASURES, Entry, Judge, Measure, Tuning, tuning_scores
from optlab.lab._comparison import Comparison
from optlab.lab._engine import Engine, Member
from optlab.lab._fingerprint import fingerprint, optimizer_fingerprint
from optlab.lab._outcome import Outcome, Trial
from optlab.lab._plan import Plan
from optlab.lab._progress import steps_bar
from optlab.lab._samplers import make_sampler
from optlab.lab._space import Space
from optlab.lab._store import Store
from optlab.lab._task import Task

# Seeds of a study: from STUDY times its number, tuning below TEST, test seeds above.
STUDY, TEST = 1000, 500


def compare(
    tasks: Task | Iterable[Task],
    optimizers: Mapping[str, Callable[..., Any]],
    *,
    space: Mapping[str, Any],
    trials: int = 20,
    seeds: int = 5,
    steps: int | None = None,
    studies: int = 3,
    tuning_seeds: int = 1,
    tune_for: Measure = "metric",
    finalists: int | None = None,
    sampler: str = "sobol",
    evaluations: int = 20,
    level: float = 0.05,
    tolerance: float = 0.1,
    store: str | os.PathLike[str] | None = None,
    plan: str | Plan = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Compares optimizers fairly: each tuned with the same number of trials of its own, then tested
    on seeds that tuning has not seen.

    A study tunes every optimizer once: `trials` draws of hyperparameters, each trained on the
    tuning seeds; the best ones, the finalists, are trained again on the test seeds. The score of an
    optimizer is the median over studies of the median over test seeds of the winner; of an even
    number, the worse of the two middle values. Two optimizers are separated where an exchange test,
    in which tuning is part of the luck, says so after Holm's correction for all comparisons, and
    where one is better in almost all resampled studies, for which trials and test seeds are drawn
    again; otherwise no difference is shown.

    Args:
      tasks: what to train on, one or several.
      optimizers: by name, `(**hyperparameters) -> transformation`; at least two.
      space: of the hyperparameters of all, or by optimizer.
      trials: hyperparameters tried a study, by each optimizer.
      seeds: test seeds a study, the same for all.
      steps: updates a run makes; None for each task's own.
      studies: how often all is done again, with other draws and other seeds.
      tuning_seeds: runs a trial is judged by, their mean.
      tune_for: what a winner is best at: the final "metric", or "steps" to the target.
      finalists: trials of each to test; None for as few as the test needs.
      sampler: "sobol", "halton" or "random".
      evaluations: how often metrics are taken, evenly spread; steps to the target are rounded up to
        the next.
      level: of the whole family of comparisons, and of intervals.
      tolerance: part of the improvement that a learning rate may lose and still count as good.
      store: a file that keeps every finished run, and from which the same call goes on.
      plan: as for `sweep`.
      seed: another one draws other hyperparameters and uses other seeds for runs.
      progress: whether to show a bar, on standard error.

    Returns:
      `Comparison`: `.separated(a, b)`, `.table()`, `.plot()`, `.to_html(path)`, `.rows`.

    Raises:
      ValueError, TypeError: before anything runs, for fewer than two optimizers, names that come
        twice, a space of another, unequal budgets, a store of another comparison.

    Special cases:
      A run that diverges counts as worse than any other, one that misses the target as needing
      infinite steps. Power comes from studies, and from trials that are good: one study separates
      only what differs in most of its best trials, a space of which a tenth is good needs 5
      studies or more, and with many pairs and tasks each of them needs more evidence.

    Differs from AlgoPerf (Dahl et al.) in that luck is judged by a test, and that by default
    trials are chosen by the final metric, not by time to target.

    Example:
      >>> import optlab as ol
      >>> comparison = ol.lab.compare(
      ...     ol.lab.tasks.quadratic(dimension=10, steps=60),
      ...     {"momentum": lambda learning_rate: ol.sgd(learning_rate, momentum=0.9),
      ...      "sgd": lambda learning_rate: ol.sgd(learning_rate)},
      ...     space={"learning_rate": ol.lab.log_uniform(1e-3, 1)},
      ...     trials=12, studies=3, progress=False,
      ... )
      >>> comparison.separated("momentum", "sgd")
      True

    Sources:
      G. Dahl et al., Benchmarking Neural Network Training Algorithms, 2023, arXiv:2306.07179;
      R. Schmidt, F. Schneider, P. Hennig, Descending through a Crowded Valley, 2020,
      arXiv:2007.01547; F. Schneider, L. Balles, P. Hennig, DeepOBS, 2019, arXiv:1903.05499.
    """
    begun = time.perf_counter()
    optimizers = inputs.named_optimizers(optimizers)
    listed = inputs.listed_tasks(tasks, steps)
    spaces = inputs.named_spaces(space, optimizers)
    checks.one_of(*MEASURES)("compare", "tune_for", tune_for)
    checks.one_of("sobol", "halton", "random")("compare", "sampler", sampler)
    if isinstance(trials, Mapping):
        raise ValueError(
            f"compare: trials must be one number, the same budget for all, got {dict(trials)!r}."
        )
    for name, count in (("trials", trials), ("studies", studies), ("evaluations", evaluations)):
        checks.positive_count("compare", name, count)
    few = checks.Interval(1, TEST, "[]", integer=True)
    few("compare", "seeds", seeds)
    few("compare", "tuning_seeds", tuning_seeds)
    checks.Interval(0, 1, "()")("compare", "level", level)
    checks.Interval(0, 1, "()")("compare", "tolerance", tolerance)
    checks.count("compare", "seed", seed)
    _planner.require_plan("compare", plan)
    for task, _ in listed:
        if tune_for == "steps" and task.target is None:
            raise ValueError(
                f'compare: {task.name} has no target to tune for steps to; use tune_for="metric", '
                "or give the task a target."
            )
    pairs = len(optimizers) * (len(optimizers) - 1) // 2
    if finalists is None:
        finalists = _statistics.finalists_needed(trials, studies, pairs * len(listed), level)
    finalists = min(int(checks.positive_count("compare", "finalists", finalists)), trials)
    protocol = _Protocol(
        trials=trials,
        seeds=seeds,
        studies=studies,
        tuning_seeds=tuning_seeds,
        tune_for=tune_for,
        finalists=finalists,
        sampler=sampler,
        evaluations=evaluations,
        seed=seed,
    )
    entries: dict[tuple[str, str], Entry] = {}
    runs = protocol.runs * len(optimizers)
    with contextlib.ExitStack() as stack:
        kept = None
        if store is not None:
            study = {
                "tasks": {task.name: fingerprint(task) for task, _ in listed},
                "steps": {task.name: count for task, count in listed},
                "optimizers": {name: one.to_dict() for name, one in spaces.items()},
                "programs": _hashes(listed[0][0], optimizers, spaces),
                **dataclasses.asdict(protocol),
            }
            kept = stack.enter_context(Store(store, study))
        total = sum(count * runs for _, count in listed)
        advanced = stack.enter_context(steps_bar("compare", total, show=progress))
        first = 0
        for task, count in listed:
            judge = _judge(task, count, evaluations)
            for name, make_tx in optimizers.items():
                bench = _Bench(protocol, task, count, name, plan, kept, advanced, first)
                entries[task.name, name] = bench.entry(judge, make_tx, spaces[name])
                first += studies * trials
    return Comparison(
        optimizers=tuple(optimizers),
        tasks=tuple(task.name for task, _ in listed),
        entries=entries,
        trials=trials,
        seeds=seeds,
        studies=studies,
        tuning_seeds=tuning_seeds,
        tuned_for=tune_for,
        finalists=finalists,
        level=level,
        tolerance=tolerance,
        notes=(
            *inputs.remarks(spaces, trials),
            *inputs.too_little(trials, studies, finalists, pairs * len(listed), level),
        ),
        seconds=time.perf_counter() - begun,
    )


def _hashes(
    task: Task, optimizers: Mapping[str, Callable[..., Any]], spaces: Mapping[str, Space]
) -> dict[str, str]:
    """What tells these optimizers from others of the same names."""
    found = {}
    for name, make_tx in optimizers.items():
        (tx,) = _population.transformations(make_tx, [spaces[name].middle])
        found[name] = optimizer_fingerprint(task, tx)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Protocol:
    """What is the same for all."""

    trials: int
    seeds: int
    studies: int
    tuning_seeds: int
    tune_for: Measure
    finalists: int
    sampler: str
    evaluations: int
    seed: int

    @property
    def runs(self) -> int:
        """Of one optimizer on one task, at most."""
        return self.studies * (self.trials * self.tuning_seeds + self.finalists * self.seeds)

    def seeds_of(self, study: int) -> tuple[list[int], list[int]]:
        """Tuning seeds and test seeds."""
        base = STUDY * (study + self.studies * self.seed)
        tuning = [base + i for i in range(self.tuning_seeds)]
        return tuning, [base + TEST + i for i in range(self.seeds)]


class _Bench:
    """One optimizer on one task: trains what the store does not have."""

    def __init__(
        self,
        protocol: _Protocol,
        task: Task,
        steps: int,
        name: str,
        plan: str | Plan,
        kept: Store | None,
        advanced: Callable[[int], None],
        first: int,
    ):
        self._protocol, self._task, self._steps, self._name = protocol, task, steps, name
        self._plan, self._kept, self._advanced, self._first = plan, kept, advanced, first
        known = [] if kept is None else kept.outcomes()
        last = first + protocol.studies * protocol.trials
        self._outcomes = {(o.trial, o.seed): o for o in known if first <= o.trial < last}

    def entry(self, judge: Judge, make_tx: Callable[..., Any], space: Space) -> Entry:
        protocol = self._protocol
        drawn = [self._drawn(space, study) for study in range(protocol.studies)]
        if self._kept is not None:
            flat = [choice for choices in drawn for choice in choices]
            self._kept.add_trials([Trial(self._first + i, c) for i, c in enumerate(flat)])
        txs = [_population.transformations(make_tx, choices) for choices in drawn]
        engine = _planner.engine(
            self._task,
            txs[0][0],
            runs=protocol.runs,
            steps=self._steps,
            evaluations=protocol.evaluations,
            plan=self._plan,
        )
        places = {}
        for study in range(protocol.studies):
            seeds, _ = protocol.seeds_of(study)
            for place in range(protocol.trials):
                for seed in seeds:
                    places[self._number(study, place), seed] = txs[study][place]
        self._train(engine, places)
        finalists = [self._finalists(judge, study) for study in range(protocol.studies)]
        places = {}
        for study, found in enumerate(finalists):
            _, seeds = protocol.seeds_of(study)
            for place in found:
                for seed in seeds:
                    places[self._number(study, place), seed] = txs[study][place]
        untested = protocol.studies * protocol.finalists * protocol.seeds - len(places)
        self._train(engine, places)
        self._advanced(untested * self._steps)
        tunings = [
            Tuning(drawn[study], self._tuned(study), self._tested(study, finalists[study]))
            for study in range(protocol.studies)
        ]
        return Entry(
            judge=judge,
            optimizer=self._name,
            space=space,
            tunings=tunings,
            tuned_for=protocol.tune_for,
            test_seeds=protocol.seeds,
            compile_seconds=engine.compile_seconds / max(engine.compiled, 1),
            state_bytes=_state_bytes(self._task, txs[0][0]),
            plan=str(engine.plan),
        )

    def _number(self, study: int, place: int) -> int:
        return self._first + study * self._protocol.trials + place

    def _drawn(self, space: Space, study: int) -> list[dict[str, Any]]:
        """Hyperparameters of one tuning; those of another optimizer, task or study are others."""
        protocol = self._protocol
        names = (zlib.crc32(text.encode()) for text in (self._task.name, self._name))
        entropy = np.random.SeedSequence([protocol.seed, study, *names])
        seed = int(entropy.generate_state(1)[0])
        asked = make_sampler(protocol.sampler, space, budget=protocol.trials, seed=seed)
        return asked.ask(protocol.trials)

    def _train(self, engine: Engine, places: Mapping[tuple[int, int], Any]) -> None:
        members = []
        for (trial, seed), tx in places.items():
            known = self._outcomes.get((trial, seed))
            if known is None:
                members.append(Member(trial, seed, tx))
            else:
                self._advanced(self._steps)
        for chunk in engine.train(members, advanced=self._advanced):
            self._outcomes |= {(o.trial, o.seed): o for o in chunk.outcomes}
            if self._kept is not None:
                self._kept.add_outcomes(chunk.outcomes)

    def _tuned(self, study: int) -> list[list[Outcome]]:
        seeds, _ = self._protocol.seeds_of(study)
        numbers = [self._number(study, place) for place in range(self._protocol.trials)]
        return [[self._outcomes[number, seed] for seed in seeds] for number in numbers]

    def _tested(self, study: int, finalists: list[int]) -> dict[int, list[Outcome]]:
        _, seeds = self._protocol.seeds_of(study)
        return {
            place: [self._outcomes[self._number(study, place), seed] for seed in seeds]
            for place in finalists
        }

    def _finalists(self, judge: Judge, study: int) -> list[int]:
        """The best of a tuning; those that failed need no test."""
        scores, ties = tuning_scores(judge, self._tuned(study), self._protocol.tune_for)
        order = np.lexsort((ties, scores))[: self._protocol.finalists]
        return [int(place) for place in order if np.isfinite(scores[place])]


def _judge(task: Task, steps: int, evaluations: int) -> Judge:
    still = optax.with_extra_args_support(optax.identity())

    def start(arrays):
        run = _programs.start(task, arrays, still, jnp.int32(0))
        _, loss = _programs.step(task, arrays, still, run)
        metrics, _ = _programs.judge(task, arrays, still, run)
        return {"train_loss": loss, **metrics}[str(task.metric)]

    return Judge(
        task=task.name,
        metric=str(task.metric),
        mode=task.mode,
        target=task.target,
        steps=steps,
        every=steps / min(evaluations, steps),
        start=float(jax.jit(start)(task.arrays)),
    )


def _state_bytes(task: Task, tx: Any) -> float:
    """Of the optimizer, a parameter."""
    _, params, _, _ = task.shapes()
    state = jax.eval_shape(tx.init, params)
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return held / max(sum(x.size for x in jax.tree.leaves(params)), 1)
