"""`optlab compare`: tunes optimizers with equal budgets, and tells which differ."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

import optlab as ol
from optlab.cli import _arguments

EPILOG = """\
a hyperparameter that only one optimizer has, or has elsewhere, is NAME.HYPERPARAMETER:
  optlab compare digits_mlp adamw sgd learning_rate=log:1e-4..1 sgd.momentum=0.9
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    compare = commands.add_parser(
        "compare",
        help="find out which optimizer is better, if any",
        description="Tunes every optimizer with the same number of trials, tests the winners on "
        "other seeds, and tells which differ by more than luck. Exit code 0, 2 for bad arguments.",
        epilog=_arguments.SPACE + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "tasks",
        help="built-in tasks or package.module:task, commas between; of several, --plot a.png "
        "draws a-TASK.png each",
    )
    compare.add_argument(
        "arguments",
        nargs="+",
        metavar="OPTIMIZER | NAME=VALUES",
        help="two optimizers or more (recipes or [NAME:]package.module:factory), then what to "
        "search, see below",
    )
    compare.add_argument("--trials", type=int, default=20, help="of each, a study (default: 20)")
    compare.add_argument("--seeds", type=int, default=5, help="test seeds (default: 5)")
    compare.add_argument("--studies", type=int, default=3, help="times all is done (default: 3)")
    compare.add_argument("--tune-for", default="metric", choices=("metric", "steps"))
    compare.add_argument("--store", metavar="FILE", help="keeps finished runs; goes on from there")
    compare.add_argument("--html", metavar="FILE", help="write a report with plots")
    compare.add_argument("--csv", metavar="FILE", help="write a line a task and optimizer")
    _arguments.add_run_options(compare)
    compare.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    tasks = [_arguments.task(name) for name in options.tasks.split(",") if name]
    names = [text for text in options.arguments if "=" not in text]
    optimizers = dict(_optimizer(name) for name in names)
    if len(optimizers) < len(names):
        raise _arguments.Unusable("an optimizer is named twice; each needs a name of its own")
    _arguments.check_outputs(options, "html", "csv", "plot")
    with _arguments.spoken():
        comparison = ol.lab.compare(
            tasks,
            optimizers,
            space=_spaces([text for text in options.arguments if "=" in text], optimizers),
            trials=options.trials,
            seeds=options.seeds,
            steps=options.steps,
            studies=options.studies,
            tune_for=options.tune_for,
            store=options.store,
            seed=options.seed,
            progress=not options.quiet,
        )
    print(json.dumps(comparison.to_dict()) if options.json else comparison, flush=True)
    with _arguments.spoken():
        if options.csv:
            comparison.to_csv(options.csv)
        if options.html:
            comparison.to_html(options.html)
    if options.plot:
        for task, path in _pictures(comparison.tasks, options.plot).items():
            _arguments.draw(lambda task=task: comparison.plot(task), path)
            if len(comparison.tasks) > 1:
                print(f"plot: {path}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _pictures(tasks, path: str) -> dict[str, str]:
    """The file of each task's picture: the one asked for, or several named after it."""
    if len(tasks) == 1:
        return {tasks[0]: path}
    stem, ending = os.path.splitext(path)
    names = {task: re.sub(r"[^\w.-]", "_", task) for task in tasks}
    return {task: f"{stem}-{name}{ending}" for task, name in names.items()}


def _optimizer(text: str):
    """`adamw`, `package.module:factory`, or the latter with a name in front."""
    name, colon, rest = text.partition(":")
    if colon and ":" in rest:
        return name, _arguments.optimizer(rest)
    return text.rpartition(":")[2], _arguments.optimizer(text)


def _spaces(texts, optimizers):
    """The space of each optimizer: what is said for all, and then for it."""
    own: dict[str, list[str]] = {name: [] for name in optimizers}
    for text in texts:
        name, dot, rest = text.partition(".")
        if dot and "=" not in name:
            if name not in optimizers:
                nearest = ol.core.checks.nearest(name, optimizers)
                raise _arguments.Unusable(f"{text!r} is for no optimizer here; {nearest}")
            own[name].append(rest)
    common = _arguments.space([t for t in texts if "." not in t.partition("=")[0]])
    return {name: {**common, **_arguments.space(more)} for name, more in own.items()}
