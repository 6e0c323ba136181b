"""`lsuv`: scale each kernel until its layer's output has unit variance on a batch of real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.initializers import _paths
from optlab.initializers._base import Initializer
from optlab.initializers._layer_outputs import Measure, find_kernels
from optlab.initializers._orthogonal import orthogonal
from optlab.initializers._reinitialize import new_value, stack_counts

PyTree = Any
_ORTHONORMAL = orthogonal()


def lsuv(
    key: jax.Array,
    apply: Callable[[PyTree, PyTree], Mapping[str, jax.Array]],
    params: PyTree,
    batch: PyTree,
    *,
    initializer: Initializer | None = _ORTHONORMAL,
    tolerance: float = 0.01,
    max_iterations: int = 10,
    stacked: Mapping[Hashable, int] | None = None,
) -> PyTree:
    """Layer-sequential unit variance: orthonormal kernels scaled to `Var(layer's output) = 1`.

    From the first layer to the last: run the batch through the network, divide the kernel by the
    standard deviation of its layer's output, until that variance is 1 within the tolerance.

    Args:
      key: a `jax.random.key`; leaves draw from it as in `reinitialize`.
      apply: `(params, batch) -> {path of a kernel: output of its layer}`, the output before the
        activation; it is traced. The kernels it names are scaled, all else is left as it is. For a
        Linen model, `capture_intermediates` has the outputs:

            def apply(params, batch):
                _, state = model.apply({"params": params}, batch, capture_intermediates=True,
                                       mutable=["intermediates"])
                outputs = flax.traverse_util.flatten_dict(state["intermediates"], sep="/")
                return {f"{k[:-9]}/kernel": y[0] for k, y in outputs.items() if "Dense" in k}

        (k[:-9] takes "/__call__" off.) For other models, return the dict from the forward function.
      params: the model's parameters, a tree as `reinitialize` takes it.
      batch: a pytree of arrays; a few hundred examples, prepared as in training.
      initializer: where kernels start; None scales those in `params`.
      tolerance: > 0, how far from 1 a variance may stay.
      max_iterations: >= 1, tries a layer.
      stacked: as in `reinitialize`; the output then needs the same leading axes, and each layer of
        the stack is scaled alone.

    Returns:
      The parameters, of the same structure, dtypes and shardings.

    Raises:
      ValueError: naming the path: if `apply` names no kernel of `params`, an output has zero or
        non-finite variance (a dead layer, a batch of one example repeated), its variance does not
        reach 1 (large biases, one kernel used twice).

    Special cases:
      The order of the layers is found out, not asked for: layer a comes before b if scaling a
      changes b's output. A layer without bias takes one iteration.

    Cost:
      About two runs of the batch a layer, and one more for its place in the order.

    Differs from:
      The paper's tolerance is 0.1, and it stops silently after 10 iterations.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> def apply(params, x):
      ...     h = x @ params["a"]
      ...     return {"a": h, "b": jax.nn.relu(h) @ params["b"]}
      >>> params = {"a": jnp.ones((8, 16)), "b": jnp.ones((16, 4))}
      >>> x = jax.random.normal(jax.random.key(1), (64, 8))
      >>> new = ol.initializers.lsuv(jax.random.key(0), apply, params, x)
      >>> {name: round(float(y.var()), 2) for name, y in apply(new, x).items()}
      {'a': 1.0, 'b': 1.0}

    Source: D. Mishkin, J. Matas, All you need is a good init, 2015, arXiv:1511.06422, algorithm 1.
    """
    tolerance = checks.positive("lsuv", "tolerance", tolerance)
    max_iterations = checks.positive_count("lsuv", "max_iterations", max_iterations)
    leaves = _paths.named_leaves(params)
    stacks = stack_counts(stacked, params, leaves)
    values = [leaf.value for leaf in leaves]
    structure = jax.tree.structure(params)
    outputs = jax.eval_shape(lambda: apply(params, batch))
    kernels = find_kernels(outputs, leaves, stacks)
    if initializer is not None:
        for kernel in kernels:
            stack = stacks.get(kernel.index)
            values[kernel.index] = new_value(key, leaves, kernel.index, initializer, stack)
    measure = Measure(apply, structure, kernels, values, batch)
    scales = _fit(measure, tolerance, max_iterations)
    for kernel, value in zip(kernels, measure.scaled(scales), strict=True):
        values[kernel.index] = value
    return jax.tree.unflatten(structure, values)


def _fit(measure: Measure, tolerance: float, max_iterations: int) -> jax.Array:
    scales = jnp.ones(len(measure.names), jnp.float32)
    order = measure.forward_order(scales)
    for layer in order:
        for _ in range(max_iterations + 1):
            variance = float(measure.variances(scales)[layer])
            _check(measure.names[layer], variance)
            if abs(variance - 1) <= tolerance:
                break
            scales = scales.at[layer].divide(math.sqrt(variance))
        else:
            raise ValueError(
                f"lsuv: the output variance of {measure.names[layer]!r} is {variance:.4g} after "
                f"{max_iterations} iterations. Large biases (start them at zero), or a kernel used "
                "more than once, keep it from 1; leave it out, or raise the tolerance."
            )
    reached = measure.variances(scales)
    worst = int(np.argmax(np.abs(reached - 1)))
    if abs(reached[worst] - 1) > tolerance:
        raise ValueError(
            f"lsuv: the output variance of {measure.names[worst]!r} was 1 and became "
            f"{reached[worst]:.4g} when other layers were scaled: they feed one another, so none "
            "comes first. Leave one of them out of what apply returns."
        )
    return scales


def _check(name: str, variance: float) -> None:
    if not math.isfinite(variance) or variance == 0:
        raise ValueError(
            f"lsuv: the output of {name!r} has variance {variance}. A variance of 0 means a dead "
            "layer or a batch without variety, a non-finite one an overflow: look at the batch, "
            "the layer before it and its initializer."
        )
