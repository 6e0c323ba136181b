"""Breaks optlab in small ways and shows which tests notice: `python tests/mutation/run.py`.

The tree is copied to a temporary folder; each mutant (see `mutants.py`) is written there, tested
(see `mutation_guards.py`) and taken back. Verdicts are appended to `results.jsonl`, so that an
interrupted run goes on where it was, and `docs/mutation.md` is written from them. A mutant with a
verdict is not run again unless `--again` says so.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import mutants
import mutation_guards as guards
import mutation_report as report
import mutation_worker as worker

STAGE_SECONDS = 900  # until it is known what the stage takes without a mutant; then ten times that
SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "benchmarks", "runs", "build"
)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the copies are removed
    arguments = _arguments()
    _environment()
    files = [f for f in mutants.files() if not arguments.only or _named(f, arguments.only)]
    if not files:
        print(f"run.py: no file is called {arguments.only!r}", file=sys.stderr)
        return 2
    if not arguments.table:
        with _copies(arguments.jobs) as copies:
            _run(files, copies, arguments)
    report.write()
    print(f"wrote {report.PATH}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", help="files whose names contain one of these, with commas between"
    )
    parser.add_argument("--key", help="the mutants of these keys only, with commas between")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--limit", type=int, help="mutants a file at most")
    parser.add_argument("--quick", action="store_true", help="leave the slow tests for another run")
    parser.add_argument("--slow", action="store_true", help="the slow tests that --quick has left")
    parser.add_argument("--stages", help="these stages only, with commas; only kills are recorded")
    parser.add_argument("--again", choices=["survivors", "all"], help="what has a verdict already")
    parser.add_argument("--table", action="store_true", help="write the table and run nothing")
    arguments = parser.parse_args()
    if unknown := {*(arguments.stages or "").split(",")} - {"", *guards.NAMES}:
        parser.error(f"--stages: {min(unknown)!r} is none of {', '.join(guards.NAMES)}")
    return arguments


def _named(file: str, only: str) -> bool:
    return any(part in file for part in only.split(","))


def _environment() -> None:
    """What JAX reads when it is imported, in the server and so in all its children."""
    cache = os.path.join(tempfile.gettempdir(), f"optlab-mutation-{os.getuid()}")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # as tests/conftest.py


@contextlib.contextmanager
def _copies(number: int) -> Iterator[SimpleQueue]:
    """Copies of the tree, one for each process at a time."""
    copies: SimpleQueue = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="optlab-mutants-") as folder:
        for i in range(number):
            copies.put(shutil.copytree(mutants.ROOT, Path(folder, str(i)), ignore=SKIPPED))
        yield copies


def _run(files: list[str], copies: SimpleQueue, arguments: argparse.Namespace) -> None:
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(worker.PRELOADED)
    known = report.verdicts()
    for file in files:
        pending = mutants.selected(file)[: arguments.limit]
        if arguments.key:
            pending = [m for m in pending if m.key in arguments.key.split(",")]
        pending = [m for m in pending if _wanted(known.get(m.key), arguments)]
        if arguments.slow:
            pending = [m for m in pending if m.key in known]
        if not pending:
            continue
        stages = [stage for stage in guards.stages(file) if _kept(stage, arguments)]
        tester = Tester(server, copies, file, stages)
        tester.check_that_the_copy_is_tested()
        pool = ThreadPoolExecutor(arguments.jobs)
        try:
            for job in [pool.submit(tester.judge, mutant) for mutant in pending]:
                verdict = job.result()
                if verdict["stage"] or not arguments.stages:
                    report.append(verdict)
                print(report.line(verdict), flush=True)
        finally:  # interrupted, it ends what it has begun and no more
            pool.shutdown(cancel_futures=True)


def _wanted(verdict: dict[str, Any] | None, arguments: argparse.Namespace) -> bool:
    if verdict is None or arguments.again == "all":
        return True
    survived = not verdict["stage"]
    return survived and (arguments.again == "survivors" or not (verdict["slow"] or arguments.quick))


def _kept(stage: guards.Stage, arguments: argparse.Namespace) -> bool:
    if arguments.stages:
        return stage.name in arguments.stages.split(",")
    return not (arguments.quick and stage.slow) and not (arguments.slow and not stage.slow)


class Tester:
    """Runs the tests of one file.

    Attributes:
      usual: the seconds of stages that are known to pass without a mutant; None for those that do
        not, which are left out.
    """

    def __init__(self, server: Any, copies: SimpleQueue, file: str, stages: list[guards.Stage]):
        self.server, self.copies, self.file, self.stages = server, copies, file, stages
        self.source = (mutants.ROOT / file).read_text(encoding="utf-8")
        self.usual: dict[str, float | None] = {}
        self.lock = threading.Lock()

    def check_that_the_copy_is_tested(self) -> None:
        found = self._attempt(self.source + "\nraise RuntimeError\n", self.stages[:1])
        if "(at import)" not in found["test"]:
            raise SystemExit(f"{self.file}: an error at import is not seen: another file is tested")

    def judge(self, mutant: mutants.Mutant) -> dict[str, Any]:
        """The verdict: the stage that failed, how, and which test."""
        text = mutant.apply(self.source)
        while True:
            found = self._attempt(text, [s for s in self.stages if self._usable(s)])
            if not found["stage"] or self._passes_without_mutant(found["stage"]):
                break
        shown = {key: getattr(mutant, key) for key in ("key", "file", "operator", "where")}
        shown |= {"before": mutant.before, "after": mutant.after}
        shown["slow"] = any(stage.slow for stage in self.stages)
        return shown | {key: found[key] for key in ("stage", "how", "test")}

    def _usable(self, stage: guards.Stage) -> bool:
        return self.usual.get(stage.name, 0.0) is not None

    def _passes_without_mutant(self, name: str) -> bool:
        with self.lock:
            if name not in self.usual:
                found = self._attempt(self.source, [s for s in self.stages if s.name == name])
                self.usual[name] = None if found["stage"] else found["seconds"][name]
                if found["stage"]:
                    why = f"{found['test'] or found['how']}\n{found['log']}"
                    print(f"{self.file}: {name} left out, it fails without a mutant: {why}")
            return self.usual[name] is not None

    def _attempt(self, text: str, stages: list[guards.Stage]) -> dict[str, Any]:
        """Puts a text in the file's place, runs stages, and puts the file back."""
        copy = self.copies.get()
        path = copy / self.file
        path.write_text(text, encoding="utf-8")
        try:
            return _stages(self.server, copy, stages, self.usual)
        finally:
            path.write_text(self.source, encoding="utf-8")
            self.copies.put(copy)


def _stages(
    server: Any, copy: Path, stages: list[guards.Stage], usual: dict[str, float | None]
) -> dict[str, Any]:
    """Runs stages in a process of their own; which one failed, how, and the seconds of each."""
    log = copy.with_suffix(".log")
    log.unlink(missing_ok=True)
    here, there = server.Pipe(duplex=False)
    arguments = (str(copy), stages, str(log), there)
    process = server.Process(target=worker.run, args=arguments, daemon=True)
    process.start()
    there.close()
    found = {"stage": "", "how": "", "test": "", "seconds": {}, "log": ""}
    stage, limit = "start", 120.0
    began = time.monotonic()
    while True:
        if not here.poll(limit):
            found |= {"stage": stage, "how": "timeout"}
            os.kill(process.pid, signal.SIGKILL)
            break
        try:
            kind, *rest = here.recv()
        except EOFError:
            process.join()
            found |= {"stage": stage, "how": f"crash ({process.exitcode})"}
            break
        if kind == "begins":
            (stage,), began = rest, time.monotonic()
            limit = max(60.0, 10 * (usual.get(stage) or STAGE_SECONDS / 10))
        elif kind == "ends":
            code, ran, test = rest
            found["seconds"][stage] = time.monotonic() - began
            if code in (1, 2) and test:
                found |= {"stage": stage, "how": "test", "test": test}
            elif code:
                found |= {"stage": stage, "how": f"pytest ended with {code} after {ran} tests"}
        else:  # the modules that were imported from elsewhere
            if rest[0]:
                raise SystemExit(f"imported from elsewhere than the copy: {', '.join(rest[0])}")
            break
    process.join()
    here.close()
    if found["stage"] and log.exists():
        found["log"] = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    return found


if __name__ == "__main__":
    sys.exit(main())
