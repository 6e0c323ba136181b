"""`coordinate_check`: how far the outputs of every layer move in a few steps, over the width."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import checks
from optlab.lab.init import _layers, _model, _plot, _table
from optlab.lab.init._measure import quick_compilation
from optlab.lab.init._program import evaluate, read

PyTree = Any
Row = dict[str, Any]
_FEWEST_SEEDS = 5
_STABLE = 0.2  # a slope between -0.2 and 0.2: under a factor 1.32 for a network 4 times as wide


@dataclasses.dataclass(frozen=True, eq=False)
class CoordinateCheck:
    """What `coordinate_check` returns. Prints as text.

    Attributes:
      layers: a dict a layer: `layer`, `slope` (of the change over the width, both logarithmic,
        after the last step), `slope_at_start` and `slope_at_end` (of the output itself), `verdict`
        ("stable", "grows", "shrinks").
      rows: a dict a width, seed, step and layer: `scale`, the mean size of an entry of the layer's
        output, and `change`, that of its difference from step 0.
      steps: updates made.

    Example:
      >>> import jax, jax.numpy as jnp, optax, optlab as ol
      >>> def make_model(width):
      ...     def init(key):
      ...         return {"w": jax.random.normal(key, (8, width))}
      ...     return (lambda params, x: x @ params["w"]), init
      >>> x = jax.random.normal(jax.random.key(0), (32, 8))
      >>> ol.lab.coordinate_check(
      ...     make_model, [8, 64], optax.sgd(0.01), x, loss=lambda out, x: jnp.mean(out**2)
      ... )
      CoordinateCheck(1 layers, stable=False)
    """

    layers: tuple[Row, ...]
    rows: tuple[Row, ...]
    steps: int

    @property
    def stable(self) -> bool:
        """Whether every layer is."""
        return all(x["verdict"] == "stable" for x in self.layers)

    def plot(self, ax: Any = None) -> Any:
        """Draws the change over the width, a line a layer, into matplotlib Axes or a new figure."""
        return _plot.plot_coordinates(self, ax)

    def __repr__(self) -> str:
        return f"CoordinateCheck({len(self.layers)} layers, stable={self.stable})"

    def __str__(self) -> str:
        widths = sorted({row["width"] for row in self.rows})
        header = ("layer", *(f"width {w}" for w in widths[:6]), "slope", "verdict")
        lines = []
        for layer in self.layers:
            numbers = [
                _table.number(_mean(self.rows, layer["layer"], w, self.steps, "change"))
                for w in widths[:6]
            ]
            slope = f"{layer['slope']:+.2f}"
            lines.append((_table.clipped(layer["layer"]), *numbers, slope, layer["verdict"]))
        title = f"Change of each layer's output after {self.steps} steps, mean over seeds"
        return "\n".join([title, "", *_table.table(header, lines), "", *self._words()])

    def _words(self) -> list[str]:
        grows = [x["layer"] for x in self.layers if x["verdict"] == "grows"]
        shrinks = [x["layer"] for x in self.layers if x["verdict"] == "shrinks"]
        text = []
        if grows:
            text.append(
                f"{', '.join(grows)}: the wider the network, the further one step moves the "
                "output; the best learning rate falls with the width. Divide the learning rate of "
                "hidden and output kernels by the width (Adam), as in muP."
            )
        if shrinks:
            text.append(
                f"{', '.join(shrinks)}: the wider the network, the less it learns there: a larger "
                "learning rate, or multiplier, for these layers."
            )
        if not text:
            text.append("Stable: a learning rate found at one width serves the others.")
        return [line for t in text for line in _table.paragraph(t)]


def coordinate_check(
    make_model: Callable[..., Any],
    widths: Sequence[int],
    tx: Any,
    batch: PyTree,
    *,
    loss: Callable[[Any, PyTree], Any],
    steps: int = 4,
    seeds: int = _FEWEST_SEEDS,
    key: jax.Array | None = None,
) -> CoordinateCheck:
    """Trains networks of several widths for a few steps and asks what the width does to a step.

    In the maximal update parametrisation every layer's output moves by Θ(1), whatever the width, so
    that hyperparameters tuned on a narrow network serve a wide one.

    Args:
      make_model: `width -> Linen module`, `width -> (function, init)` with
        `function(params, batch)` and `init(key) -> params`, or `(width, key) -> NNX module`.
      widths: two or more, ascending factors of 2 are usual.
      tx: an optimizer, or `width -> optimizer`.
      batch: as for `init_report`; the same at every step.
      loss: `(outputs, batch) -> scalar`.
      steps: >= 1, updates.
      seeds: >= 5.
      key: for the draws; `jax.random.key(0)` if None.

    Returns:
      A `CoordinateCheck`: a layer is "stable" if the change of its output follows the width to a
      power between -0.2 and 0.2, else it "grows" or "shrinks".

    Raises:
      ValueError: for fewer than two different widths or 5 seeds, models that the width does not
        change, or whose layers differ in number, a loss that is no scalar, numbers that are not
        finite.
      TypeError: for what is no model, and for a model in place of the function that makes it.

    Example:
      >>> import jax, jax.numpy as jnp, optax, optlab as ol
      >>> def make_model(width):
      ...     def init(key):
      ...         a, b = jax.random.normal(key, (2, 8, width))
      ...         return {"a": a / 8**0.5, "b": b[:1].T / width**0.5}
      ...     return (lambda params, x: jnp.tanh(x @ params["a"]) @ params["b"]), init
      >>> x = jax.random.normal(jax.random.key(0), (32, 8))
      >>> check = ol.lab.coordinate_check(
      ...     make_model, [16, 64, 256], optax.sgd(0.01), x,
      ...     loss=lambda out, x: jnp.mean((out - 1) ** 2), steps=1,
      ... )
      >>> [layer["verdict"] for layer in check.layers]
      ['shrinks', 'grows']

    Source: G. Yang et al., Tensor programs V: tuning large neural networks via zero-shot
      hyperparameter transfer, 2022, arXiv:2203.03466, appendix D.1.
    """
    widths = [checks.positive_count("coordinate_check", "widths", w) for w in widths]
    if len(set(widths)) < 2:
        raise ValueError(f"coordinate_check: widths must be two or more that differ, got {widths}.")
    steps = checks.positive_count("coordinate_check", "steps", steps)
    if checks.positive_count("coordinate_check", "seeds", seeds) < _FEWEST_SEEDS:
        raise ValueError(f"coordinate_check: seeds must be >= {_FEWEST_SEEDS}, got {seeds}.")
    key = jax.random.key(0) if key is None else key
    keys = [jax.random.fold_in(key, seed) for seed in range(seeds)]
    rows: list[Row] = []
    names: list[str] = []
    width_of: dict[Any, int] = {}
    for width in sorted(set(widths)):
        optimizer = tx if hasattr(tx, "init") else tx(width)
        found, shapes, sizes = _one_width(make_model, width, optimizer, batch, loss, steps, keys)
        if shapes in width_of:
            raise ValueError(
                f"coordinate_check: parameters have the same shapes at widths {width_of[shapes]} "
                f"and {width}, so the width changes nothing there. make_model must build its "
                "layers with the width that it is given."
            )
        width_of[shapes] = width
        names = names or found
        if len(found) != len(names):
            raise ValueError(
                f"coordinate_check: the model has {len(found)} layers at width {width} and "
                f"{len(names)} at width {min(widths)}; only the width may change."
            )
        for (seed, step, k, kind), value in np.ndenumerate(sizes):
            if kind == 0:
                change = float(sizes[seed, step, k, 1])
                scale = float(value)
                rows.append(
                    {
                        "width": width, "seed": seed, "step": step, "layer": names[k],
                        "scale": scale, "change": change,
                    }
                )  # fmt: skip
    layers = [_verdict(rows, name, sorted(set(widths)), steps) for name in names]
    return CoordinateCheck(tuple(layers), tuple(rows), steps)


def _one_width(
    make_model: Any, width: int, tx: Any, batch: PyTree, loss: Any, steps: int, keys: list[Any]
) -> tuple[list[str], tuple[Any, ...], np.ndarray]:
    """Names of the layers, shapes of the parameters, and (seed, step, layer, [scale, change])."""
    model, init = _model_and_init(make_model, width, batch)
    traced = _model.read_model("coordinate_check", model, init(keys[0]), batch)
    layers = _layers.find_layers(traced)
    structure = jax.tree.structure(batch)

    def objective(outputs: Any, arrays: list[Any]) -> Any:
        return loss(outputs, jax.tree.unflatten(structure, arrays))

    def outputs(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
        env = dict(zip(traced.program.inputs, [*leaves, *arrays], strict=True))
        evaluate(traced.program.nodes, env)
        value = objective(traced.outputs(read(env, traced.program.outputs)), arrays)
        return value, [env[x.pre] for x in layers]

    _model.check_loss("coordinate_check", traced, objective)

    @partial(jax.jit, compiler_options=quick_compilation())
    def step(leaves: list[Any], state: Any, first: Any, arrays: list[Any]) -> Any:
        (_, taken), gradients = jax.value_and_grad(outputs, has_aux=True)(leaves, arrays)
        first = taken if first is None else first
        sizes = jnp.stack(
            [
                jnp.stack([jnp.mean(jnp.abs(x)), jnp.mean(jnp.abs(x - x0))]).astype(jnp.float32)
                for x, x0 in zip(taken, first, strict=True)
            ]
        )
        updates, state = tx.update(gradients, state, leaves)
        return optax.apply_updates(leaves, updates), state, first, sizes

    table = []
    for key in keys:
        leaves = traced.leaves(init(key))
        state, first, sizes = tx.init(leaves), None, []
        for _ in range(steps + 1):
            leaves, state, first, size = step(leaves, state, first, traced.batch)
            sizes.append(np.asarray(size, np.float64))
        table.append(sizes)
    result = np.array(table)
    if not np.isfinite(result).all():
        raise ValueError(
            f"coordinate_check: outputs at width {width} are not finite within {steps} steps; "
            "lower the learning rate."
        )
    return [x.name for x in layers], tuple(map(np.shape, jax.tree.leaves(traced.params))), result


def _model_and_init(make_model: Any, width: int, batch: PyTree) -> tuple[Any, Callable[[Any], Any]]:
    nnx, linen = sys.modules.get("flax.nnx"), sys.modules.get("flax.linen")
    modules = tuple(flax.Module for flax in (linen, nnx) if flax is not None)
    # A module can be called, but not with a width.
    if isinstance(make_model, modules) or not callable(make_model):
        raise TypeError(
            "coordinate_check: make_model must be a function that builds a model of a width, such "
            f"as lambda width: Model(width); got the {type(make_model).__name__} itself."
        )
    parameters = inspect.signature(make_model).parameters.values()
    made: Any
    if sum(p.default is p.empty for p in parameters) > 1:
        made = make_model(width, jax.random.key(0))
        if nnx is not None and isinstance(made, nnx.Module):
            return made, lambda key: nnx.state(make_model(width, key), nnx.Param)
    else:
        made = make_model(width)
    if linen is not None and isinstance(made, linen.Module):
        draw = jax.jit(lambda key: _model.linen_variables(made, key, batch)["params"])
        with _model.running("coordinate_check"):
            jax.eval_shape(draw, jax.random.key(0))
        return made, draw
    if isinstance(made, tuple) and len(made) == 2 and all(map(callable, made)):
        return made
    raise TypeError(
        "coordinate_check: make_model must return a Linen module or (function, init) for a width, "
        f"or take (width, key) and return an NNX module, got {made!r}."
    )


def _verdict(rows: list[Row], name: str, widths: list[int], steps: int) -> Row:
    slope = _slope(rows, name, widths, steps, "change")
    verdict = "stable" if abs(slope) <= _STABLE else "grows" if slope > 0 else "shrinks"
    return {
        "layer": name,
        "slope": slope,
        "slope_at_start": _slope(rows, name, widths, 0, "scale"),
        "slope_at_end": _slope(rows, name, widths, steps, "scale"),
        "verdict": verdict,
    }


def _mean(rows: Any, name: str, width: int, step: int, column: str) -> float:
    wanted = (name, width, step)
    return float(
        np.mean([r[column] for r in rows if (r["layer"], r["width"], r["step"]) == wanted])
    )


def _slope(rows: list[Row], name: str, widths: list[int], step: int, column: str) -> float:
    values = np.array([_mean(rows, name, width, step, column) for width in widths])
    if (values <= 0).any():
        return 0.0 if (values == 0).all() else float("nan")
    return float(np.polyfit(np.log(widths), np.log(values), 1)[0])
