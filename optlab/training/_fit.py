"""The training loop: reports, evaluations, checkpoints, and every way to end."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from optlab.training._checkpoints import Checkpoints
from optlab.training._console import Diverged, Terminated, UserError
from optlab.training._devices import Placement, data_mesh
from optlab.training._files import as_json, write_all
from optlab.training._options import RunOptions
from optlab.training._profile import Profile
from optlab.training._progress import Progress
from optlab.training._record import NAME, record_of, resumed_step, set_aside
from optlab.training._report import curves, summary
from optlab.training._signals import StopSignals
from optlab.training._state import LossFn, TrainState, first_nonfinite, make_train_step, reported
from optlab.training._writers import read_rows, writers_for

PyTree = Any
EXPLODED = 1e4  # times the first reported loss, or 1 if that is less


class Fit(NamedTuple):
    """What became of a run.

    Attributes:
      state: after the last step.
      params: to use the model with: those of the best evaluation, the optimizer's average of them
        if it keeps one; without evaluations, the last ones.
      rows: what was reported, as in `metrics.jsonl`.
      reason: why it ended: `"finished"`, `"time limit"`, `"no improvement"` or `"callback"`.

    Example:
      >>> import optlab as ol
      >>> ol.training.Fit(state=None, params=None, rows=[], reason="finished").reason
      'finished'
    """

    state: TrainState
    params: PyTree
    rows: list[dict[str, Any]]
    reason: str


def fit(
    loss_fn: LossFn,
    params: PyTree,
    tx: optax.GradientTransformation,
    batches: Any,
    options: RunOptions,
    *,
    variables: PyTree = None,
    evaluate: Callable[..., Mapping[str, float]] | None = None,
    monitor: str = "loss",
    mode: str = "min",
    accumulate: int = 1,
    compute_dtype: Any = None,
    config: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callable[[int, dict[str, Any], TrainState], bool | None]] = (),
    title: str = "training",
    progress_lines: int = 10,
) -> Fit:
    """Trains for `options.steps` steps in all, going on from the latest checkpoint if there is one.

    Whatever a step needs is a function of the state: its batch is `batches[step]`, its random key
    `fold_in(key, step)`. So a run that was interrupted, in whatever way, and started again by the
    same call gives the same numbers, to the bit, as one that was not.

    Args:
      loss_fn: see `make_train_step`.
      params: initial parameters. variables: what the model keeps beside them.
      tx: optlab's or Optax's transformation. Gradients are clipped, averaged, guarded in it.
      batches: with `iterate(start, stop)`, such as `ol.training.data.Batches`; of this process.
      options: steps, output folder, seed and all the rest.
      evaluate: `(params) -> dict of numbers`, or `(params, variables)` where there are any; called
        with the parameters to evaluate with. Its numbers are reported as `validation_...`.
      monitor: which of them says what is best; mode: `"min"` or `"max"`.
      accumulate, compute_dtype: see `make_train_step`.
      config: more about the run, for its record: whatever JSON can hold.
      callbacks: each is called with `(step, row, state)` behind every report; if one gives True,
        the run ends behind this step.
      title: in front of progress lines and above the curves.
      progress_lines: about how many a run prints where there is no terminal; 0 for silence.

    Returns:
      A `Fit`. The output folder has `metrics.jsonl` (an object a report), `run.json` (options,
      versions, seed, digest of the data), `checkpoints/`, `summary.json` and `curves.png`.

    Raises:
      Diverged: if the parameters are no longer finite, all steps of a report interval were bad, or
        the loss is 10,000 times what it was; the last good checkpoint is kept.
      Terminated: after SIGTERM or SIGINT, with a checkpoint of the current step.
      UserError: for options that do not fit the data or the run that is there.
      MismatchError, DamageError: see `Checkpoints`.

    Special cases:
      The device is waited for once a report, so steps are dispatched ahead. `bad_steps` counts the
      steps with a loss or gradient that is not finite; behind a `guard` they move nothing, and only
      a report of nothing else ends the run.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, optlab as ol
      >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
      >>> source = ol.training.data.Arrays({"x": x, "y": 3 * x})
      >>> def loss_fn(params, batch, key):
      ...     return jnp.mean((params * batch["x"] - batch["y"]) ** 2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     run = ol.training.fit(
      ...         loss_fn, jnp.zeros(()), ol.sgd(0.5), ol.training.data.Batches(source, 16, seed=0),
      ...         ol.training.RunOptions(steps=40, batch_size=16, output=folder, save_every=40),
      ...     )
      >>> run.params.round(2), run.reason
      (Array(3., dtype=float32), 'finished')
    """
    options = options.effective()
    options.check()
    if mode not in ("min", "max"):
        raise ValueError(f"fit: mode must be 'min' or 'max', got {mode!r}.")
    place = Placement(_mesh(options))
    if options.resume == "never" and jax.process_index() == 0:
        aside = set_aside(options.output)
        if aside is not None:
            print(f"{title}: the run that was in {options.output} is now in {aside}", flush=True)
    with contextlib.ExitStack() as stack:
        loop = _Loop(options, evaluate, monitor, 1 if mode == "max" else -1, callbacks)
        tx = place.optimizer(tx)
        step = make_train_step(
            loss_fn,
            tx,
            report_every=options.log_every,
            accumulate=accumulate,
            compute_dtype=compute_dtype,
        )
        record = record_of(options, tx, batches, config)
        checkpoints = stack.enter_context(
            Checkpoints(options.output / "checkpoints", keep=options.keep, config=record)
        )
        start = resumed_step(options, checkpoints, record)
        example = next(iter(batches.iterate(0, 1)))
        rest = (jax.random.key(options.seed), place.batch(example), variables)
        state = place.state(step.init, tx, params, *rest)
        if start:
            state = checkpoints.restore(state)
        if jax.process_index() == 0:
            write_all(options.output, {NAME: as_json(record)})
        loop.open(stack, checkpoints, start, title, record, progress_lines)
        reason = loop.run(step.update, state, place, batches, start)
        return loop.result(reason, title)


def _mesh(options: RunOptions) -> Any:
    try:
        return None if options.mesh is None else data_mesh(options.mesh)
    except ValueError as error:
        raise UserError(f"--mesh: {error}") from None


class _Loop:
    """One run: what it writes to, and what it has seen."""

    def __init__(self, options, evaluate, monitor, sign, callbacks):
        self.options, self.evaluate, self.monitor = options, evaluate, monitor
        self.sign, self.callbacks = sign, callbacks
        self.state: Any = None

    def open(self, stack, checkpoints, start, title, record, progress_lines) -> None:
        options = self.options
        self.checkpoints = checkpoints
        self.writers = writers_for(options, from_step=start, config=record)
        for writer in self.writers:
            stack.callback(writer.close)
        self.path = options.output / "metrics.jsonl"
        self.rows = read_rows(self.path) if start else []
        self.stop = stack.enter_context(StopSignals())
        self.progress = stack.enter_context(Progress(title, options.steps, progress_lines))

    def run(self, update, state, place, batches, start) -> str:
        options, deadline = self.options, math.inf
        if options.time_limit is not None:
            deadline = time.monotonic() + options.time_limit
        self.state, in_flight = state, deque()
        reason = "finished"
        self.mark, self.paused = (start, time.monotonic()), 0.0
        profile = Profile(
            options.output / "profile" if options.profile else None, start, options.steps
        )
        waiting = place.ahead(batches.iterate(start, max(start, options.steps)))
        with profile:
            for step, batch in zip(itertools.count(start + 1), waiting, strict=False):
                self.state, token = update(self.state, batch)
                if step == start + 1:
                    self.mark = (step, time.monotonic())  # compiled by now
                in_flight.append(token)
                if len(in_flight) > place.most_in_flight:
                    in_flight.popleft().block_until_ready()
                profile.passed(step, token)
                late = time.monotonic() > deadline
                ends = self._report(step)
                if ends is None and step < options.steps:
                    ends = self.stop.received or ("time limit" if late else None)
                if self._must_save(step, ends):
                    with self._pause():
                        self._save(step)
                if ends is not None:
                    reason = ends
                    break
        self.checkpoints.wait()
        if isinstance(reason, signal.Signals):
            raise Terminated(reason, step)
        return reason

    def _must_save(self, step: int, ends: Any) -> bool:
        last = step == self.options.steps or ends is not None
        return last or step % self.options.save_every == 0 or self.improved

    def _report(self, step: int) -> str | None:
        """Writes a row where one is due; why the run should end, or None."""
        options, row, last = self.options, {}, step == self.options.steps
        self.improved = False
        if step % options.log_every == 0 or last:
            row = self._metrics(step)
        ends = None
        if self.evaluate is not None and (step % options.eval_every == 0 or last):
            with self._pause():
                row |= self._evaluated()
            late = options.patience is not None and int(self.state.since_best) >= options.patience
            ends = "no improvement" if late else None
        if row:
            self.rows.append({"step": step, **row})
            for writer in self.writers:
                writer.write(step, row)
                writer.flush()
            self.progress.show(step, row)
            asked = [call(step, row, self.state) for call in self.callbacks]
            ends = ends or ("callback" if any(asked) else None)
        return ends

    def _metrics(self, step: int) -> dict[str, float]:
        row = reported(self.state.sums)  # waits here
        before, then = self.mark
        now = time.monotonic()
        steps = row.pop("steps")
        if step > before:
            spent = max(now - then - self.paused, 1e-9)
            row["examples_per_second"] = (step - before) * self.options.batch_size / spent
        self.mark, self.paused = (step, now), 0.0
        first = next((r["loss"] for r in self.rows if r.get("loss") is not None), row["loss"])
        exploded = row["loss"] > EXPLODED * max(abs(first), 1.0)
        if row["bad_steps"] or exploded or not math.isfinite(row["loss"]):
            leaf = first_nonfinite(self.state.params)
            if leaf is not None or exploded or row["bad_steps"] == steps:
                raise Diverged(self._diverged(step, row, leaf))
        return row

    def _diverged(self, step: int, row: Mapping[str, float], leaf: str | None) -> str:
        what = "all parameters are" if leaf is None else f"the parameter at {leaf!r} is not"
        rate = row.get("learning_rate", math.nan)
        self.checkpoints.wait()
        kept = self.checkpoints.latest()
        kept = (
            "there is no checkpoint" if kept is None else f"the checkpoint of step {kept} is kept"
        )
        return (
            f"diverged by step {step}: loss {row['loss']:g}, gradient norm "
            f"{row['gradient_norm']:g}, learning rate {rate:g}, {row['bad_steps']:g} bad steps; "
            f"{what} finite; {kept}. Lower the learning rate, clip or guard the gradients."
        )

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        """What is done here is no training: it does not count for examples a second."""
        jax.block_until_ready(self.state.step)
        start = time.monotonic()
        yield
        self.paused += time.monotonic() - start

    def _evaluated(self) -> dict[str, float]:
        state = self.state
        rest = () if state.variables is None else (state.variables,)
        metrics = {
            name: float(v) for name, v in self.evaluate(state.evaluation_params(), *rest).items()
        }
        if self.monitor not in metrics:
            raise ValueError(
                f"fit: monitor={self.monitor!r} is none of what evaluate gives: "
                f"{', '.join(metrics) or 'nothing'}."
            )
        value = np.float32(metrics[self.monitor])
        best = np.float32(state.best)
        self.improved = not np.isnan(value) and (
            np.isnan(best) or self.sign * value > self.sign * best
        )
        since = 0 if self.improved else int(state.since_best) + 1
        like = state.best, state.since_best
        new = (value if self.improved else best), np.int32(since)
        best, since = (jax.device_put(n, old.sharding) for n, old in zip(new, like, strict=True))
        self.state = state._replace(best=best, since_best=since)
        return {f"validation_{name}": value for name, value in metrics.items()}

    def _save(self, step: int) -> None:
        leaf = first_nonfinite(self.state.params)
        if leaf is not None:
            raise Diverged(self._diverged(step, reported(self.state.sums), leaf))
        metric = self.sign * float(self.state.best) if self.improved else None
        self.checkpoints.save(self.state, step, metric=metric)

    def result(self, reason: str, title: str) -> Fit:
        params = self.state.evaluation_params()
        best = self.checkpoints.best()
        if best is not None and best != self.checkpoints.latest():
            params = self.checkpoints.restore(self.state, best).evaluation_params()
        if jax.process_index() == 0:
            files = {
                "summary.json": as_json(summary(self.rows, reason=reason)),
                "curves.png": curves(self.rows, title),
            }
            write_all(self.options.output, files)
        return Fit(self.state, params, self.rows, reason)
