"""One AdamW step with its state in every storage, beside float32 `optax.adamw`.

Claim: a quarter of the state's bytes for a bounded price in time. Every storage runs interleaved
with Optax's AdamW in this process, jitted, parameters and state donated; ratios are medians of
pairs, above 1 meaning slower than float32. Bytes are those of the live arrays; temporaries those
of the compiled step.

On CPU, XLA copies the codes before it overwrites them, because another fusion reads them too: hence
the temporaries, whose pages are touched anew in every step. That is what bf16 costs; the variables
below keep the pages where temporaries are below 32 MB and compare the arithmetic alone. Codes cost
five readings of the gradient in place of three: block maxima are reduced before codes are made.

    python benchmarks/storage.py                       # GPT-2's tree of 124M parameters, minutes
    python benchmarks/storage.py --layers 4 --width 512 --vocabulary 8192     # seconds
    MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 \\
        MALLOC_TOP_PAD_=268435456 python benchmarks/storage.py --layers 1 --vocabulary 4096
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import optax
from update import Contender, filled, gpt2_shapes, paired

import optlab as ol


def contenders(learning_rate: float) -> dict[str, optax.GradientTransformation]:
    """AdamW with both moments in each storage, embeddings included."""
    kept = {
        "exact": ol.storage.exact(),
        "bf16": ol.storage.bf16(),
        "bf16, nearest": ol.storage.bf16("nearest"),
        "int8": ol.storage.int8(),
        "int8, nearest": ol.storage.int8(rounding="nearest"),
        "fp8": ol.storage.fp8(),
    }
    adamw = ol.adamw(learning_rate, weight_decay=0.1)
    return {
        name: ol.store(adamw, {"first": storage, "second": storage}, where=ol.everything)
        for name, storage in kept.items()
    } | {
        "optax.adamw in int8": ol.store(
            optax.adamw(learning_rate, weight_decay=0.1),
            {"mu": ol.storage.int8(), "nu": ol.storage.int8()},
            where=ol.everything,
        )
    }


def in_processor_time(step: Callable[[], float]) -> Callable[[], float]:
    """The same step, timed by what its threads use: other processes do not disturb that."""

    def timed() -> float:
        start = time.process_time()
        step()
        return time.process_time() - start

    return timed


def compare(name: str, tx: optax.GradientTransformation, shapes: Any, pairs: int) -> None:
    abstract = jax.eval_shape(lambda: filled(shapes, 0.0))
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract))
    grads = filled(shapes, 1e-3)
    reference, stored = Contender(optax.adamw(1e-4, weight_decay=0.1)), Contender(tx)
    reference.compile(abstract, grads)
    compiling = stored.compile(abstract, grads)
    for contender in (reference, stored):
        contender.start(shapes)
    steps = (lambda: stored.step(grads)), (lambda: reference.step(grads))
    paired(*steps, 2)  # warm up
    wall = paired(*steps, pairs)
    processor = paired(*map(in_processor_time, steps), pairs)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(stored.state))
    print(
        f"{name:20}{1e3 * wall['ours']:13.1f}{wall['ratio']:13.2f}{processor['ratio']:13.2f}"
        f"{kept / total:13.3f}{stored.temporary_bytes / total:13.2f}{compiling:13.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=11, help="pairs of steps")
    parser.add_argument("--only", default="", help="part of a storage's name")
    options = parser.parse_args()

    shapes = gpt2_shapes(options.layers, options.width, options.vocabulary, options.context)
    leaves = jax.tree.leaves(jax.eval_shape(lambda: filled(shapes, 0.0)))
    total = sum(leaf.size for leaf in leaves)
    versions = f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}"
    print(f"{total:,} parameters in {len(leaves)} leaves; {versions}")
    columns = ("ms", "of float32", "by CPU time", "state bytes", "temporaries", "compile, s")
    print(f"{'':20}" + "".join(f"{name:>13}" for name in columns))
    for name, tx in contenders(1e-4).items():
        if options.only in name:
            compare(name, tx, shapes, options.steps)
            gc.collect()
    print("state bytes and temporaries are those for each parameter")


if __name__ == "__main__":
    main()
