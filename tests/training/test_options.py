"""The options of every trainer: read, judged one by one, shortened, recorded."""

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from optlab.training._console import UserError, parse
from optlab.training._files import as_json
from optlab.training._options import RunOptions, Seconds


@dataclasses.dataclass(frozen=True)
class Config(RunOptions):
    steps: int = 1500
    sizes: tuple[int, ...] = (8, 4)
    """Units of each layer."""
    dropout: float = 0.1

    def check(self):
        super().check()
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout: a number in [0, 1) expected, got {self.dropout}")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_default_is_allowed_and_leaves_no_trace():
    RunOptions().check()
    assert parse(RunOptions, []) == RunOptions()
    assert os.listdir() == []


def test_a_trainer_adds_fields_and_changes_defaults():
    config = parse(Config, ["--sizes", "3", "2", "1", "--mesh", "data=8", "--resume", "must"])
    assert (config.steps, config.sizes) == (1500, (3, 2, 1))
    assert (config.mesh_size, config.resume) == (8, "must")
    assert Config().mesh_size == 1


def test_a_changed_default_keeps_its_help(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Updates of the parameters, those before a resume included. (default: 1500)" in text
    assert "--time-limit {None}|TIME" in text
    assert "--resume STR" in text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800),
     ("1d1h1m1s", 90061), (".5s", 0.5), ("1e3", 1000)],
)  # fmt: skip
def test_a_time_may_have_units(text, seconds):
    assert parse(RunOptions, ["--time-limit", text]).time_limit == seconds


@pytest.mark.parametrize("text", ["", "x", "m", "5x", "5m1h", "5 m", "1h-5m", "h5"])
def test_another_time_is_refused_with_examples(text):
    with pytest.raises(UserError, match=r"^--time-limit: a time .* 1h30m expected, got "):
        parse(RunOptions, [f"--time-limit={text}"])


def test_a_time_is_a_number_like_any_other():
    assert repr(Seconds(300.0)) == "300.0"
    assert json.dumps(Seconds(300)) == "300.0"
    RunOptions(time_limit=12.5).check()


BAD = {
    "steps": [0, -1, 2**31, 1.5, math.nan, True],
    "batch_size": [0, -8, 10**30],
    "seed": [-1, 2**32, None],
    "save_every": [0, -1],
    "keep": [0],
    "log_every": [0],
    "eval_every": [0],
    "patience": [0, -3, 2.0],
    "time_limit": [0.0, -1.0, math.nan, math.inf],
    "resume": ["yes", None],
    "mesh": ["", "8", "data", "data=", "data=0", "data=-1", "model=2", "data=2,model=2", "data=²"],
    "wandb": ["", "  "],
    "trackio": [""],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in BAD.items() for v in values])
def test_a_bad_value_is_named_with_its_option_and_what_is_allowed(field, value):
    with pytest.raises(UserError) as caught:
        RunOptions(**{field: value}).check()
    line = str(caught.value)
    assert line.startswith("--" + field.replace("_", "-") + ": ")
    assert " expected, got " in line
    assert repr(value) in line
    assert "\n" not in line


def test_a_batch_is_shared_out_in_equal_parts():
    RunOptions(mesh="data=8", batch_size=64).check()
    with pytest.raises(UserError, match=r"--batch-size: a multiple of 8.*--mesh.*got 60"):
        RunOptions(mesh="data=8", batch_size=60).check()


def test_an_output_that_cannot_be_written_is_refused_before_the_training():
    Path("file").write_text("")
    with pytest.raises(UserError, match=r"^--output: cannot write to file/run: Not a directory"):
        parse(RunOptions, ["--output", "file/run"])


def test_checks_of_a_trainer_come_with_those_of_all():
    with pytest.raises(UserError, match=r"^--dropout"):
        parse(Config, ["--dropout", "1.5"])
    with pytest.raises(UserError, match=r"^--steps"):
        parse(Config, ["--steps", "0"])


def test_output_may_be_given_as_text():
    assert RunOptions(output="runs/x").output == Path("runs/x")


def test_smoke_is_a_few_steps_of_everything_elsewhere():
    config = Config(smoke=True, batch_size=32, patience=2)
    short = config.effective()
    assert isinstance(short, Config)
    assert short.steps <= 10
    assert short.log_every <= short.eval_every < short.steps
    assert short.save_every < short.steps
    assert short.output == config.output / "smoke"
    assert (short.batch_size, short.patience, short.sizes) == (32, 2, (8, 4))
    short.check()


def test_smoke_is_no_longer_than_the_run_and_once_is_enough():
    short = RunOptions(smoke=True, steps=1).effective()
    assert (short.steps, short.save_every, short.eval_every) == (1, 1, 1)
    assert short.effective() == short
    assert short.resume == "never"  # else the second smoke run would have nothing to do
    assert RunOptions(smoke=True, resume="must").effective().resume == "must"


def test_without_smoke_the_options_are_their_own():
    config = Config()
    assert config.effective() is config


def test_the_record_has_every_field_as_json():
    config = Config(output="runs/x", time_limit=Seconds(60), dropout=math.nan)
    record = config.to_json()
    assert list(record) == [field.name for field in dataclasses.fields(Config)]
    assert (record["output"], record["sizes"], record["time_limit"]) == ("runs/x", [8, 4], 60.0)
    assert record["dropout"] is None
    assert json.loads(as_json(record)) == record
