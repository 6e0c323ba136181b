"""`optlab sweep`: trains a task with many hyperparameters."""

from __future__ import annotations

import argparse
import sys

import optlab as ol
from optlab.cli import _arguments


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    sweep = commands.add_parser(
        "sweep",
        help="train a task with many hyperparameters",
        description="Trains a task with many hyperparameters in one compiled program. Exit code 0, "
        "1 if every trial diverged, 2 for bad arguments.",
        epilog=_arguments.SPACE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("task", help=_arguments.TASK)
    sweep.add_argument("optimizer", help=_arguments.OPTIMIZER)
    sweep.add_argument("space", nargs="+", metavar="NAME=VALUES", help="what to search, see below")
    sweep.add_argument("--budget", type=int, help="trials to make (default: all of a grid)")
    sweep.add_argument("--seeds", type=int, default=1, help="runs a trial makes (default: 1)")
    sweep.add_argument("--sampler", help="grid, random, sobol, halton, tpe, gp or cmaes")
    sweep.add_argument(
        "--halving", type=int, metavar="N", help="one trial in N goes on, to N times the steps"
    )
    sweep.add_argument("--store", metavar="FILE", help="keeps finished runs; goes on from there")
    sweep.add_argument("--exact", action="store_true", help="each run alone, to the bit")
    sweep.add_argument("--csv", metavar="FILE", help="write a line a run")
    _arguments.add_run_options(sweep)
    sweep.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    task, make_tx = _arguments.task(options.task), _arguments.optimizer(options.optimizer)
    space = _arguments.space(options.space)
    _arguments.check_outputs(options, "csv", "plot")
    with _arguments.spoken():
        results = ol.lab.sweep(
            task,
            make_tx,
            space,
            steps=options.steps,
            seeds=options.seeds,
            budget=options.budget,
            sampler=options.sampler,
            halving=options.halving,
            store=options.store,
            plan="exact" if options.exact else "auto",
            seed=options.seed,
            progress=not options.quiet,
        )
    print(results.to_json() if options.json else results, flush=True)
    with _arguments.spoken():
        if options.csv:
            results.to_csv(options.csv)
    try:
        results.best()
    except ValueError as error:  # every trial diverged; it says when
        print(f"optlab: {_arguments.one_line(error).removeprefix('best: ')}", file=sys.stderr)
        return 1
    if options.plot:
        _arguments.draw(results.plot, options.plot)
    return 0
