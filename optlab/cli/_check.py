"""`optlab check`: holds a gradient transformation to the contract."""

from __future__ import annotations

import argparse
import json
import os
import re

from optlab.cli._arguments import Unusable, load_callable, one_line

EPILOG = """\
kinds of clauses (--list prints all with their promises; --only takes a kind, too):
  law         holds for every gradient transformation
  capability  beyond what plain Optax promises; --allow those that your method need not have
  property    checked only if you --claim it

extra arguments that --need can give to update: value, loss, grad, value_fn, obj_fn
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
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
    check.set_defaults(run=_run, parser=check)


def _run(options: argparse.Namespace) -> int:
    if options.factory is None and not options.list:
        options.parser.error(
            "name a factory, package.module:factory, or ask for the --list of clauses"
        )
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
    factory = load_callable(options.factory or "")
    try:
        report = testing.check_transformation(
            factory,
            needs=options.need,
            claims=options.claim,
            only=options.only and [n for text in options.only for n in _names(text)],
            allow=dict(map(_allowance, options.allow)),
        )
    except (TypeError, ValueError) as error:
        raise Unusable(one_line(error)) from error
    print(json.dumps(report.to_json(), indent=2) if options.json else report)
    return 0 if report else 1


def _names(text: str) -> list[str]:
    """Clauses between commas; those inside brackets belong to a name."""
    return [name for part in re.split(r",(?![^\[]*\])", text) if (name := part.strip())]


def _allowance(text: str) -> tuple[str, str]:
    clause, equals, reason = text.partition("=")
    if not (clause and equals and reason.strip()):
        raise Unusable(f"--allow {text!r} is not of the form CLAUSE=REASON")
    return clause, reason
