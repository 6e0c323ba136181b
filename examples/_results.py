"""What a trainer leaves beside its checkpoints: parameters to use, and how well they do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _report
import jax
from flax.traverse_util import flatten_dict

import optlab as ol


def leave(output: Path, params: Any, found: Mapping[str, Any]) -> None:
    """Writes `params.npz`, by paths such as `Dense_0/kernel`, and `test.json`, and says so.

    Of several processes, the first one does.
    """
    if jax.process_index():
        return
    files = {
        "params.npz": ol.training.npz(flatten_dict(params, sep="/")),
        "test.json": _report.as_json(found),
    }
    _report.save(output, files)
