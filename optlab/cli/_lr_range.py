"""`optlab lr-range`: the learning rate range test."""

from __future__ import annotations

import argparse
import json

import optlab as ol
from optlab.cli import _arguments


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    test = commands.add_parser(
        "lr-range",
        help="find a learning rate by a range test",
        description="Trains while the learning rate grows, and suggests one. Exit code 0, 1 if it "
        "finds none, 2 for bad arguments.",
    )
    test.add_argument("task", help=_arguments.TASK)
    test.add_argument("optimizer", help=_arguments.OPTIMIZER)
    test.add_argument("values", nargs="*", metavar="NAME=VALUE", help="its other arguments")
    test.add_argument("--low", type=float, help="the first learning rate")
    test.add_argument("--high", type=float, help="the last learning rate")
    test.add_argument("--seeds", type=int, default=5, help="runs, each with a seed of its own")
    test.add_argument("--no-ramp", action="store_true", help="short runs at fixed rates instead")
    _arguments.add_run_options(test)
    test.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    given = {"low": options.low, "high": options.high, "steps": options.steps}
    make, values = _arguments.optimizer(options.optimizer), _arguments.values(options.values)
    _arguments.check_outputs(options, "plot")
    if "learning_rate" in values:
        raise _arguments.Unusable(
            f"learning_rate={values['learning_rate']} is what lr-range looks for: leave it out, "
            "and set the rates to try by --low and --high"
        )
    with _arguments.spoken():
        found = ol.lab.lr_range(
            _arguments.task(options.task),
            lambda learning_rate: make(learning_rate=learning_rate, **values),
            seeds=list(range(options.seed, options.seed + options.seeds)),
            progress=not options.quiet,
            ramp=not options.no_ramp,
            **{name: value for name, value in given.items() if value is not None},
        )
    print(json.dumps(found.to_dict()) if options.json else found, flush=True)
    if options.plot:
        _arguments.draw(found.plot, options.plot)
    return 0 if found.suggestion is not None else 1
