"""What every trainer promises, as functions for their tests."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import numpy as np

import optlab as ol
from optlab.training import read_npz, read_rows

FILES = {"checkpoints", "metrics.jsonl", "run.json", "summary.json", "curves.png"}


def rows(output: Path) -> list[dict]:
    """What was reported, without what a clock says."""
    found = read_rows(output / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "examples_per_second"} for row in found]


def interrupted_at(step: int, monkeypatch) -> None:
    """The next runs get SIGTERM behind the report of a step."""

    def ask(at, row, state):
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ol.training, "fit", functools.partial(ol.training.fit, callbacks=[ask]))


def check_resume(main, whole: list[str], output: Path, step: int, monkeypatch, capsys) -> None:
    """A run that SIGTERM ends at a step and that goes on is, to the bit, one that was not ended.

    Args:
      main: of the trainer.
      whole: its arguments but for `--output`; with `--log-every` a divisor of `step`.
      output: a folder; the runs are in two others in it.
    """
    one, two = output / "one", output / "two"
    assert main([*whole, "--output", str(one)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    with monkeypatch.context() as patch:
        interrupted_at(step, patch)
        assert main([*whole, "--output", str(two)]) == 143
    assert f"step {step} is saved; the same command goes on" in capsys.readouterr().err
    assert rows(two)[-1]["step"] == step
    assert main([*whole, "--output", str(two)]) == 0
    text = capsys.readouterr().out
    assert f"{two}: goes on from step {step}\n" in text
    assert text.splitlines()[-1] == last
    assert rows(two) == rows(one)
    check_same_params(one, two)
    files = {path.name for path in two.iterdir()}
    assert files >= FILES, files


def check_same_params(one: Path, two: Path, atol: float = 0) -> None:
    first, second = (read_npz(folder / "params.npz") for folder in (one, two))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=0, atol=atol, err_msg=name)


def check_refused(main, args: list[str], words: str, name: str, capsys) -> None:
    """One line on stderr, exit code 2."""
    assert main(args) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"{name}: "), printed.err
    assert printed.err.count("\n") == 1, printed.err
    assert words in printed.err, printed.err
