"""How a Flax module is told whether it trains."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_TRAINING = ("train", "training", "is_training")
_NOT_TRAINING = ("deterministic",)


def mode(call: Callable[..., Any], training: bool) -> dict[str, bool]:
    """`train=`, `training=` or `deterministic=`, whichever a module takes."""
    names = inspect.signature(call).parameters
    told = {name: training for name in _TRAINING if name in names}
    return told | {name: not training for name in _NOT_TRAINING if name in names}
