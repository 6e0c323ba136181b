"""Chooses how to compute a population: by what is known of the device, by timing short trials."""

from __future__ import annotations

import dataclasses
import os
import time
from functools import partial
from typing import Any, Literal

import jax
import jax.extend
import numpy as np

from optlab.lab._engine import Engine
from optlab.lab._plan import Plan
from optlab.lab._population import together
from optlab.lab._task import Task

# A wider chunk is compiled and timed only where that costs less than this part of the whole work,
_WORTH = 0.05
# and taken only if it is faster by this factor, since alone a run is computed to the bit.
_GAIN = 1.15
_WIDTHS = (8, 32, 128)
_TIMED_SECONDS = 0.03
_REPEATS = 2


def require_plan(owner: str, plan: Any) -> None:
    """Refuses what is no plan.

    Raises:
      ValueError: with what there is.
    """
    if not (isinstance(plan, Plan) or (isinstance(plan, str) and plan in ("auto", "exact"))):
        raise ValueError(f'{owner}: plan must be "auto", "exact" or a Plan, got {plan!r}.')


def engine(
    task: Task, tx: Any, *, runs: int, steps: int, evaluations: int, plan: str | Plan
) -> Engine:
    """An engine with the plan that was asked for, or chosen.

    Args:
      task: to train on.
      tx: a transformation like those that will be trained.
      runs: how many there will be.
      steps: of each.
      evaluations: of each.
      plan: a `Plan`; "exact", each run alone; "auto", the fastest that a short trial finds.

    Raises:
      ValueError: for another plan, or runs that do not fit into memory.
    """
    made = partial(Engine, task, steps=steps, evaluations=evaluations)
    require_plan("engine", plan)
    if isinstance(plan, Plan):
        return made(plan=plan)
    loop, reason = _loop(task)
    workers = _workers(runs)
    alone = made(plan=Plan(loop=loop, workers=workers, reason=reason))
    programs = alone.programs(tx, alone.devices()[0])
    _require_memory(programs.bytes, workers, alone.devices()[0])
    if plan == "exact":
        alone.plan = dataclasses.replace(alone.plan, reason="exact")
        return alone
    best, best_seconds = alone, _seconds_a_step(alone, tx)
    alone_seconds, compile_seconds = best_seconds, programs.compile_seconds
    spent = 0.0
    for width in _WIDTHS:
        work = best_seconds * runs * steps / workers
        chunks = -(-runs // width)
        if spent + 2 * compile_seconds > _WORTH * work or width > runs:
            break
        if width * programs.bytes * workers > _free_bytes(alone.devices()[0]) / 2:
            break
        wide = made(plan=Plan(loop=loop, width=width, workers=min(workers, chunks)))
        begun = time.perf_counter()
        seconds = _seconds_a_step(wide, tx)
        spent += time.perf_counter() - begun
        if seconds * _GAIN > best_seconds:
            break
        best, best_seconds = wide, seconds
    if best is not alone:
        gain = alone_seconds / best_seconds
        reason = f"timed: a step of a run is {gain:.1f} times faster than alone"
        best.plan = dataclasses.replace(best.plan, reason=reason)
    return best


def _loop(task: Task) -> tuple[Literal["scan", "python"], str]:
    if jax.default_backend() != "cpu":
        return "scan", "each run alone"
    _, params, batch, key = task.shapes()
    loss = jax.make_jaxpr(task.scalar_loss)(params, batch, key)
    if _contains(loss.jaxpr, "conv_general_dilated"):
        return "python", "XLA for CPU runs convolutions many times slower inside a loop"
    return "scan", "on a CPU, each run alone is usually fastest"


def _contains(jaxpr: Any, primitive: str) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == primitive:
            return True
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            if _contains(inner, primitive):
                return True
    return False


def _workers(runs: int) -> int:
    if jax.default_backend() != "cpu":
        return min(runs, jax.local_device_count())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(runs, cores or 1)


def _seconds_a_step(engine: Engine, tx: Any) -> float:
    """Of one run, when all workers are as busy as this one; with its share of an evaluation."""
    programs = engine.programs(tx, engine.devices()[0])
    width = programs.width
    txs = programs.put(together([tx] * width))
    seeds = together([np.int32(i) for i in range(width)])
    run = jax.block_until_ready(programs.start(txs, programs.put(seeds)))

    def seconds_of(count: int) -> float:
        nonlocal run
        begun = time.perf_counter()
        run, segment = jax.block_until_ready(programs.advance(txs, run, count))
        del segment
        return time.perf_counter() - begun

    seconds_of(1)  # what is first is slow
    once, count = min(seconds_of(1) for _ in range(_REPEATS)), 1
    if programs.length == 1:
        return once / width
    seconds = once
    while count < programs.length and seconds < _TIMED_SECONDS:
        count = min(4 * count, programs.length)
        seconds = seconds_of(count)
    seconds = min(seconds, *(seconds_of(count) for _ in range(_REPEATS)))
    more = max(seconds - once, 0) / (count - 1)
    return (once + more * (programs.length - 1)) / programs.length / width


def _require_memory(needed: int, workers: int, device: Any) -> None:
    free = _free_bytes(device)
    if needed * workers > free:
        raise ValueError(
            f"a run takes {needed / 2**20:,.0f} MiB, and {workers} at a time do not fit into the "
            f"{free / 2**20:,.0f} MiB that are free on {device}. Use a smaller model or batch, or "
            f"plan=Plan(workers=1)."
        )


def _free_bytes(device: Any) -> float:
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return np.inf
