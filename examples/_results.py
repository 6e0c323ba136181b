"""What a trainer leaves beside its checkpoints: parameters to use, and how well they do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict

import optlab as ol


def left_out(output: Path, text: Path) -> list[Path]:
    """The folder of the run, if it lies in that of the texts: what it wrote is none of them."""
    if not output.resolve().is_relative_to(text.resolve()):
        return []
    print(f"{output}: not read, since it is the run's own folder")
    return [output]


def leave(
    output: Path, params: Any, found: Mapping[str, Any], more: Mapping[str, bytes] | None = None
) -> None:
    """Writes `params.npz`, by paths such as `Dense_0/kernel`, `test.json` and more files."""
    files = {
        "params.npz": ol.training.npz(flatten_dict(params, sep="/")),
        "test.json": ol.training.as_json(found),
    }
    save(output, files | dict(more or {}))


def save(output: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a run's folder, and says so; of several processes, the first one does."""
    if jax.process_index() == 0:
        ol.training.write_all(output, files)
        left = [name for name in ("metrics.jsonl", "curves.png") if (output / name).exists()]
        print(f"\n{output}: {', '.join((*left, *files))}")
