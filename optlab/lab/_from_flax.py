"""A task from a Flax module: parameters as a plain tree, everything else a function of the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from optlab.lab._mode import mode

PyTree = Any
_INPUTS = ("inputs", "input", "x", "image", "images", "tokens", "features")


class Model(NamedTuple):
    """A module as functions.

    Fields:
      name: of its class.
      init: `key -> params`.
      apply: `(params, inputs, key, training) -> outputs`.
    """

    name: str
    init: Callable[[jax.Array], PyTree]
    apply: Callable[[PyTree, Any, jax.Array, bool], Any]


def task_fields(
    module: Any,
    loss: Callable[[Any, Any], Any],
    data: Any,
    *,
    batch_size: int | None,
    inputs: str | Callable[[Any], Any] | None,
    validation: Any,
    evaluate: Callable[[Any, Any], Mapping[str, Any]] | None,
    streams: Sequence[str],
) -> dict[str, Any]:
    """What `Task` needs to know of a module and its data; see `Task.from_flax`."""
    for name, value in (("loss", loss), ("evaluate", evaluate)):
        if not (callable(value) or (value is None and name == "evaluate")):
            raise TypeError(
                f"Task.from_flax: {name} must be a function, got {type(value).__name__}."
            )
    if evaluate is not None and validation is None:
        raise ValueError(
            "Task.from_flax: evaluate needs data to judge on: pass validation=..., or leave both "
            "out and the training loss judges."
        )
    data = data if callable(data) else _arrays("data", data)
    validation = None if validation is None else _arrays("validation", validation)
    example = _example(data)
    choose = _chooser(inputs, example)
    model = _model(module, jax.eval_shape(choose, example), streams)
    from flax import errors  # `_model` has said so if it is missing

    def mean_loss(params, batch, key):
        outputs = model.apply(params, choose(batch), key, True)
        value = loss(outputs, batch)
        _check_loss(outputs, value)
        return jnp.mean(value)

    def judge(params, batch):
        try:
            outputs = model.apply(params, choose(batch), jax.random.key(0), False)
        except errors.FlaxError as error:  # which are no ValueErrors
            raise ValueError(str(error)) from error
        found = {"loss": loss(outputs, batch)}
        found |= {} if evaluate is None else dict(evaluate(outputs, batch))
        return {name: _mean(value) for name, value in found.items()}

    return {
        "name": model.name,
        "init": model.init,
        "loss": mean_loss,
        "batch": data,
        "batch_size": batch_size,
        "evaluate": None if validation is None else judge,
        "validation": validation,
    }


def _check_loss(outputs: Any, value: Any) -> None:
    """(n, 1) outputs minus (n,) targets are n x n numbers, and their mean teaches nothing."""
    if value is None:
        raise TypeError("Task.from_flax: loss returned None; is there a return in it?")
    shape = jnp.shape(outputs) if hasattr(outputs, "shape") else ()
    spread = shape[:1] * 2 if len(shape) == 1 or shape[1:] == (1,) else None
    if spread and spread[0] > 1 and jnp.shape(value) == spread:
        raise ValueError(
            f"Task.from_flax: outputs of shape {shape} make a loss of shape {spread}. Outputs and "
            "targets of shapes (n, 1) and (n,) do: give both one shape. If all pairs are meant, "
            "take the mean in the loss."
        )


def _arrays(name: str, data: Any) -> Any:
    """On the device; lists are refused, which JAX takes for trees of numbers, and text."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        where = f"{name}{jax.tree_util.keystr(path)}"
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if getattr(dtype, "kind", "") in tuple("OSUMm"):
            raise TypeError(
                f"Task.from_flax: {where} is of dtype {dtype}, which JAX cannot hold; number "
                "labels: numpy.unique(labels, return_inverse=True)[1]."
            )
        if np.ndim(leaf) == 0:
            raise TypeError(
                f"Task.from_flax: {where} is one number, not an array over examples; of lists make "
                "arrays first: numpy.asarray(...)."
            )
    return jax.tree.map(jnp.asarray, data)


def _mean(value: Any) -> jax.Array:
    """Over examples; of booleans too, a share."""
    value = jnp.asarray(value)
    real = jnp.issubdtype(value.dtype, jnp.floating)
    return jnp.mean(value if real else value.astype(jnp.float32))


def _example(data: Any) -> Any:
    """Shapes of a batch, or of data as one."""
    if callable(data):
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(data, key, jax.ShapeDtypeStruct((), jnp.int32))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), data)


def _chooser(inputs: str | Callable[[Any], Any] | None, example: Any) -> Callable[[Any], Any]:
    """The function that takes from a batch what the module is called with."""
    if callable(inputs):
        return inputs
    if isinstance(example, Mapping):
        known = [name for name in _INPUTS if name in example]
        if inputs is None and len(known) == 1:
            inputs = known[0]
        if inputs not in example:
            given = "" if inputs is None else f", got {inputs!r}"
            raise ValueError(
                f"Task.from_flax: inputs must say which part of a batch the module is called with"
                f"{given}; the parts are {', '.join(map(repr, example))}. For several, pass a "
                "function of the batch."
            )
        return lambda batch: batch[inputs]
    if inputs is not None:
        raise ValueError(
            f"Task.from_flax: inputs={inputs!r} names a part of a dictionary, but a batch is a "
            f"{type(example).__name__}. Pass a function of the batch."
        )
    if isinstance(example, tuple | list) and example:
        return lambda batch: batch[0]
    return lambda batch: batch


def _model(module: Any, inputs: Any, streams: Sequence[str]) -> Model:
    try:
        from flax import linen, nnx
    except ImportError as error:
        raise ImportError(
            'Task.from_flax needs Flax, which is not installed. pip install "optlab[flax]" '
            "brings it."
        ) from error
    if isinstance(module, linen.Module):
        return _linen(module, inputs, streams)
    if isinstance(module, type) and issubclass(module, linen.Module):
        raise TypeError(
            f"Task.from_flax: {module.__name__} is a class; pass a module: {module.__name__}(...)."
        )
    if isinstance(module, nnx.Module):
        return _nnx(type(module).__name__, lambda rngs: module)
    if callable(module):
        built = nnx.eval_shape(lambda: module(nnx.Rngs(0)))
        if isinstance(built, nnx.Module):
            return _nnx(type(built).__name__, module)
    raise TypeError(
        "Task.from_flax: module must be a Linen module, an NNX module, or a function rngs -> NNX "
        f"module, got {type(module).__name__}."
    )


def _refuse(name: str, others: Sequence[str]) -> None:
    raise ValueError(
        f"Task.from_flax: {name} has variables that are no parameters: {', '.join(others)}. A task "
        "carries parameters alone, so they would never change. Normalise by LayerNorm, GroupNorm "
        "or RMSNorm in place of BatchNorm, or write the task's functions yourself."
    )


def _linen(module: Any, inputs: Any, streams: Sequence[str]) -> Model:
    from flax import linen

    def variables(key):
        keys = jax.random.split(key, 1 + len(streams))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)
        rngs = dict(zip(("params", *streams), keys, strict=True))
        return module.init(rngs, zeros, **mode(module.__call__, False))

    others = sorted(set(jax.eval_shape(variables, jax.random.key(0))) - {"params"})
    name = type(module).__name__
    if others:
        _refuse(name, others)

    def init(key):
        return linen.meta.unbox(variables(key).get("params", {}))

    def apply(params, inputs, key, training):
        keys = jax.random.split(key, len(streams))
        rngs = dict(zip(streams, keys, strict=True))
        told = mode(module.__call__, training)
        return module.apply({"params": params}, inputs, rngs=rngs, **told)

    return Model(name, init, apply)


def _nnx(name: str, build: Callable[[Any], Any]) -> Model:
    from flax import nnx

    def split(training):
        """Structure, parameters' state, random state, as shapes."""
        model = nnx.eval_shape(lambda: nnx.clone(build(nnx.Rngs(0))))
        model.train() if training else model.eval()
        return cast(Any, nnx.split(model, nnx.Param, nnx.RngState, ...))

    modes = {training: split(training)[:3] for training in (True, False)}
    others = nnx.to_flat_state(split(True)[3])
    if len(others):
        _refuse(name, sorted({type(variable).__name__ for _, variable in others}))

    def init(key):
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))

    def apply(params, inputs, key, training):
        structure, empty, random = modes[training]
        state = jax.tree.map(lambda x: x, empty)
        nnx.replace_by_pure_dict(state, params)
        model = nnx.merge(structure, state, _seeded(random, key))
        return model(inputs, **mode(type(model).__call__, training))

    return Model(name, init, apply)


def _seeded(state: Any, key: jax.Array) -> Any:
    """NNX's random state with every stream at its start, each with a key of its own."""
    leaves, structure = jax.tree.flatten(state)
    filled = [
        jax.random.fold_in(key, i)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, filled)
