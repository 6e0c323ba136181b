"""What a language model's loss amounts to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def language(nll_sum: Any, tokens: Any, byte_count: Any = None) -> dict[str, float]:
    """Loss per token, perplexity and bits per byte of a text.

    Args:
      nll_sum: the sum of -log p(token) over the text, in nats, >= 0.
      tokens: how many tokens that is, >= 1.
      byte_count: how many bytes they stand for, >= 1; None for a model of bytes.

    Returns:
      `nll` (nats per token), `perplexity` (exp of it), `bits_per_byte`.

    Raises:
      ValueError: for a NaN or negative sum, no tokens or no bytes.

    Special cases:
      A perplexity above 1.8e308 is inf, as is that of an infinite sum. Bits per byte compare models
      of different tokenizers; perplexities do not.

    Example:
      >>> import math, optlab as ol
      >>> ol.training.metrics.language(1000 * math.log(2), 1000)
      {'nll': 0.6931471805599453, 'perplexity': 2.0, 'bits_per_byte': 1.0}
    """
    total = float(np.asarray(nll_sum, np.float64))
    counts = {"tokens": tokens, "byte_count": tokens if byte_count is None else byte_count}
    for name, value in counts.items():
        counts[name] = float(np.asarray(value, np.float64))
        if not 1 <= counts[name] < math.inf:
            raise ValueError(f"language: {name} must be a number >= 1, got {value!r}.")
    if math.isnan(total) or total < 0:
        raise ValueError(
            f"language: nll_sum must be a sum of -log p >= 0, got {total!r}. NaN means that the "
            "model has diverged, a negative sum that it was not of log-probabilities."
        )
    nll = total / counts["tokens"]
    try:
        perplexity = math.exp(nll)
    except OverflowError:
        perplexity = math.inf
    return {
        "nll": nll,
        "perplexity": perplexity,
        "bits_per_byte": total / counts["byte_count"] / math.log(2),
    }
