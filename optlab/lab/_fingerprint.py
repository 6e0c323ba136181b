"""What tells one task, and one optimizer, from another, so that no store is filled with both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.lab._task import Task

_ADDRESS = re.compile(r" at 0x[0-9a-f]+|0x[0-9a-f]{6,}")


def fingerprint(task: Task) -> str:
    """A hash, 32 hexadecimal digits, of what a task computes and on what data.

    It covers the programs that `init`, `batch`, `loss` and `evaluate` trace to, the arrays they
    close over, the data, and which metric judges in which direction; not the name, target, budget
    or baseline. The same code gives the same fingerprint in every process.

    Special cases:
      Another version of JAX may trace the same functions to other programs. What Python functions
      do outside of what is traced (a callback, a file read in `batch`) is not seen.
    """
    return _hash(_parts(task))


def optimizer_fingerprint(task: Task, tx: Any) -> str:
    """A hash of what a transformation computes on a task's parameters, its numbers included."""
    _, params, _, _ = task.shapes()
    return _hash(_program(lambda p: tx.update(p, tx.init(p), p, value=jnp.float32(0)), params))


def update_fingerprint(task: Task, tx: Any) -> str:
    """The same of an update alone, whatever the state holds."""
    _, params, _, _ = task.shapes()
    state = jax.eval_shape(tx.init, params)
    program = _program(lambda p, s: tx.update(p, s, p, value=jnp.float32(0)), params, state)
    return _hash(program)


def _hash(parts: Iterator[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(task: Task) -> Iterator[bytes]:
    yield repr((task.metric, task.mode)).encode()
    yield from _data(task.arrays)
    arrays, params, batch, key = task.shapes()
    step = jax.ShapeDtypeStruct((), jnp.int32)
    yield from _program(task.init, key)
    yield from _program(task.batch_at, arrays, key, step)
    yield from _program(task.scalar_loss, params, batch, key)
    yield from _program(task.metrics, arrays, params)


def _data(tree: Any) -> Iterator[bytes]:
    leaves, structure = jax.tree.flatten(tree)
    yield str(structure).encode()
    for leaf in leaves:
        yield from _array(leaf)


def _array(array: Any) -> Iterator[bytes]:
    if jnp.issubdtype(getattr(array, "dtype", np.float64), jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    array = np.asarray(array)
    yield f"{array.dtype} {array.shape}".encode()
    yield array.tobytes()


def _program(function: Any, *given: Any) -> Iterator[bytes]:
    program, outputs = jax.make_jaxpr(function, return_shape=True)(*given)
    yield _ADDRESS.sub("", program.pretty_print(use_color=False)).encode()
    yield str(jax.tree.structure((given, outputs))).encode()  # the names of parameters and metrics
    for constant in _constants(program):
        yield from _array(constant)


def _constants(program: Any) -> Iterator[Any]:
    """The arrays that a program and the programs inside it close over."""
    yield from getattr(program, "consts", ())
    inner = getattr(program, "jaxpr", program)
    for equation in inner.eqns:
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from _constants(value)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")
