"""The `optlab` command.

optlab check package.module:factory     holds a transformation to the contract
optlab check --list                     the clauses of the contract
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

EPILOG = """\
kinds of clauses (--list prints all with their promises; --only takes a kind, too):
  law         holds for every gradient transformation
  capability  beyond what plain Optax promises; --allow those that your method need not have
  property    checked only if you --claim it

extra arguments that --need can give to update: value, loss, grad, value_fn, obj_fn
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 fine, 1 a clause failed, 2 bad arguments."""
    parser = argparse.ArgumentParser(prog="optlab", description="Tools around optimizers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    check = commands.add_parser(
        "check",
        help="hold a gradient transformation to the contract",
        description="Runs every clause of the contract on what a factory makes, on 8 virtual CPU "
        "devices. Exit code 0 if all hold, 1 if one fails, 2 for bad arguments.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("factory", nargs="?", help="package.module:factory, without arguments")
    check.add_argument("--list", action="store_true", help="print the clauses, and do no more")
    check.add_argument(
        "--only", action="append", metavar="CLAUSE", help="just these, or a kind (commas, repeat)"
    )
    check.add_argument(
        "--claim", action="append", default=[], metavar="PROPERTY", help="a property to hold it to"
    )
    check.add_argument(
        "--need", action="append", default=[], metavar="NAME", help="an extra argument of update"
    )
    check.add_argument(
        "--allow", action="append", default=[], metavar="CLAUSE=REASON", help="one that may fail"
    )
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    if options.factory is None and not options.list:
        check.error("name a factory, package.module:factory, or ask for the --list of clauses")
    try:
        return _check(options)
    except _Unusable as error:
        print(f"optlab: {error}", file=sys.stderr)
        return 2


class _Unusable(Exception):
    """Arguments that cannot be used; the message is one line."""


def _check(options: argparse.Namespace) -> int:
    flag = "--xla_force_host_platform_device_count"
    if flag not in os.environ.get("XLA_FLAGS", ""):  # read when JAX first looks for devices
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}=8".strip()
    from optlab import testing

    if options.list:
        clauses = testing.clauses().values()
        width = max(len(clause.name) for clause in clauses)
        for clause in clauses:
            print(f"{clause.name:<{width}}  {clause.kind:<10}  {clause.promise}")
        return 0
    factory = _factory(options.factory)
    try:
        report = testing.check_transformation(
            factory,
            needs=options.need,
            claims=options.claim,
            only=options.only and [n for text in options.only for n in _names(text)],
            allow=dict(map(_allowance, options.allow)),
        )
    except (TypeError, ValueError) as error:
        raise _Unusable(" ".join(str(error).split())) from error
    print(json.dumps(report.to_json(), indent=2) if options.json else report)
    return 0 if report else 1


def _names(text: str) -> list[str]:
    """Clauses between commas; those inside brackets belong to a name."""
    return [name for part in re.split(r",(?![^\[]*\])", text) if (name := part.strip())]


def _allowance(text: str) -> tuple[str, str]:
    clause, equals, reason = text.partition("=")
    if not (clause and equals and reason.strip()):
        raise _Unusable(f"--allow {text!r} is not of the form CLAUSE=REASON")
    return clause, reason


def _factory(spec: str) -> Callable[..., Any]:
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise _Unusable(f"{spec!r} is not of the form package.module:factory")
    if module_name.endswith(".py") or not re.fullmatch(r"\w+(\.\w+)*", module_name):
        module = re.sub(r"[/\\]+", ".", module_name.removesuffix(".py")).strip(".")
        raise _Unusable(f"{module_name!r} names a file; name the module: {module}:{name}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module of the folder one stands in
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # the module's own code may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise _Unusable(f"cannot import {module_name!r}: {text}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise _Unusable(f"{module_name!r} has no {name!r}")
        found = getattr(found, part)
    if not callable(found):
        raise _Unusable(f"{spec} is no factory: {type(found).__name__} cannot be called")
    return found


if __name__ == "__main__":
    sys.exit(main())
