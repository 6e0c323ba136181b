"""Runs of averaging wrappers, and what they must give, in NumPy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optlab as ol


@jax.jit
def _walk(tx, values, path):
    def step(carry, target):
        params, state = carry
        updates, state = tx.update(params - target, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, ol.eval_params(state, params), ol.read(state))

    params, state = values
    return jax.lax.scan(step, (params, state), path)


def along(make, path, first=None):
    """An average's wrapper around an optimizer that jumps from point to point of a path.

    Returns:
      The average after each step, what `read` gives there, and the last state.
    """
    path = jnp.asarray(path)
    first = jnp.zeros_like(path[0]) if first is None else jnp.asarray(first)
    tx = make(ol.sgd(1.0))
    (_, state), (_, averages, told) = _walk(tx, (first, tx.init(first)), path)
    return np.asarray(averages), told, state


def snapshots(n, start, every):
    """The steps, from 1, that are averaged of n."""
    return [t for t in range(1, n + 1) if t >= start and (t - start) % every == 0]


def ema(values, decay):
    """The debiased average of a sequence after all of it."""
    values = np.asarray(values, np.float64)
    weights = decay ** np.arange(len(values))[::-1]
    return np.tensordot(weights / weights.sum(), values, axes=1)


def tail_lengths(n, fraction):
    """How many of the latest snapshots a tail averages after each of n."""
    lengths, older, recent = [], 0, 0
    for seen in range(1, n + 1):
        recent += 1
        if recent >= fraction * seen:
            older, recent = recent, 0
        lengths.append(older + recent)
    return lengths
