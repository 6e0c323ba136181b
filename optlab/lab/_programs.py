"""The compiled parts of an experiment: how a run starts, and how it advances by a segment.

A run is one member of a population: parameters, optimizer state, seed and step. Programs take
`width` of them at once; with a width of 1 there is no mapped axis, so that a run is computed as
one would compute it alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab import transforms
from optlab.lab._task import Task

PyTree = Any

# On a CPU, library calls (LAPACK: qr, eigh, svd ...) block threads of the pool that they wait for;
# two programs with such calls at once may wait for ever.
_LIBRARY_CALLS = threading.Lock()


class Run(NamedTuple):
    """A run in the middle of training: all that its next step depends on.

    Fields:
      params: of the task.
      state: of the optimizer.
      seed: int32[].
      step: int32[], updates done.
    """

    params: PyTree
    state: Any
    seed: jax.Array
    step: jax.Array


class Segment(NamedTuple):
    """What a segment of a run says.

    Fields:
      losses: float[length], of its steps in order; the rest is undefined.
      metrics: of the task, behind its last step.
      finite: bool[], whether all parameters are.
    """

    losses: Any
    metrics: dict[str, jax.Array]
    finite: jax.Array


def start(task: Task, arrays: PyTree, tx: Any, seed: jax.Array) -> Run:
    """A run before its first step."""
    del arrays
    params = task.init(jax.random.fold_in(jax.random.key(seed), 0))
    return Run(params, tx.init(params), seed, jnp.int32(0))


def step(task: Task, arrays: PyTree, tx: Any, run: Run) -> tuple[Run, jax.Array]:
    """One update; the loss is that before it."""
    key = jax.random.key(run.seed)
    batch = task.batch_at(arrays, jax.random.fold_in(key, 1), run.step)
    step_key = jax.random.fold_in(jax.random.fold_in(key, 2), run.step)
    loss, gradient = jax.value_and_grad(task.scalar_loss)(run.params, batch, step_key)
    updates, state = tx.update(gradient, run.state, run.params, value=loss)
    params = optax.apply_updates(run.params, updates)
    return Run(params, state, run.seed, run.step + 1), loss


def judge(task: Task, arrays: PyTree, tx: Any, run: Run) -> tuple[dict[str, jax.Array], jax.Array]:
    """The task's metrics, of averaged parameters where the optimizer keeps them."""
    del tx
    params = transforms.eval_params(run.state, run.params, default=run.params)
    finite = [jnp.isfinite(p).all() for p in jax.tree.leaves(run.params)]
    return task.metrics(arrays, params), jnp.stack(finite).all()


def segment(
    task: Task, length: int, arrays: PyTree, tx: Any, run: Run, count: jax.Array
) -> tuple[Run, Segment]:
    """`count` <= length steps in one program, then the metrics."""

    def advance(i, carry):
        run, losses = carry
        run, loss = step(task, arrays, tx, run)
        return run, losses.at[i].set(loss.astype(losses.dtype))

    losses = jnp.zeros(length, jax.dtypes.canonicalize_dtype(float))
    run, losses = jax.lax.fori_loop(0, count, advance, (run, losses))
    return run, Segment(losses, *judge(task, arrays, tx, run))


class Programs:
    """The programs of one structure of transformations, one width and one device, compiled once.

    Compiled ahead of time, so that worker threads trace nothing and see the settings of the thread
    that made them (`jax.enable_x64` holds for one thread).

    Attributes:
      compile_seconds: tracing and compiling, all programs together.
      bytes: that a chunk of runs takes on the device while it trains.
    """

    def __init__(self, task: Task, tx: Any, *, loop: str, width: int, length: int, device: Any):
        begun = time.perf_counter()
        self.width, self.length, self.device, self._loop = width, length, device, loop
        self._arrays = jax.device_put(task.arrays, device)
        arrays = self._shapes(self._arrays)
        tx, seed = self._shapes(tx), jax.ShapeDtypeStruct((), jnp.int32)
        run, self._key_kinds = _run_like(task, arrays, tx, seed)
        run = self._shapes(run)
        self._structure = jax.tree.structure(run)
        count = self._shape(jax.ShapeDtypeStruct((), jnp.int32))
        many = partial(jax.tree.map, self._wide)

        def compiled(function: Callable, *given: Any, axes: tuple, donate: tuple = ()) -> Any:
            mapped = jax.vmap(function, in_axes=axes) if width > 1 else function
            program = jax.jit(mapped, donate_argnums=donate).lower(*given).compile()
            return _Guarded(program) if _may_block(program, device) else program

        self._start = compiled(
            partial(start, task), arrays, many(tx), many(self._shape(seed)), axes=(None, 0, 0)
        )
        given = arrays, many(tx), many(run)
        if loop == "scan":
            self._segment = compiled(
                partial(segment, task, length), *given, count, axes=(None, 0, 0, None), donate=(2,)
            )
            largest = self._segment
        else:
            self._step = compiled(partial(step, task), *given, axes=(None, 0, 0), donate=(2,))
            self._judge = compiled(partial(judge, task), *given, axes=(None, 0, 0))
            largest = self._step
        runs = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(many(run)))
        memory = largest.memory_analysis()
        self.bytes = runs + (memory.temp_size_in_bytes if memory is not None else 0)
        self.compile_seconds = time.perf_counter() - begun

    def start(self, txs: Any, seeds: jax.Array) -> Run:
        """Runs before their first step."""
        return self._start(self._arrays, txs, seeds)

    def advance(self, txs: Any, run: Run, count: int) -> tuple[Run, Segment]:
        """Runs `count` steps on, and what their metrics are there. Donates the runs."""
        if self._loop == "scan":
            return self._segment(self._arrays, txs, run, self.put(np.int32(count)))
        losses = []
        for _ in range(count):
            run, loss = self._step(self._arrays, txs, run)
            losses.append(loss)
        metrics, finite = self._judge(self._arrays, txs, run)
        return run, Segment(np.stack(jax.device_get(losses), axis=-1), metrics, finite)

    def packed(self, runs: Run) -> list[list[np.ndarray]]:
        """Each run's leaves, on the host, as arrays of numbers."""
        leaves = [jax.random.key_data(x) if _is_key(x) else x for x in jax.tree.leaves(runs)]
        leaves = [np.asarray(leaf) for leaf in jax.device_get(leaves)]
        if self.width == 1:
            return [leaves]
        return [[np.asarray(leaf[i]) for leaf in leaves] for i in range(self.width)]

    def unpacked(self, leaves: list[list[np.ndarray]]) -> Run:
        """As many runs as the width, of the leaves that `packed` gave."""
        one = (
            leaves[0] if self.width == 1 else [np.stack(each) for each in zip(*leaves, strict=True)]
        )
        whole = [
            x if kind is None else jax.random.wrap_key_data(x, impl=kind)
            for x, kind in zip(self.put(one), self._key_kinds, strict=True)
        ]
        return jax.tree.unflatten(self._structure, whole)

    def put(self, tree: Any) -> Any:
        """A tree of arrays, on the programs' device."""
        return jax.device_put(tree, self.device)

    def _shape(self, leaf: Any) -> jax.ShapeDtypeStruct:
        placed = jax.sharding.SingleDeviceSharding(self.device)
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf), sharding=placed)

    def _shapes(self, tree: Any) -> Any:
        return jax.tree.map(self._shape, tree)

    def _wide(self, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        if self.width == 1:
            return leaf
        return jax.ShapeDtypeStruct((self.width, *leaf.shape), leaf.dtype, sharding=leaf.sharding)


class _Guarded:
    """A program that runs when no other of this kind does."""

    def __init__(self, program: Any):
        self._program = program

    def __call__(self, *given: Any) -> Any:
        with _LIBRARY_CALLS:
            return jax.block_until_ready(self._program(*given))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)


def _may_block(program: Any, device: Any) -> bool:
    return device.platform == "cpu" and "custom-call" in (program.as_text() or "")


def _run_like(task: Task, *given: Any) -> tuple[Run, list[Any]]:
    """A run's shapes, and of its leaves that are random keys, the kind."""
    kinds: list[Any] = []

    def started(*given: Any) -> Run:
        run = start(task, *given)
        kinds[:] = [jax.random.key_impl(x) if _is_key(x) else None for x in jax.tree.leaves(run)]
        return run

    return jax.eval_shape(started, *given), kinds


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
