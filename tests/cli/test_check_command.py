"""`optlab check`: exit codes, options, and one line for arguments that cannot be used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig

import pytest

import optlab as ol
from optlab import cli
from optlab.testing._subject import EXTRA_ARGS

MODULE = """
import jax
import optax
import optlab as ol

def make():
    return ol.sgd(0.1)

def broken():
    return ol.scale_by_learning_rate(lambda count: 0.1)

def sized():
    def update(gradient, state, params=None, *, value, **extra):
        return jax.tree.map(lambda g: -g * value.astype(g.dtype), gradient), state
    return optax.GradientTransformationExtraArgs(lambda params: (), update)

def wants(rate):
    return ol.sgd(rate)

def raises():
    raise ValueError("of two\\nlines")

class Zoo:
    make = staticmethod(make)

NUMBER = 3
TX = make()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mytx.py").write_text(MODULE)
    (tmp_path / "missing_inside.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "raising.py").write_text("raise RuntimeError('no\\nway')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mytx", "missing_inside", "raising"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def check(capsys):
    def run(*arguments):
        code = cli.main(["check", *arguments])
        return code, *capsys.readouterr()

    return run


def test_a_report_without_failures_gives_0(check):
    code, out, err = check("mytx:make", "--only", "empty_tree", "--only", "bare_array")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "make: 2 passed"
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["empty_tree", "bare_array"]


def test_a_failure_gives_1_and_is_told(check):
    code, out, err = check("mytx:broken", "--only", "stored_as_json")
    assert (code, err) == (1, "")
    assert "stored_as_json (capability) failed: " in out
    assert "from mytx import broken as make" in out


def test_json_can_be_read(check):
    code, out, _ = check("mytx:broken", "--only", "stored_as_json", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["passed"] is False
    assert report["results"][0]["clause"] == "stored_as_json"


def test_a_claim_is_checked_besides(check):
    code, out, _ = check("mytx:make", "--claim", "odd", "--only", "odd")
    assert (code, out.splitlines()[0]) == (0, "make: 1 passed")


def test_extra_arguments_are_given(check):
    code, out, _ = check("mytx:sized", "--need", "value", "--only", "bare_scalar")
    assert (code, out.splitlines()[0]) == (0, "sized: 1 passed")
    code, out, err = check("mytx:sized", "--only", "bare_scalar")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "missing 1 required keyword-only argument: 'value'" in err
    assert "--need value" in err


def test_only_takes_names_between_commas_and_kinds(check):
    names = "empty_tree,state_signature[float32,float32], bare_array"
    _, out, _ = check("mytx:make", "--only", names)
    listed = [line.split()[0] for line in out.splitlines()[1:]]
    assert listed == ["empty_tree", "state_signature[float32,float32]", "bare_array"]


def test_the_clauses_are_listed_with_kind_and_promise(check):
    code, out, err = check("--list")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(ol.testing.clauses())
    (line,) = [line for line in out.splitlines() if line.startswith("scan ")]
    assert line.split(maxsplit=2)[1:] == ["law", ol.testing.clauses()["scan"].promise]


def test_help_names_the_list_the_kinds_and_the_extra_arguments(capsys):
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    text = capsys.readouterr().out
    for word in ("--list", "law ", "capability ", "property ", *EXTRA_ARGS):
        assert word in text


def test_an_allowance_takes_a_reason_which_is_shown(check):
    allow = "stored_as_json=a lambda, as 0 = 0"
    code, out, _ = check("mytx:broken", "--only", "stored_as_json", "--allow", allow)
    assert code == 0
    assert "stored_as_json  capability  allowed         a lambda, as 0 = 0" in out


def test_an_allowance_that_is_not_needed_gives_1(check):
    code, out, _ = check("mytx:make", "--only", "empty_tree", "--allow", "empty_tree=it is empty")
    assert code == 1
    assert "no allowance that is not needed" in out


def test_a_factory_inside_a_class_is_found(check):
    assert check("mytx:Zoo.make", "--only", "empty_tree")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mytx"], ["'mytx' is not of the form package.module:factory"]),
        ([":make"], ["not of the form"]),
        (["mytx:"], ["not of the form"]),
        (["there_is_none:make"], ["cannot import 'there_is_none'", "ModuleNotFoundError"]),
        (["missing_inside:make"], ["cannot import 'missing_inside'", "there_is_no_such_module"]),
        (["raising:make"], ["cannot import 'raising'", "RuntimeError: no way"]),
        (["./mytx:make"], ["'./mytx' names a file; name the module: mytx:make"]),
        (["mytx.py:make"], ["'mytx.py' names a file; name the module: mytx:make"]),
        (["mytx:make", "--only", ","], ["only is empty"]),
        (["mytx:mak"], ["'mytx' has no 'mak'"]),
        (["mytx:Zoo.mak"], ["'mytx' has no 'Zoo.mak'"]),
        (["mytx:NUMBER"], ["mytx:NUMBER is no factory: int cannot be called"]),
        (["mytx:TX"], ["mytx:TX is no factory", "cannot be called"]),
        (["mytx:raises"], ["raises() raised ValueError: of two lines"]),
        (["mytx:wants"], ["wants() raised TypeError", "rate"]),
        (["mytx:make", "--only", "scann"], ["no clause 'scann'", "did you mean 'scan'"]),
        (["mytx:make", "--claim", "od"], ["no clause 'od'"]),
        (["mytx:make", "--need", "vale"], ["no extra argument 'vale'", "did you mean 'value'"]),
        (["mytx:make", "--allow", "scan"], ["--allow 'scan' is not of the form CLAUSE=REASON"]),
        (["mytx:make", "--allow", "scan= "], ["not of the form CLAUSE=REASON"]),
        (["mytx:make", "--allow", "=why"], ["not of the form CLAUSE=REASON"]),
        (["mytx:make", "--allow", "scann=why"], ["no clause 'scann'"]),
    ],
)
def test_arguments_that_cannot_be_used_give_2_and_one_line(check, arguments, words):
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("optlab: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    "arguments", [[], ["check"], ["chek", "mytx:make"], ["check", "a:b", "-x"]]
)
def test_a_command_that_is_none_exits_with_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(arguments)
    assert error.value.code == 2
    assert "usage: optlab" in capsys.readouterr().err


@pytest.mark.slow
def test_the_installed_command_checks_on_eight_devices(folder):
    script = shutil.which("optlab", path=sysconfig.get_path("scripts"))
    command = (
        [script] if script else [sys.executable, "-m", "optlab.cli"]
    )  # not installed: no script
    done = subprocess.run(
        [*command, "check", "mytx:make", "--only", "sharding", "--json"],
        cwd=folder, capture_output=True, text=True, timeout=120, env={"PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"passed": 2}
