"""Balances a pole on a cart: REINFORCE with a learned baseline. A script to fork.

    python examples/policy_gradient.py                          # CartPole, written in JAX
    python examples/policy_gradient.py --batch-size 256         # more episodes a step
    python examples/policy_gradient.py --mesh data=8            # shared by eight devices

A step is one jitted program: it plays an episode in each of --batch-size environments (`vmap` over
them, `lax.scan` over time), adds up the returns and updates policy and baseline. The batch is only
the numbers of the environments; what they draw follows from the step's key, so a run repeats bit
for bit. Run it again, and it goes on from the last checkpoint in --output.

Measured with the defaults and seeds 0, 1 and 2: an average return of 500.0 of 500, each, over 100
episodes that did not choose the parameters; 32 to 34 CPU seconds.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import _report
import _results
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import optlab as ol
from optlab.training import data

LONGEST = 500  # steps of an episode, and so the best return
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, INTERVAL = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * np.pi / 180


@dataclasses.dataclass(frozen=True)
class Config(ol.training.RunOptions):
    """Learns to balance a pole by the policy gradient."""

    steps: int = 100
    batch_size: int = 64
    output: Path = Path("runs/policy_gradient")
    save_every: int = 25
    eval_every: int = 10
    log_every: int = 5
    learning_rate: float = 1e-2
    """At the start; it falls to 0 in a straight line."""
    discount: float = 0.99
    """What a reward is worth one step earlier."""
    entropy: float = 0.01
    """Weight of the policy's entropy, which keeps it trying."""
    width: int = 64
    """Units of the hidden layers, of policy and baseline each."""
    episodes: int = 100
    """Of each evaluation, played with the likeliest actions."""

    def check(self) -> None:
        super().check()
        ol.training.check_number("--learning-rate", self.learning_rate)
        ol.training.check_number("--discount", self.discount, ol.core.checks.probability)
        ol.training.check_number("--entropy", self.entropy, ol.core.checks.nonnegative)
        ol.training.check_whole("--width", self.width)
        ol.training.check_whole("--episodes", self.episodes)
        if self.bf16:
            raise ol.training.UserError("--bf16: not here, where the cart's motion is in float32")


def optimizer(config: Config) -> ol.Transformation:
    """Adam with a short memory, for gradients that are mostly noise and change with the policy."""
    return ol.chain(
        # One batch of unlucky episodes must not undo the policy: what is played next follows from
        # it, so unlike a supervised run it would never see the old data again.
        ol.clip_by_global_norm(0.5),
        ol.accumulate_moments(b1=0.9, b2=0.99),  # squares of a hundred steps: they grow with skill
        ol.correct_bias(),
        ol.divide_by_rms(eps=1e-5),  # not 1e-8: where there is no gradient, noise is no direction
        ol.scale_by_learning_rate(ol.schedules.linear(config.learning_rate, 0.0, config.steps)),
    )


class Model(nn.Module):
    """Observations (..., 4) to logits of two actions (..., 2) and the expected return (...)."""

    width: int

    @nn.compact
    def __call__(self, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        usual = jnp.asarray([FARTHEST, 3.0, STEEPEST, 3.0], seen.dtype)
        scaled = seen / jnp.broadcast_to(usual, seen.shape)
        small = ol.initializers.orthogonal(0.01)  # at first every action is as likely as the other
        policy, value = (self.hidden(name, scaled) for name in ("policy", "value"))
        logits = nn.Dense(2, kernel_init=small, name="policy_head")(policy)
        return logits, nn.Dense(1, name="value_head")(value)[..., 0] * 10

    def hidden(self, name: str, x: jax.Array) -> jax.Array:
        for layer in range(2):
            wide = ol.initializers.orthogonal(2**0.5)
            x = nn.tanh(nn.Dense(self.width, kernel_init=wide, name=f"{name}_{layer}")(x))
        return x


class Episode(NamedTuple):
    """What was seen before each action (time, 4), which it was, and whether the pole still stood.

    `alive` is the reward too: an episode's return is its sum.
    """

    seen: jax.Array
    action: jax.Array
    alive: jax.Array


def moved(state: jax.Array, right: jax.Array) -> jax.Array:
    """The cart's place and speed, the pole's angle and speed, 1/50 second later."""
    _, speed, angle, turning = state
    force = jnp.where(right, FORCE, -FORCE)
    sine, cosine, mass = jnp.sin(angle), jnp.cos(angle), CART + POLE
    push = (force + POLE * HALF_LENGTH * turning**2 * sine) / mass
    inertia = HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass)
    turn = (GRAVITY * sine - cosine * push) / inertia
    pull = push - POLE * HALF_LENGTH * turn * cosine / mass
    change = jnp.stack([speed, pull, turning, turn])
    return state + INTERVAL * change


def play(model: Model, params: Any, key: jax.Array, greedy: bool = False) -> Episode:
    """One episode: it goes on behind its end, with `alive` 0."""

    def step(carry: tuple[jax.Array, jax.Array], luck: jax.Array) -> Any:
        state, alive = carry
        logits, _ = model.apply({"params": params}, state)
        lead = logits[1] - logits[0]
        right = lead > 0 if greedy else luck < nn.sigmoid(lead)
        new = moved(state, right)
        stands = (jnp.abs(new[0]) <= FARTHEST) & (jnp.abs(new[2]) <= STEEPEST)
        row = Episode(state, right.astype(jnp.int32), alive.astype(jnp.float32))
        return (new, alive & stands), row

    first, others = jax.random.split(key)
    start = jax.random.uniform(first, (4,), minval=-0.05, maxval=0.05)
    luck = jax.random.uniform(others, (LONGEST,))
    return jax.lax.scan(step, (start, jnp.asarray(True)), luck)[1]


def returns(rewards: jax.Array, discount: float) -> jax.Array:
    """The discounted sum of this and all later rewards (time, ...), of each time."""

    def add(later: jax.Array, reward: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = reward + discount * later
        return total, total

    return jax.lax.scan(add, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]


def loss_of(model: Model, config: Config) -> Any:
    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(batch["environment"])
        played = jax.lax.stop_gradient(jax.vmap(lambda k: play(model, params, k))(keys))
        logits, values = model.apply({"params": params}, played.seen)
        chances = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(chances, played.action[..., None], -1)[..., 0]
        gained = returns(played.alive.T, config.discount).T

        def mean(x: jax.Array) -> jax.Array:
            return (x * played.alive).sum() / played.alive.sum()

        advantage = gained - jax.lax.stop_gradient(values)
        centred = advantage - mean(advantage)
        advantage = centred / jnp.sqrt(mean(centred**2) + 1e-8)
        entropy = mean(-(jnp.exp(chances) * chances).sum(-1))
        error = mean((values - gained) ** 2)
        loss = mean(-chosen * advantage) + 5e-3 * error - config.entropy * entropy
        average = played.alive.sum(1).mean()
        return loss, {"return": average, "entropy": entropy, "value_error": error}

    return loss_fn


def program(args: list[str] | None) -> None:
    config = ol.training.parse(Config, args).effective()
    model = Model(config.width)

    @jax.jit
    def lengths(params: Any, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, config.episodes)
        return jax.vmap(lambda key: play(model, params, key, greedy=True).alive.sum())(keys)

    def evaluate(params: Any, key: int = 2**31) -> dict[str, float]:
        found = np.asarray(lengths(params, jax.random.key(key)))
        return {"return": float(found.mean()), "lowest_return": float(found.min())}

    tx = optimizer(config)
    params = jax.jit(model.init)(jax.random.key(config.seed), jnp.zeros(4))["params"]
    print(
        f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters\n{tx!r}\n", flush=True
    )
    environments = data.Arrays({"environment": np.arange(config.batch_size)}, "environments")
    run = ol.training.fit(
        loss_of(model, config),
        params,
        tx,
        config.batches(environments, shuffle=False),
        config,
        evaluate=evaluate,
        monitor="return",
        mode="max",
        config={"trainer": "policy_gradient", "model": _report.one_line(model)},
        title="policy_gradient",
    )
    played = sum(row["return"] * config.log_every for row in run.rows if "return" in row)
    found = evaluate(run.params, 2**31 + 1)  # not those that chose the parameters
    _results.leave(config.output, run.params, found)
    print(
        f"return: {found['return']:.1f} of {LONGEST} on average, {found['lowest_return']:.0f} at "
        f"least, of {config.episodes} episodes; learned from about "
        f"{played * config.batch_size:,.0f} moves"
    )


def main(args: list[str] | None = None) -> int:
    return ol.training.main("policy_gradient.py", lambda: program(args))


if __name__ == "__main__":
    sys.exit(main())
