"""Recommends items to users from a log of ratings. A script to fork.

    python examples/recommender.py                          # two towers, sampled softmax
    python examples/recommender.py --model factors          # matrix factorisation with biases
    python examples/recommender.py --ratings ratings.csv    # user,item,rating,timestamp

Of each user, the last rating tests, the one before chooses the parameters, the others train. The
default log is drawn from a known law of low rank, so the best possible ranking is known: its score
is printed beside the model's, and that of ranking by popularity. Run it again, and it goes on from
the last checkpoint in --output.

Measured with the defaults and seeds 0, 1 and 2: NDCG@10 0.1455, 0.1443, 0.1442 and hit rate@10
0.2700, 0.2725, 0.2695 (popularity 0.0472 and 0.1020, best possible 0.1666 and 0.3055); 29 to 36
CPU seconds. With --model factors: root mean square error 0.6872, 0.6899, 0.6898 (the mean rating
1.0498, best possible 0.4985), NDCG@10 0.1146, 0.1149, 0.1104; 17 to 18 CPU seconds.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import _generated_log
import _report
import _results
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import optlab as ol
from optlab.training import data, metrics

USERS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Config(ol.training.RunOptions):
    """Learns to recommend items to users."""

    steps: int = 1500
    batch_size: int = 1024
    output: Path = Path("runs/recommender")
    save_every: int = 250
    eval_every: int = 100
    log_every: int = 50
    patience: int | None = 5
    model: Literal["two_towers", "factors"] = "two_towers"
    """two_towers ranks items, by sampled softmax; factors predicts ratings, by squared error."""
    learning_rate: float | None = None
    """Of the embeddings, under Adagrad; None: 0.1 for two_towers, 0.5 for factors."""
    dense_learning_rate: float = 1e-3
    """Of the layers of two_towers, under Adam."""
    width: int = 8
    """Numbers that describe a user or an item."""
    dropout: float = 0.05
    """Share of them that a step leaves out."""
    ridge: float = 0.05
    """Times the squares of a rating's rows, added to its squared error; of factors."""
    ratings: Path | None = None
    """A log of user,item,rating,timestamp; None: a generated one."""

    def check(self) -> None:
        super().check()
        if self.learning_rate is not None:
            ol.training.check_number("--learning-rate", self.learning_rate)
        ol.training.check_number("--dense-learning-rate", self.dense_learning_rate)
        ol.training.check_whole("--width", self.width)
        ol.training.check_number("--ridge", self.ridge, ol.core.checks.nonnegative)
        ol.training.check_number("--dropout", self.dropout, ol.core.checks.decay_rate)


def optimizer(config: Config) -> ol.Transformation:
    """Adagrad for embeddings, of which a batch touches few rows; Adam for layers, if there are."""
    rate = config.learning_rate or {"two_towers": 0.1, "factors": 0.5}[config.model]
    rows = ol.chain(
        # Its own sum of squares for each number of each row: a user or item that is not in the
        # batch has a gradient of 0, so its sum stays, and so does the row itself. Momentum or an
        # average would go on moving rows and forgetting sums for as long as nobody asks for them.
        ol.accumulate_moments(b1=None, b2=None, second="sum"),
        ol.divide_by_rms(eps=1e-10),  # rarely seen rows take large steps, popular ones small ones
        ol.scale_by_learning_rate(rate),  # no schedule: the sums only ever grow
    )
    dense = ol.adam(config.dense_learning_rate)
    groups = {ol.embeddings: rows}
    tx = ol.route(groups, default=dense if config.model == "two_towers" else None)
    return ol.average_params(tx, ema=0.98)  # evaluated in place of the last ones


class Model(nn.Module):
    """Vectors of users and items, whose inner product and bias say how well they fit."""

    users: int
    items: int
    width: int
    dropout: float
    towers: bool

    def setup(self) -> None:
        small, zero = ol.initializers.normal(0.1), ol.initializers.zeros()
        self.user_embedding = nn.Embed(self.users, self.width, embedding_init=small)
        self.item_embedding = nn.Embed(self.items, self.width, embedding_init=small)
        self.item_bias_embedding = nn.Embed(self.items, 1, embedding_init=zero)
        self.drop = nn.Dropout(self.dropout)
        if self.towers:
            self.user_layer, self.item_layer = nn.Dense(self.width), nn.Dense(self.width)
        else:
            self.user_bias_embedding = nn.Embed(self.users, 1, embedding_init=zero)

    def user(self, users: jax.Array, train: bool = False) -> jax.Array:
        rows = self.drop(self.user_embedding(users), deterministic=not train)
        return rows + nn.gelu(self.user_layer(rows)) if self.towers else rows

    def item(self, items: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, bias = self.item_embedding(items), self.item_bias_embedding(items)[:, 0]
        return (rows + nn.gelu(self.item_layer(rows)) if self.towers else rows), bias

    def scores(self, users: jax.Array, items: jax.Array, train: bool = False) -> jax.Array:
        """Of every user with every item (users, items), for ranking."""
        vectors, bias = self.item(items)
        return self.user(users, train) @ vectors.T + bias[None, :]

    def __call__(self, users: jax.Array, items: jax.Array, train: bool = False) -> jax.Array:
        """Of each user with the one item beside it: the rating, less the mean of all."""
        vectors, bias = self.item(items)
        found = (self.user(users, train) * vectors).sum(-1) + bias
        return found if self.towers else found + self.user_bias_embedding(users)[:, 0]

    def squares(self, users: jax.Array, items: jax.Array) -> jax.Array:
        rows = self.user_embedding(users), self.item_embedding(items)
        return sum((row**2).sum(-1).mean() for row in rows)


def ranked(
    score: Callable[[np.ndarray], np.ndarray], part: data.Source, *known: data.Source
) -> dict[str, float]:
    """Hit rate and NDCG of the item held out for each user, among all that are not known."""
    held_out = part.gather(np.arange(len(part)))
    size = len(part.info["items"])
    pairs = [np.stack([s.column("user"), s.column("item")]) for s in known]
    sums: dict[str, float] = {}
    for start in range(0, len(part), USERS_AT_ONCE):
        users = held_out["user"][start : start + USERS_AT_ONCE]
        items = held_out["item"][start : start + USERS_AT_ONCE]
        place = np.full(len(part.info["users"]), -1)
        place[users] = np.arange(len(users))
        seen = np.zeros((len(users), size), bool)
        for user, item in pairs:
            here = place[user] >= 0
            seen[place[user[here]], item[here]] = True
        seen[np.arange(len(users)), items] = False  # the same item may have been rated twice
        row = metrics.ranking(score(users), items, k=10, exclude=seen)
        for name in ("hit_rate@10", "ndcg@10"):
            sums[name] = sums.get(name, 0.0) + row[name] * len(users) / len(part)
    return sums


def rmse(expected: np.ndarray, part: data.Source) -> float:
    return float(np.sqrt(np.mean((part.column("rating") - expected) ** 2)))


def sampled_softmax(logits: jax.Array, items: jax.Array, frequency: jax.Array) -> jax.Array:
    """Cross-entropy of logits (n, n): of each row the item of its own, among those of the batch.

    The batch is a sample of items by their frequency. Less the log of that, the sum over the batch
    stands for the sum over all items; so an item that is there twice, the row's own one too, must
    count twice.
    """
    logits -= frequency[items][None, :]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits))


def loss_of(model: Model, config: Config, mean: float, frequency: jax.Array) -> Any:
    def loss_fn(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        pair, rest = (batch["user"], batch["item"]), {"rngs": {"dropout": key}}
        if model.towers:
            logits = model.apply({"params": params}, *pair, True, method="scores", **rest)
            logits = logits.astype(jnp.float32)  # of a run in bfloat16, too
            return sampled_softmax(logits, batch["item"], frequency)
        found = model.apply({"params": params}, *pair, True, **rest).astype(jnp.float32)
        ridge = config.ridge * model.apply({"params": params}, *pair, method="squares")
        wanted = batch["rating"].astype(jnp.float32)
        return jnp.mean((found + mean - wanted) ** 2) + ridge.astype(jnp.float32)

    return loss_fn


def program(args: list[str] | None) -> None:
    config = ol.training.parse(Config, args).effective()
    log = _generated_log.generated() if config.ratings is None else data.ratings(config.ratings)
    parts = data.leave_last_out(log)
    train, towers = parts["train"], config.model == "two_towers"
    users, items = len(log.info["users"]), len(log.info["items"])
    counts = np.bincount(train.column("item"), minlength=items)
    frequency = jnp.asarray(np.log(np.maximum(counts, 1) / len(train)), jnp.float32)
    mean = float(train.column("rating").mean())
    model = Model(users, items, config.width, config.dropout, towers)
    all_items = jnp.arange(items)
    score = jax.jit(
        lambda params, who: model.apply({"params": params}, who, all_items, method="scores")
    )
    rate = jax.jit(lambda params, *pair: model.apply({"params": params}, *pair) + mean)

    def judged(params: Any, part: data.Source, *known: data.Source) -> dict[str, float]:
        found = ranked(lambda who: np.asarray(score(params, who)), part, *known)
        if towers:
            return found
        pair = (part.column(name) for name in ("user", "item"))
        return {"rmse": rmse(np.asarray(rate(params, *pair)), part), **found}

    first = train.gather([0])
    init = jax.jit(model.init)(jax.random.key(config.seed), first["user"], first["item"])
    tx = optimizer(config)
    print(f"{train!r}\n{users} users, {items} items\n{tx!r}\n", flush=True)
    run = ol.training.fit(
        loss_of(model, config, mean, frequency),
        init["params"],
        tx,
        config.batches(train),
        config,
        evaluate=lambda params: judged(params, parts["validation"], train),
        monitor="ndcg@10" if towers else "rmse",
        mode="max" if towers else "min",
        config={"trainer": "recommender", "model": _report.one_line(model)},
        title="recommender",
    )
    test, known = parts["test"], (train, parts["validation"])
    popularity = ranked(lambda who: np.tile(counts, (len(who), 1)), test, *known)
    table = {"popularity": {"rmse": rmse(np.full(len(test), mean), test), **popularity}}
    table["model"] = found = judged(run.params, test, *known)
    if "scores" in log.info:
        scores = log.info["scores"]
        law = _generated_log.ratings_of(scores[test.column("user"), test.column("item")])
        best = ranked(lambda who: scores[who], test, *known)
        table["best possible"] = {"rmse": rmse(law, test), **best}
    _results.leave(config.output, run.params, found)
    rows = [[name, *(row[metric] for metric in found)] for name, row in table.items()]
    print("\n" + ol.training.table(["test", *found], rows))


def main(args: list[str] | None = None) -> int:
    return ol.training.main("recommender.py", lambda: program(args))


if __name__ == "__main__":
    sys.exit(main())
