"""Clauses on values: zero, tiny, huge, infinite, not a number; low precision; long runs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Run, Subject, cast

FINITE = "finite updates and state"


def _constant(value: float, params: Any, step: int) -> Any:
    return jax.tree.map(lambda p: jnp.full(p.shape, value, p.dtype), params)


def _steady(subject: Subject, value: float, steps: int = 2, **options: Any) -> Run:
    return subject.run(steps, gradient=functools.partial(_constant, value), **options)


def _finite(did: str, run: Run) -> None:
    compare.finite(did, run.updates, "updates")
    compare.finite(did, run.states[-1], "state")


DTYPES = {d: d for d in ("float32", "float16", "bfloat16", "float64")}


@catalogue.clause(over=DTYPES)
def zero_gradient(subject: Subject, dtype: str) -> None:
    """Zero gradients from the first step on give finite updates and state."""
    with jax.enable_x64(dtype == "float64"):
        _finite("updated with zero gradients", _steady(subject, 0.0, dtype=dtype))


@catalogue.clause("property")
def zero_gradient_gives_zero_update(subject: Subject) -> None:
    """Zero gradients move nothing (no decay, no noise)."""
    run = _steady(subject, 0.0, 3)
    for updates in run.updates:
        zeros = jax.tree.map(jnp.zeros_like, updates)
        compare.identical("updated with zero gradients", updates, zeros, "zeros")


SIZES = {"1e-38": 1e-38, "1e-20": 1e-20, "1e15": 1e15}


@catalogue.clause(over=SIZES)
def size(subject: Subject, value: float) -> None:
    """Tiny gradients, and large ones whose squares are representable, give finite results."""
    _finite(f"updated with gradients of {value:g}", _steady(subject, value))


@catalogue.clause("capability", over={"1e25": 1e25, "1e37": 1e37})
def huge(subject: Subject, value: float) -> None:
    """Gradients whose squares overflow float32 give finite updates and state."""
    _finite(f"updated with gradients of {value:g}", _steady(subject, value))


@catalogue.clause(over={"zeros": 0.0, "small": 1e-4, "large": 500.0})
def float16_gradients(subject: Subject, value: float) -> None:
    """float16 gradients whose squares underflow or overflow float16 give finite updates."""
    run = _steady(subject, value, dtype=np.float16)
    _finite(f"updated float16 parameters with gradients of {value:g}", run)


@catalogue.clause("capability")
def float16_gradients_count(subject: Subject) -> None:
    """float16 gradients of 500 (square above 65504) are not silently turned into no update."""
    wide, narrow = _steady(subject, 500.0), _steady(subject, 500.0, dtype=np.float16)
    for a, b in zip(jax.tree.leaves(wide.updates), jax.tree.leaves(narrow.updates), strict=True):
        lost = (np.abs(np.asarray(a)) > 1e-4) & (np.asarray(b) == 0)
        if np.any(lost):
            raise Broken("updated with float16 gradients of 500", "0", f"about {np.max(a):g}")


@catalogue.clause("capability")
def spike_recovery(subject: Subject) -> None:
    """One finite gradient of 1e25 does not stop the parameters for good."""
    tx = subject.tx()
    update = jax.jit(lambda *a: subject.update(tx, *a))

    def gradient(params, step):
        return _constant(1e25 if step == 2 else 1.0 + 0.1 * (step % 3), params, step)

    run = subject.run(53, tx=tx, update=update, gradient=gradient)
    usual = subject.run(
        53, tx=tx, update=update, gradient=lambda p, i: gradient(p, i if i != 2 else 3)
    )
    compare.finite("took 50 steps after a gradient of 1e25", run.updates[-1], "updates")
    for (path, late), without in zip(
        jax.tree_util.tree_leaves_with_path(run.updates[-1]),
        jax.tree.leaves(usual.updates[-1]),
        strict=True,
    ):
        if np.any((np.asarray(late) == 0) & (np.asarray(without) != 0)):
            where = jax.tree_util.keystr(path)
            raise Broken("stepped 50 times after one of 1e25", f"0 at {where}", "movement")


@catalogue.clause("property")
def nan_stays_in_its_leaf(subject: Subject) -> None:
    """A NaN in the gradient of one leaf does not reach the updates of others."""
    gradient, params = subject.plain.gradients[0], subject.plain.params[0]
    leaves, structure = jax.tree.flatten(gradient)
    if len(leaves) < 2:
        raise NotApplicable("the parameters have one leaf")
    poisoned = jax.tree.unflatten(structure, [leaves[0] * jnp.nan, *leaves[1:]])
    tx = subject.tx()
    updates, _ = subject.update(tx, poisoned, tx.init(params), params)
    compare.finite("put NaN into the first leaf", jax.tree.leaves(updates)[1:], "other updates")


@catalogue.clause("capability")
def nan_recovery(subject: Subject) -> None:
    """After one NaN gradient, whose update is dropped, the next clean update is finite."""
    tx, params = subject.tx(), subject.params()
    state = tx.init(params)
    for value in (0.5, float("nan"), 0.5):
        updates, state = subject.update(tx, _constant(value, params, 0), state, params)
    compare.finite("updated cleanly after a NaN gradient", updates, "updates")


@catalogue.clause("capability", over={"nan": float("nan"), "inf": float("inf")})
def nonfinite_documented(subject: Subject, value: float) -> None:
    """A NaN or infinite gradient raises nothing, and its updates keep their signature."""
    did = f"updated with {value} gradients"
    with doing(did):
        run = _steady(subject, value, 1)
    for updates in run.updates:
        compare.same_signature(did, run.params[0], updates, weak=False)


@catalogue.clause()
def counter_saturation(subject: Subject) -> None:
    """Counters at the largest int32 stay there; the update stays finite."""
    tx, run = subject.tx(), subject.plain
    top = np.iinfo(np.int32).max

    def last(x):
        return jnp.full_like(x, top) if x.dtype == jnp.int32 else x

    state = jax.tree.map(lambda x: last(compare.array(x)), run.states[-1])
    if not any(x.dtype == jnp.int32 for x in jax.tree.leaves(state)):
        raise NotApplicable("it counts nothing")
    updates, after = subject.update(tx, run.gradients[-1], state, run.params[-1])
    compare.finite("updated with counters at 2**31 - 1", updates, "updates")
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        if compare.array(leaf).dtype == jnp.int32 and np.any(np.asarray(leaf) < 0):
            raise Broken(
                "counted past 2**31 - 1", f"{leaf} at {jax.tree_util.keystr(path)}", ">= 0"
            )


@catalogue.clause()
def zero_params(subject: Subject) -> None:
    """Zero parameters get finite updates, and move where others do."""
    params = jax.tree.map(jnp.zeros_like, subject.params())
    run = _steady(subject, 0.5, params=params)
    _finite("updated zero parameters", run)
    usual = _steady(subject, 0.5)
    for stuck, free in zip(
        jax.tree.leaves(run.updates[-1]), jax.tree.leaves(usual.updates[-1]), strict=True
    ):
        if not np.any(np.asarray(stuck)) and np.any(np.asarray(free)):
            raise Broken("updated zero parameters with gradients of 0.5", "no movement", "some")


@catalogue.clause("capability")
def bfloat16_accuracy(subject: Subject) -> None:
    """One update of bf16 parameters is within 2% of the float32 update of the same numbers."""
    values = jnp.asarray(np.linspace(-1, 1, 4096), jnp.bfloat16)
    low = _steady(subject, 1e-3, 1, params={"a": values}).updates[0]
    high = _steady(subject, 1e-3, 1, params={"a": values.astype(jnp.float32)}).updates[0]
    high = cast(high, jnp.bfloat16)
    compare.close("updated 4,096 bf16 entries of 1e-3", low, high, "float32's result", rtol=0.02)


@catalogue.clause("capability")
def low_precision_second_moment(subject: Subject) -> None:
    """A bf16 optimizer follows a gradient that falls 100-fold as the float32 one does."""
    tx = subject.tx()
    update = jax.jit(lambda *a: subject.update(tx, *a))

    def gradient(params, step):
        return _constant(1.0 if step < 50 else 0.01, params, step)

    def late(dtype):
        params = {"a": jnp.ones((4, 3), dtype)}
        state = tx.init(params)
        for i in range(400):
            updates, state = update(gradient(params, i), state, params)
        return cast(updates, np.float32)

    compare.close(
        "took 50 steps of gradient 1 and 350 of 0.01 at fixed bf16 parameters",
        late(jnp.bfloat16),
        late(np.float32),
        "the float32 update within 5%",
        rtol=0.05,
    )


@catalogue.clause("capability")
def complex_parameters(subject: Subject) -> None:
    """complex64 parameters run, stay finite and keep their dtype."""
    run = subject.run(2, dtype=np.complex64)
    compare.finite("updated complex64 parameters", run.updates, "updates")
    compare.same_signature("updated complex64", run.params[0], run.updates[-1], weak=False)
