"""`optlab schedule`: the values of a schedule."""

from __future__ import annotations

import argparse
import json

import jax.numpy as jnp
import numpy as np

import optlab as ol
from optlab.cli import _arguments

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    schedule = commands.add_parser(
        "schedule",
        help="print and draw a schedule",
        description="Prints the values of a schedule. Exit code 0, 2 for bad arguments.",
        epilog="example: optlab schedule warmup_cosine peak_value=1e-3 steps=1000 warmup_steps=50",
    )
    schedule.add_argument("schedule", help="of optlab.schedules, or package.module:factory")
    schedule.add_argument("values", nargs="*", metavar="NAME=VALUE", help="its arguments")
    schedule.add_argument("--steps", type=int, help="counts to show (default: its own length)")
    schedule.add_argument("--points", type=int, default=11, help="lines to print (default: 11)")
    schedule.add_argument("--json", action="store_true", help="print counts and values as JSON")
    schedule.add_argument("--plot", metavar="FILE", help="draw it: .png, .pdf or .svg")
    schedule.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    made = _schedule(options)
    _arguments.check_outputs(options, "plot")
    last = options.steps if options.steps is not None else _length(made)
    if last is None:
        raise _arguments.Unusable(f"{options.schedule} does not tell its length; give --steps")
    if last < 1 or options.points < 2:
        raise _arguments.Unusable("--steps must be >= 1, and --points >= 2")
    even = np.linspace(0, last, min(options.points, last + 1))
    turn = getattr(made, "warmup_steps", 0)  # where it is highest, often between two even counts
    counts = np.unique([*np.round(even).astype(int), *([int(turn)] if 0 < turn < last else [])])
    found = _at(made, counts)
    if options.json:
        print(json.dumps({"count": counts.tolist(), "value": found.tolist()}))
    else:
        print(made)
        curve = _at(made, np.linspace(0, last, _WIDTH).astype(int))
        top = max(curve.max(), 0) or 1
        print("".join(_BARS[round(8 * max(value, 0) / top)] for value in curve))
        width = len(str(last))
        for count, value in zip(counts, found, strict=True):
            print(f"{count:>{width}}  {value:.6g}")
    if options.plot:
        _arguments.draw(lambda: ol.schedules.plot(made, last), options.plot)
    return 0


def _schedule(options: argparse.Namespace):
    name = options.schedule
    if ":" in name:
        make = _arguments.load_callable(name)
        if isinstance(make, ol.schedules.Schedule) and not options.values:
            return make
    else:
        names = [n for n in ol.schedules.__all__ if n not in ("Schedule", "plot")]
        if name not in names:
            nearest = ol.core.checks.nearest(name, names)
            raise _arguments.Unusable(f"there is no schedule {name!r}; {nearest}")
        make = getattr(ol.schedules, name)
    return _arguments.one(make, options.values, name)


def _length(made) -> int | None:
    """Its own number of steps, or what is worth seeing of it."""
    steps, horizon = getattr(made, "steps", None), getattr(made, "horizon", None)
    return int(steps) if steps is not None else horizon and round(horizon())


def _at(schedule, counts: np.ndarray) -> np.ndarray:
    return np.array([float(schedule(jnp.int32(count))) for count in counts])
