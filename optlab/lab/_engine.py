"""`Engine`: trains many runs of one task with compiled programs that all of them share.

Runs whose transformations have one structure go through the same programs, `width` of them at a
time, several chunks at once on threads or devices. What a run becomes does not depend on the chunk
it is in; chunks are filled up by repeating their last run.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import numpy as np

from optlab.core import checks
from optlab.lab import _population
from optlab.lab._outcome import Outcome
from optlab.lab._plan import Plan
from optlab.lab._programs import Programs, Run
from optlab.lab._task import Task

# A loss this far above that of the first step, for so many evaluations on end, is a run gone wrong;
# or so many times as far as losses in a row are from a line (but never above twice the start):
# the first one is of a single batch.
ABOVE_START = 0.05
NOISES = 2
PATIENCE = 3


class Member(NamedTuple):
    """A run to make.

    Fields:
      trial: number of its trial.
      seed: of its parameters, data and noise.
      tx: its transformation.
      past: what it did so far, and how it stood then (the leaves of `Run`); None from the start.
    """

    trial: int
    seed: int
    tx: Any
    past: tuple[Outcome, list[np.ndarray]] | None = None


class Chunk(NamedTuple):
    """Runs that went through together: their outcomes, and how each stands (see `Member.past`)."""

    outcomes: list[Outcome]
    states: list[list[np.ndarray]]


def boundaries_of(owner: str, steps: int, evaluations: int) -> list[int]:
    """The step counts of evaluations, evenly spread; as many as there are steps at most."""
    evaluations = min(checks.positive_count(owner, "evaluations", evaluations), steps)
    ends = np.linspace(0, checks.positive_count(owner, "steps", steps), evaluations + 1)
    return [int(end) for end in np.round(ends[1:])]


class Engine:
    """Trains members of a population, chunk by chunk.

    Args:
      task: what to train on.
      steps: updates a run makes.
      evaluations: >= 1, how often the metrics are taken, evenly spread, the last behind the last
        step; as many as there are steps at most.
      plan: how to compute.

    Attributes:
      boundaries: the step counts of the evaluations.
      compiled: programs made so far; `compile_seconds` that took.
    """

    def __init__(self, task: Task, *, steps: int, evaluations: int, plan: Plan):
        self.task, self.plan = task, plan
        self.boundaries = boundaries_of("Engine", steps, evaluations)
        self._length = int(np.diff([0, *self.boundaries]).max())
        self._programs: dict[Any, Programs] = {}
        self._stop = threading.Event()

    @property
    def compiled(self) -> int:
        return len(self._programs)

    @property
    def programs_in_words(self) -> str:
        """How many were compiled: one, unless transformations differ in more than numbers."""
        count = len({structure for structure, _ in self._programs})  # on however many devices
        return f"{count} {'program' if count == 1 else 'programs'} compiled"

    @property
    def compile_seconds(self) -> float:
        return sum(programs.compile_seconds for programs in self._programs.values())

    def train(
        self,
        members: Sequence[Member],
        *,
        until: int | None = None,
        keep: bool = False,
        advanced: Callable[[int], None] = lambda steps: None,
    ) -> Iterator[Chunk]:
        """Trains all members and gives chunks as they finish, in no order that is promised.

        Args:
          members: the runs to make.
          until: train to this boundary only; None to the last.
          keep: whether chunks have the states of their runs, for more training later.
          advanced: called, from any thread, with the number of steps that runs have advanced.
        """
        until = self.boundaries[-1] if until is None else until
        devices = self.devices()
        chunks = [chunk for group in _groups(members) for chunk in _cut(group, self.plan.width)]
        for chunk in chunks:  # here, and not in the threads: see Programs
            for device in devices[: len(chunks)]:
                self.programs(chunk[0].tx, device)

        def work(chunk: list[Member], place: int) -> tuple[Chunk, int]:
            programs = self.programs(chunk[0].tx, devices[place])
            return self._chunk(programs, chunk, until, keep, advanced), place

        self._stop.clear()
        waiting, free = iter(chunks), list(range(len(devices)))
        running: set[Future] = set()
        with ThreadPoolExecutor(len(devices), "optlab-lab") as pool:
            try:
                while True:
                    while free and (chunk := next(waiting, None)) is not None:
                        running.add(pool.submit(work, chunk, free.pop()))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        chunk, place = future.result()
                        free.append(place)
                        yield chunk
            finally:
                self._stop.set()  # left early: by an error, Ctrl-C, or who reads the chunks

    def devices(self) -> list[Any]:
        """Where the workers compute: devices, or the same CPU for each of its threads."""
        devices = jax.local_devices()
        if devices[0].platform == "cpu":
            return [devices[0]] * self.plan.workers
        if self.plan.workers > len(devices):
            raise ValueError(
                f"Plan: {self.plan.workers} workers, but there are {len(devices)} devices here."
            )
        return devices[: self.plan.workers]

    def programs(self, tx: Any, device: Any) -> Programs:
        """The programs for a transformation of this structure, compiled when first asked for."""
        key = _population.structure(tx), device
        if key not in self._programs:
            self._programs[key] = Programs(
                self.task,
                tx,
                loop=self.plan.loop,
                width=self.plan.width,
                length=self._length,
                device=device,
            )
        return self._programs[key]

    def _chunk(
        self,
        programs: Programs,
        members: list[Member],
        until: int,
        keep: bool,
        advanced: Callable[[int], None],
    ) -> Chunk:
        begun = time.perf_counter()
        width = programs.width
        padded = [*members, *[members[-1]] * (width - len(members))]
        txs = programs.put(_population.together([member.tx for member in padded]))
        run = _begin(programs, padded, txs)
        records = [_Record(member, self.task) for member in members]
        at = 0 if members[0].past is None else members[0].past[0].steps
        for end in self.boundaries:
            if end <= at or end > until:
                continue
            if self._stop.is_set() or all(record.diverged_at is not None for record in records):
                break
            run, segment = programs.advance(txs, run, end - at)
            losses, metrics, finite = jax.device_get(segment)
            for i, record in enumerate(records):
                pick = (lambda x, i=i: x[i]) if width > 1 else (lambda x: x)
                named = {name: float(pick(value)) for name, value in metrics.items()}
                record.add(at, pick(losses)[: end - at], named, bool(pick(finite)))
            advanced((end - at) * len(members))
            at = end
        left = max(until - at, 0) * len(members)
        if left:
            advanced(left)
        seconds = (time.perf_counter() - begun) / len(members)
        outcomes = [record.outcome(seconds, self.boundaries[-1]) for record in records]
        states = programs.packed(run)[: len(members)] if keep else []
        return Chunk(outcomes, states)


def _begin(programs: Programs, members: list[Member], txs: Any) -> Run:
    pasts = [member.past[1] for member in members if member.past is not None]
    if pasts:
        return programs.unpacked(pasts)
    seeds = _population.together([np.int32(member.seed) for member in members])
    return programs.start(txs, programs.put(seeds))


class _Record:
    """What a run has said so far."""

    def __init__(self, member: Member, task: Task):
        self.member = member
        self.diverged_at: int | None = None
        self.losses: list[np.ndarray] = []
        self.evaluated: list[int] = []
        self.metrics: dict[str, list[float]] = {}
        self.seconds = 0.0
        if member.past is not None:
            past = member.past[0]
            self.losses, self.seconds = [past.losses], past.seconds
            self.evaluated = list(past.evaluated)
            self.metrics = {name: list(values) for name, values in past.metrics.items()}

    def add(self, at: int, losses: np.ndarray, metrics: Mapping[str, float], finite: bool) -> None:
        if self.diverged_at is not None:
            return
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size or not finite:
            steps = int(bad[0]) if bad.size else len(losses) - 1
            self.diverged_at = at + steps
            self.losses.append(losses[: steps + (0 if bad.size else 1)])
            return
        self.losses.append(losses)
        self.evaluated.append(at + len(losses))
        values = {**metrics, "train_loss": float(np.mean(losses, dtype=np.float64))}
        for name, value in values.items():
            self.metrics.setdefault(name, []).append(value)
        start = float(self.losses[0][0])
        bends = np.abs(np.diff(np.concatenate(self.losses), n=2))
        noise = float(np.median(bends)) if bends.size else 0.0
        allowed = np.clip(NOISES * noise, ABOVE_START * abs(start), abs(start))
        last = self.metrics["train_loss"][-PATIENCE:]
        if len(last) == PATIENCE and min(last) > start + allowed:
            self.diverged_at = at + len(losses)

    def outcome(self, seconds: float, last: int) -> Outcome:
        losses = np.concatenate(self.losses) if self.losses else np.zeros(0, np.float32)
        status = "done" if len(losses) == last else "stopped"
        return Outcome(
            trial=self.member.trial,
            seed=self.member.seed,
            status="diverged" if self.diverged_at is not None else status,
            steps=len(losses),
            diverged_at=self.diverged_at,
            losses=losses,
            evaluated=np.array(self.evaluated, np.int64),
            metrics={name: np.array(values) for name, values in self.metrics.items()},
            seconds=self.seconds + seconds,
        )


def _groups(members: Sequence[Member]) -> list[list[Member]]:
    """Members that can share a program, and stand at the same step."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        at = 0 if member.past is None else member.past[0].steps
        groups.setdefault((_population.structure(member.tx), at), []).append(member)
    return list(groups.values())


def _cut(group: list[Member], width: int) -> list[list[Member]]:
    return [group[i * width : (i + 1) * width] for i in range(math.ceil(len(group) / width))]
