"""Runs a model forward and backward once, and takes the statistics of every layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.lab.init import _unit_variance
from optlab.lab.init._layer import Layer
from optlab.lab.init._model import Model
from optlab.lab.init._program import evaluate, read

_SATURATED = 0.025  # of the range, from either end: |tanh| > 0.95, sigmoid outside 0.025..0.975
_LARGEST_JACOBIAN = (64, 4096)  # outputs, inputs
_JACOBIAN_EXAMPLES = 4

STATISTICS = (
    "input_rms",
    "pre_mean",
    "pre_std",
    "signal",
    "post_mean",
    "post_std",
    "variety",
    "dead",
    "saturated",
    "gradient",
)


class Measured(NamedTuple):
    """Attributes: layers: (statistic, layer); then by leaf of the program; loss: a number; scales,
    shifts: what would give unit variance, by layer."""

    layers: Any
    parameter_norm: Any
    parameter_gradient: Any
    update_norm: Any
    loss: Any
    scales: Any
    shifts: Any


class Meter:
    """The statistics of one model, compiled once for all its parameters and candidates."""

    def __init__(self, model: Model, layers: list[Layer], loss: Any, tx: Any):
        self.model, self.layers, self.loss, self.tx = model, layers, loss, tx
        self.fit = _unit_variance.Fit(model, layers)
        self._run = jax.jit(self._measure, compiler_options=quick_compilation())
        self._jacobian = jax.jit(self._rows, compiler_options=quick_compilation())

    def __call__(self, leaves: list[Any], key: jax.Array) -> Measured:
        found = self._run(leaves, self.model.batch, key, np.float32(0))
        return jax.tree.map(lambda x: np.asarray(x, np.float64), found)

    def unit_variance(self, leaves: list[Any]) -> list[Any]:
        """The leaves scaled, and shifted, until every layer's output has unit variance."""
        found = self._run(leaves, self.model.batch, jax.random.key(0), np.float32(1))
        return self.fit.applied(leaves, found.scales, found.shifts)

    def singular_values(self, leaves: list[Any]) -> np.ndarray | None:
        """Of the input-output Jacobian of a few examples, or None where it is large."""
        if not self._has_jacobian():
            return None
        rows = np.asarray(self._jacobian(leaves, self.model.batch), np.float64)
        rows = rows[:, :_JACOBIAN_EXAMPLES].transpose(1, 0, 2)
        if not np.isfinite(rows).all():
            return None
        return np.linalg.svd(rows, compute_uv=False)

    def _forward(
        self, leaves: list[Any], batch: list[Any], zeros: list[Any], fitting: Any
    ) -> tuple[Any, dict[int, Any], list[Any], list[Any]]:
        """Outputs, all values, and what the fit found. The gradient by a zero that is added to a
        layer's output is the gradient by that output."""
        program = self.model.program
        zero_of = {x.pre: zero for x, zero in zip(self.layers, zeros, strict=True)}
        fit, scales, shifts = self.fit.tap(fitting)

        def tap(number: int, value: Any) -> Any:
            value = fit(number, value)
            return value + zero_of[number] if number in zero_of else value

        env = dict(zip(program.inputs, [*leaves, *batch], strict=True))
        evaluate(program.nodes, env, tap)
        return self.model.outputs(read(env, program.outputs)), env, scales, shifts

    def _measure(
        self, leaves: list[Any], batch: list[Any], key: jax.Array, fitting: Any
    ) -> Measured:
        shapes = [self.model.program.shapes[x.pre] for x in self.layers]
        zeros = [jnp.zeros(s.shape, s.dtype) for s in shapes]

        def objective(leaves: list[Any], zeros: list[Any]) -> tuple[jax.Array, Any]:
            outputs, env, scales, shifts = self._forward(leaves, batch, zeros, fitting)
            loss = self._objective(outputs, env, batch, key)
            taken = [(env[x.value], env[x.pre], env[x.post]) for x in self.layers]
            return loss, (taken, jnp.stack(scales), shifts)

        (loss, (taken, scales, shifts)), (gradients, back) = jax.value_and_grad(
            objective, (0, 1), has_aux=True
        )(leaves, zeros)
        updates = gradients if self.tx is None else self._updates(leaves, gradients)
        taken = [(*t, g) for t, g in zip(taken, back, strict=True)]
        return Measured(
            self._rows_of(taken),
            _norms(leaves),
            _norms(gradients),
            _norms(updates),
            loss,
            scales,
            shifts,
        )

    def _objective(self, outputs: Any, env: dict[int, Any], batch: Any, key: jax.Array) -> Any:
        if self.loss is not None:
            return self.loss(outputs, batch).astype(jnp.float32)
        ends = [env[self.layers[-1].pre]] if self.model.captured else jax.tree.leaves(outputs)
        ends = [x for x in ends if jnp.issubdtype(x.dtype, jnp.floating)]
        size = sum(x.size for x in ends)
        keys = jax.random.split(key, len(ends))
        products = [
            jnp.sum(x.astype(jnp.float32) * jax.random.normal(k, x.shape)) / size**0.5
            for x, k in zip(ends, keys, strict=True)
        ]
        return sum(products[1:], products[0])

    def _updates(self, leaves: list[Any], gradients: list[Any]) -> list[Any]:
        params, grads = self.model.tree(leaves), self.model.tree(gradients)
        updates, _ = self.tx.update(grads, self.tx.init(params), params)
        return self.model.leaves(updates)

    def _rows_of(self, taken: list[tuple[Any, ...]]) -> jax.Array:
        """Statistics by layer; layers of one shape are taken together, which compiles faster."""
        groups: dict[Any, list[int]] = {}
        for k, (layer, arrays) in enumerate(zip(self.layers, taken, strict=True)):
            kind = (tuple((x.shape, x.dtype) for x in arrays), layer.units)
            groups.setdefault(kind, []).append(k)
        rows: list[Any] = [None] * len(taken)
        for members in groups.values():
            layer = self.layers[members[0]]
            stacked = [jnp.stack(x) for x in zip(*(taken[k] for k in members), strict=True)]
            ranges = jnp.array([_range(self.layers[k]) for k in members], jnp.float32)
            found = jax.vmap(lambda *x, layer=layer: self._row(layer, *x))(*stacked, ranges)
            for row, k in enumerate(members):
                rows[k] = found[row]
        return jnp.stack(rows, 1)

    def _row(self, layer: Layer, value: Any, pre: Any, post: Any, gradient: Any, ends: Any) -> Any:
        value, pre, post, gradient = (x.astype(jnp.float32) for x in (value, pre, post, gradient))
        others = tuple(i for i in range(pre.ndim) if i not in layer.units)
        # Examples lie along the first axis, unless the model was written for one and mapped.
        examples = 0 if 0 in others and pre.shape[0] == self.model.examples else others
        rms = jnp.sqrt(jnp.mean(post**2))
        low, high = ends
        margin = _SATURATED * (high - low)
        return jnp.stack(
            [
                jnp.sqrt(jnp.mean(value**2)),
                jnp.mean(pre),
                jnp.std(pre),
                jnp.sqrt(jnp.mean(jnp.var(pre, axis=examples))),
                jnp.mean(post),
                jnp.std(post),
                jnp.sqrt(jnp.mean(jnp.var(post, axis=examples))) / jnp.where(rms == 0, 1, rms),
                jnp.mean(jnp.all(post == 0, axis=others)),
                jnp.mean((post < low + margin) | (post > high - margin)),
                jnp.sqrt(jnp.sum(gradient**2)),
            ]
        )

    def _has_jacobian(self) -> bool:
        outputs = [x for x in self.model.program.outputs if isinstance(x, int)]
        if self.model.captured or len(outputs) != 1 or not self._floating_inputs():
            return False
        shapes = self.model.program.shapes
        out, given = shapes[outputs[0]], self._floating_inputs()[0][1]
        examples = self.model.examples
        return (
            jnp.issubdtype(out.dtype, jnp.floating)
            and len(out.shape) > 1
            and out.shape[0] == examples
            and out.size // examples <= _LARGEST_JACOBIAN[0]
            and given.size // examples <= _LARGEST_JACOBIAN[1]
        )

    def _floating_inputs(self) -> list[tuple[int, Any]]:
        floating = [jnp.issubdtype(x.dtype, jnp.floating) for x in self.model.batch]
        return [(i, x) for i, x in enumerate(self.model.batch) if floating[i]][:1]

    def _rows(self, leaves: list[Any], batch: list[Any]) -> jax.Array:
        """Derivatives of each output by the inputs of its example, (output, example, input)."""
        place, _ = self._floating_inputs()[0]

        def forward(x: Any) -> Any:
            given = [*batch[:place], x, *batch[place + 1 :]]
            program = self.model.program
            env = dict(zip(program.inputs, [*leaves, *given], strict=True))
            out = read(evaluate(program.nodes, env), program.outputs)[0]
            return out.reshape(out.shape[0], -1)

        out, pull = jax.vjp(forward, batch[place])
        basis = jnp.broadcast_to(
            jnp.eye(out.shape[1], dtype=out.dtype)[:, None], (out.shape[1], *out.shape)
        )
        rows = jax.lax.map(lambda cotangent: pull(cotangent)[0], basis)
        return rows.reshape(*rows.shape[:2], -1)[:, :_JACOBIAN_EXAMPLES]


def quick_compilation() -> Any:
    """Options for code that runs too rarely to earn back what optimising it would cost."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def _range(layer: Layer) -> tuple[float, float]:
    """The ends of the activation's range; finite ones that nothing reaches where it has none."""
    low, high = layer.activation.low, layer.activation.high
    return (-1e38, 1e38) if low is None or high is None else (low, high)


def _norms(leaves: list[Any]) -> jax.Array:
    return jnp.stack([jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32)))) for x in leaves])
