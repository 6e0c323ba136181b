"""The process that runs the tests of one mutant: forked from a server that has imported JAX.

The server never starts a JAX backend and never imports optlab, so that a fork costs 0.2 seconds in
place of 3 and every mutant is imported afresh, from the copy.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

PRELOADED = ["jax", "jax.numpy", "optax", "numpy", "pytest", "hypothesis", "chex"]


class Recorder:
    """A pytest plugin: keeps the tests of a stage and names the one that failed."""

    def __init__(self, only: str):
        self.only = re.compile(only)
        self.ran, self.failed = 0, ""

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        kept = [item for item in items if self.only.search(item.name)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed = self.failed or f"{report.nodeid} (at import)"

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.ran += report.when == "call"
        if report.failed:
            self.failed = self.failed or report.nodeid


def run(copy: str, stages: list[Any], log: str, connection: Any) -> None:
    """Runs the stages until one fails, telling the connection of each beginning and end."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(copy)
    sys.path.insert(0, copy)
    os.environ["PYTHONPATH"] = copy  # of processes that tests start
    sys.dont_write_bytecode = True

    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutation", database=None, deadline=None, derandomize=True, print_blob=False
    )
    hypothesis.settings.load_profile("mutation")
    for stage in stages:
        connection.send(("begins", stage.name))
        recorder = Recorder(stage.only)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short", "-W", _REWRITTEN]
        code = int(pytest.main([*options, *stage.arguments], plugins=[recorder]))
        code = 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code
        connection.send(("ends", code, recorder.ran, recorder.failed))
        if code:
            break
    connection.send(("imported", _elsewhere(copy)))


_REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"  # of the modules that the server preloads


def _elsewhere(copy: str) -> list[str]:
    """Modules of optlab that did not come from the copy."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "optlab"
        and not (getattr(module, "__file__", None) or "").startswith(copy + os.sep)
    ]
