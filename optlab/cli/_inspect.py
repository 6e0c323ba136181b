"""`optlab inspect`: a chain, link by link; a network at its start, layer by layer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import jax
import optax

import optlab as ol
from optlab.cli import _arguments

DESCRIPTION = """\
Of a transformation (a recipe, or a factory that returns one) it prints the chain for the parameters
of a task: which link, which hyperparameters, how much state. Of a network, a factory that returns
(model, params, batch), it prints how signals and gradients come through at the start, and which
initialisation to use. Exit code 0, 2 for bad arguments.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    inspect = commands.add_parser(
        "inspect",
        help="print a chain link by link, or a network at its start",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inspect.add_argument("factory", help=f"{_arguments.OPTIMIZER}, of a transformation or network")
    inspect.add_argument("values", nargs="*", metavar="NAME=VALUE", help="its arguments")
    inspect.add_argument(
        "--task", default="digits_mlp", help="whose parameters (default: digits_mlp)"
    )
    inspect.add_argument("--json", action="store_true", help="print it as JSON")
    inspect.add_argument("--plot", metavar="FILE", help="of a network: .png, .pdf or .svg")
    inspect.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    make = _arguments.optimizer(options.factory)
    made = _arguments.one(make, options.values, options.factory)
    if isinstance(made, optax.GradientTransformation):
        return _chain(made, options)
    if isinstance(made, tuple) and len(made) == 3:
        return _network(made, options)
    raise _arguments.Unusable(
        f"{options.factory} returns {type(made).__name__}; it must return a transformation, or "
        "(model, params, batch)"
    )


def _chain(tx: optax.GradientTransformation, options: argparse.Namespace) -> int:
    if options.plot:
        raise _arguments.Unusable("--plot is for networks; a chain is a table")
    task = _arguments.task(options.task)
    params = jax.eval_shape(task.init, jax.random.key(0))
    with _arguments.spoken():
        text = ol.describe(tx, params)
        values = ol.hyperparameters(tx) if isinstance(tx, ol.Transformation) else {}
    if options.json:
        texts = {name: value if _plain(value) else repr(value) for name, value in values.items()}
        print(json.dumps({"hyperparameters": texts, "table": text.splitlines()}))
    else:
        print("\n".join([text, *_lines(values)]))
    return 0


def _lines(values: Mapping[str, Any]) -> list[str]:
    """Hyperparameters below one another, by link."""
    if not values:
        return []
    width = max(map(len, values))
    texts = {name: " ".join(repr(value).split()) for name, value in values.items()}
    return ["hyperparameters:", *(f"  {x.ljust(width)}  {text}" for x, text in texts.items())]


def _plain(value) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _network(made: tuple, options: argparse.Namespace) -> int:
    _arguments.check_outputs(options, "plot")
    with _arguments.spoken():
        report = ol.lab.init_report(*made)
    print(json.dumps(report.rows) if options.json else report)
    if options.plot:
        _arguments.draw(report.plot, options.plot)
    return 0
