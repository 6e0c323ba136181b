"""bf16 parameters that learn: the bits they lack, kept in the optimizer's state.

Around a whole optimizer, the learning rate included. Plain updates in, steps between 16-bit
parameters out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from optlab.core import (
    Transformation,
    Wrapper,
    as_link,
    checks,
    given_dtype,
    numerics,
    require_arrays,
    require_params,
    static,
)
from optlab.storage import quantum

PyTree = Any


class MasterState(NamedTuple):
    """State of `with_master`.

    Attributes:
      inner: that of the wrapped transformation.
      masters: for each parameter of 16 bits a node that knows the parameter's true value, an
        `optax.EmptyState` for each other one.
    """

    inner: Any
    masters: Any


class OfBFloat16(NamedTuple):
    """rest: what a bfloat16 parameter lacks; see `with_master`."""

    rest: jax.Array


class OfFloat16(NamedTuple):
    """rest: what a float16 parameter lacks."""

    rest: jax.Array


class _Format(NamedTuple):
    """A 16-bit float: the kind of its nodes, bits of mantissa, smallest normal exponent."""

    node: type
    mantissa: int
    least: int


_FORMATS = {"bfloat16": _Format(OfBFloat16, 7, -126), "float16": _Format(OfFloat16, 10, -14)}


def _quantum(x: jax.Array, form: _Format) -> jax.Array:
    return quantum(x, form.mantissa, form.least)


def _rounded(x: jax.Array, form: _Format) -> jax.Array:
    """To nearest in the format, as float32. Compilers drop conversions there and back, not this."""
    if form.node is OfBFloat16:
        return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
    unit = _quantum(x, form)
    rounded = jnp.round(x / unit) * unit
    return jnp.where(jnp.abs(rounded) > 65504, jnp.sign(x) * jnp.inf, rounded)


_SPLITS = {"split": jnp.int16, "split8": jnp.int8}
_DTYPES = checks.one_of("float32", "split", "split8", "kahan")


class WithMaster(Wrapper):
    """Attributes: dtype: how what parameters lack is kept."""

    dtype: str = static(_DTYPES, default="float32")

    def init(self, params: PyTree) -> MasterState:
        def start(p: Any) -> Any:
            form = _FORMATS.get(given_dtype(p).name)
            if form is None:
                return optax.EmptyState()
            if self.dtype in _SPLITS:
                return form.node(numerics.zeros_like(p, _SPLITS[self.dtype]))
            if self.dtype == "kahan":
                return form.node(numerics.zeros_like(p, given_dtype(p)))
            shape_only = isinstance(p, jax.ShapeDtypeStruct)
            return form.node(numerics.zeros_like(p) if shape_only else jnp.array(p))

        return MasterState(self.inner.start(params), jax.tree.map(start, params))

    def update(
        self, updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, MasterState]:
        require_params(self.record_name, params)
        nodes = _nodes(params, state.masters)
        leaves, structure = jax.tree.flatten(params)
        values = [self._value(p, node) for p, node in zip(leaves, nodes, strict=True)]
        updates, inner = self.inner.step(
            updates, state.inner, jax.tree.unflatten(structure, values), **extra
        )
        require_arrays(self.record_name, updates)
        steps, kept = [], []
        for p, value, u, node in zip(leaves, values, jax.tree.leaves(updates), nodes, strict=True):
            form = _format(node)
            if form is None:
                steps.append(u)
                kept.append(node)
                continue
            value = value + u
            # The sum of p and this step is exact unless a step crosses zero; where it is not, what
            # it falls short by is taken up by the next one.
            step = _rounded(_rounded(value, form) - p, form)
            steps.append(step)
            kept.append(form.node(self._rest(value, _rounded(p + step, form), form)))
        masters = jax.tree.unflatten(structure, kept)
        return jax.tree.unflatten(structure, steps), MasterState(inner, masters)

    def _value(self, p: jax.Array, node: Any) -> jax.Array:
        """The true value of a parameter."""
        form = _format(node)
        if form is None:
            return p
        if self.dtype == "float32":
            return node.rest
        rest = node.rest.astype(jnp.float32)
        return p + (rest * self._unit(p, form) if self.dtype in _SPLITS else rest)

    def _rest(self, value: jax.Array, landed: jax.Array, form: _Format) -> jax.Array:
        """What is kept of a true value, beside the parameter that it has become."""
        if self.dtype == "float32":
            return value
        lacking = value - landed
        if self.dtype == "kahan":
            return lacking.astype(jnp.bfloat16 if form.node is OfBFloat16 else jnp.float16)
        bits = _SPLITS[self.dtype]
        top = jnp.iinfo(bits).max
        return jnp.clip(jnp.round(lacking / self._unit(landed, form)), -top, top).astype(bits)

    def _unit(self, p: jax.Array, form: _Format) -> jax.Array:
        return _quantum(p, form) * np.float32(0.5 / jnp.iinfo(_SPLITS[self.dtype]).max)


def _format(node: Any) -> _Format | None:
    return next((form for form in _FORMATS.values() if isinstance(node, form.node)), None)


def _nodes(params: PyTree, masters: PyTree) -> list[Any]:
    """The node of each parameter."""
    nodes = jax.tree.leaves(masters, is_leaf=_is_node)
    leaves = jax.tree.leaves(params)
    known = [leaf.shape for leaf in leaves]
    kept = [node.rest.shape if _format(node) else None for node in nodes]
    if len(nodes) != len(leaves) or any(
        k not in (None, shape) for k, shape in zip(kept, known, strict=True)
    ):
        raise ValueError(
            f"with_master: the state is for parameters of shapes {kept} (None: not of 16 bits), "
            f"got parameters of shapes {known}. Make a new state with init."
        )
    return nodes


def _is_node(node: Any) -> bool:
    return isinstance(node, optax.EmptyState) or _format(node) is not None


def with_master(tx: optax.GradientTransformation, dtype: Any = "float32") -> Transformation:
    """Lets parameters of 16 bits learn as if they had more.

    The inner transformation sees, and moves, each parameter's true value. What `update` returns is
    the step between two 16-bit numbers: after `params + updates`, in 16 bits, each parameter is
    its true value rounded to nearest.

    Args:
      tx: a whole optimizer, optlab's or Optax's.
      dtype: how the true value is kept, for parameters of bfloat16 and float16 only:

        - `"float32"`: as such, 4 bytes a parameter.
        - `"split"`: the 16 bits the parameter lacks, 2 bytes: together as exact as float32.
        - `"split8"`: 8 of them, 1 byte: together 16 bits of mantissa (float16: 19).
        - `"kahan"`: Kahan's compensation in the parameter's own dtype, 2 bytes.

    Returns:
      A `Transformation` with the hyperparameters of `tx` under `"inner/..."`.

    Raises:
      ValueError: for another dtype; from `update` without params.

    Special cases:
      Wider parameters are left to the inner transformation as they are. A float32 master is what
      counts: who changes parameters by other means makes a new state. A step that crosses zero, or
      takes a parameter below 1/256 of its size, may land beside its aim by 1/256 of that size:
      float32 masters make it up with the next step, the others forget what does not fit.

    Place in a chain:
      Around the whole optimizer, its learning rate included. A guard may stand around it.

    Differs from:
      Keeping parameters in float32 and casting them for the forward pass needs 4 bytes for each
      parameter in addition to the cast copy.

    Example:
      >>> import jax.numpy as jnp, optax, optlab as ol
      >>> params = jnp.ones(1, jnp.bfloat16)
      >>> tx = ol.with_master(ol.sgd(1e-3), "split")
      >>> state = tx.init(params)
      >>> for _ in range(500):
      ...     updates, state = tx.update(jnp.ones(1), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params
      Array([0.5], dtype=bfloat16)

    Source:
      Micikevicius et al., "Mixed precision training", 2017, arXiv:1710.03740; "FlashOptim", 2026,
      arXiv:2602.23349 (split); Kahan, "Further remarks on reducing truncation errors", 1965.
    """
    name: Any = dtype
    if not isinstance(dtype, str) and dtype is not None:
        name = jnp.dtype(dtype).name
    return Transformation(WithMaster(inner=as_link(tx), dtype=name))
