"""A small task that uses everything a step may depend on: random keys, order, schedules."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import optlab as ol
from optlab.training import data


@dataclasses.dataclass(frozen=True)
class Options(ol.training.RunOptions):
    steps: int = 12
    batch_size: int = 8
    save_every: int = 4
    log_every: int = 3
    eval_every: int = 4


def source(bad: int | None = None) -> data.Arrays:
    """Forty examples of a linear law, one of which may have no finite answer."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    if bad is not None:
        y[bad] = np.nan
    return data.Arrays({"x": x, "y": y}, name="a line")


def initial(width: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "first": rng.normal(size=(4, width)).astype(np.float32) / 2,
        "last": rng.normal(size=width).astype(np.float32) / 4,
    }


def predicted(params, x):
    return jnp.tanh(x @ params["first"]) @ params["last"]


def loss_fn(params, batch, key):
    kept = jax.random.bernoulli(key, 0.9, batch["x"].shape).astype(jnp.float32)  # dropout
    error = predicted(params, batch["x"] * kept) - batch["y"]
    return jnp.mean(error**2), {"mean_error": jnp.mean(error)}


def evaluate(params):
    arrays = source().gather(np.arange(40))
    return {"loss": float(jnp.mean((predicted(params, arrays["x"]) - arrays["y"]) ** 2))}


def fitted(output, *, tx=None, bad=None, width=16, loss=loss_fn, seed=0, **rest):
    """A run of `Options` with these fields; what is no field goes to `fit`."""
    rest.setdefault("progress_lines", 0)
    names = {field.name for field in dataclasses.fields(Options)}
    fields = {name: rest.pop(name) for name in names & set(rest)}
    options = Options(output=output, seed=seed, **fields)
    batches = options.batches(source(bad))
    tx = ol.average_params(ol.adam(3e-2), ema=0.5) if tx is None else tx
    return ol.training.fit(loss, initial(width), tx, batches, options, **rest)


def comparable(rows):
    """Rows without what a clock says."""
    return [{k: v for k, v in row.items() if k != "examples_per_second"} for row in rows]
