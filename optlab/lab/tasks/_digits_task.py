"""What the tasks on digits share: data, loss, and how they are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optlab.lab._task import Task
from optlab.lab.tasks import _layers
from optlab.lab.tasks._digits_data import digits


def digits_task(
    name: str,
    init: Callable[..., Any],
    logits: Callable[..., Any],
    *,
    batch_size: int,
    target: float,
    steps: int,
    baseline: Any,
) -> Task:
    """A classifier of digits: `logits(params, images)`, images of [rows, 64]."""
    train, validation = digits()

    def outputs(params, batch):
        return logits(params, batch["image"])

    return Task(
        name=name,
        init=init,
        loss=lambda params, batch, key: _layers.cross_entropy(
            outputs(params, batch), batch["label"]
        ),
        batch=train,
        batch_size=batch_size,
        evaluate=lambda params, batch: _layers.judged(outputs(params, batch), batch["label"]),
        validation=validation,
        metric="accuracy",
        mode="max",
        target=target,
        steps=steps,
        baseline=baseline,
    )
