"""Why a training failed, from what can be measured where it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def diagnose(
    params: Mapping[str, Any],
    gradient: Mapping[str, Any],
    pixels: np.ndarray,
    losses: np.ndarray,
    accuracy: float,
) -> list[str]:
    """Sentences for the reader; none for a network that learned.

    Args:
      params: of a stack of Dense layers with ReLU between them, first to last.
      gradient: of the loss, at these parameters.
      pixels: images to measure activations with.
      losses: of the minibatches, in order.
      accuracy: of the best parameters on the validation set.
    """
    finite = np.isfinite(losses)
    if not finite.all():
        at = int(np.argmin(finite)) + 1
        return [f"the loss of minibatch {at} is {losses[at - 1]}: the learning rate is too large."]
    reasons = []
    outputs = pixels
    for layer in list(params)[:-1]:
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
                f"dead units: all {units} units of {layer} are 0 for every validation image, so "
                f"no gradient passes (norm at this kernel: {norm:.3g}). Lower the learning rate."
            )
    if accuracy < 0.5 and not reasons:
        reasons.append(
            f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} updates, and "
            "the hidden units differ: train longer, or with another learning rate."
        )
    return reasons
