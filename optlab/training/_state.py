"""The pure pieces of training: a state that is all a resume needs, and the step that changes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab.core import as_link, checks, numerics, read, trees
from optlab.transforms import apply_updates, eval_params

PyTree = Any
LossFn = Callable[..., Any]
RECORDED = ("learning_rate", "skipped", "loss_scale")  # by links, if they are there


class TrainState(NamedTuple):
    """All that changes from step to step.

    Attributes:
      step: int32 scalar, updates done; it is the position in the data too.
      params: the parameters.
      opt_state: the optimizer's state.
      variables: what the model keeps beside its parameters, such as the statistics of batch norms;
        `None` for nothing.
      key: the run's `jax.random` key; a step uses `fold_in(key, step)`.
      sums: float32 scalars by name, sums of the metrics of the good steps since the last report;
        of what the optimizer records, the latest value.
      best: float32 scalar, the best evaluation so far; NaN before the first.
      since_best: int32 scalar, evaluations since.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> init, update = ol.training.make_train_step(lambda p, batch, key: p * batch, ol.sgd(0.1))
      >>> init(jnp.ones(()), jax.random.key(0), jnp.ones(())).evaluation_params()
      Array(1., dtype=float32)
    """

    step: jax.Array
    params: PyTree
    opt_state: PyTree
    variables: PyTree
    key: jax.Array
    sums: dict[str, jax.Array]
    best: jax.Array
    since_best: jax.Array

    def evaluation_params(self) -> PyTree:
        """The average that the optimizer keeps of the parameters, else the parameters."""
        return eval_params(self.opt_state, self.params, default=self.params)


class TrainStep(NamedTuple):
    """A training step, and the state it starts from.

    Attributes:
      init: `(params, key, batch, variables=None) -> TrainState`; of the batch only shapes matter.
      update: `(state, batch) -> (state, loss)`, jitted; the old state is donated.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> step = ol.training.make_train_step(lambda p, batch, key: p * batch, ol.sgd(0.1))
      >>> state = step.init(jnp.ones(()), jax.random.key(0), jnp.ones(()))
      >>> step.update(state, jnp.ones(()))[0].params
      Array(0.9, dtype=float32)
    """

    init: Callable[..., TrainState]
    update: Callable[[TrainState, Any], tuple[TrainState, jax.Array]]


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    *,
    report_every: int = 1,
    accumulate: int = 1,
    compute_dtype: Any = None,
) -> TrainStep:
    """A jitted, donated training step of a loss function and an optimizer.

    Args:
      loss_fn: `(params, batch, key) -> loss`, or `-> (loss, metrics)` with a dict of scalars. With
        variables beside the parameters, `(params, batch, key, variables) -> (loss, metrics, new
        variables)`.
      tx: optlab's or Optax's transformation; it is given the loss as `value=`.
      report_every: steps whose metrics are summed up together; the sums start anew behind each
        multiple of it.
      accumulate: in how many parts a batch is run, one after the other, to need less memory.
        Losses, metrics and gradients are means over the parts, hence those of the whole batch if
        the loss is a mean over its examples.
      compute_dtype: to cast floating parameters and batches to before the loss, such as
        `"bfloat16"`; gradients and parameters keep the parameters' dtype.

    Returns:
      A `TrainStep`. `state.sums` has `loss`, `gradient_norm`, `learning_rate`, `bad_steps` (steps
      whose loss or gradient was no finite number), `steps`, and what `loss_fn` gives.

    Raises:
      ValueError: if a batch cannot be divided by `accumulate`. TypeError: if the loss is no scalar,
        `tx` no transformation, `compute_dtype` no floating type; if the parameters hold variables
        of NNX that are none.

    Special cases:
      A step whose loss or gradient is not finite leaves the variables as they were. Whether it
      leaves parameters and optimizer as they were is up to the optimizer: put a `guard` around.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> def loss_fn(params, batch, key):
      ...     return jnp.mean((batch["x"] * params - batch["y"]) ** 2)
      >>> batch = {"x": jnp.arange(4.0), "y": 2 * jnp.arange(4.0)}
      >>> init, update = ol.training.make_train_step(loss_fn, ol.sgd(0.1))
      >>> state = init(jnp.zeros(()), jax.random.key(0), batch)
      >>> for _ in range(20):
      ...     state, loss = update(state, batch)
      >>> state.params.round(3), state.step
      (Array(2., dtype=float32), Array(20, dtype=int32))
    """
    as_link(tx)  # says what it is, if it is no transformation
    tx = optax.with_extra_args_support(tx)
    checks.positive_count("make_train_step", "accumulate", accumulate)
    if compute_dtype is not None:
        _require_floating(compute_dtype)

    def evaluate(params, batch, key, variables):
        if compute_dtype is not None:
            params, batch = (_cast(tree, compute_dtype) for tree in (params, batch))
        arguments = (params, batch, key) if variables is None else (params, batch, key, variables)
        return _unpacked(loss_fn(*arguments), variables)

    def gradient(params, batch, key, variables):
        whole = jax.value_and_grad(evaluate, has_aux=True)
        if accumulate == 1:
            (loss, (metrics, variables)), grads = whole(params, batch, key, variables)
            return loss, metrics, grads, variables

        def add(carry, part):
            totals, variables = carry
            batch, index = part
            key_of_part = jax.random.fold_in(key, index)
            (loss, (metrics, variables)), grads = whole(params, batch, key_of_part, variables)
            return (jax.tree.map(jnp.add, totals, (loss, metrics, grads)), variables), None

        parts = jax.tree.map(partial(_in_parts, accumulate), batch)
        first = jax.tree.map(lambda x: x[0], parts)
        (loss, (metrics, _)), grads = jax.eval_shape(whole, params, first, key, variables)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads))
        (totals, variables), _ = jax.lax.scan(
            add, (zeros, variables), (parts, jnp.arange(accumulate))
        )
        loss, metrics, grads = jax.tree.map(lambda x: (x / accumulate).astype(x.dtype), totals)
        return loss, metrics, grads, variables

    def update(state: TrainState, batch: Any) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(state.key, state.step)
        loss, metrics, grads, variables = gradient(state.params, batch, key, state.variables)
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=loss)
        norm = numerics.global_norm(numerics.promote(grads))
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        if variables is not None:  # as behind a guard, a bad step leaves no trace
            variables = jax.tree.map(partial(jnp.where, good), variables, state.variables)
        means = {"loss": loss, "gradient_norm": norm, **metrics}
        row = {name: jnp.where(good, value, 0) for name, value in means.items()}
        row |= {"bad_steps": ~good, "steps": 1, **_recorded(opt_state)}
        starts = state.step % report_every == 0
        sums = {name: jnp.asarray(row[name], jnp.float32) for name in state.sums}
        for name in sums.keys() - set(RECORDED):
            sums[name] += jnp.where(starts, 0, state.sums[name])
        new = state._replace(
            step=numerics.increment(state.step),
            params=apply_updates(state.params, updates),
            opt_state=opt_state,
            variables=variables,
            sums=sums,
        )
        return new, loss

    def init(params, key, batch, variables=None) -> TrainState:
        _require_parameters(params)
        opt_state = tx.init(params)
        _, metrics, _, _ = jax.eval_shape(gradient, params, batch, key, variables)
        own = ("loss", "gradient_norm", "bad_steps", "steps", *_recorded(opt_state))
        taken = sorted(set(own) & set(metrics))
        if taken:
            raise ValueError(
                f"make_train_step: loss_fn gives a metric called {taken[0]!r}, which the step "
                "itself reports. Call it otherwise."
            )
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=jax.tree.map(jnp.array, params),
            opt_state=opt_state,
            variables=jax.tree.map(jnp.array, variables),
            key=jnp.array(key),
            sums={name: jnp.zeros((), jnp.float32) for name in (*own, *metrics)},
            best=jnp.full((), jnp.nan, jnp.float32),
            since_best=jnp.zeros((), jnp.int32),
        )

    return TrainStep(init, jax.jit(update, donate_argnums=0))


def _require_floating(dtype: Any) -> None:
    try:
        known = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise TypeError(
            "make_train_step: compute_dtype must be a floating type such as 'bfloat16', got "
            f"{dtype!r}."
        )


def _require_parameters(params: PyTree) -> None:
    """NNX keeps statistics of batch norms and random keys in variables beside parameters."""

    def is_variable(node):
        return hasattr(node, "get_value") and hasattr(node, "get_metadata")

    for path, node in jax.tree_util.tree_leaves_with_path(params, is_leaf=is_variable):
        kinds = [kind.__name__ for kind in type(node).__mro__]
        if is_variable(node) and "Param" not in kinds:
            raise TypeError(
                f"make_train_step: {trees.path_text(path)!r} is a {kinds[0]}, no parameter, and "
                "would be trained. Split the model: graph, params, rest = nnx.split(model, "
                "nnx.Param, ...), pass variables=rest, and merge with copy=True in the loss."
            )


def _recorded(opt_state: PyTree) -> dict[str, jax.Array]:
    """Scalars that the optimizer's links record, by their plain names."""
    values = read(opt_state)
    return {name: values[name] for name in RECORDED if np.shape(values.get(name, [0])) == ()}


def _unpacked(result: Any, variables: PyTree) -> tuple[jax.Array, tuple[Mapping, PyTree]]:
    """Loss, metrics and variables of whatever a loss function gave."""
    loss, metrics = result, {}
    if variables is not None:
        if not (isinstance(result, tuple) and len(result) == 3):
            raise TypeError(
                "make_train_step: with variables, loss_fn must return (loss, metrics, variables), "
                f"got {type(result).__name__}."
            )
        loss, metrics, variables = result
    elif isinstance(result, tuple):
        if len(result) != 2:
            raise TypeError(
                "make_train_step: loss_fn must return a loss or (loss, metrics), got a tuple of "
                f"{len(result)}."
            )
        loss, metrics = result
    if loss is None:
        raise TypeError("make_train_step: loss_fn returned None; it must return the loss.")
    scalars = {"the loss": loss, **metrics}
    for name, value in scalars.items():
        if jnp.shape(value) != ():
            raise TypeError(
                f"make_train_step: {name} must be one number, got shape {jnp.shape(value)}. Take "
                "the mean."
            )
    return jnp.asarray(loss).astype(jnp.float32), (dict(metrics), variables)


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    def cast(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)


def _in_parts(count: int, x: jax.Array) -> jax.Array:
    if x.shape[0] % count:
        raise ValueError(
            f"make_train_step: a batch of {x.shape[0]} examples cannot be run in {count} equal "
            "parts. Choose another accumulate or batch size."
        )
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])


def reported(sums: Mapping[str, jax.Array]) -> dict[str, float]:
    """The means over good steps that sums stand for; waits for the step they come from."""
    values = {name: float(value) for name, value in jax.device_get(dict(sums)).items()}
    good = values["steps"] - values["bad_steps"]
    counts = ("steps", "bad_steps", *RECORDED)
    return {
        name: v if name in counts else v / good if good else math.nan for name, v in values.items()
    }


def first_nonfinite(tree: PyTree) -> str | None:
    """The path of the first leaf with an entry that is NaN or infinite."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flags = jax.device_get(_flags([leaf for _, leaf in leaves]))
    return next(
        (trees.path_text(path) for (path, _), bad in zip(leaves, flags, strict=True) if bad), None
    )


@jax.jit
def _flags(leaves: list[jax.Array]) -> list[jax.Array]:
    return [
        ~jnp.all(jnp.isfinite(x)) if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.asarray(False)
        for x in leaves
    ]
