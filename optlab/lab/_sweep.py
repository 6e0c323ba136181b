"""`sweep`: trains a population of hyperparameters on a task, in one compiled program."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from optlab.core import checks
from optlab.lab import _halving, _planner, _population
from optlab.lab._engine import Engine, Member, boundaries_of
from optlab.lab._fingerprint import fingerprint, optimizer_fingerprint
from optlab.lab._outcome import Trial
from optlab.lab._plan import Plan
from optlab.lab._progress import steps_bar
from optlab.lab._results import Results
from optlab.lab._runs import listed_seeds, steps_of
from optlab.lab._samplers import Sampler, make_sampler
from optlab.lab._space import check_space
from optlab.lab._store import Store
from optlab.lab._task import Task


def sweep(
    task: Task,
    make_tx: Callable[..., Any],
    space: Mapping[str, Any],
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 1,
    budget: int | None = None,
    sampler: Any = None,
    halving: int | None = None,
    evaluations: int = 20,
    store: str | os.PathLike[str] | None = None,
    plan: str | Plan = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Results:
    """Trains a task with many hyperparameters, and tells how each did.

    Hyperparameters are arguments of the compiled program, so all trials share one; those in which
    transformations differ in structure (a flag, another method) share one a structure. Plain Optax
    works too, where its factory can be traced.

    Args:
      task: what to train on.
      make_tx: `(**hyperparameters) -> transformation`.
      space: by the names of make_tx's arguments, `log_uniform(low, high)`, `uniform(low, high)`,
        `integers(low, high)`, `choice([...])`, `grid([...])`, or a value that stays.
      steps: updates a run makes; None for the task's own.
      seeds: each trial runs with these: a number n for 0 to n - 1, or the seeds themselves. Runs of
        one seed start at the same parameters and see the same batches.
      budget: trials to make; None for all points of a grid.
      sampler: "grid", "random", "sobol", "halton", or `optuna_sampler(...)`. None for "grid" where
        every dimension is a list and the budget is enough for all, else "sobol".
      halving: successive halving: one in so many trials goes on, to so many times the steps; the
        outcomes of others say "stopped". None trains all to the end.
      evaluations: how often metrics are taken, evenly spread, the last behind the last step.
      store: a file that keeps every finished run, and from which the same call goes on.
      plan: "auto" times short trials and takes what is fastest; "exact" computes each run alone,
        to the bit as if it were the only one; or a `Plan`.
      seed: of the sampler.
      progress: whether to show a bar, on standard error.

    Returns:
      `Results`: `.best()`, `.rows`, `.plot()`, `.to_csv(path)` ...

    Raises:
      ValueError, TypeError: before anything runs, for an empty space, a name that make_tx does not
        take, values it refuses, no steps, a store of another study.

    Special cases:
      A run has "diverged" if its loss or its parameters are not finite, or if for three evaluations
      its loss has been further above its start than noise explains (5 % at least, twice the start
      at most); it stops there, and no other run sees it. What a run becomes does not depend on the
      runs beside it; with a plan of another width it may differ by rounding, which learning rates
      near divergence amplify.

    Example:
      >>> import optlab as ol
      >>> results = ol.lab.sweep(
      ...     ol.lab.tasks.quadratic(), lambda learning_rate: ol.sgd(learning_rate),
      ...     {"learning_rate": ol.lab.log_uniform(1e-4, 1)}, budget=8, progress=False,
      ... )
      >>> len(results.rows), 1e-4 < results.best().hyperparameters["learning_rate"] < 1
      (8, True)
    """
    begun = time.perf_counter()
    steps = steps_of("sweep", task, steps)
    seeds = listed_seeds("sweep", seeds)
    checks.count("sweep", "seed", seed)
    _planner.require_plan("sweep", plan)
    checked = check_space(space, make_tx)
    asked = make_sampler(sampler, checked, budget=budget, seed=seed, mode=task.mode)
    size = min(asked.population or asked.budget, asked.budget)
    _halving.rungs(size, halving, boundaries_of("sweep", steps, evaluations))  # now or never
    (tx,) = _population.transformations(make_tx, [checked.middle])
    with contextlib.ExitStack() as stack:
        kept = None
        if store is not None:
            study = {
                "task": task.name,
                "fingerprint": fingerprint(task),
                "optimizer": optimizer_fingerprint(task, tx),
                "space": checked.to_dict(),
                "steps": steps,
                "seeds": seeds,
                "sampler": asked.name,
                "seed": seed,
                "halving": halving,
                "evaluations": evaluations,
            }
            kept = stack.enter_context(Store(store, study))
        if kept is not None and kept.plan is not None and plan == "auto":
            plan = Plan(**kept.plan)  # so that its runs are computed like those before
        runs = asked.budget * len(seeds)
        engine = _planner.engine(
            task, tx, runs=runs, steps=steps, evaluations=evaluations, plan=plan
        )
        if kept is not None:
            kept.set_plan(dataclasses.asdict(engine.plan))
        advanced = stack.enter_context(
            steps_bar(task.name, runs * steps if halving is None else None, show=progress)
        )
        swept = _Study(task, make_tx, seeds, engine, halving, kept, advanced)
        swept.run(asked)
    return Results(
        task_name=task.name,
        metric=str(task.metric),
        mode=task.mode,
        target=task.target,
        trials=swept.trials[: asked.budget],
        outcomes=[o for o in swept.outcomes.values() if o.trial < asked.budget],
        space=checked,
        plan=f"{engine.plan}, {engine.programs_in_words}",
        seconds=time.perf_counter() - begun,
    )


class _Study:
    """A sweep on its way."""

    def __init__(
        self,
        task: Task,
        make_tx: Callable[..., Any],
        seeds: Sequence[int],
        engine: Engine,
        halving: int | None,
        kept: Store | None,
        advanced: Callable[[int], None],
    ):
        self.trials: list[Trial] = [] if kept is None else list(kept.trials())
        self.outcomes = {(o.trial, o.seed): o for o in ([] if kept is None else kept.outcomes())}
        self._task, self._make_tx, self._seeds, self._engine = task, make_tx, seeds, engine
        self._halving, self._kept, self._advanced = halving, kept, advanced
        self._states: dict[tuple[int, int], list[np.ndarray]] = {}

    def run(self, sampler: Sampler) -> None:
        """Asks for populations of trials, trains them, and tells how they did."""
        size = sampler.population or sampler.budget
        for begin in range(0, sampler.budget, size):
            end = min(begin + size, sampler.budget)
            known = self.trials[begin:end]
            if known:  # asked for by an earlier process
                self._train(known)
                sampler.repeat(self._told(known))
            if len(known) < end - begin:
                asked = sampler.ask(end - begin - len(known))
                new = [Trial(len(self.trials) + i, choice) for i, choice in enumerate(asked)]
                self._add(new)
                self._train(new)
                sampler.tell(self._told(new))

    def _add(self, trials: list[Trial]) -> None:
        self.trials += trials
        if self._kept is not None:
            self._kept.add_trials(trials)

    def _told(self, trials: Sequence[Trial]) -> list[tuple[Mapping[str, Any], float | None]]:
        values = [self._value(trial.number, self._engine.boundaries[-1]) for trial in trials]
        finite = [value if np.isfinite(value) else None for value in values]
        return [(t.hyperparameters, v) for t, v in zip(trials, finite, strict=True)]

    def _train(self, trials: Sequence[Trial]) -> None:
        """All of these to the end, or by successive halving ever fewer of them, ever longer."""
        made = _population.transformations(self._make_tx, [t.hyperparameters for t in trials])
        txs = {trial.number: tx for trial, tx in zip(trials, made, strict=True)}
        rungs = _halving.rungs(len(trials), self._halving, self._engine.boundaries)
        if self._kept is not None:
            for i in range(len(rungs) - 1):
                self._states |= self._kept.states(i)
        for i, rung in enumerate(rungs):
            if i:
                sign, before = (1 if self._task.mode == "min" else -1), rungs[i - 1].steps
                ranked = sorted(txs, key=lambda trial: sign * self._value(trial, before))
                txs = {trial: txs[trial] for trial in sorted(ranked[: rung.trials])}
            self._climb(i, rung.steps, txs, keep=i < len(rungs) - 1)
            if self._kept is not None:
                self._kept.drop_states(before=i)
        self._states.clear()

    def _climb(self, rung: int, until: int, txs: Mapping[int, Any], *, keep: bool) -> None:
        """Trains what has not come as far yet."""
        members = []
        for trial, tx in txs.items():
            for seed in self._seeds:
                outcome = self.outcomes.get((trial, seed))
                if outcome is None:
                    members.append(Member(trial, seed, tx))
                elif outcome.status == "stopped" and outcome.steps < until:
                    state = self._states[trial, seed]
                    members.append(Member(trial, seed, tx, (outcome, state)))
                elif rung == 0:
                    self._advanced(outcome.steps)  # in an earlier process
        for chunk in self._engine.train(members, until=until, keep=keep, advanced=self._advanced):
            keys = [(outcome.trial, outcome.seed) for outcome in chunk.outcomes]
            states = dict(zip(keys, chunk.states, strict=True)) if keep else {}
            self.outcomes |= dict(zip(keys, chunk.outcomes, strict=True))
            self._states |= states
            if self._kept is not None:
                with self._kept.transaction():
                    self._kept.save_states(rung, states)
                    self._kept.add_outcomes(chunk.outcomes)

    def _value(self, trial: int, steps: int) -> float:
        """The mean over seeds of the metric behind so many steps; the worst where one diverged."""
        values = []
        for seed in self._seeds:
            outcome = self.outcomes[trial, seed]
            at = np.flatnonzero(outcome.evaluated == steps)
            if outcome.status == "diverged" or not at.size:
                return self._task.worst
            values.append(outcome.metrics[str(self._task.metric)][at[0]])
        mean = float(np.mean(values))
        return mean if np.isfinite(mean) else self._task.worst
