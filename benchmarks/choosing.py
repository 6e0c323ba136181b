"""The experiments of docs/choosing.md: what tutorials say of optimizers, tried on built-in tasks.

    python benchmarks/choosing.py                       # all of them, minutes
    python benchmarks/choosing.py zero_init adagrad     # some
    python benchmarks/choosing.py --figures docs/figures

Each prints what was measured; numbers are medians or means over seeds, as it says.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import optlab as ol
from optlab import lab
from optlab.training import augment

SEEDS = 5
RATES = lab.log_uniform(1e-4, 1.0)


def sweep(task: lab.Task, make_tx: Callable[..., Any], space: Mapping[str, Any], **options):
    given = {"seeds": SEEDS, "progress": sys.stderr.isatty()}
    return lab.sweep(task, make_tx, space, **{**given, **options})


def versus(tasks: Any, optimizers: Mapping[str, Callable[..., Any]], space: Any, **options):
    given = {"progress": sys.stderr.isatty()}
    return lab.compare(tasks, optimizers, space=space, **{**given, **options})


def zero_init(figures: Path | None) -> None:
    """ "Zero initialisation avoids vanishing gradients." """
    task = lab.tasks.digits_mlp()

    def zeros(key):
        return jax.tree.map(jnp.zeros_like, task.init(key))

    for name, init in {"zeros": zeros, "LeCun (Flax's default)": task.init}.items():
        params = init(jax.random.key(0))
        batch = task.batch_at(task.arrays, jax.random.key(1), jnp.int32(0))
        gradient = jax.grad(task.scalar_loss)(params, batch, jax.random.key(2))
        norms = {layer: float(optax.global_norm(leaves)) for layer, leaves in gradient.items()}
        results = sweep(
            dataclasses.replace(task, init=init), ol.adam, {"learning_rate": RATES}, budget=16
        )
        best = results.best()
        told = ", ".join(f"{layer} {norm:.2g}" for layer, norm in norms.items())
        print(f"{name}: gradient norms at the start: {told};")
        print(f"  best of 16 rates: accuracy {best.value:.3f} with {_short(best.hyperparameters)}")


def relu_init(figures: Path | None) -> None:
    """ "Xavier initialisation is the one to take", for ReLU networks that are deep."""
    inits = {
        "LeCun, Flax's default": ol.initializers.lecun_normal(),
        "Xavier": ol.initializers.xavier_normal(),
        "He": ol.initializers.he_normal(),
        "orthogonal, gain sqrt(2)": ol.initializers.orthogonal(2**0.5),
    }
    for depth in (4, 12, 20):
        for name, init in inits.items():
            task = lab.tasks.deep_relu(depth=depth, kernel_init=init)
            best = sweep(
                task, ol.adam, {"learning_rate": lab.log_uniform(1e-4, 3e-2)}, budget=8
            ).best()
            print(
                f"{depth} layers, {name}: accuracy {best.value:.3f} +- {best.std:.3f}, best of 8 "
                f"rates, {_short(best.hyperparameters)}"
            )


def l2_or_decay(figures: Path | None) -> None:
    """ "Adam with L2 is AdamW." """
    task = lab.tasks.digits_mlp(steps=300)

    def with_l2(learning_rate, weight_decay):
        return ol.chain(ol.add_l2(weight_decay, where=ol.kernels), ol.adam(learning_rate))

    def decoupled(learning_rate, weight_decay):
        return ol.adamw(learning_rate, weight_decay=weight_decay, where=ol.kernels)

    space = {
        "learning_rate": lab.grid(np.geomspace(1e-3, 1e-1, 7).tolist()),
        "weight_decay": lab.grid(np.geomspace(1e-5, 1.0, 6).tolist()),
    }
    for name, make_tx in {"adam_l2": with_l2, "adamw": decoupled}.items():
        results = sweep(task, make_tx, space, seeds=2)
        best = results.best()
        print(f"{name}: best {best.value:.4f} with {_short(best.hyperparameters)}")
        _save(results.plot("heat_map"), figures, f"decay_{name}")


def bias_correction(figures: Path | None) -> None:
    """ "AdamW needs no bias correction." """

    def without(learning_rate):
        return ol.chain(
            ol.accumulate_moments(b1=0.9, b2=0.999),
            ol.divide_by_rms(eps=1e-8),
            ol.scale_by_learning_rate(learning_rate),
        )

    for task in (lab.tasks.digits_mlp(), lab.tasks.byte_lm()):
        for name, make_tx in {"with": ol.adam, "without": without}.items():
            results = sweep(
                task, make_tx, {"learning_rate": lab.log_uniform(1e-4, 1e-1)}, budget=16, seeds=3
            )
            best = results.best()
            width = lab.plots.width(results, "learning_rate")
            print(
                f"{task.name}, {name} it: {best.value:.4f}, {_short(best.hyperparameters)}; within "
                f"5 % of that from {width.low:.2g} to {width.high:.2g}"
            )


def second_moment(figures: Path | None) -> None:
    """ "A larger b2 is always safer." """

    def make_tx(b2, learning_rate):
        return ol.adam(learning_rate, b2=b2)

    for task in (lab.tasks.byte_lm(), lab.tasks.sparse_logistic(), lab.tasks.digits_mlp()):
        results = sweep(
            task,
            make_tx,
            {
                "b2": lab.grid([0.9, 0.99, 0.999, 0.9999]),
                "learning_rate": lab.grid(np.geomspace(1e-3, 1e-1, 7).tolist()),
            },
            seeds=3,
        )
        _save(results.plot("heat_map"), figures, f"b2_{task.name}")
        for b2 in (0.9, 0.99, 0.999, 0.9999):
            ranked = [r for r in results.ranking() if r.hyperparameters["b2"] == b2]
            print(f"{task.name}: {ranked[0].value:.4f}, {_short(ranked[0].hyperparameters)}")


def adagrad(figures: Path | None) -> None:
    """ "Adagrad is for sparse data." """
    optimizers = {"adagrad": ol.adagrad, "adam": ol.adam, "sgd": _momentum}
    space = {"learning_rate": lab.log_uniform(1e-3, 10.0)}
    comparison = versus([lab.tasks.sparse_logistic(), lab.tasks.digits_mlp()], optimizers, space)
    print(comparison)
    _save(comparison.plot(), figures, "adagrad")


def sgd_slow(figures: Path | None) -> None:
    """ "SGD is slow." """
    optimizers = {"adam": ol.adam, "momentum": _momentum, "sgd": ol.sgd}
    tasks = [
        lab.tasks.digits_mlp(),
        lab.tasks.quadratic(),
        lab.tasks.noisy_quadratic(),
        lab.tasks.byte_lm(),
    ]
    comparison = versus(tasks, optimizers, {"learning_rate": lab.log_uniform(1e-4, 3.0)})
    print(comparison)
    _save(comparison.plot(), figures, "sgd_slow")


def overfitting(figures: Path | None) -> None:
    """What helps 256 x 256 units that know 100 digits by heart?"""
    tried = {
        "nothing": (_few_digits(), {}),
        "decoupled decay 1": (_few_digits(), {"weight_decay": 1.0}),
        "L1 1e-4": (_few_digits(), {"l1": 1e-4}),
        "dropout 0.5": (_few_digits(dropout=0.5), {}),
        "label smoothing 0.1": (_few_digits(smoothing=0.1), {}),
        "shifts by a pixel": (_few_digits(augmented=augment.random_crop(1, "zeros")), {}),
        "turns up to 15 degrees": (_few_digits(augmented=augment.random_rotation(15)), {}),
        "1,000 examples": (_few_digits(count=1000), {}),
    }

    def make_tx(learning_rate, weight_decay=0.0, l1=0.0):
        decayed = ol.adamw(learning_rate, weight_decay=weight_decay, where=ol.kernels)
        return ol.chain(ol.add_l1(l1, where=ol.kernels), decayed)

    print("test data, mean and deviation over seeds, at the end and where validation was best:")
    for name, (task, penalty) in tried.items():
        runs = sweep(task, make_tx, {"learning_rate": 1e-3, **penalty}, evaluations=50).outcomes
        stops = [int(run.metrics["loss"].argmin()) for run in runs]
        cells = [f"training loss {np.mean([run.metrics['train_loss'][-1] for run in runs]):.2g}"]
        for metric in ("test_loss", "accuracy"):
            pairs = [
                (run.metrics[metric][-1], run.metrics[metric][stop])
                for run, stop in zip(runs, stops, strict=True)
            ]
            for mean, std in zip(np.mean(pairs, 0), np.std(pairs, 0, ddof=1), strict=True):
                cells.append(f"{metric} {mean:.3f} +- {std:.3f}")
        print(f"{name}: {', '.join(cells)}; best at {np.median(stops) + 1:.0f} of 50 evaluations")


def _few_digits(
    count: int = 100,
    dropout: float = 0.0,
    smoothing: float = 0.0,
    augmented: augment.Augmentation | None = None,
) -> lab.Task:
    """Validation data are 300 others; what is measured at the end, 497 more."""
    digits = ol.training.data.digits()
    shuffled = digits.gather(np.random.default_rng(0).permutation(len(digits)))
    train = {name: jnp.asarray(x[:count]) for name, x in shuffled.items()}
    judged = {name: x[1000:] for name, x in shuffled.items()}

    class Network(nn.Module):
        @nn.compact
        def __call__(self, image, train):
            x = image.reshape(len(image), -1)
            for _ in range(2):
                x = nn.relu(nn.Dense(256)(x))
                x = nn.Dropout(dropout, deterministic=not train)(x)
            return nn.Dense(10)(x)

    def batch(key, step):
        chosen = jax.random.randint(key, (32,), 0, count)
        images = jax.tree.map(lambda x: x[chosen], train)
        return images if augmented is None else augmented(jax.random.fold_in(key, 1), images)

    def loss(logits, batch):
        targets = optax.smooth_labels(jax.nn.one_hot(batch["label"], 10), smoothing)
        return optax.softmax_cross_entropy(logits, targets)

    def evaluate(logits, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        right = logits.argmax(1) == batch["label"]
        return {
            "loss": losses[:300].mean(),
            "test_loss": losses[300:].mean(),
            "accuracy": right[300:].mean(),
        }

    return lab.Task.from_flax(
        Network(), loss, batch, validation=judged, evaluate=evaluate, steps=1000
    )


def _momentum(learning_rate):
    return ol.sgd(learning_rate, momentum=0.9)


def _short(hyperparameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in hyperparameters.items())


def _save(axes: Any, figures: Path | None, name: str) -> None:
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        np.ravel(np.asarray(axes, object))[0].figure.savefig(figures / f"{name}.png")


EXPERIMENTS = {
    f.__name__: f
    for f in (
        zero_init,
        relu_init,
        l2_or_decay,
        bias_correction,
        second_moment,
        adagrad,
        sgd_slow,
        overfitting,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--figures", type=Path, help="a folder to draw into")
    arguments = parser.parse_args()
    if unknown := {*arguments.experiments} - {*EXPERIMENTS}:
        parser.error(f"there is no experiment {min(unknown)!r}")
    for name in arguments.experiments or EXPERIMENTS:
        print(f"\n# {name}:{(EXPERIMENTS[name].__doc__ or '').rstrip()}")
        EXPERIMENTS[name](arguments.figures)


if __name__ == "__main__":
    main()
