"""Biases that no kernel makes up for: what they are, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optlab.lab.init._findings import Finding
from optlab.lab.init._layer import Layer
from optlab.lab.init._model import Model
from optlab.lab.init._unit_variance import is_bias

_WORTH = 1.0  # powers of ten of the score that biases of 0 must gain

# Of these the biases are the cause, and kernels or depth, which they blame, are not.
EFFECTS = ("signal vanishes", "gradient vanishes", "examples alike", "ill-conditioned")


def of_hidden(model: Model, layers: Sequence[Layer], leaves: Sequence[Any]) -> list[Layer]:
    """Layers before the last whose bias is not 0; a head's stands for how frequent classes are."""
    return [
        x
        for x in layers
        if x.bias not in (None, layers[-1].bias)
        and is_bias(model, x)
        and np.asarray(leaves[x.bias]).any()
    ]


def may_gain(scores: Sequence[float]) -> bool:
    """Whether `is_gain` is possible at all, scores being 0 at best; spares the draws."""
    return min(scores) > _WORTH


def is_gain(scores: Sequence[float], without: Sequence[float]) -> bool:
    """Whether candidates are that much better without the biases."""
    return min(without) < min(scores) - _WORTH


def finding(
    layers: Sequence[Layer],
    leaves: Sequence[Any],
    scores: Sequence[float],
    without: Sequence[float],
) -> Finding:
    """What is wrong with the biases of these layers."""
    entries = [np.asarray(leaves[x.bias], np.float64).ravel() for x in layers if x.bias is not None]
    size = float(np.sqrt(np.mean(np.concatenate(entries) ** 2)))
    return Finding(
        "biases",
        tuple(x.name for x in layers),
        f"the biases have root mean square {size:.2g}, and no kernels make up for it: the best "
        f"candidate's score is {min(scores):.3g} with them and {min(without):.2g} with 0 in their "
        "place.",
        "Set them to 0.",
        f", and biases of root mean square {size:.2g} that no kernels make up for",
    )
