"""One AdamW step with its state in every storage, beside float32 `optax.adamw`.

Claim: a quarter of the state's bytes for a bounded price in time. Every storage runs interleaved
with Optax's AdamW in this process, jitted, parameters and state donated; ratios are medians of
pairs, above 1 meaning slower than float32. Bytes are those of the live arrays; temporaries those
of the compiled step.

    python benchmarks/storage.py                       # GPT-2's tree of 124M parameters, minutes
    python benchmarks/storage.py --layers 4 --width 512 --vocabulary 8192     # seconds
"""

from __future__ import annotations

import argparse
import gc
import math

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
    abstract = jax.eval_shape(lambda: filled(shapes, 0.0))
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract))
    versions = f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}"
    print(f"{total:,} parameters in {len(jax.tree.leaves(abstract))} leaves; {versions}")
    columns = ("ms", "of float32", "state bytes", "temporaries", "accessed", "compile, s")
    print(f"{'':20}" + "".join(f"{name:>13}" for name in columns))

    grads = filled(shapes, 1e-3)
    for name, tx in contenders(1e-4).items():
        if options.only not in name:
            continue
        reference, stored = Contender(optax.adamw(1e-4, weight_decay=0.1)), Contender(tx)
        reference.compile(abstract, grads)
        compiling = stored.compile(abstract, grads)
        for contender in (reference, stored):
            contender.start(shapes)
        run = (lambda: stored.step(grads)), (lambda: reference.step(grads))
        paired(*run, 2)  # warm up
        figures = paired(*run, options.steps)
        kept = sum(leaf.nbytes for leaf in jax.tree.leaves(stored.state))
        print(
            f"{name:20}{1e3 * figures['ours']:13.1f}{figures['ratio']:13.2f}{kept / total:13.3f}"
            f"{stored.temporary_bytes / total:13.2f}{stored.bytes_accessed / total:13.1f}"
            f"{compiling:13.1f}",
            flush=True,
        )
        del reference, stored, run
        gc.collect()
    print("state bytes, temporaries and bytes accessed are those for each parameter")


if __name__ == "__main__":
    main()
