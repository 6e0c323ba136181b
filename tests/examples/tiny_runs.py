"""Every trainer on data and a model so small that a run takes seconds."""

from __future__ import annotations

from pathlib import Path

import digits_mlp
import numpy as np
import PIL.Image
from digits_files import write_digits

TRAINERS = (
    "digits_mlp",
    "image_classifier",
    "finetune",
    "byte_lm",
    "tabular",
    "text_classifier",
    "recommender",
    "policy_gradient",
)


def arguments(trainer: str, folder: Path) -> list[str]:
    """Writes the data into a folder; the arguments but for steps, intervals and output."""
    folder.mkdir(parents=True, exist_ok=True)
    make = globals()[f"_{trainer}"]
    return ["--batch-size", "8", "--eval-every", "10", "--log-every", "2", *map(str, make(folder))]


def _digits_mlp(folder: Path) -> list:
    return ["--data-dir", write_digits(folder / "mnist", 60, 20)]


def _image_classifier(folder: Path) -> list:
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("cherry", "lime")):
        (folder / name).mkdir()
        for i in range(20):
            pixels = rng.integers(0, 100, (9, 9, 3), np.uint8)
            pixels[..., channel] += 150
            PIL.Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return ["--images", folder, "--width", 8, "--blocks", 1, "--size", 8]


def _finetune(folder: Path) -> list:
    """On a run of another trainer, made here."""
    args = [*_digits_mlp(folder), "--steps", 6, "--eval-every", 3, "--batch-size", 20]
    assert digits_mlp.main([*map(str, args), "--output", str(folder / "run")]) == 0
    return ["--run", folder / "run", "--labelled", 20]


def _byte_lm(folder: Path) -> list:
    file = folder / "fox.txt"
    file.write_text("the quick brown fox jumps over the lazy dog; " * 100)
    return ["--text", file, "--width", 32, "--layers", 1, "--context", 16, "--sample", 8]


def _tabular(folder: Path) -> list:
    file, rng = folder / "table.csv", np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{a - b:.3f}" for a, b in rng.normal(size=(60, 2))]
    file.write_text("\n".join(["a,b,y", *rows, ""]))
    return ["--csv", file, "--target", "y", "--width", 4, "--patience", "None"]


def _text_classifier(folder: Path) -> list:
    for name, words in (("invoices", "please pay 100 euro "), ("letters", "dear Anna, write ")):
        (folder / name).mkdir()
        for i in range(3):
            (folder / name / f"{i}.txt").write_text(words * (30 + i))
    return ["--text", folder, "--buckets", 256, "--width", 4, "--orders", 2, "--length", 32]


def _recommender(folder: Path) -> list:
    file, rng = folder / "ratings.csv", np.random.default_rng(0)
    lines = ["user,item,rating,timestamp"]
    for user in range(12):
        items = rng.permutation(15)[:8]
        lines += [f"u{user},i{item},{item % 5 + 1},{time}" for time, item in enumerate(items)]
    file.write_text("\n".join([*lines, ""]))
    return ["--ratings", file, "--width", 2, "--patience", "None"]


def _policy_gradient(folder: Path) -> list:
    return ["--width", 2, "--episodes", 2]
