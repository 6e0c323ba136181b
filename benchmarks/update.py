"""One optimizer step: optlab's chains beside Optax's, on GPT-2's tree (124M parameters).

Claim: the four-link sentence costs what Optax's fused transformation costs. Both run in this
process, interleaved pair by pair, jitted, with parameters and state donated; ratios are medians of
pairs, optlab over Optax, below 1 meaning optlab is cheaper.

    python benchmarks/update.py            # about 5 minutes and 5 GB on 2 cores
    python benchmarks/update.py --layers 2 --width 256 --vocabulary 2048    # seconds
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optlab as ol


def gpt2_shapes(layers: int, width: int, vocabulary: int, context: int) -> dict[str, Any]:
    """Shapes of a GPT-2 with tied embeddings; 12, 768, 50257, 1024 give 124 million parameters."""
    norm = {"scale": (width,), "bias": (width,)}

    def dense(inputs, outputs):
        return {"kernel": (inputs, outputs), "bias": (outputs,)}

    block = {
        "norm_1": norm,
        "attention": {"qkv": dense(width, 3 * width), "out": dense(width, width)},
        "norm_2": norm,
        "mlp": {"up": dense(width, 4 * width), "down": dense(4 * width, width)},
    }
    return {
        "token_embedding": {"embedding": (vocabulary, width)},
        "position_embedding": {"embedding": (context, width)},
        **{f"block_{i}": block for i in range(layers)},
        "norm": norm,
    }


def filled(shapes: Any, value: float) -> Any:
    return jax.tree.map(
        lambda s: jnp.full(s, value, jnp.float32), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )


class Contender:
    """One optimizer, its compiled step and its running parameters and state."""

    def __init__(self, tx: optax.GradientTransformation):
        self.tx = tx

    def compile(self, params: Any, grads: Any) -> float:
        """Traces, lowers and compiles afresh; returns the seconds it took."""

        def step(params, state, grads):
            updates, state = self.tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        state = jax.eval_shape(self.tx.init, params)
        start = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads)
        self.compiled = lowered.compile()
        elapsed = time.perf_counter() - start
        self.hlo_lines = len(self.compiled.as_text().splitlines())
        self.bytes_accessed = self.compiled.cost_analysis()["bytes accessed"]
        memory = self.compiled.memory_analysis()
        self.temporary_bytes = memory.temp_size_in_bytes
        return elapsed

    def start(self, shapes: Any) -> None:
        self.params = filled(shapes, 0.01)
        self.state = jax.block_until_ready(self.tx.init(self.params))

    def step(self, grads: Any) -> float:
        start = time.perf_counter()
        self.params, self.state = self.compiled(self.params, self.state, grads)
        jax.block_until_ready(self.params)
        return time.perf_counter() - start


def paired(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> dict[str, float]:
    """Median seconds of both and median ratio; each pair runs in the other order than the last."""
    times: list[tuple[float, float]] = []
    for i in range(pairs):
        if i % 2:
            second = theirs()
            first = ours()
        else:
            first = ours()
            second = theirs()
        times.append((first, second))
    return {
        "ours": statistics.median(a for a, _ in times),
        "theirs": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def compare(name: str, ours: Any, theirs: Any, shapes: Any, options: argparse.Namespace) -> None:
    grads = filled(shapes, 1e-3)
    abstract = jax.eval_shape(lambda: filled(shapes, 0.0))
    a, b = Contender(ours), Contender(theirs)
    compiling = paired(
        lambda: a.compile(abstract, grads), lambda: b.compile(abstract, grads), options.compiles
    )
    a.start(shapes)
    b.start(shapes)
    paired(lambda: a.step(grads), lambda: b.step(grads), 2)  # warm up
    stepping = paired(lambda: a.step(grads), lambda: b.step(grads), options.steps)
    print(f"\n{name}")
    print(f"  {'':22}{'optlab':>12}{'Optax':>12}{'ratio':>8}")
    for label, figures in (("step, seconds", stepping), ("compile, seconds", compiling)):
        print(
            f"  {label:22}{figures['ours']:12.3f}{figures['theirs']:12.3f}{figures['ratio']:8.3f}"
        )
    for label, attribute in (
        ("bytes accessed", "bytes_accessed"),
        ("temporary bytes", "temporary_bytes"),
        ("HLO lines", "hlo_lines"),
    ):
        x, y = getattr(a, attribute), getattr(b, attribute)
        print(f"  {label:22}{x:12.4g}{y:12.4g}{x / y if y else float('nan'):8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=21, help="pairs of steps")
    parser.add_argument("--compiles", type=int, default=5, help="pairs of compilations")
    options = parser.parse_args()

    shapes = gpt2_shapes(options.layers, options.width, options.vocabulary, options.context)
    leaves = jax.tree.leaves(jax.eval_shape(lambda: filled(shapes, 0.0)))
    total = sum(leaf.size for leaf in leaves)
    versions = f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}"
    print(f"{total:,} parameters in {len(leaves)} leaves; {versions}")

    ours = ol.adamw(1e-4, weight_decay=0.1)
    theirs = optax.adamw(1e-4, weight_decay=0.1)
    compare("adamw", ours, theirs, shapes, options)
    gc.collect()
    compare(
        "clip_by_global_norm, adamw",
        ol.chain(ol.clip_by_global_norm(1.0), ours),
        optax.chain(optax.clip_by_global_norm(1.0), theirs),
        shapes,
        options,
    )


if __name__ == "__main__":
    main()
