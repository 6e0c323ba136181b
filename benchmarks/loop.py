"""What `fit` costs beside a bare loop around the same jitted step.

Claim: at most 5 % for steps of 5 ms, reports, progress and a metrics file included. Runs of both
take turns in this process; the ratio is the median of pairs, above 1 meaning that `fit` is slower.
Compilation, evaluation and checkpoints are left out of both: steps are timed from the first report
to the last.

    python benchmarks/loop.py                  # a minute or two
    python benchmarks/loop.py --width 128 --pairs 9
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import optlab as ol
from optlab.training import data

EVERY, BATCH = 20, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384, help="of a network of three layers")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    width, steps = arguments.width, arguments.steps
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, width)).astype(np.float32)
    batches = data.Batches(data.Arrays({"x": x}), BATCH, seed=0)
    params = {f"layer_{i}": rng.normal(size=(width, width)) / width**0.5 for i in range(3)}
    params = jax.tree.map(np.float32, params)
    tx = ol.adamw(1e-3)

    def loss_fn(params, batch, key):
        y = batch["x"]
        for layer in params.values():
            y = jnp.tanh(y @ layer)
        return jnp.mean((y - batch["x"]) ** 2)

    step = ol.training.make_train_step(loss_fn, tx, report_every=EVERY)

    def bare() -> float:
        state = step.init(params, jax.random.key(0), batches[0])
        for i in range(EVERY):
            state, loss = step.update(state, batches[i])
        loss.block_until_ready()
        start = time.perf_counter()
        for i in range(EVERY, steps):
            state, loss = step.update(state, batches[i])
        loss.block_until_ready()
        return (time.perf_counter() - start) / (steps - EVERY)

    def fitted() -> float:
        times = {}
        with tempfile.TemporaryDirectory() as folder:
            ol.training.fit(
                loss_fn,
                params,
                tx,
                batches,
                ol.training.RunOptions(
                    steps=steps + 1,
                    batch_size=BATCH,
                    output=Path(folder),
                    log_every=EVERY,
                    save_every=10**9,
                ),
                callbacks=[lambda at, row, state: times.update({at: time.perf_counter()})],
                progress_lines=0,
            )
        return (times[steps] - times[EVERY]) / (steps - EVERY)

    bare()
    ratios, bares = [], []
    for _ in range(arguments.pairs):
        bares.append(bare())
        ratios.append(fitted() / bares[-1])
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    milliseconds = 1e3 * statistics.median(bares)
    print(f"a bare step takes {milliseconds:.2f} ms; fit takes {median:.3f} times that")
    print(f"({low:.3f} to {high:.3f} over {arguments.pairs} pairs)")


if __name__ == "__main__":
    main()
