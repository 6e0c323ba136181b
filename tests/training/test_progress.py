"""Progress: a bar in a terminal, lines elsewhere, and never a reason for a run to end."""

import io
import os
import pty
import re
import subprocess
import sys
import threading
import types

import pytest

from optlab.training import _progress
from optlab.training._progress import Progress, note

ROW = {"loss": 0.5, "learning_rate": 1e-3, "gradient_norm": 1.25, "examples_per_second": 51234.0}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return put(monkeypatch, Terminal())


def put(monkeypatch, out):
    """Makes it the standard output of the module alone: pytest puts its own in place of ours."""
    monkeypatch.setattr(_progress, "sys", types.SimpleNamespace(stdout=out))
    return out


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_row_is_shown_loss_first_and_the_unknown_last():
    shuffled = {"bad_steps": 0.0, **dict(reversed(ROW.items())), "validation_accuracy": 0.98765}
    said = "rate 0.001  norm 1.25  examples/s 51,234  "
    assert note(shuffled) == f"loss 0.5  {said}validation_accuracy 0.9877"
    assert note(shuffled | {"bad_steps": 2.0}).endswith("bad_steps 2  validation_accuracy 0.9877")
    assert note(shuffled, "validation_accuracy") == (
        f"loss 0.5  validation_accuracy 0.9877  {said}".strip()
    )


def test_a_line_has_its_width_and_shows_that_something_is_left_out(capsys):
    row = ROW | {f"metric_{i}": 0.123456 for i in range(20)}
    with Progress("train", 2, first="metric_9") as progress:
        progress.show(2, row)
    line = capsys.readouterr().out.rstrip()
    assert line.startswith("train  step 2/2  loss 0.5  metric_9 0.1235  rate 0.001  norm 1.25")
    assert line.endswith("  ...")
    assert len(line) <= len("train  step 2/2  ") + 100


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (1e-9, "1e-09"), (-12345, "-12,345"),
     (1e300, "1e+300"), (3, "3"), (True, "1"), ("two\nlines", "two lines")],
)  # fmt: skip
def test_any_number_has_a_short_form(value, text):
    assert note({"x": value}) == f"x {text}"


def test_there_are_about_ten_lines_without_a_terminal(capsys):
    with Progress("train", 1000) as progress:
        for step in range(0, 1001, 5):
            progress.show(step, {"loss": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[0] == "train  step    0/1000  loss 0.5"
    assert lines[-1] == "train  step 1000/1000  loss 0.5"


def test_a_line_says_what_is_new_since_the_line_before(capsys):
    with Progress("train", 30, 3) as progress:
        for step in range(1, 31):
            progress.show(
                step, {"loss": float(step)} | ({"validation_loss": 3.0} if step == 5 else {})
            )
    assert [line.partition("  loss ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "1",
        "11  validation_loss 3",
        "21",
        "30",
    ]


def test_a_resumed_run_prints_its_first_step_and_its_last(capsys):
    with Progress("train", 100) as progress:
        for step in range(73, 101):
            progress.show(step, {})
    shown = [int(n) for n in re.findall(r"step +(\d+)/", capsys.readouterr().out)]
    assert (shown[0], shown[-1]) == (73, 100)
    assert len(shown) <= 4


@pytest.mark.parametrize("steps", [0, 1])
def test_a_run_of_no_or_one_step_is_shown(steps, capsys):
    with Progress("train", steps) as progress:
        progress.show(steps, ROW)
    assert f"step {steps}/{steps}" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"lines": 0}, {"process": 1}])
def test_quiet_runs_and_other_processes_show_nothing(options, terminal):
    with Progress("train", 10, **options) as progress:
        progress.show(10, ROW)
        progress.say("hello")
    assert terminal.getvalue() == ""


def test_a_terminal_gets_a_bar_with_the_row_below(terminal):
    threads = threading.active_count()
    with Progress("digits [mlp]", 10) as progress:
        assert threading.active_count() == threads  # nothing that could fail by itself
        progress.show(3, ROW)
        progress.say("best [so] far")
        progress.show(10, ROW | {"loss": 0.25})
    text = plain(terminal.getvalue())
    assert "digits [mlp]" in text
    assert "10/10" in text
    assert "best [so] far" in text
    assert "loss 0.25  rate 0.001  norm 1.25  examples/s 51,234" in text
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is shown again


def test_a_narrow_terminal_cuts_no_number_off(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    with Progress("train", 10) as progress:
        progress.show(10, ROW)
    text = " ".join(plain(terminal.getvalue()).split())
    for word in ("loss 0.5", "rate 0.001", "norm 1.25", "51,234"):
        assert word in text


def test_a_bar_is_not_drawn_at_every_call(terminal):
    with Progress("train", 10**6) as progress:
        progress.show(1, ROW)
        before = len(terminal.getvalue())
        for step in range(2, 200):
            progress.show(step, ROW)
        assert len(terminal.getvalue()) < before * 20


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", "unknown"), ("rich", None), ("ascii", None)]
)
def test_what_cannot_show_a_bar_gets_lines(terminal, monkeypatch, name, value):
    if name == "rich":
        monkeypatch.setitem(sys.modules, "rich", None)
    elif name == "ascii":
        monkeypatch.setattr(Terminal, "encoding", "ascii")
    else:
        monkeypatch.setenv(name, value)
    with Progress("train ü", 10) as progress:
        progress.show(10, ROW)
    assert "step 10/10  loss 0.5" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()
    assert ("train ?" if name == "ascii" else "train ü") in terminal.getvalue()


class Broken(Terminal):
    """A terminal that goes away."""

    gone = False

    def write(self, text):
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def flush(self):
        if self.gone:
            raise OSError(5, "Input/output error")


@pytest.mark.parametrize("bar", [True, False])
def test_a_terminal_that_goes_away_ends_no_run(monkeypatch, bar):
    monkeypatch.setenv("TERM", "xterm" if bar else "dumb")
    out = put(monkeypatch, Broken())
    with Progress("train", 10) as progress:
        progress.show(1, ROW)
        out.gone = True
        progress.say("into nothing")
        progress.show(10, ROW)
        progress.show(10, ROW)


@pytest.mark.parametrize("stdout", [None, "closed"])
def test_no_output_at_all_ends_no_run(monkeypatch, stdout):
    out = stdout
    if stdout:
        out = io.StringIO()
        out.close()
    put(monkeypatch, out)
    with Progress("train", 10) as progress:
        progress.show(10, ROW)
        progress.say("into nothing")


def test_an_error_inside_passes_and_the_cursor_comes_back(terminal):
    def program():
        with Progress("train", 10) as progress:
            progress.show(1, ROW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        program()
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


PROGRAM = """
from optlab.training._progress import Progress
with Progress("train", 3) as progress:
    for step in (1, 2, 3):
        progress.show(step, {"loss": 1 / step})
"""


@pytest.mark.slow
def test_a_real_terminal_shows_the_bar():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONUTF8": "1"}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert done.wait() == 0
    assert "3/3" in plain(text.decode())
    assert "loss 0.3333" in plain(text.decode())


@pytest.mark.slow
def test_a_pipe_whose_reader_has_gone_ends_no_run():
    program = (
        PROGRAM.replace("(1, 2, 3)", "range(1, 30000)") + "\nopen('/dev/stderr', 'w').write('x')"
    )
    command = f'{sys.executable} -c "$PROGRAM" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PROGRAM": program},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.startswith("x")
