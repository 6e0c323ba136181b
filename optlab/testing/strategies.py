"""Hypothesis strategies for property tests of optimizers: trees, gradients, hyperparameters.

from hypothesis import given
from optlab.testing import strategies

@given(strategies.problems())
def test_clipping_never_raises_the_norm(problem): ...
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from optlab.core import checks

__all__ = ["decays", "gradients", "learning_rates", "params", "problems"]


class Pair(NamedTuple):
    """Two subtrees, as a NamedTuple."""

    left: Any
    right: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    """A subtree, as a registered dataclass."""

    content: Any


# Few shapes, so that compiled programs are shared between examples.
SHAPES = ((), (1,), (3,), (2, 3), (0, 2), (2, 1, 2), (1, 2, 1, 2))
MAGNITUDES = {"zero": 0.0, "tiny": 1e-38, "usual": 1.0, "huge": 1e30}


def params(
    *, dtypes: tuple[Any, ...] = (np.float32,), max_leaves: int = 4, shapes: Any = SHAPES
) -> st.SearchStrategy[Any]:
    """Trees of parameters: dicts, tuples, NamedTuples, dataclasses and `None`, 0 to 4 axes.

    Args:
      dtypes: what leaves are made of; several give trees of mixed dtypes.
      max_leaves: of a tree, roughly.
      shapes: of the leaves; scalars and leaves without entries are among the default ones.

    Example:
      >>> from optlab.testing import strategies
      >>> tree = strategies.params().example()  # doctest: +SKIP
    """
    return st.recursive(
        _arrays(dtypes, shapes),
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
            st.tuples(inner, inner),
            st.tuples(inner, st.none()),
            st.builds(Pair, inner, inner),
            st.builds(Box, inner),
        ),
        max_leaves=max_leaves,
    )


@st.composite
def _arrays(draw: Any, dtypes: tuple[Any, ...], shapes: Any) -> jax.Array:
    shape, dtype = draw(st.sampled_from(shapes)), draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return jnp.asarray(rng.normal(size=shape), dtype)


@st.composite
def gradients(draw: Any, like: Any, *, magnitudes: tuple[str, ...] = tuple(MAGNITUDES)) -> Any:
    """Gradients for parameters: each leaf zero, tiny (1e-38), usual or huge (1e30), all finite.

    Args:
      like: the parameters.
      magnitudes: those allowed, of `"zero"`, `"tiny"`, `"usual"`, `"huge"`.
    """

    for name in magnitudes:
        if name not in MAGNITUDES:
            raise ValueError(f"no magnitude {name!r}; {checks.nearest(name, MAGNITUDES)}")

    def leaf(p: Any) -> jax.Array:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        scale = MAGNITUDES[draw(st.sampled_from(magnitudes))]
        top = float(jnp.finfo(p.dtype).max)
        return jnp.asarray(np.clip(scale * rng.normal(size=p.shape), -top, top), p.dtype)

    return jax.tree.map(leaf, like)


@st.composite
def problems(draw: Any, **options: Any) -> tuple[Any, Any]:
    """`(params, gradients)` that belong together; options as of `params`, and `magnitudes`."""
    magnitudes = options.pop("magnitudes", tuple(MAGNITUDES))
    tree = draw(params(**options))
    return tree, draw(gradients(tree, magnitudes=magnitudes))


def learning_rates() -> st.SearchStrategy[float]:
    """From 1e-8 to 10, and 0."""
    return st.one_of(st.just(0.0), st.floats(1e-8, 10.0))


def decays() -> st.SearchStrategy[float]:
    """From 0 to 1, without 1: of averages and momentum."""
    return st.one_of(
        st.sampled_from([0.0, 0.9, 0.99, 0.999]), st.floats(0.0, 1.0, exclude_max=True)
    )
