"""The language model: learns, resumes to the bit, writes text, and says what is wrong."""

from __future__ import annotations

import byte_lm
import pytest
from trainer_cases import check_refused, interrupted_at, rows

TEXT = b"the quick brown fox jumps over the lazy dog; " * 400
TINY = [
    "--batch-size=4",
    "--width=32",
    "--layers=1",
    "--context=16",
    "--sample=8",
    "--steps=12",
    "--log-every=4",
    "--eval-every=6",
    "--save-every=6",
]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "fox.txt"
    file.write_bytes(TEXT)
    return f"--text={file}"


def test_it_resumes_to_the_bit(text, tmp_path, monkeypatch, capsys):
    one, two = (f"--output={tmp_path / name}" for name in ("one", "two"))
    assert byte_lm.main([text, *TINY, one]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("validation: ")
    with monkeypatch.context() as patch:
        interrupted_at(8, patch)
        assert byte_lm.main([text, *TINY, two]) == 143
    capsys.readouterr()
    assert byte_lm.main([text, *TINY, two]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == said[-3:]  # the sample, too
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


def test_its_own_output_is_no_text(tmp_path, capsys):
    (tmp_path / "fox.txt").write_bytes(TEXT)
    folder, output = f"--text={tmp_path}", f"--output={tmp_path / 'run'}"
    assert byte_lm.main([folder, *TINY, "--steps=2", output]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'run'}: not read" in said
    (tmp_path / "run" / "notes.txt").write_text("not to be read")
    assert byte_lm.main([folder, *TINY, "--steps=2", output]) == 0  # the data are the same
    assert "finished at step 2" in capsys.readouterr().out


@pytest.mark.slow
def test_it_learns_a_sentence(text, tmp_path):
    options = ["--steps=200", "--eval-every=200", "--log-every=50"]
    assert byte_lm.main([text, *TINY, *options, f"--output={tmp_path}"]) == 0
    assert rows(tmp_path)[-1]["validation_bits_per_byte"] < 1.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning-rate=-1"], "--learning-rate: a number > 0 expected, got -1"),
        (["--learning-rate=nan"], "--learning-rate: "),
        (["--learning-rate=abc"], "--learning-rate: a number expected, got 'abc'"),
        (["--batch-size=0"], "--batch-size: "),
        (["--batch-size=100000"], "larger than the data"),
        (["--width=33"], "--width: a multiple of 32 expected, got 33"),
        (["--context=0"], "--context: "),
        (["--text=nowhere"], "nowhere"),
        (["--mesh=data=64"], "--batch-size: a multiple of 64"),
        (["--mesh=model=2"], "--mesh: "),
        (["--resume=maybe"], "--resume: auto, never, must or a step expected, got 'maybe'"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(words, said, text, tmp_path, capsys):
    arguments = [*TINY, f"--output={tmp_path}", *([] if "--text" in words[0] else [text]), *words]
    check_refused(byte_lm.main, arguments, said, "byte_lm.py", capsys)
