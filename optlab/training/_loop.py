"""One run of `fit`: steps, and between them reports, evaluations and checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from optlab.training._checkpoints import Checkpoints
from optlab.training._console import Diverged, Terminated
from optlab.training._devices import Placement
from optlab.training._evaluate import require_monitored
from optlab.training._files import as_json, write_all
from optlab.training._options import RunOptions
from optlab.training._overfitting import overfitting
from optlab.training._profile import Profile
from optlab.training._progress import Progress
from optlab.training._report import curves, summary
from optlab.training._signals import StopSignals
from optlab.training._state import TrainState, first_nonfinite, reported
from optlab.training._writers import Writer

EXPLODED = 1e4  # times the first reported loss, or 1 if that is less


@dataclasses.dataclass
class Loop:
    """What a run writes to, and what it has seen.

    Attributes:
      evaluate, monitor, sign: see `fit`; with sign -1 less is better.
      rows: reported so far, by earlier processes too.
      state: of the latest step.
    """

    options: RunOptions
    place: Placement
    checkpoints: Checkpoints
    writers: Sequence[Writer]
    stop: StopSignals
    progress: Progress
    evaluate: Callable[..., Mapping[str, float]] | None
    monitor: str
    sign: int
    callbacks: Sequence[Callable[[int, dict[str, Any], TrainState], bool | None]]
    rows: list[dict[str, Any]]
    state: TrainState
    improved: bool = False
    paused: float = 0.0
    mark: tuple[int, float] = (0, 0.0)

    def run(self, update: Callable[..., Any], batches: Any, start: int) -> str:
        """Steps from `start` on; why they ended.

        Raises:
          Diverged, Terminated: as `fit` does.
        """
        options, limit = self.options, self.options.time_limit
        if self._is_out_of_patience():  # it was before; asked again, it still is
            return "no improvement"
        deadline = math.inf if limit is None else time.monotonic() + limit
        self.mark = (start, time.monotonic())
        in_flight: deque[jax.Array] = deque()
        ends, step = None, start
        waiting = self.place.ahead(batches.iterate(start, max(start, options.steps)))
        folder = options.output / "profile" if options.profile else None
        with Profile(folder, start, options.steps) as profile:
            for step, batch in zip(itertools.count(start + 1), waiting, strict=False):
                self.state, token = update(self.state, batch)
                if step == start + 1:
                    self.mark = (step, time.monotonic())  # compiled by now
                in_flight.append(token)
                if len(in_flight) > self.place.most_in_flight:
                    in_flight.popleft().block_until_ready()
                profile.passed(step, token)
                last = step == options.steps
                ends = self._report(step, last)
                if ends is None and not last:
                    ends = self._asked(step, time.monotonic() > deadline)
                if last or ends or self.improved or step % options.save_every == 0:
                    with self._pause():
                        self._save(step)
                if ends:
                    break
        if not ends and step < options.steps and step > start:
            self._save(step)
        if not ends and step < options.steps:
            raise ValueError(
                f"fit: batches.iterate({start}, {options.steps}) ended behind step {step}; it must "
                "give a batch for every step."
            )
        self.checkpoints.wait()
        if isinstance(ends, signal.Signals):
            raise Terminated(ends, step)
        return ends or "finished"

    def _is_out_of_patience(self) -> bool:
        patience = self.options.patience
        return patience is not None and int(self.state.since_best) >= patience

    def _asked(self, step: int, late: bool) -> Any:
        """A signal or the end of time; processes agree on it, at reports."""
        number = int(self.stop.received or 0)
        if jax.process_count() > 1:
            if step % self.options.log_every:
                return None
            flags = multihost_utils.process_allgather(np.array([number, late], np.int32))
            number, late = np.asarray(flags).reshape(-1, 2).max(0).tolist()
        return signal.Signals(number) if number else "time limit" if late else None

    def _report(self, step: int, last: bool) -> str | None:
        """Writes a row where one is due; why the run should end, or None."""
        options, row, ends, bad = self.options, {}, None, None
        self.improved = False
        if step % options.log_every == 0 or last:
            row, bad = self._metrics(step)
        if bad is None and self.evaluate and (step % options.eval_every == 0 or last):
            with self._pause():
                row |= self._evaluated()
            if self._is_out_of_patience():
                ends = "no improvement"
        if row:
            self.rows.append({"step": step, **row})
            for writer in self.writers:
                writer.write(step, row)
                writer.flush()
            self.progress.show(step, row)
        if bad is not None:
            raise Diverged(bad)
        if row:
            asked = [call(step, row, self.state) for call in self.callbacks]
            ends = ends or ("callback" if any(asked) else None)
        return ends

    def _metrics(self, step: int) -> tuple[dict[str, float], str | None]:
        """What the steps since the last report gave, and what is wrong with it, if anything."""
        row = reported(self.state.sums)  # waits here
        now, (before, then) = time.monotonic(), self.mark
        steps = row.pop("steps")
        if step > before:
            spent = max(now - then - self.paused, 1e-9)
            row["examples_per_second"] = (step - before) * self.options.batch_size / spent
        self.mark, self.paused = (step, now), 0.0
        losses = (r.get("loss", math.nan) for r in [*self.rows, row])
        first = next(filter(math.isfinite, losses), 0.0)
        exploded = row["loss"] > EXPLODED * max(abs(first), 1.0)
        if not (row["bad_steps"] or exploded):
            return row, None
        leaf = first_nonfinite(self.state.params)
        hopeless = leaf is not None or exploded or row["bad_steps"] == steps
        return row, self._diverged(step, row, leaf) if hopeless else None

    def _diverged(self, step: int, row: Mapping[str, float], leaf: str | None) -> str:
        self.checkpoints.wait()
        latest = self.checkpoints.latest()
        which = "all parameters are" if leaf is None else f"the parameter at {leaf!r} is not"
        kept = "there is no checkpoint"
        if latest is not None:
            kept = f"the checkpoint of step {latest} is kept"
        return (
            f"diverged by step {step}: loss {row['loss']:g}, gradient norm "
            f"{row['gradient_norm']:g}, learning rate {row.get('learning_rate', math.nan):g}, "
            f"{row['bad_steps']:g} bad steps; {which} finite; {kept}. Lower the learning rate, "
            "clip or guard the gradients."
        )

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        """What is done here is no training: it does not count for examples a second."""
        jax.block_until_ready(self.state.step)
        start = time.monotonic()
        yield
        self.paused += time.monotonic() - start

    def _evaluated(self) -> dict[str, float]:
        assert self.evaluate is not None
        state = self.state
        found = self.evaluate(*self.place.alone((state.evaluation_params(), *rest_of(state))))
        metrics = {name: float(value) for name, value in found.items()}
        require_monitored(self.monitor, metrics)
        value, best = np.float32(metrics[self.monitor]), np.float32(state.best)
        is_first = np.isnan(best) and not np.isnan(value)
        self.improved = bool(is_first or self.sign * value > self.sign * best)
        since = 0 if self.improved else int(state.since_best) + 1
        best = value if self.improved else best
        self.state = state._replace(
            best=_in_place_of(state.best, best),
            since_best=_in_place_of(state.since_best, np.int32(since)),
        )
        return {f"validation_{name}": value for name, value in metrics.items()}

    def _save(self, step: int) -> None:
        leaf = first_nonfinite((self.state.params, self.state.variables))
        if leaf is not None:
            raise Diverged(self._diverged(step, reported(self.state.sums), leaf))
        metric = self.sign * float(self.state.best) if self.improved else None
        self.checkpoints.save(self.place.without(self.state), step, metric=metric)

    def leave(self, title: str, reason: str, seconds: float) -> None:
        """Writes what is left of a run, however it ended."""
        if jax.process_index() == 0:
            found = overfitting(self.rows)
            if found is not None:
                self.progress.say(f"{title}  {found}")
            summed = summary(self.rows, reason=reason, seconds=seconds)
            summed["overfitting"] = None if found is None else found._asdict()
            pictures = {"curves.png": curves(self.rows, title)} if self.rows else {}
            write_all(self.options.output, {"summary.json": as_json(summed), **pictures})


def rest_of(state: TrainState) -> tuple[Any, ...]:
    """What an evaluation is given beside the parameters."""
    return () if state.variables is None else (state.variables,)


def _in_place_of(old: jax.Array, value: Any) -> jax.Array:
    """Where the old one lies, as firmly: a step compiled for the one takes the other."""
    return jax.device_put(value, old.sharding if old.committed else None)
