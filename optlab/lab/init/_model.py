"""A model of any kind as one function of a flat list of parameters and a batch."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import trees
from optlab.lab._mode import mode
from optlab.lab.init import _program

PyTree = Any
Shapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A traced model.

    Attributes:
      program: its operations; inputs are the floating-point leaves, then the arrays of the batch.
      paths: the names of all leaves of `params`, as `initializers.reinitialize` knows them.
      varied: which of them are inputs of the program, by place.
      params: as given.
      batch: the arrays of the batch.
      outputs: rebuilds what the model returns from the program's outputs.
      captured: for a function that returns outputs by path: which output belongs to which leaf.
    """

    program: _program.Program
    paths: tuple[str, ...]
    varied: tuple[int, ...]
    params: PyTree
    batch: list[Any]
    outputs: Callable[[list[Any]], Any]
    captured: dict[str, int]

    def leaves(self, params: PyTree) -> list[Any]:
        """The leaves that the program takes, of other parameters of the same structure."""
        every = jax.tree.leaves(params)
        return [every[i] for i in self.varied]

    def tree(self, leaves: list[Any]) -> PyTree:
        """The parameters with other leaves in the places that the program takes."""
        every = jax.tree.leaves(self.params)
        for i, leaf in zip(self.varied, leaves, strict=True):
            every[i] = leaf
        return jax.tree.unflatten(jax.tree.structure(self.params), every)

    @property
    def examples(self) -> int:
        return np.shape(self.batch[0])[0]


def read_model(owner: str, model: Any, params: PyTree, batch: PyTree) -> Model:
    """Checks what was given, and traces it."""
    _check_batch(owner, batch)
    forward, params = _forward(owner, model, params, batch)
    named = named_leaves(params)
    _check_params(owner, named)
    arrays, structure = jax.tree.flatten(batch)
    arrays = [jnp.asarray(x) for x in arrays]
    varied = tuple(i for i, (_, x) in enumerate(named) if _is_float(x))
    tree_structure = jax.tree.structure(params)
    shapes: list[Any] = []

    def flat(leaves: list[Any], given: list[Any]) -> list[Any]:
        every = [x for _, x in named]
        for i, leaf in zip(varied, leaves, strict=True):
            every[i] = leaf
        out = forward(
            jax.tree.unflatten(tree_structure, every), jax.tree.unflatten(structure, given)
        )
        shapes[:] = [out]
        return jax.tree.leaves(out)

    with running(owner):
        program = _program.trace(flat, [named[i][1] for i in varied], arrays)
    out_structure = jax.tree.structure(shapes[0])
    return Model(
        program,
        tuple(path for path, _ in named),
        varied,
        params,
        arrays,
        lambda outputs: jax.tree.unflatten(out_structure, outputs),
        _captured(shapes[0], [path for path, _ in named]),
    )


def named_leaves(params: PyTree) -> list[tuple[str, Any]]:
    """Leaves by the paths that `reinitialize` gives them: nodes that wrap one array add nothing."""

    def wraps(node: Any) -> bool:
        return trees.is_boxed(node) or (hasattr(node, "unbox") and hasattr(node, "replace_boxed"))

    leaves = []
    for path, node in jax.tree_util.tree_leaves_with_path(params, is_leaf=wraps):
        inner = jax.tree_util.tree_leaves_with_path(node)
        for inner_path, value in inner:
            full = path if len(inner) == 1 else (*path, *inner_path)
            leaves.append((trees.path_text(full), value))
    return leaves


def as_glob(path: str) -> str:
    """A glob that matches this path only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def inputs_of(batch: PyTree) -> Any:
    """What a Flax module is called with: the batch, or the first entry of a tuple."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def _forward(owner: str, model: Any, params: PyTree, batch: PyTree) -> tuple[Any, PyTree]:
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    if linen is not None and isinstance(model, linen.Module):
        return _linen(owner, model, params, batch)
    if nnx is not None and isinstance(model, nnx.Module):
        return _nnx(owner, nnx, model, params)
    if isinstance(model, type) or not callable(model):
        raise TypeError(
            f"{owner}: model must be a Linen or NNX module, or a function (params, batch) -> "
            f"outputs, got {model!r}."
        )
    return model, params


@contextlib.contextmanager
def running(owner: str) -> Iterator[None]:
    """Says in one line what goes wrong in the model's own code."""
    kinds: tuple[type[Exception], ...] = (
        TypeError, ValueError, KeyError, AttributeError, IndexError
    )  # fmt: skip
    flax = sys.modules.get("flax.errors")
    kinds = kinds if flax is None else (*kinds, flax.FlaxError)  # which are no ValueErrors
    try:
        yield
    except kinds as error:
        # The first line alone: what follows is of JAX's and Flax's inside.
        said = str(error).splitlines()[0] if str(error) else "no text"
        raise ValueError(
            f"{owner}: the model cannot be run with these parameters and this batch "
            f"({type(error).__name__}: {said}). "
            "Look whether the parameters belong to this model, and the batch is what it takes: an "
            "array, or a tuple whose first entry is; for anything else pass a function "
            "(params, batch) -> outputs."
        ) from error


def linen_variables(model: Any, key: jax.Array, batch: PyTree) -> PyTree:
    """What a Linen module's own `init` makes."""
    with _no_dropout():
        return model.init(key, inputs_of(batch), **mode(model.__call__, False))


def _no_dropout() -> Any:
    """Linen's dropout layers pass on what they get, however they were told to train."""
    from flax import linen

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, linen.Dropout) and context.method_name == "__call__":
            return args[0] if args else kwargs["inputs"]
        return call(*args, **kwargs)

    return linen.intercept_methods(intercept)


def _linen(owner: str, model: Any, params: PyTree, batch: PyTree) -> tuple[Any, PyTree]:
    whole = isinstance(params, Mapping) and "params" in params
    changing = [name for name in params if name != "params"] if whole else []
    _need_array(owner, batch)
    if not jax.tree.leaves(params):
        raise ValueError(
            f"{owner}: a Linen module holds no parameters, and params are missing, got {params!r}. "
            'Pass those that training would start from: model.init(jax.random.key(0), x)["params"].'
        )
    with running(owner):
        expected = jax.eval_shape(lambda x: linen_variables(model, jax.random.key(0), x), batch)
    _check_same(owner, params["params"] if whole else params, expected.get("params", {}))
    others = sorted(set(expected) - {"params"})
    if "batch_stats" in others and not changing:
        raise ValueError(
            f"{owner}: the model has variables besides its params ({', '.join(others)}). Pass all "
            'of them: what model.init(key, x) returned, not its "params" alone.'
        )
    # Running averages are of no use at step 0: BatchNorm normalises by the batch, as in training.
    told = mode(model.__call__, "batch_stats" in changing)

    def forward(tree: PyTree, given: PyTree) -> Any:
        variables = tree if whole else {"params": tree}
        with _no_dropout():
            if changing:
                rngs = {"dropout": jax.random.key(0)}  # for attention, whose dropout is no layer
                options = {"mutable": changing, "rngs": rngs, **told}
                return model.apply(variables, inputs_of(given), **options)[0]
            return model.apply(variables, inputs_of(given), **told)

    return forward, params


def _nnx(owner: str, nnx: Any, model: Any, params: PyTree) -> tuple[Any, PyTree]:
    graph, own, rest = nnx.split(model, nnx.Param, ...)
    params = own if params is None else params
    _check_same(owner, params, own)
    told = any(isinstance(part, nnx.BatchNorm) for _, part in nnx.iter_modules(model))

    def forward(tree: PyTree, given: PyTree) -> Any:
        module = nnx.merge(graph, tree, rest, copy=True)
        module.set_attributes(nnx.Dropout, deterministic=True, raise_if_not_found=False)
        return module(inputs_of(given), **mode(type(module).__call__, told))

    return forward, params


def _need_array(owner: str, batch: PyTree) -> None:
    if isinstance(inputs_of(batch), Mapping):
        raise TypeError(
            f"{owner}: for a Flax module the batch must be its input, or a tuple that begins with "
            "it, got a dict. Pass a function instead: lambda params, batch: "
            'model.apply({"params": params}, batch["image"]).'
        )


def _check_same(owner: str, given: PyTree, expected: PyTree) -> None:
    ours = {path: tuple(np.shape(x)) for path, x in named_leaves(given)}
    theirs = {path: tuple(np.shape(x)) for path, x in named_leaves(expected)}
    for path in [*theirs, *ours]:
        if ours.get(path) != theirs.get(path):
            has, wants = (
                "no such parameter" if x is None else f"shape {x}"
                for x in (ours.get(path), theirs.get(path))
            )
            raise ValueError(
                f"{owner}: these are parameters of another model: at {path!r} the model has "
                f"{wants}, params have {has}. Pass what this model's own init returned for inputs "
                "of this shape."
            )


def check_loss(owner: str, model: Model, loss: Callable[[Any, list[Any]], Any]) -> None:
    """Refuses a loss `(outputs, arrays of the batch) -> value` whose value is no scalar.

    Before anything is compiled: JAX adds lines of its own to what is raised in there.
    """
    shapes = dict(enumerate(model.program.shapes))
    outputs = model.outputs(_program.read(shapes, model.program.outputs))
    shape = jnp.shape(jax.eval_shape(loss, outputs, model.batch))
    if shape != ():
        raise ValueError(
            f"{owner}: loss(outputs, batch) must return a scalar, got the shape {shape}. Take the "
            "mean over the examples."
        )


def check_examples_differ(owner: str, model: Any, batch: PyTree) -> None:
    """Refuses examples that are copies of one; a function may read all of the batch."""
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    modules = tuple(flax.Module for flax in (linen, nnx) if flax is not None)
    arrays = jax.tree.leaves(inputs_of(batch) if isinstance(model, modules) else batch)
    if all(bool((jnp.asarray(x) == jnp.asarray(x)[:1]).all()) for x in arrays):
        raise ValueError(
            f"{owner}: all {len(arrays[0])} examples of the batch are the same, and what differs "
            "between examples is what is measured. Pass examples of the data, prepared as in "
            "training."
        )


def _check_batch(owner: str, batch: PyTree) -> None:
    arrays = jax.tree.leaves(batch)
    if not arrays or any(np.ndim(x) == 0 for x in arrays):
        raise ValueError(
            f"{owner}: the batch must be arrays, examples along the first axis, got {batch!r}."
        )
    sizes = {np.shape(x)[0] for x in arrays}
    if len(sizes) > 1:
        raise ValueError(
            f"{owner}: the arrays of the batch have {sorted(sizes)} examples; all need the same."
        )
    if min(sizes) < 2:
        raise ValueError(
            f"{owner}: the batch has {min(sizes)} example(s): what differs between examples, and "
            "units dead for all of them, cannot be seen. Pass at least 2; 64 or more are better."
        )
    for path, x in jax.tree_util.tree_leaves_with_path(batch):
        if _is_float(x) and not bool(jnp.isfinite(x).all()):
            place = f" at {trees.path_text(path)!r}" if path else ""
            raise ValueError(f"{owner}: the batch has non-finite numbers{place}.")


def _check_params(owner: str, named: list[tuple[str, Any]]) -> None:
    if not any(_is_float(x) for _, x in named):
        raise ValueError(
            f"{owner}: params hold no floating-point array; there is nothing to look at."
        )
    for path, x in named:
        if _is_float(x) and not bool(jnp.isfinite(x).all()):
            count = int((~jnp.isfinite(x)).sum())
            raise ValueError(
                f"{owner}: {path!r} has {count} non-finite of {x.size} numbers. Find where they "
                "come from (a step that diverged, a damaged checkpoint), or start from new ones."
            )


def _is_float(x: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)


def _captured(out: Any, paths: list[str]) -> dict[str, int]:
    """Places of the outputs, if the model returned them by the paths of its kernels."""
    if not isinstance(out, Mapping) or not out or not all(key in paths for key in out):
        return {}
    order = sorted(out) if isinstance(out, dict) else list(out)
    return {key: i for i, key in enumerate(order)} if _flat(out) else {}


def _flat(out: Mapping[str, Any]) -> bool:
    return all(hasattr(value, "shape") for value in out.values())
