"""`main`: reads the command line and hands it to a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from optlab import lab
from optlab.cli import _check, _compare, _inspect, _lr_range, _schedule, _sweep
from optlab.cli._arguments import Unusable

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: those of the command line, unless given.

    Returns:
      The exit code: 0 fine, 1 it ran and the answer is no (a clause failed, all runs diverged), 2
      bad arguments, 130 interrupted, 141 nobody reads what is printed.

    Raises:
      SystemExit: for arguments the parser refuses, with code 2, and behind `--help`.

    Example:
      >>> from optlab import cli
      >>> cli.main(["schedule", "linear", "init_value=1", "end_value=0", "steps=4", "--json"])
      {"count": [0, 1, 2, 3, 4], "value": [1.0, 0.75, 0.5, 0.25, 0.0]}
      0
    """
    parser = argparse.ArgumentParser(
        prog="optlab", description="Experiments with optimizers, and tools around them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in (_sweep, _compare, _lr_range, _inspect, _schedule, _check):
        module.add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except Unusable as error:
        print(f"optlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"optlab: interrupted{_kept(getattr(options, 'store', None))}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who read what is printed has stopped; nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def script() -> NoReturn:
    """`main` for a shell: ends the process with its code.

    Example:
      >>> from optlab import cli
      >>> cli.script()  # doctest: +SKIP
    """
    code = main()
    if code == INTERRUPTED:
        # JAX may crash in the interpreter's last breath if Ctrl-C reached it while it compiled.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _kept(path: str | None) -> str:
    if path is None or not os.path.exists(path):
        return ""
    with lab.Store(path) as store:
        runs = len(store.outcomes())
    return f"; {path} has the {runs} runs that were finished, the same command makes the others"
