"""Trainers in processes of their own, forked from one that has imported everything.

Importing takes longer than a small run. The process that forks uses no JAX itself: each child has
its own devices, signals, limits, and can be killed.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path


class Server:
    """Starts trainers; what they compile is kept in a folder."""

    def __init__(self, compiled: Path):
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "XLA_FLAGS": "",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)

    def start(self, trainer: str, args: list[str], log: Path, *, largest: int | None = None) -> Run:
        """Largest: bytes of a file, beyond which a write fails."""
        self._tell([trainer, args, str(log), largest])
        return Run(self, int(self._answer()), log)

    def ended(self) -> int:
        """Waits for the one that runs; its exit code, -9 if it was killed."""
        self._tell(None)
        return int(self._answer())

    def _tell(self, what: object) -> None:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        return self._process.stdout.readline().strip()


class Run:
    """One run of a trainer; of a server, one at a time."""

    def __init__(self, server: Server, pid: int, log: Path):
        self._server, self._pid, self._log = server, pid, log
        self.began = time.monotonic()

    def is_alive(self) -> bool:
        """Whether it has not ended; it may be about to."""
        return Path(f"/proc/{self._pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Exit code, and all it said."""
        return self._server.ended(), self._log.read_text(errors="replace")


def serve() -> None:
    from tiny_runs import TRAINERS

    import optlab  # noqa: F401

    modules = {name: importlib.import_module(name) for name in TRAINERS}
    for name in ("orbax.checkpoint", "sklearn.datasets", "matplotlib.figure", "PIL.Image"):
        importlib.import_module(name)
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has no threads yet
    print("ready", flush=True)
    pid = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if asked is None:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        trainer, args, log, largest = asked
        pid = os.fork()
        if pid == 0:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number in (1, 2):
                os.dup2(out, number)
            os.close(0)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            sys.exit(modules[trainer].main(args))
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
