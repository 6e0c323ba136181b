"""What a probe adds to a training step, side by side with the bare optimizer in one process.

Goals for a step of about 20 ms on CPU: at most 1.02 of the bare one with a sample every 50 updates,
1.05 with one every 100 and with one at every update. Programs are compiled once, then run in turns,
round by round, each for as many updates as hold whole numbers of samples (of `every 100`, every
other round holds one); ratios are medians of rounds with their quartiles, of the wall clock and of
CPU time, which other work on the machine disturbs less. Beside them what does not depend on it at
all: floating-point operations and bytes by XLA's count (which counts every branch, as if each
update took all), temporaries in copies of the parameters, bytes of state, and CPU seconds to
compile.

    python benchmarks/probe.py             # about a minute on 2 cores
    python benchmarks/probe.py --rounds 3 --updates 10  # seconds
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import jax
import optax
from update import filled
from wrappers import loss, shapes

import optlab as ol
from optlab.transforms import probe

GOALS = {"every 100": 1.05, "every 50": 1.02, "every 1": 1.05}


def contenders(tx: Any) -> dict[str, Any]:
    return {
        "bare": tx,
        "every 100": probe(tx, every=100),
        "every 50": probe(tx, every=50),
        "every 50, no noise": probe(tx, every=50, noise=False),
        "every 10": probe(tx, every=10),
        "every 1": probe(tx, every=1),
        "every 1, no noise": probe(tx, every=1, noise=False),
    }


class Contender:
    """A compiled training step, and what it runs on."""

    def __init__(self, tx: Any, options: argparse.Namespace):
        def step(state: Any, params: Any, batch: jax.Array) -> Any:
            value, gradient = jax.value_and_grad(loss)(params, batch)
            updates, state = tx.update(gradient, state, params, value=value)
            return state, optax.apply_updates(params, updates)

        params = filled(shapes(options.layers, options.width), 0.01)
        keys = jax.random.split(jax.random.key(0), len(params))
        for key, layer in zip(keys, params.values(), strict=True):
            scale = options.width**-0.5
            layer["kernel"] = jax.random.normal(key, layer["kernel"].shape) * scale
        self.batch = jax.random.normal(jax.random.key(1), (options.batch, options.width))
        self.carry = (tx.init(params), params)
        self.state_bytes = sum(x.nbytes for x in jax.tree.leaves(self.carry[0]))
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(*self.carry, self.batch)
        start = time.process_time()
        self.compiled = lowered.compile()
        self.compiling = time.process_time() - start
        size = sum(x.nbytes for x in jax.tree.leaves(params))
        self.temporaries = self.compiled.memory_analysis().temp_size_in_bytes / size
        costs = self.compiled.cost_analysis()
        self.flops, self.bytes = costs["flops"], costs["bytes accessed"]

    def run(self, updates: int) -> tuple[float, float]:
        """Wall and CPU seconds of an update."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(updates):
            self.carry = self.compiled(*self.carry, self.batch)
            jax.block_until_ready(self.carry[1])
        return (time.perf_counter() - wall) / updates, (time.process_time() - cpu) / updates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=50, help="a round of one contender")
    options = parser.parse_args()
    made = {name: Contender(tx, options) for name, tx in contenders(ol.adamw(1e-4)).items()}
    for one in made.values():
        one.run(2)
    rounds: list[dict[str, tuple[float, float]]] = []
    names = list(made)
    for number in range(options.rounds):
        order = names if number % 2 else names[::-1]
        rounds.append({name: made[name].run(options.updates) for name in order})
    bare = made["bare"]
    total = options.layers * (options.width + 1) * options.width
    versions = f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}"
    print(f"adamw on {total:,} parameters, batch {options.batch}; {versions}; over bare:")
    print(
        f"{'':20}{'CPU ms':>8}{'wall':>8}{'quartiles':>16}{'CPU':>8}{'quartiles':>16}{'flops':>8}"
        f"{'bytes':>8}{'temporaries':>13}{'state KB':>10}{'compile s':>11}  goal"
    )
    for name, one in made.items():
        cells = [f"{name:20}{1e3 * statistics.median(r[name][1] for r in rounds):8.2f}"]
        for clock in (0, 1):
            ratios = sorted(r[name][clock] / r["bare"][clock] for r in rounds)
            quarter = len(ratios) // 4
            spread = f"{ratios[quarter]:.3f}-{ratios[-1 - quarter]:.3f}"
            cells.append(f"{statistics.median(ratios):8.3f}{spread:>16}")
        cells.append(f"{one.flops / bare.flops:8.3f}{one.bytes / bare.bytes:8.2f}")
        cells.append(f"{one.temporaries:13.2f}{(one.state_bytes - bare.state_bytes) / 1e3:10.0f}")
        cells.append(f"{one.compiling:11.1f}  {GOALS.get(name, '')}")
        print("".join(cells), flush=True)


if __name__ == "__main__":
    main()
