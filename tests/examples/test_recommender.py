"""The trainer of recommendations: the law of its data, the softmax, the rows it moves, mistakes."""

import re

import _generated_log
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recommender
from pictures import without_pictures  # noqa: F401 - a fixture
from trainer_cases import check_refused, check_resume

import optlab as ol
from optlab.training import data

SMALL = ["--width", "2", "--steps", "8", "--log-every", "2", "--eval-every", "4"]


@pytest.fixture
def log(tmp_path):
    """Ratings of 12 users, of whom one gave too few to be judged by."""
    path = tmp_path / "ratings.csv"
    rng = np.random.default_rng(0)
    lines = ["user,item,rating,timestamp"]
    for user in range(12):
        items = rng.permutation(15)[: 2 if user == 0 else 8]
        lines += [f"u{user},i{item},{item % 5 + 1},{time}" for time, item in enumerate(items)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("model", ["two_towers", pytest.param("factors", marks=pytest.mark.slow)])
def test_interrupted_it_goes_on_to_the_bit(tmp_path, log, monkeypatch, capsys, model):
    args = ["--ratings", str(log), "--model", model, "--batch-size", "16", *SMALL]
    check_resume(recommender.main, args, tmp_path, 6, monkeypatch, capsys)


def test_generated_ratings_follow_their_law():
    log = _generated_log.generated(300, 80)
    fields, scores = log.gather(np.arange(len(log))), log.info["scores"]
    pairs = np.stack([fields["user"], fields["item"]], 1)
    assert len(np.unique(pairs, axis=0)) == len(log)
    noise = fields["rating"] - _generated_log.ratings_of(scores[fields["user"], fields["item"]])
    assert abs(noise.std() - _generated_log.NOISE) < 0.02
    assert abs(noise.mean()) < 0.02
    # Who is first follows from the scores: of all users, as often as the softmax says.
    first = fields["item"][fields["timestamp"] == 0]
    chance = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found, expected = np.bincount(first, minlength=80), chance.sum(0)
    spread = np.sqrt((chance * (1 - chance)).sum(0))
    assert np.abs((found - expected) / spread).max() < 4
    assert abs(chance[np.arange(300), first].mean() - (chance**2).sum(1).mean()) < 0.02
    assert np.linalg.matrix_rank(scores - scores[0]) == 6
    assert _generated_log.generated(300, 80).digest() == log.digest()


def test_ranking_leaves_out_what_a_user_is_known_to_have():
    info = {"users": range(3), "items": range(30)}

    def part(users, items):
        return data.Arrays({"user": np.array(users), "item": np.array(items)}, info=info)

    known = part([0] * 12 + [1], [*range(12), 3])
    held_out = part([2, 0], [11, 12])
    asked = []

    def score(users):
        asked.append(users.tolist())
        return np.tile(-np.arange(30.0), (len(users), 1))  # 0 is best

    found = recommender.ranked(score, held_out, known)
    assert asked == [[2, 0]]
    assert found["hit_rate@10"] == 0.5  # of user 0 the first item left, of user 2 the twelfth
    assert found["ndcg@10"] == pytest.approx(0.5)
    twice = recommender.ranked(score, part([0], [5]), known)  # rated before, and again
    assert twice["hit_rate@10"] == 1.0


def test_users_are_ranked_a_part_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    scores, info = rng.normal(size=(10, 20)), {"users": range(10), "items": range(20)}
    fields = {"user": rng.permutation(10), "item": rng.integers(0, 20, 10)}
    part = data.Arrays(fields, info=info)
    whole = recommender.ranked(lambda users: scores[users], part)
    monkeypatch.setattr(recommender, "USERS_AT_ONCE", 4)
    parts = recommender.ranked(lambda users: scores[users], part)
    assert parts == pytest.approx(whole)


def test_in_batch_negatives_less_their_frequency_stand_for_all_items():
    """Averaged over batches, the gradient is zero where the model is right about everything."""
    rng = np.random.default_rng(0)
    items, size, batches = 5, 64, 4000
    truth = np.log([0.5, 0.2, 0.15, 0.1, 0.05])
    drawn = rng.choice(items, size=(batches, size), p=np.exp(truth))
    frequency = jnp.asarray(truth, jnp.float32)

    def loss(scores, batch):
        logits = jnp.broadcast_to(scores[batch][None, :], (size, size))
        return recommender.sampled_softmax(logits, batch, frequency)

    gradient = jax.jit(lambda s: jax.vmap(jax.grad(loss), (None, 0))(s, drawn).mean(0))
    right = gradient(jnp.asarray(truth, jnp.float32))
    uniform = gradient(jnp.zeros(items))
    assert float(jnp.abs(right).max()) < 0.02
    assert float(jnp.abs(uniform).max()) > 0.2


@pytest.mark.parametrize("model", [pytest.param("two_towers", marks=pytest.mark.slow), "factors"])
def test_only_the_rows_of_a_batch_move(model):
    config = recommender.Config(model=model, width=4)
    module = recommender.Model(6, 7, 4, 0.2, model == "two_towers")
    users, items = jnp.array([1, 4]), jnp.array([2, 5])
    params = jax.jit(module.init)(jax.random.key(0), users, items)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)
    tx = recommender.optimizer(config)
    loss_fn = recommender.loss_of(module, config, 3.0, jnp.zeros(7))
    batch = {"user": users, "item": items, "rating": jnp.array([1.0, 5.0])}

    @jax.jit
    def three_steps(params):
        state, new = tx.init(params), params
        for i in range(3):
            grads = jax.grad(loss_fn)(new, batch, jax.random.key(i))
            updates, state = tx.update(grads, state, new)
            new = ol.apply_updates(new, updates)
        return new

    new = three_steps(params)
    for name, rows in (("user_embedding", users), ("item_embedding", items)):
        moved = (new[name]["embedding"] != params[name]["embedding"]).any(1)
        assert jnp.flatnonzero(moved).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("args", "saying"),
    [
        (["--learning-rate", "-1"], "--learning-rate: a number > 0 expected, got -1.0"),
        (["--dense-learning-rate", "nan"], "--dense-learning-rate: a number > 0 expected, got nan"),
        (["--learning-rate", "abc"], "--learning-rate: a number expected, got 'abc'"),
        (["--batch-size", "0"], "--batch-size: a whole number from 1"),
        (["--batch-size", "5000"], "batch_size=5000 is larger than the data"),
        (["--ridge", "-1"], "--ridge: a number >= 0 expected, got -1.0"),
        (["--dropout", "1"], "--dropout: a number in [0, 1) expected, got 1.0"),
        (["--model", "svd"], "--model: one of 'two_towers', 'factors' expected, got 'svd'"),
        (["--ratings", "no_such.csv"], "no_such.csv"),
    ],
)
def test_a_mistake_gets_one_line_and_code_2(tmp_path, log, capsys, args, saying):
    given = ["--ratings", str(log), "--output", str(tmp_path / "out"), *args]
    check_refused(recommender.main, given, saying, "recommender.py", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["two_towers", "factors"])
def test_it_is_better_than_popularity_and_no_better_than_possible(tmp_path, capsys, model):
    args = ["--model", model, "--steps", "600", "--output", str(tmp_path)]
    assert recommender.main(args) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    popular, reached, best = (re.findall(r"\d\.\d+", line) for line in lines)
    if model == "factors":
        assert float(best[0]) < float(reached[0]) < float(popular[0])
    assert float(popular[-1]) < float(reached[-1]) < float(best[-1])
