"""The command line: what is wrong is one line, and the exit code says of which kind."""

import dataclasses
import signal
import sys
from pathlib import Path

import pytest

from optlab.core import checks
from optlab.training import _console
from optlab.training._console import Diverged, Terminated, UserError, main, one_line, parse, pick
from optlab.training.data import DataError, idx


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains."""

    steps: int = 10
    """How many updates."""
    learning_rate: float = 0.1
    """How far."""
    patience: int | None = None
    """How long."""
    output: Path = Path("runs")
    """Where to."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("--steps: too\n  many"), 2, "train: --steps: too many\n"),
        (UserError(), 2, "train: \n"),
        (DataError("x.png: damaged"), 2, "train: x.png: damaged\n"),
        (DataError("2 damaged:\n  a.png\n  b.png"), 2, "train: 2 damaged:\n  a.png\n  b.png\n"),
        (Diverged("step 40: loss nan"), 3, "train: step 40: loss nan\n"),
        (KeyboardInterrupt(), 130, "train: interrupted\n"),
        (ImportError('pip install "optlab[wandb]"'), 2, 'train: pip install "optlab[wandb]"\n'),
    ],
)
def test_what_a_person_can_put_right_is_a_line_and_an_exit_code(error, code, line, capsys):
    def program():
        raise error

    assert main("train", program) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_was_asked_to_end_says_what_it_saved(number, code, capsys):
    def program():
        raise Terminated(number, 40)

    assert main("train", program) == code
    line = capsys.readouterr().err
    assert signal.Signals(number).name in line
    assert "step 40 is saved" in line


def test_nothing_saved_is_not_called_saved():
    assert "nothing was saved" in str(Terminated(signal.SIGTERM))


def test_a_program_that_ends_well_is_silent_and_0(capsys):
    assert main("train", lambda: "ignored") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ZeroDivisionError, ImportError("libcuda.so is damaged")])
def test_a_bug_keeps_its_traceback(error):
    def program():
        raise error

    with pytest.raises((ZeroDivisionError, ImportError)):
        main("train", program)


def test_all_missing_packages_are_named_at_once():
    _console.require("json", "numpy")
    with pytest.raises(UserError, match=r"one_no, other_no.x are not installed.*optlab.lab"):
        _console.require("json", "one_no", "other_no.x", name="lab")


def test_options_are_read_from_words():
    words = ["--steps", "5", "--learning-rate", "1e-3", "--patience", "None", "--output", "a b"]
    assert parse(Config, words) == Config(5, 1e-3, None, Path("a b"))
    assert parse(Config, []) == Config()


def test_without_words_those_of_the_process_are_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--steps", "7"])
    assert parse(Config).steps == 7


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--steps abc", "--steps: a whole number expected, got 'abc'; see --help"),
        ("--steps 1e3", "--steps: a whole number expected, got '1e3'; see --help"),
        ("--steps=", "--steps: a whole number expected, got ''; see --help"),
        ("--steps", "--steps: a value expected; see --help"),
        ("--learning-rate x", "--learning-rate: a number expected, got 'x'; see --help"),
        ("--patience 1.5", "--patience: a whole number expected, got '1.5'; see --help"),
        ("--step 4", "--step is unknown (did you mean --steps?); see --help"),
        ("--zzzzzz 4", "--zzzzzz is unknown; see --help"),
        ("word", "word is unknown; see --help"),
    ],
)
def test_a_mistake_is_one_line(words, line, capsys):
    with pytest.raises(UserError) as caught:
        parse(Config, words.split())
    assert str(caught.value) == line
    assert capsys.readouterr() == ("", "")


def test_a_long_value_is_quoted_whole():
    value = "/".join(["folder"] * 20)
    with pytest.raises(UserError) as caught:
        parse(Config, ["--steps", value])
    assert repr(value) in str(caught.value)


def test_help_tells_types_defaults_and_what_each_option_is(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Config, ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for words in ("--learning-rate FLOAT", "How far. (default: 0.1)", "--patience {None}|INT"):
        assert words in text


def test_a_config_that_has_checks_is_checked():
    @dataclasses.dataclass
    class Checked:
        steps: int = 1

        def check(self):
            _console.check_whole("--steps", self.steps)

    assert parse(Checked, []).steps == 1
    with pytest.raises(UserError, match=r"^--steps: a whole number from 1 to 2\^31 - 1 expected"):
        parse(Checked, ["--steps", "0"])


@pytest.mark.parametrize(
    ("box", "line"),
    [
        ("╭─ T ─╮\n│ Missing a │\n│ value. │\n│ ── │\n│ For help │\n╰──╯", "Missing a value"),
        (" T\n ----\n Missing a\n value.\n ----\n For help", "Missing a value"),
        ("a plain message", "a plain message"),
        ("", ""),
    ],
)
def test_a_boxed_message_becomes_one_line(box, line):
    assert one_line(box) == line


def test_an_unknown_name_brings_the_nearest():
    assert pick("--optimizer", "sgd", {"sgd": 1}) == 1
    with pytest.raises(UserError, match=r"^--optimizer: 'adan' is unknown; did you mean 'adam'"):
        pick("--optimizer", "adan", {"adam": 1, "sgd": 2})
    with pytest.raises(UserError, match=r"known: adam, sgd"):
        pick("--optimizer", "?", {"adam": 1, "sgd": 2})


@pytest.mark.parametrize("value", [0, -1, 2**31, True, 1.0, "3", None])
def test_a_whole_number_out_of_range_names_option_range_and_value(value):
    with pytest.raises(UserError, match=r"--keep: a whole number from 1 to") as caught:
        _console.check_whole("--keep", value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0.0, -1, float("nan"), float("inf"), "x", True])
def test_a_number_out_of_range_names_option_range_and_value(value):
    with pytest.raises(UserError, match=r"^--rate: a number > 0 expected, got "):
        _console.check_number("--rate", value)


def test_numbers_in_range_pass():
    _console.check_whole("--seed", 2**32 - 1, 0, 2**32 - 1)
    _console.check_number("--rate", 1e-3)
    _console.check_number("--dropout", 0.0, checks.decay_rate)


def test_a_missing_data_set_is_one_line(capsys):
    assert main("train", lambda: idx("no such folder")) == 2
    assert capsys.readouterr().err == "train: no such folder: no such folder\n"
