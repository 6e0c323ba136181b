"""What `ol.lab.sweep` costs beside the loops that people write for N learning rates.

Peers, on the same task functions, each evaluating once, at the end:
  (a) naive: Optax, a step jitted anew for every learning rate, in a Python loop;
  (b) one jit: all training as one scan, the learning rate its argument, a call a rate;
  (c) vmap: the same, mapped over the rates.
Claims on a CPU, compilation included: 8 times less than (a) at N = 32 and 12 times at N = 128 for
the MLP, 3 times for the LM; "auto" at most 1.1 times the best fixed plan. Ratios of CPU seconds and
of wall time, medians of rounds in which all take turns; (a) is measured for a few rates and
multiplied, since its rates do not know of one another.

    python benchmarks/sweep.py                                 # MLP, CNN and LM, up to N = 32
    python benchmarks/sweep.py --tasks digits_mlp --sizes 128 --rounds 3
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optlab as ol
from optlab.lab import Plan, Task

NAIVE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="digits_mlp,digits_cnn,byte_lm")
    parser.add_argument("--sizes", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="default: the task's own")
    arguments = parser.parse_args()
    print("N    task        what            CPU s   wall s   peer / auto: CPU, wall")
    for name in arguments.tasks.split(","):
        task = getattr(ol.lab.tasks, name)()
        steps = arguments.steps or task.steps
        for size in map(int, arguments.sizes.split(",")):
            compare(task, steps, np.geomspace(1e-4, 1e-1, size), arguments.rounds)


def compare(task: Task, steps: int, rates: np.ndarray, rounds: int) -> None:
    def plain(plan):
        return lambda: ol.lab.sweep(
            task,
            lambda learning_rate: ol.adamw(learning_rate),
            {"learning_rate": ol.lab.grid(rates.tolist())},
            steps=steps,
            evaluations=1,
            plan=plan,
            progress=False,
        )

    few = rates[: min(NAIVE, len(rates))]
    contenders: dict[str, Callable[[], object]] = {
        "sweep, auto": plain("auto"),
        "sweep, scan": plain(Plan(workers=2)),
        "sweep, python": plain(Plan(workers=2, loop="python")),
        "sweep, width 8": plain(Plan(width=8)),
        "(a) naive": lambda: naive(task, steps, few),
        "(b) one jit": lambda: one_jit(task, steps, rates),
        "(c) vmap": lambda: mapped(task, steps, rates),
    }
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in contenders}
    for _ in range(rounds):
        for what, run in contenders.items():
            jax.clear_caches()
            factor = len(rates) / len(few) if what == "(a) naive" else 1
            cpu, wall = measured(run)
            times[what].append((cpu * factor, wall * factor))
    ours = times["sweep, auto"]
    for what, found in times.items():
        cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = [(c / oc, w / ow) for (c, w), (oc, ow) in zip(found, ours, strict=True)]
        by_cpu, by_wall = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(
            f"{len(rates):<4} {task.name:<11} {what:<14} {cpu:>6.1f}   {wall:>6.1f}   "
            f"{by_cpu:.2f}, {by_wall:.2f}",
            flush=True,
        )


def measured(run: Callable[[], object]) -> tuple[float, float]:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    cpu, wall = used(), time.perf_counter()
    run()
    return used() - cpu, time.perf_counter() - wall


def parts(task: Task):
    arrays = jax.tree.map(jnp.asarray, task.arrays)
    key = jax.random.key(0)
    batch_key, step_key = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)

    def step(tx, params, state, i):
        batch = task.batch_at(arrays, batch_key, i)
        gradient = jax.grad(task.scalar_loss)(params, batch, jax.random.fold_in(step_key, i))
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    return lambda: task.init(jax.random.fold_in(key, 0)), step, lambda p: task.metrics(arrays, p)


def naive(task: Task, steps: int, rates: np.ndarray) -> list:
    init, step, evaluate = parts(task)
    found = []
    for rate in rates.tolist():
        tx = optax.adamw(rate)
        params = jax.jit(init)()
        state = tx.init(params)
        update = jax.jit(lambda p, s, i, tx=tx: step(tx, p, s, i), donate_argnums=(0, 1))
        for i in range(steps):
            params, state = update(params, state, i)
        found.append(jax.device_get(jax.jit(lambda p: evaluate(p))(params)))
    return found


def training(task: Task, steps: int):
    init, step, evaluate = parts(task)

    def train(rate):
        tx, params = optax.adamw(rate), init()
        carry = jax.lax.fori_loop(0, steps, lambda i, c: step(tx, *c, i), (params, tx.init(params)))
        return evaluate(carry[0])

    return train


def one_jit(task: Task, steps: int, rates: np.ndarray) -> list:
    train = jax.jit(training(task, steps))
    return [jax.device_get(train(jnp.float32(rate))) for rate in rates]


def mapped(task: Task, steps: int, rates: np.ndarray) -> object:
    return jax.device_get(jax.jit(jax.vmap(training(task, steps)))(jnp.float32(rates)))


if __name__ == "__main__":
    main()
