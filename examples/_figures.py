"""Figures of training runs, as PNG: legible in grey, and to colour-blind readers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers, without the too light yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", ":")


def training_figure(
    title: str, history: Mapping[str, Any], best_at: int, confusion: np.ndarray
) -> bytes:
    """Losses, accuracy, learning rate and the confusion matrix of one run."""
    figure, axes = _figure(title, 2, 2, height=8.6)
    steps, validated = np.arange(1, 1 + len(history["loss"])), history["validated"]

    loss = axes[0, 0]
    loss.plot(steps, history["loss"], color="#BBBBBB", lw=0.6, label="each minibatch")
    loss.plot(validated[1:], history["train_loss"], color=COLOURS[1], label="training, epoch mean")
    loss.plot(validated, history["validation_loss"], color=COLOURS[0], ls="--", label="validation")
    loss.set(title="Cross-entropy", xlabel="updates", ylabel="nats an image", yscale="log")

    accuracy = axes[0, 1]
    accuracies = history["validation_accuracy"]
    top = accuracies[best_at]
    accuracy.plot(validated, accuracies, color=COLOURS[0], label="validation")
    accuracy.plot(validated[best_at], top, "o", color=COLOURS[1], label=f"kept: {top:.4f}")
    accuracy.set(title="Accuracy", xlabel="updates", ylabel="share of images")
    accuracy.set_ylim(max(0.0, top - 0.12), min(1.0, top + 0.05))

    rate = axes[1, 0]
    rate.plot(steps, history["learning_rate"], color=COLOURS[2])
    rate.set(title="Learning rate used", xlabel="updates", ylim=(0, None))

    _confusion(axes[1, 1], confusion)
    for axis in (loss, accuracy):
        axis.legend(frameon=False)
    return _png(figure)


def comparison_figure(title: str, histories: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Training loss, validation loss and error of several runs."""
    figure, axes = _figure(title, 1, 3, height=5.2)
    panels = (
        ("train_loss", "Training loss, epoch mean", "nats an image", "log"),
        ("validation_loss", "Validation loss", "nats an image", "log"),
        ("validation_accuracy", "Validation error, least so far", "share of images", "log"),
    )
    for axis, (key, heading, unit, scale) in zip(axes[0], panels, strict=True):
        for i, (name, history) in enumerate(histories.items()):
            values = np.asarray(history[key])
            if key == "validation_accuracy":
                values = np.minimum.accumulate(1 - values)
            axis.plot(
                history["validated"][-len(values) :],
                values,
                color=COLOURS[i % len(COLOURS)],
                ls=STYLES[i // len(COLOURS)],
                label=name,
            )
        axis.set(title=heading, xlabel="updates", ylabel=unit, yscale=scale)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return _png(figure)


def _figure(title: str, rows: int, columns: int, height: float) -> Any:
    from matplotlib.figure import Figure  # drawn without pyplot: no window, no global state

    figure = Figure(figsize=(11.0, height), dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(color="#E5E5E5", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _confusion(axis: Any, counts: np.ndarray) -> None:
    """Shades follow the square root of the share, so that single mistakes show."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    digits = range(len(counts))
    for row in digits:
        for column in digits:
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.3 else "black"
                axis.text(
                    column, row, counts[row, column], ha="center", va="center", color=colour, size=9
                )
    axis.grid(False)
    axis.set(
        title="Confusion matrix, test images",
        xlabel="digit said",
        ylabel="digit shown",
        xticks=digits,
        yticks=digits,
    )


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
