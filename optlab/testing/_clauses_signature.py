"""Clauses on the signature: pure functions, states and updates of fixed shape, dtype and kind."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Subject, cast, copied

DTYPES = ("float32", "bfloat16", "float16")
SAME = {f"{d},{d}": (d, d) for d in DTYPES}
MIXED = {f"{p},{g}": (p, g) for p in DTYPES for g in DTYPES if p != g}


@catalogue.clause()
def init_is_pure(subject: Subject) -> None:
    """`init` gives the same state twice and leaves the parameters alone."""
    tx, params = subject.tx(), subject.params()
    before = copied(params)
    first = tx.init(params)
    compare.identical("called init", params, before, "untouched parameters")
    compare.identical("called init twice", first, tx.init(before), "bit-identical states")


@catalogue.clause()
def update_is_pure(subject: Subject) -> None:
    """`update` gives the same twice and leaves its arguments alone."""
    tx, run = subject.tx(), subject.plain
    before = (run.gradients[1], run.states[1], run.params[1])
    inputs = copied(before)
    first = subject.update(tx, *inputs)
    compare.identical("called update", inputs, before, "untouched arguments")
    second = subject.update(tx, *copied(before))
    compare.identical("called update twice", first, second, "bit-identical results")


@catalogue.clause("capability", over=MIXED)
@catalogue.clause(over=SAME)
def state_signature(subject: Subject, pair: tuple[str, str]) -> None:
    """State structure, shapes, dtypes and weak types stay as `init` made them."""
    run = subject.run(3, dtype=pair[0], gradient_dtype=pair[1])
    for i, state in enumerate(run.states[1:], start=1):
        compare.same_signature(
            f"took {i} steps with parameters, gradients in {pair}", run.states[0], state
        )


@catalogue.clause("capability", over=MIXED)
@catalogue.clause(over=SAME)
def update_dtype(subject: Subject, pair: tuple[str, str]) -> None:
    """Updates have the structure, shapes and dtypes of the parameters."""
    run = subject.run(2, dtype=pair[0], gradient_dtype=pair[1])
    for updates in run.updates:
        compare.same_signature(
            f"updated with parameters, gradients in {pair}", run.params[0], updates, weak=False
        )


@catalogue.clause()
def state_signature_float64(subject: Subject) -> None:
    """With 64-bit types enabled, float64 parameters keep their state signature and precision."""
    with jax.enable_x64(True):
        run = subject.run(3, dtype=np.float64)
        compare.same_signature("took 3 float64 steps", run.states[0], run.states[-1])
        compare.same_signature("took 3 float64 steps", run.params[0], run.updates[-1], weak=False)


@catalogue.clause()
def state_leaves_are_arrays(subject: Subject) -> None:
    """Every leaf of the state is a JAX or NumPy array."""
    for state in subject.plain.states[:2]:
        odd = [x for x in jax.tree.leaves(state) if not isinstance(x, jax.Array | np.ndarray)]
        if odd:
            raise Broken("looked at the state's leaves", odd, "arrays only")


@catalogue.clause()
def one_trace(subject: Subject) -> None:
    """A jitted step is traced once for many steps."""
    tx, traces = subject.tx(), []

    @jax.jit
    def update(gradient, state, params):
        traces.append(None)
        return subject.update(tx, gradient, state, params)

    subject.run(4, tx=tx, update=update)
    if len(traces) != 1:
        raise Broken("jitted the step and took 4", f"{len(traces)} traces", "1 trace")


@catalogue.clause()
def abstract_init(subject: Subject) -> None:
    """`init` works on shapes alone and under `jit`, giving the same."""
    tx, params = subject.tx(), subject.params()
    state = tx.init(params)
    with doing("called jax.eval_shape(init)"):
        abstract = jax.eval_shape(tx.init, params)
    compare.same_signature("called jax.eval_shape(init)", state, abstract)
    jitted = jax.jit(tx.init)(params)
    compare.identical("called jit(init)", state, jitted, "what init gives")


@catalogue.clause()
def no_effects(subject: Subject) -> None:
    """The traced update has no side effects or host callbacks."""
    tx, run = subject.tx(), subject.plain
    jaxpr = jax.make_jaxpr(lambda *a: subject.update(tx, *a))(
        run.gradients[0], run.states[0], run.params[0]
    )
    if jaxpr.effects:
        raise Broken("traced update", jaxpr.effects, "no effects")


@catalogue.clause()
def strict_promotion(subject: Subject) -> None:
    """Runs under strict dtype promotion and rank_promotion='raise'."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in ("float32", "bfloat16"):
            with doing(f"ran 2 steps under strict promotion with {dtype} parameters"):
                subject.run(2, dtype=dtype)


@catalogue.clause()
def mixed_dtypes(subject: Subject) -> None:
    """A tree of bf16 and float32 leaves keeps each leaf's dtype, and the state's."""
    leaves, structure = jax.tree.flatten(subject.params())
    if len(leaves) < 2:
        raise NotApplicable("the parameters have one leaf")
    mixed = [cast(x, jnp.bfloat16 if i % 2 else np.float32) for i, x in enumerate(leaves)]
    run = subject.run(2, params=jax.tree.unflatten(structure, mixed))
    compare.same_signature("updated mixed leaves", run.params[0], run.updates[-1], weak=False)
    compare.same_signature("updated mixed leaves", run.states[0], run.states[-1])


@catalogue.clause()
def float64_is_not_narrowed(subject: Subject) -> None:
    """With 64-bit types enabled, nothing of a float64 update passes through float32 arrays."""
    with jax.enable_x64(True):
        _no_arrays_of(subject, np.float64, np.dtype(np.float32))


@catalogue.clause()
def float32_is_not_widened(subject: Subject) -> None:
    """With 64-bit types enabled, a float32 update makes no float64 arrays."""
    with jax.enable_x64(True):
        _no_arrays_of(subject, np.float32, np.dtype(np.float64))


def _no_arrays_of(subject: Subject, dtype: Any, forbidden: np.dtype) -> None:
    tx = subject.tx()
    run = subject.run(1, tx=tx, dtype=dtype)
    jaxpr = jax.make_jaxpr(lambda *a: subject.update(tx, *a))(
        run.gradients[0], run.states[0], run.params[0]
    )
    found = sorted(
        {
            str(eqn.primitive)
            for eqn in compare.equations(jaxpr.jaxpr)
            for out in eqn.outvars
            if getattr(out.aval, "dtype", None) == forbidden and getattr(out.aval, "ndim", 0) > 0
        }
    )
    if found:
        raise Broken(
            f"traced an update of {np.dtype(dtype).name} parameters",
            f"{forbidden.name} arrays out of {', '.join(found)}",
            f"no {forbidden.name} arrays (scalars are fine)",
        )
