"""What the classifiers of this folder show at the end: numbers by class, who is taken for whom."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _results
import jax
import jax.numpy as jnp
import numpy as np
import optax

import optlab as ol
from optlab.training import data, metrics

# Okabe and Ito's colours, told apart by colour-blind readers, without the too light yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", ":")
MOST_CLASSES = 30  # that a confusion matrix is legible with


LogitsOf = Callable[[Any, Any], jax.Array]  # of parameters and a batch


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Nats, of each example; labels are classes, or distributions over them."""
    of = optax.softmax_cross_entropy_with_integer_labels
    logits = logits.astype(jnp.float32)  # of a run in bfloat16, too
    return (of if labels.ndim == 1 else optax.softmax_cross_entropy)(logits, labels)


def evaluation(logits_of: LogitsOf, source: data.Source) -> Callable[..., dict[str, float]]:
    """For `fit`: loss, accuracy, and of more classes whether it is among the five said first."""

    def step(params: Any, batch: Any) -> dict[str, jax.Array]:
        logits = logits_of(params, batch).astype(jnp.float32)
        labels = batch["label"]
        place = (logits > jnp.take_along_axis(logits, labels[:, None], 1)).sum(1)
        losses = cross_entropy(logits, labels)
        found = {"loss": losses, "accuracy": logits.argmax(1) == labels}
        return found | ({"top_5": place < 5} if logits.shape[1] > 5 else {})

    return ol.training.evaluator(step, source, 256)


def finish(
    logits_of: LogitsOf, params: Any, test: data.Source, output: Path, *, show: bool = True
) -> dict[str, Any]:
    """Judges the parameters on the test set, prints that, and saves both in the run's folder.

    Returns:
      What `metrics.classification` gives.
    """
    jitted, parts, classes = jax.jit(logits_of), [], test.info["classes"]
    for batch in data.in_order(test, 256):
        valid = batch.pop("valid")
        parts.append(np.asarray(jitted(params, batch), np.float32)[valid])
    found = metrics.classification(test.column("label"), np.concatenate(parts), classes=classes)
    if show:
        print_classes(found, classes)
    picture = {"confusion.png": confusion_figure(found["confusion"], classes)}
    _results.leave(output, params, found, picture)
    return found


def print_classes(found: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Precision, recall and F1 of each class, then who is taken for whom."""
    counts = found["confusion"]
    rows = [
        [name, *(found[f"{kind}/{name}"] for kind in ("precision", "recall", "f1")), sum(counts[i])]
        for i, name in enumerate(classes)
    ]
    means = [found[f"{kind}_macro"] for kind in ("precision", "recall", "f1")]
    rows.append(["mean", *means, sum(map(sum, counts))])
    print("\n" + ol.training.table(["class", "precision", "recall", "f1", "images"], rows))
    if len(classes) <= MOST_CLASSES:
        rows = [[name, *counts[i]] for i, name in enumerate(classes)]
        print("\nrows: class shown; columns: class said")
        print(ol.training.table(["", *classes], rows))


def one_line(model: Any) -> str:
    """A Flax module as text."""
    return " ".join(repr(model).replace("# attributes", "").split())


def about(trainer: str, model: Any, train: data.Source) -> dict[str, Any]:
    """For the record of a run: what another trainer must know to go on with its parameters."""
    return {
        "trainer": trainer,
        "model": one_line(model),
        "classes": train.info["classes"],
        "shape": train.gather([0])["image"].shape[1:],
    }


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """Shades follow the square root of the share, so that single mistakes show."""
    size = min(max(5.0, 1.6 + 0.45 * len(classes)), 20.0)
    figure, (axis,) = _figure("Confusion matrix, test images", 1, (size, size))
    array = np.asarray(counts)
    found = array / np.maximum(array.sum(axis=1, keepdims=True), 1)
    axis.imshow(np.sqrt(found), cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= MOST_CLASSES:
        for row, column in np.argwhere(array):
            colour = "white" if found[row, column] > 0.3 else "black"
            axis.text(
                column, row, array[row, column], ha="center", va="center", color=colour, size=9
            )
        axis.set_xticks(
            range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0
        )
        axis.set_yticks(range(len(classes)), classes)
    axis.grid(False)
    axis.set(xlabel="class said", ylabel="class shown")
    return _png(figure)


def comparison_figure(title: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Training loss, validation loss and error of several runs, given by their rows."""
    figure, axes = _figure(title, 3, (11.0, 5.2))
    panels = (
        ("loss", "Training loss", "nats an image"),
        ("validation_loss", "Validation loss", "nats an image"),
        ("validation_accuracy", "Validation error, least so far", "share of images"),
    )
    for axis, (key, heading, unit) in zip(axes, panels, strict=True):
        for i, (name, rows) in enumerate(runs.items()):
            known = [row for row in rows if row.get(key) is not None]
            values = np.array([row[key] for row in known], np.float64)
            if key == "validation_accuracy":
                values = np.minimum.accumulate(1 - values)
            axis.plot(
                [row["step"] for row in known],
                values,
                color=COLOURS[i % len(COLOURS)],
                ls=STYLES[i // len(COLOURS)],
                marker="o" if len(known) <= 2 else None,
                label=name,
            )
        axis.set(title=heading, xlabel="updates", ylabel=unit)
        if key == "validation_accuracy":
            axis.set_ylim(bottom=0)  # an error may be 0
        else:
            axis.set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return _png(figure)


def _figure(title: str, columns: int, size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure  # drawn without pyplot: no window, no global state

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(title)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.grid(color="#E5E5E5", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
