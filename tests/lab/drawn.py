"""Results to draw: a bowl in log learning rate and momentum, with noise and divergence."""

import math

import numpy as np

from optlab import lab
from optlab.lab._samplers import make_sampler

RATE = {"learning_rate": lab.log_uniform(1e-4, 3.0)}
TWO = {**RATE, "weight_decay": lab.log_uniform(1e-6, 1e-1)}
FOUR = {**TWO, "momentum": lab.uniform(0.5, 0.99), "nesterov": lab.choice([True, False])}
GRID = {
    "learning_rate": lab.grid([1e-3, 1e-2, 1e-1, 1.0]),
    "weight_decay": lab.grid([0.0, 1e-4, 1e-2]),
}


def outcome(trial, seed, given, mode, stop):
    """An accuracy or error that falls off around a rate of 0.05, and diverges from 1 on; with
    `stop`, as if what is far off had been stopped after 75 updates."""
    rng = np.random.default_rng([trial, seed])
    off = abs(math.log10(given["learning_rate"] / 0.05)) + 3 * given.get("weight_decay", 0)
    off += (given.get("momentum", 0.9) - 0.9) ** 2
    diverged = given["learning_rate"] >= 1
    stopped = stop and off > 1 and not diverged
    evaluated = np.arange(15, 301, 15)[: 4 if diverged else 5 if stopped else None]
    end = 0.03 + 0.12 * off + 0.005 * rng.standard_normal()
    error = end + np.exp(-evaluated / 40) * 0.8 + 0.01 * rng.standard_normal(len(evaluated))
    error = np.maximum(error, 0.001)
    return lab.Outcome(
        trial=trial,
        seed=seed,
        status="diverged" if diverged else "stopped" if stopped else "done",
        steps=int(evaluated[-1]),
        diverged_at=55 if diverged else None,
        losses=np.float32(3 * np.exp(-np.arange(evaluated[-1]) / 50)),
        evaluated=evaluated,
        metrics={
            "accuracy" if mode == "max" else "error": 1 - error if mode == "max" else error,
            "train_loss": np.float32(3 * np.exp(-evaluated / 40) + 0.1 * error),
        },
        seconds=0.1,
    )


def results(space, budget=None, seeds=3, mode="max", target=0.95, stop=False):
    checked = lab.check_space(space, lambda **kwargs: kwargs)
    sampler = make_sampler(None, checked, budget=budget)
    trials = [lab.Trial(i, hp) for i, hp in enumerate(sampler.ask(sampler.budget))]
    return lab.Results(
        task_name="digits_mlp",
        metric="accuracy" if mode == "max" else "error",
        mode=mode,
        target=target if mode == "max" else 1 - target,
        trials=trials,
        outcomes=[
            outcome(trial.number, seed, trial.hyperparameters, mode, stop)
            for trial in trials
            for seed in range(seeds)
        ],
        space=checked,
    )
