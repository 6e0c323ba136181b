"""What a wrapper adds to a training step, side by side with the bare optimizer in one process.

Claims: `guard` costs at most 1.05 of the bare step, `accumulate_gradients` 1.10, `average_params`
1.25. Steps are timed interleaved pair by pair, state and parameters donated; ratios are medians of
pairs, wrapped over bare:

    update     `tx.update` alone, into the memory of the gradients: memory traffic and nothing else,
               where reading the gradients once more is 32 bytes a parameter for 28
    training   with the gradients of an MLP on `--batch` examples: what a run spends

and the temporaries that the compiled step asks for, in copies of the parameters. Optax's own
wrappers stand beside ours.

    python benchmarks/wrappers.py          # about 3 minutes and 2 GB on 2 cores
    python benchmarks/wrappers.py --layers 2 --width 128    # seconds
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from update import filled, paired

import optlab as ol
from optlab import transforms

LEARNING_RATE = 1e-4


def wrappers(every: int) -> dict[str, tuple[Callable[..., Any], Any, Any]]:
    """By name: how to wrap, the bare optimizer of ours, and the goal of the ratio if there is one.

    A new wrapper is one more line.
    """
    adamw, optaxs = ol.adamw(LEARNING_RATE), optax.adamw(LEARNING_RATE)
    return {
        "guard": (transforms.guard, adamw, 1.05),
        "guard, spike rule": (lambda tx: transforms.guard(tx, spike=10.0), adamw, 1.05),
        "guard around optax.adamw": (transforms.guard, optaxs, None),
        "optax.apply_if_finite": (lambda tx: optax.apply_if_finite(tx, 10), optaxs, None),
        "dynamic_loss_scale": (lambda tx: transforms.dynamic_loss_scale(tx, 1.0), adamw, None),
        "accumulate_gradients": (
            lambda tx: transforms.accumulate_gradients(tx, every),
            adamw,
            1.10,
        ),
        "average_params": (ol.average_params, adamw, 1.25),
        "average_params, every 10": (lambda tx: ol.average_params(tx, every=10), adamw, 1.25),
        'average_params, "tail"': (lambda tx: ol.average_params(tx, "tail"), adamw, None),
        "lookahead": (ol.lookahead, adamw, None),
        "schedule_free": (ol.schedule_free, adamw, None),
        "optax.MultiSteps": (
            lambda tx: optax.MultiSteps(tx, every).gradient_transformation(),
            optaxs,
            None,
        ),
    }


def shapes(layers: int, width: int) -> dict[str, Any]:
    return {f"layer_{i}": {"kernel": (width, width), "bias": (width,)} for i in range(layers)}


def loss(params: Any, batch: jax.Array) -> jax.Array:
    x = batch
    for layer in params.values():
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    return jnp.mean(x**2)


class Contender:
    """A step of one kind with one optimizer, compiled, and the trees it runs on."""

    def __init__(self, kind: str, tx: optax.GradientTransformation, options: argparse.Namespace):
        def update(state, params, gradients):
            gradients, state = tx.update(gradients, state, params)
            return state, params, gradients

        def training(state, params, batch):
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            return state, optax.apply_updates(params, updates), batch

        params = filled(shapes(options.layers, options.width), 0.01)
        rest = {
            "update": lambda: filled(shapes(options.layers, options.width), 1e-3),
            "training": lambda: jnp.ones((options.batch, options.width)),
        }[kind]()
        step = {"update": update, "training": training}[kind]
        self.carry = (tx.init(params), params, rest)
        lowered = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*self.carry)
        self.compiled = lowered.compile()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        self.temporaries = self.compiled.memory_analysis().temp_size_in_bytes / size

    def step(self) -> float:
        start = time.perf_counter()
        self.carry = self.compiled(*self.carry)
        jax.block_until_ready(self.carry)
        return time.perf_counter() - start


def compare(name: str, kind: str, wrap: Any, bare: Any, goal: Any, options: Any) -> None:
    # `every` steps at once, so that each timing holds one optimizer step of an accumulation.
    ours, theirs = Contender(kind, wrap(bare), options), Contender(kind, bare, options)

    def several(one: Contender) -> Callable[[], float]:
        return lambda: sum(one.step() for _ in range(options.every))

    paired(several(ours), several(theirs), 2)  # warm up
    times = paired(several(ours), several(theirs), options.pairs)
    target = "" if goal is None else f"  goal {goal:.2f}"
    print(
        f"{name:26}{kind:10}{times['ours'] / options.every:10.4f}"
        f"{times['theirs'] / options.every:10.4f}{times['ratio']:8.3f}"
        f"{ours.temporaries:10.2f}{theirs.temporaries:8.2f}{target}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--every", type=int, default=4, help="micro-batches an optimizer step")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", default="", help="wrappers whose names contain this")
    parser.add_argument("--kinds", nargs="*", default=["update", "training"])
    options = parser.parse_args()

    total = options.layers * (options.width + 1) * options.width
    versions = f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}"
    print(f"adamw on {total:,} parameters, batch {options.batch}; {versions}")
    print(f"{'':36}{'seconds a step':>20}{'':8}{'copies of temporaries':>22}")
    print(f"{'':36}{'wrapped':>10}{'bare':>10}{'ratio':>8}{'wrapped':>10}{'bare':>8}")
    for kind in options.kinds:
        for name, (wrap, bare, goal) in wrappers(options.every).items():
            if options.only in name:
                compare(name, kind, wrap, bare, goal, options)
                gc.collect()


if __name__ == "__main__":
    main()
