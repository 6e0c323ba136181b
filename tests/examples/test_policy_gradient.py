"""The trainer of a pole on a cart: the physics, the returns, the gradient, and mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import policy_gradient
import pytest
from pictures import without_pictures  # noqa: F401 - a fixture
from policy_gradient import LONGEST, Config, Model, moved, play, returns
from trainer_cases import check_refused, check_resume

RUN = ["--steps", "6", "--log-every", "2", "--eval-every", "4", "--batch-size", "2"]
SMALL = [*RUN, "--width", "2", "--episodes", "2"]


@pytest.fixture(scope="module")
def model():
    return Model(4)


@pytest.fixture(scope="module")
def params(model):
    return model.init(jax.random.key(0), jnp.zeros(4))["params"]


def test_interrupted_it_goes_on_to_the_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(policy_gradient, "LONGEST", 20)
    check_resume(policy_gradient.main, SMALL, tmp_path, 4, monkeypatch, capsys)


def test_the_cart_moves_by_newton():
    """The accelerations solve the equations of motion of the cart and of the pole."""
    rng = np.random.default_rng(0)
    for right in (True, False):
        state = rng.normal(size=4)
        _, _, angle, turning = state
        new = np.asarray(moved(jnp.asarray(state, jnp.float32), jnp.asarray(right)), np.float64)
        change = (new - state) / 0.02
        np.testing.assert_allclose(change[[0, 2]], state[[1, 3]], atol=1e-4)
        pull, turn = change[[1, 3]]
        sine, cosine = np.sin(angle), np.cos(angle)
        force = 10.0 if right else -10.0
        whole = 1.1 * pull + 0.1 * 0.5 * (turn * cosine - turning**2 * sine)
        np.testing.assert_allclose(whole, force, atol=1e-3)
        about = 4 / 3 * 0.5 * turn + pull * cosine
        np.testing.assert_allclose(about, 9.8 * sine, atol=1e-3)


def test_a_player_by_chance_keeps_the_pole_up_for_22_steps(model, params):
    zero = jax.tree.map(jnp.zeros_like, params)
    keys = jax.random.split(jax.random.key(1), 2000)
    lengths = jax.jit(jax.vmap(lambda key: play(model, zero, key).alive.sum()))(keys)
    assert abs(float(lengths.mean()) - 22.2) < 1.0  # 22.2 +- 0.27: known of this task
    assert 8 <= lengths.min() < 12


def test_an_episode_ends_once_and_nothing_behind_its_end_counts(model, params):
    episode = play(model, params, jax.random.key(3))
    alive = np.asarray(episode.alive)
    length = int(alive.sum())
    assert 0 < length < LONGEST
    np.testing.assert_array_equal(alive, np.arange(LONGEST) < length)
    last = np.asarray(episode.seen)[length]
    assert abs(last[0]) > 2.4 or abs(last[2]) > 12 * np.pi / 180
    np.testing.assert_array_equal(play(model, params, jax.random.key(3)).action, episode.action)


def test_returns_are_discounted_sums_of_what_comes():
    rewards = jnp.asarray([1.0, 2.0, 4.0])
    np.testing.assert_allclose(returns(rewards, 0.5), [1 + 0.5 * (2 + 0.5 * 4), 4, 4])
    np.testing.assert_allclose(returns(rewards[:, None], 1.0)[:, 0], [7, 6, 4])


@pytest.mark.slow
def test_actions_that_led_to_more_become_likelier(model, params):
    """A step along the gradient raises the return of the batch it is from."""
    config = Config(width=4, entropy=0.0)
    loss_fn = policy_gradient.loss_of(model, config)
    batch = {"environment": jnp.arange(256)}

    @jax.jit
    def better(params, key):
        grads = jax.grad(lambda p: loss_fn(p, batch, key)[0])(params)
        moved = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
        return loss_fn(moved, batch, key)[1]["return"] - loss_fn(params, batch, key)[1]["return"]

    assert float(better(params, jax.random.key(0))) > 0


@pytest.mark.parametrize(
    ("args", "saying"),
    [
        (["--learning-rate", "-1"], "--learning-rate: a number > 0 expected, got -1.0"),
        (["--learning-rate", "nan"], "--learning-rate: a number > 0 expected, got nan"),
        (["--learning-rate", "abc"], "--learning-rate: a number expected, got 'abc'"),
        (["--batch-size", "0"], "--batch-size: a whole number from 1"),
        (["--discount", "1.5"], "--discount: a number in [0, 1] expected, got 1.5"),
        (["--entropy", "-1"], "--entropy: a number >= 0 expected, got -1.0"),
        (["--episodes", "0"], "--episodes: a whole number from 1"),
    ],
)
def test_a_mistake_gets_one_line_and_code_2(tmp_path, capsys, args, saying):
    given = ["--output", str(tmp_path / "out"), *args]
    check_refused(policy_gradient.main, given, saying, "policy_gradient.py", capsys)


@pytest.mark.slow
def test_with_its_defaults_it_balances_the_pole(tmp_path, capsys):
    assert policy_gradient.main(["--output", str(tmp_path)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(last.split()[1]) >= 475


@pytest.mark.slow
def test_two_devices_play_the_same_episodes(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, extra in ((one, []), (two, ["--mesh", "data=2"])):
        assert policy_gradient.main([*SMALL, "--output", str(folder), *extra]) == 0
    rows = [policy_gradient.ol.training.read_rows(f / "metrics.jsonl") for f in (one, two)]
    assert rows[0][0]["return"] == rows[1][0]["return"]
    assert rows[0][0]["loss"] == pytest.approx(rows[1][0]["loss"], rel=1e-4)
