"""What a fair comparison costs, what it finds, and how often it finds what is not there.

    python benchmarks/compare.py                   # 6 optimizers x 8 tasks x 20 trials x 3 studies
    python benchmarks/compare.py --report report.html
    python benchmarks/compare.py --null 100        # one optimizer under two names, 100 times

All optimizers search the same space, five decades of learning rates, with as many trials. As in
AlgoPerf, a trial wins by its steps to the target, a score is the median of the best of each study,
misses count as infinite, and time to the target includes compilation.

`--null` repeats a comparison of one optimizer with itself, each time with other draws and seeds,
and counts verdicts of a difference, beside those of a paired t-test over the test seeds of the two
winners, which takes tuning for granted.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np

import optlab as ol

OPTIMIZERS = {
    "sgd": lambda learning_rate: ol.sgd(learning_rate),
    "momentum": lambda learning_rate: ol.sgd(learning_rate, momentum=0.9),
    "adagrad": lambda learning_rate: ol.adagrad(learning_rate),
    "rmsprop": lambda learning_rate: ol.rmsprop(learning_rate),
    "adam": lambda learning_rate: ol.adam(learning_rate),
    "lion": lambda learning_rate: ol.lion(learning_rate),
}
TASKS = (
    "digits_mlp",
    "deep_tanh",
    "deep_relu",
    "matrix_factorisation",
    "sparse_logistic",
    "noisy_quadratic",
    "quadratic",
    "rosenbrock",
)
SPACE = {"learning_rate": ol.lab.log_uniform(1e-4, 10)}
# Known before: (better, worse, task, measure).
KNOWN = (
    ("momentum", "sgd", "quadratic", "steps"),
    ("adam", "sgd", "quadratic", "steps"),
    ("momentum", "sgd", "rosenbrock", "steps"),
    ("adagrad", "sgd", "sparse_logistic", "steps"),
    ("adam", "sgd", "deep_relu", "steps"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--studies", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tune-for", default="steps", choices=("steps", "metric"))
    parser.add_argument("--store", help="a file to go on from")
    parser.add_argument("--report", help="where to write the HTML report")
    parser.add_argument("--null", type=int, help="repeat a comparison of adam with itself")
    arguments = parser.parse_args()
    wall, cpu = time.perf_counter(), time.process_time()
    (null if arguments.null else field)(arguments)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"\n{wall:.0f} s, {cpu:.0f} CPU seconds")


def field(arguments: argparse.Namespace) -> None:
    comparison = ol.lab.compare(
        [getattr(ol.lab.tasks, name)() for name in arguments.tasks],
        {name: OPTIMIZERS[name] for name in arguments.optimizers},
        space=SPACE,
        trials=arguments.trials,
        studies=arguments.studies,
        seeds=arguments.seeds,
        tune_for=arguments.tune_for,
        store=arguments.store,
    )
    print(comparison)
    runs = sum(
        sum(map(len, tuning.tuned)) + sum(map(len, tuning.tested.values()))
        for entry in comparison.entries.values()
        for tuning in entry.tunings
    )
    print(f"\n{runs} runs of {len(comparison.entries)} optimizers x tasks")
    for better, worse, task, measure in KNOWN:
        if {better, worse} <= set(arguments.optimizers) and task in arguments.tasks:
            found = comparison.verdict(better, worse, task=task, measure=measure)
            verdict = "found" if found.better == better else "not shown"
            print(
                f"known: {better} before {worse} on {task}, by {measure}: {verdict} (p = "
                f"{found.p:.2g}, among all comparisons {found.adjusted:.2g})"
            )
    if arguments.report:
        comparison.to_html(arguments.report)


def null(arguments: argparse.Namespace) -> None:
    """Counts false discoveries. All studies are made in one comparison, and judged a few each."""
    each, twice = arguments.studies, dict.fromkeys(("adam", "the same"), OPTIMIZERS["adam"])
    for name in arguments.tasks:
        task = getattr(ol.lab.tasks, name)()
        everything = ol.lab.compare(
            task,
            twice,
            space=SPACE,
            trials=arguments.trials,
            studies=each * arguments.null,
            seeds=arguments.seeds,
            finalists=5,
            plan="exact",
        )
        found = {"final metric": 0, "steps to target": 0, "p <= 5 %": 0, "paired t-test": 0}
        for repetition in range(arguments.null):
            part = slice(each * repetition, each * (repetition + 1))
            entries = {
                key: entry._replace(tunings=entry.tunings[part])
                for key, entry in everything.entries.items()
            }
            comparison = dataclasses.replace(everything, entries=entries, studies=each)
            verdict = comparison.verdict(*twice)
            found["final metric"] += verdict.better is not None
            found["steps to target"] += comparison.separated(*twice, measure="steps")
            found["p <= 5 %"] += verdict.p <= 0.05
            found["paired t-test"] += naive(comparison, *twice)
        counts = ", ".join(f"{what} {count}" for what, count in found.items())
        print(f"{name}: {arguments.null} comparisons; different by {counts}")


def naive(comparison: ol.lab.Comparison, a: str, b: str) -> bool:
    """What a paired t-test of the winners' final losses says, at 5 %."""
    from scipy import stats

    (task,) = comparison.tasks
    judge = comparison.judge(task)
    x, y = (
        [judge.value(o, "metric") for o in comparison.entries[task, name].final_runs]
        for name in (a, b)
    )
    if len(x) != len(y):  # a study in which all trials diverged has no winner
        return False
    if not np.isfinite([x, y]).all():
        return False
    return bool(stats.ttest_rel(x, y).pvalue <= 0.05)


if __name__ == "__main__":
    main()
