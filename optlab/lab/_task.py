"""`Task`: what an experiment needs to know of a problem: where it starts, what it minimises, on
what data, and how a result is judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import better, checks
from optlab.lab import _from_flax, _order

PyTree = Any
Metrics = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A problem to train on, as pure functions. Runs of the same seed see the same data.

    Attributes:
      name: how tables and plots call it.
      init: `key -> params`.
      loss: `(params, batch, key) -> loss`, or `(loss, aux)` with an aux that is not looked at; the
        loss is a scalar. The key is the step's own, for dropout and noise.
      batch: `(key, step) -> batch`, with a key of the step's own. Or the training data itself, a
        pytree of arrays over examples: batches of `batch_size` are then taken from it, every
        example once an epoch, in an order that depends on the run's key and the epoch alone.
      batch_size: examples a batch, where `batch` is data.
      evaluate: `params -> {name: scalar}`, or `(params, validation) -> ...` where `validation` is
        given. None judges by the training loss.
      validation: a pytree of arrays for `evaluate`.
      metric: which of these names (or "train_loss") judges a run.
      mode: "min" if less of it is better, "max" if more is; None for what its name says, "max" for
        "accuracy", and "min" if that says nothing. `dataclasses.replace` keeps it: with another
        metric, say it.
      target: a value of the metric that a good run reaches, or None.
      steps: updates a run makes unless another number is asked for.
      baseline: a transformation that is known to reach the target, or None.

    Raises:
      ValueError, TypeError: for what cannot be used, among them a metric that `evaluate` does not
        return, a loss that is no scalar, data of unequal lengths, a batch larger than the data.

    Special cases:
      Arrays given as `batch` and `validation` are arguments of the compiled program; what functions
      close over is compiled into it, which is slow for more than some megabytes.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> valley = ol.lab.Task(
      ...     name="valley",
      ...     init=lambda key: jnp.array([-1.0, 1.0]),
      ...     loss=lambda params, batch, key: (100 * params[1] ** 2 + params[0] ** 2) / 2,
      ...     batch=lambda key, step: (),
      ...     steps=50,
      ... )
      >>> valley.metric, valley.mode
      ('train_loss', 'min')
    """

    name: str
    init: Callable[[jax.Array], PyTree]
    loss: Callable[[PyTree, PyTree, jax.Array], Any]
    batch: Any
    batch_size: int | None = None
    evaluate: Callable[..., Metrics] | None = None
    validation: PyTree = None
    metric: str | None = None
    mode: Literal["min", "max"] = dataclasses.field(default=cast(Any, None))
    target: float | None = None
    steps: int | None = None
    baseline: Any = None

    def __post_init__(self):
        for name in ("init", "loss"):
            if not callable(getattr(self, name)):
                raise TypeError(
                    f"Task: {name} must be a function, got {type(getattr(self, name)).__name__}."
                )
        if self.mode not in ("min", "max", None):
            raise ValueError(f'Task: mode must be "min" or "max", got {self.mode!r}.')
        if self.target is not None:
            finite = checks.Interval(-math.inf, math.inf, "()")
            object.__setattr__(self, "target", float(finite("Task", "target", self.target)))
        if self.steps is not None:
            checks.positive_count("Task", "steps", self.steps)
        self._check_data()
        object.__setattr__(self, "metric", self._metric())
        if self.mode is None:
            object.__setattr__(self, "mode", better(str(self.metric)) or "min")

    @classmethod
    def from_flax(
        cls,
        module: Any,
        loss: Callable[[Any, Any], Any],
        data: Any,
        *,
        batch_size: int | None = None,
        inputs: str | Callable[[Any], Any] | None = None,
        validation: PyTree = None,
        evaluate: Callable[[Any, Any], Mapping[str, Any]] | None = None,
        metric: str | None = None,
        mode: Literal["min", "max"] | None = None,
        target: float | None = None,
        steps: int | None = None,
        baseline: Any = None,
        name: str | None = None,
        streams: Sequence[str] = ("dropout",),
    ) -> Task:
        """A task from a Flax model.

        Args:
          module: a Linen module, or a function `rngs -> NNX module`, called with every run's own
            `nnx.Rngs`. An NNX module is a start that all seeds share.
          loss: `(outputs, batch) -> loss`, a scalar or one number an example, of which the mean is
            taken.
          data: a pytree of arrays over examples, or `(key, step) -> batch`.
          batch_size: examples a batch, where data are arrays.
          inputs: what of a batch the module is called with: a key of a dictionary or a function of
            the batch. None is the first of a tuple, the array itself, or a dictionary's entry of
            an obvious name ("inputs", "x", "image", ...).
          validation: data like a batch; it is judged whole, dropout off.
          evaluate: `(outputs, batch) -> {name: scalar, or one number or boolean an example}`,
            beside "loss", which is always there.
          metric, mode, target, steps, baseline: as in `Task`; metric "loss" if None and there is
            validation data.
          name: for tables; that of the module's class if None.
          streams: names of a Linen module's random streams. NNX modules know theirs.

        Returns:
          A task whose parameters are a dictionary: Linen's "params", or the pure dictionary of
          NNX's `Param` variables.

        Raises:
          ValueError: for a module with variables besides its parameters (batch statistics): a task
            carries parameters alone.
          TypeError: for what is neither a module nor builds one.
          ImportError: where Flax is not installed.

        Special cases:
          A module that takes `train`, `training`, `is_training` or `deterministic` is told;
          NNX modules are also set by `train()` and `eval()`.

        Example:
          >>> import flax.linen as nn, jax, numpy as np, optax, optlab as ol
          >>> x = np.random.default_rng(0).normal(size=(64, 3))
          >>> task = ol.lab.Task.from_flax(
          ...     nn.Dense(1),
          ...     lambda outputs, batch: optax.losses.squared_error(outputs, batch["y"]),
          ...     {"x": x, "y": x.sum(1, keepdims=True)},
          ...     batch_size=8, steps=100,
          ... )
          >>> task.name, task.init(jax.random.key(0))["kernel"].shape
          ('Dense', (3, 1))
        """
        fields = _from_flax.task_fields(
            module,
            loss,
            data,
            batch_size=batch_size,
            inputs=inputs,
            validation=validation,
            evaluate=evaluate,
            streams=streams,
        )
        if name is not None:
            fields["name"] = name
        if metric is None and validation is not None:
            metric = "loss"
        fields |= {"metric": metric, "mode": mode, "target": target}
        return cls(**fields, steps=steps, baseline=baseline)

    def __repr__(self) -> str:
        """Short, without the data."""
        said = {"name": self.name, "steps": self.steps, "metric": self.metric, "mode": self.mode}
        if not callable(self.batch):
            said["examples"] = _examples(self.batch)
        return f"Task({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    @property
    def arrays(self) -> dict[str, PyTree]:
        """The data, for a compiled program to take as an argument."""
        data = None if callable(self.batch) else self.batch
        return {"train": data, "validation": self.validation}

    def batch_at(self, arrays: Mapping[str, PyTree], key: jax.Array, step: jax.Array) -> PyTree:
        """The batch of a step, from `arrays` as above; the key is the run's."""
        if callable(self.batch):
            return self.batch(jax.random.fold_in(key, step), step)
        data, size = arrays["train"], self.batch_size
        assert size is not None
        count = _examples(data)
        order = _order.examples(key, step, count=count, batch_size=size)
        return jax.tree.map(lambda array: array[order], data)

    def scalar_loss(self, params: PyTree, batch: PyTree, key: jax.Array) -> jax.Array:
        """The loss alone, float32 at least."""
        loss = self.loss(params, batch, key)
        loss = loss[0] if isinstance(loss, tuple) else loss
        return loss.astype(jnp.float32) if jnp.finfo(loss.dtype).bits < 32 else loss

    def metrics(self, arrays: Mapping[str, PyTree], params: PyTree) -> dict[str, jax.Array]:
        """What `evaluate` says, by name."""
        if self.evaluate is None:
            return {}
        given = () if self.validation is None else (arrays["validation"],)
        return dict(self.evaluate(params, *given))

    def shapes(self) -> tuple[PyTree, PyTree, PyTree, Any]:
        """Arrays, parameters, a batch and a key as `jax.ShapeDtypeStruct`s; computes nothing."""
        arrays, key = jax.eval_shape(lambda: (self.arrays, jax.random.key(0)))
        step = jax.ShapeDtypeStruct((), jnp.int32)
        batch = jax.eval_shape(self.batch_at, arrays, key, step)
        return arrays, jax.eval_shape(self.init, key), batch, key

    @property
    def worst(self) -> float:
        """What a run that failed is counted as."""
        return float("inf") if self.mode == "min" else float("-inf")

    def _check_data(self) -> None:
        if callable(self.batch):
            if self.batch_size is not None:
                raise ValueError(
                    "Task: batch_size belongs to batches taken from arrays; batch is a function "
                    "here, which sizes its own. Leave it out."
                )
            return
        count = _examples(self.batch)
        if self.batch_size is None:
            raise ValueError(
                f"Task: batch holds {count} examples to take batches from; say how many at a time: "
                "batch_size=..."
            )
        checks.positive_count("Task", "batch_size", self.batch_size)
        if self.batch_size > count:
            raise ValueError(
                f"Task: batch_size {self.batch_size} is larger than the data, {count} examples."
            )

    def _metric_shapes(self, arrays: PyTree, params: PyTree) -> dict[str, Any]:
        """Of what `evaluate` returns; traced apart from the loss, to tell which of them fails."""
        if self.validation is None:
            return jax.eval_shape(self.metrics, arrays, params)
        try:
            return jax.eval_shape(self.metrics, arrays, params)
        except (TypeError, ValueError, LookupError) as error:
            train = "" if callable(self.batch) else f"; the training data are {_shapes(self.batch)}"
            raise ValueError(
                f"Task: evaluate fails on validation, whose arrays are {_shapes(self.validation)}"
                f"{train}. Validation data must be such as evaluate and the model take. The error "
                f"was {type(error).__name__}: {error}"
            ) from error

    def _metric(self) -> str:
        """Traces everything once, so that mistakes come up before anything runs."""
        arrays, params, batch, key = self.shapes()

        def alone(*given):
            loss = self.loss(*given)
            return loss[0] if isinstance(loss, tuple) else loss

        loss = jax.eval_shape(alone, params, batch, key)
        if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
            found = f"{loss.dtype}{list(loss.shape)}" if hasattr(loss, "shape") else repr(loss)
            raise ValueError(
                f"Task: loss must return a real scalar or (scalar, aux), got {found}; take the "
                "mean over examples."
            )
        metrics = self._metric_shapes(arrays, params)
        for name, value in metrics.items():
            if value.shape != ():
                raise ValueError(
                    f"Task: evaluate must return scalars, {name!r} has the shape {value.shape}."
                )
        metric = self.metric
        if metric is None:
            metric = next(iter(metrics), "train_loss")
        names = [*metrics, "train_loss"]
        if metric not in names:
            raise ValueError(f"Task: metric {metric!r} is none of {', '.join(names)}.")
        return metric


def _shapes(tree: PyTree) -> str:
    """Of few arrays, in words."""
    leaves = jax.tree.leaves(tree)
    more = ", ..." if len(leaves) > 6 else ""
    shown = [f"{getattr(x, 'dtype', type(x).__name__)}{list(np.shape(x))}" for x in leaves[:6]]
    return ", ".join(shown) + more


def _examples(data: PyTree) -> int:
    leaves = jax.tree.leaves(data)
    if not leaves:
        raise ValueError("Task: batch is neither a function nor a pytree of arrays with examples.")
    lengths = {len(leaf) if getattr(leaf, "ndim", 0) else None for leaf in leaves}
    if len(lengths) > 1 or None in lengths or 0 in lengths:
        shapes = ", ".join(str(getattr(leaf, "shape", type(leaf).__name__)) for leaf in leaves)
        raise ValueError(
            f"Task: the arrays of batch need one leading axis over examples, of one length; their "
            f"shapes are {shapes}."
        )
    (count,) = lengths
    assert count is not None
    return count
