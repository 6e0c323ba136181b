"""Values that laws are tried on: gradients of all magnitudes in one fixed shape, decays, bounds."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
decays = st.floats(0.0, 0.999)
SHAPES = {"kernel": (3, 2), "bias": (3,), "scale": ()}


@st.composite
def floats_of_all_sizes(draw, low=-30, high=30):
    """Sign, mantissa and a power of ten: as likely tiny as huge; sometimes exactly zero."""
    if draw(st.integers(0, 9)) == 0:
        return 0.0
    return (
        draw(st.sampled_from([-1, 1]))
        * draw(st.floats(1.0, 10.0))
        * 10.0 ** draw(st.integers(low, high))
    )


@st.composite
def trees(draw, low=-30, high=30):
    """A matrix, a vector and a scalar in float32."""
    number = floats_of_all_sizes(low, high)
    return {
        name: jnp.asarray(
            np.float32([draw(number) for _ in range(int(np.prod(shape)))]).reshape(shape)
        )
        for name, shape in SHAPES.items()
    }


def norm(tree):
    """In float64, so that it is no judge of its own cause."""
    leaves = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)]
    return float(np.linalg.norm(np.concatenate(leaves)))


def same_bits(a, b):
    """Equal to the last bit, the sign of zero included."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in leaves)


@jax.jit
def first_update(tx, gradients, params):
    """Compiled once for all hyperparameters, which are arguments."""
    return tx.update(gradients, tx.init(params), params)[0]


@jax.jit
def all_updates(tx, gradients, params):
    """Of a scan over gradients (steps first) at fixed parameters; and the last state."""

    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    state, updates = jax.lax.scan(step, tx.init(params), gradients)
    return updates, state
