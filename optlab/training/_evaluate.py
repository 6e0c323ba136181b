"""Evaluation: a jitted step over all examples once, and numbers out of what it gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from optlab.training.data import Source, in_order

Arrays = Mapping[str, np.ndarray]


def means(outputs: Arrays) -> dict[str, float]:
    """The mean of each entry over all examples, in float64.

    Example:
      >>> import numpy as np, optlab as ol
      >>> ol.training.means({"loss": np.array([1.0, 3.0])})
      {'loss': 2.0}
    """
    return {name: float(np.mean(np.asarray(x, np.float64))) for name, x in outputs.items()}


def evaluator(
    step: Callable[..., Mapping[str, jax.Array]],
    source: Source,
    batch_size: int,
    summarize: Callable[[Arrays], Mapping[str, float]] = means,
) -> Callable[..., dict[str, float]]:
    """A function for `fit(evaluate=...)`: every example of a source once.

    Args:
      step: `(params, batch)`, or `(params, batch, variables)`, to a dict of arrays with an entry
        an example; it is jitted.
      source: the examples.
      batch_size: examples at a time.
      summarize: takes the outputs of all examples, in order, and gives numbers by name, such as
        `lambda out: ol.training.metrics.classification(out["label"], out["logits"])`; entries that
        are no numbers, such as a confusion matrix, are left out. By default the means.

    Returns:
      `evaluate(params)`, or `evaluate(params, variables)`.

    Raises:
      ValueError: when evaluating, if the step gives an array without an entry an example.

    Example:
      >>> import jax.numpy as jnp, numpy as np, optlab as ol
      >>> source = ol.training.data.Arrays({"x": np.arange(5, dtype=np.float32)})
      >>> evaluate = ol.training.evaluator(lambda p, b: {"loss": (b["x"] - p) ** 2}, source, 2)
      >>> evaluate(jnp.asarray(2.0))
      {'loss': 2.0}
    """
    jitted = jax.jit(step)
    batches = in_order(source, batch_size)

    def evaluate(params: Any, *variables: Any) -> dict[str, float]:
        # Dispatched one ahead: the device computes while the outputs before are fetched.
        parts, waiting = [], deque()
        for batch in batches:
            valid = batch.pop("valid")
            waiting.append((jitted(params, batch, *variables), valid))
            if len(waiting) > 1:
                parts.append(_fetched(*waiting.popleft()))
        parts.append(_fetched(*waiting.popleft()))
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        found = summarize(outputs).items()
        return {name: float(value) for name, value in found if np.ndim(value) == 0}

    if summarize is means:  # of others, the names are known when they have run
        evaluate.shapes = lambda *args: jax.eval_shape(jitted, args[0], _first(batches), *args[1:])
    return evaluate


def require_names(evaluate: Any, monitor: str, *args: Any) -> None:
    """`require_monitored`, before anything was evaluated, where the names can be known."""
    shapes = getattr(evaluate, "shapes", None)
    if shapes is not None:
        require_monitored(monitor, shapes(*args))


def require_monitored(monitor: str, metrics: Mapping[str, Any]) -> None:
    """Raises a `ValueError` unless the metric is one of those."""
    if monitor not in metrics:
        raise ValueError(
            f"fit: monitor={monitor!r} is none of what evaluate gives: "
            f"{', '.join(metrics) or 'nothing'}."
        )


def _first(batches: Any) -> Any:
    return {name: x for name, x in next(iter(batches)).items() if name != "valid"}


def _fetched(outputs: Mapping[str, jax.Array], valid: np.ndarray) -> dict[str, np.ndarray]:
    found = {name: np.asarray(x) for name, x in jax.device_get(dict(outputs)).items()}
    for name, x in found.items():
        if x.shape[:1] != valid.shape:
            raise ValueError(
                f"evaluator: the step must give an entry for each of {len(valid)} examples, but "
                f"{name!r} has shape {x.shape}. Leave taking the mean to summarize."
            )
    return {name: x[valid] for name, x in found.items()}
