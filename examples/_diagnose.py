"""Why a training failed, from what can be measured where it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def diagnose(
    params: Mapping[str, Any],
    gradient: Mapping[str, Any],
    pixels: np.ndarray,
    losses: Sequence[float],
) -> list[str]:
    """Sentences for the reader, at least one.

    Args:
      params: of a stack of Dense layers with ReLU between them; the last is called `head`.
      gradient: of the loss, at these parameters.
      pixels: images to measure activations with.
      losses: as reported, in order.
    """
    reasons = []
    outputs = pixels.reshape(len(pixels), -1)
    for layer in sorted(set(params) - {"head"}):
        kernel, bias = np.asarray(params[layer]["kernel"]), np.asarray(params[layer]["bias"])
        outputs = np.maximum(outputs @ kernel + bias, 0)
        units = kernel.shape[1]
        distinct = np.unique(np.vstack([kernel, bias]), axis=1).shape[1]
        norm = np.linalg.norm(np.asarray(gradient[layer]["kernel"]))
        if distinct == 1 and units > 1:
            reasons.append(
                f"symmetry: the {units} units of {layer} all have the same weights (distinct "
                f"columns: {distinct}), so they compute the same, and get the same gradient (norm "
                f"at this kernel: {norm:.3g}). No step can tell them apart: use a random --init."
            )
        elif not outputs.any():
            reasons.append(
                f"dead units: all {units} units of {layer} are 0 for every image, so "
                f"no gradient passes (norm at this kernel: {norm:.3g}). Lower the learning rate."
            )
    if not reasons:
        reasons.append(
            f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g}, and the hidden units differ: "
            "train longer, or with another learning rate."
        )
    return reasons
