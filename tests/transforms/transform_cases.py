"""Every transform once, as the smallest chain that runs it: the table behind test_every_*.py."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optlab import core
from optlab import transforms as t


class Case(NamedTuple):
    """One transform.

    Attributes:
      make: builds it, with the links it needs around it, from keyword hyperparameters.
      numbers: hyperparameters that may be traced: name -> two values in range.
      record: the record it is stored under, by its public name.
      needs_params: whether `update` needs the parameters.
      schedules: hyperparameters that may not be schedules.
      still: whether zero gradients give zero updates.
    """

    make: Callable[..., core.Transformation]
    numbers: dict[str, tuple[float, float]]
    needs_params: bool = False
    fixed: tuple[str, ...] = ()
    still: bool = True


def _moments(**kwargs: Any) -> core.Transformation:
    return core.chain(t.accumulate_moments(**kwargs), t.correct_bias(), t.divide_by_rms())


def _around(link: Callable[..., core.Transformation], *rest: core.Transformation) -> Callable:
    return lambda **kw: core.chain(t.accumulate_moments(b1=0.8, b2=0.9), link(**kw), *rest)


def _with_rule(rule: str, **fixed: Any) -> Callable[..., core.Transformation]:
    return lambda **kw: _moments(second=rule, **fixed, **kw)


DECAYS = {"b1": (0.5, 0.9), "b2": (0.75, 0.99)}
OFFSETS = {"offset": (1e-3, 0.1), "initial_value": (0.5, 1.0)}
NOT_SCHEDULED = ("initial_value",)

CASES = {
    "clip_by_value": Case(t.clip_by_value, {"max_value": (0.3, 0.7)}),
    "clip_by_norm": Case(t.clip_by_norm, {"max_norm": (0.3, 0.7)}),
    "clip_by_global_norm": Case(t.clip_by_global_norm, {"max_norm": (0.3, 0.7)}),
    "adaptive_clip": Case(
        t.adaptive_clip, {"clipping": (0.1, 0.2), "eps": (1e-3, 2.0)}, needs_params=True
    ),
    "accumulate_momentum": Case(
        t.accumulate_momentum, {"decay": (0.5, 0.9), "dampening": (0.0, 0.5)}
    ),
    "accumulate_momentum[nesterov]": Case(
        lambda **kw: t.accumulate_momentum(nesterov=True, **kw), {"decay": (0.5, 0.9)}
    ),
    "accumulate_average": Case(t.accumulate_average, {"decay": (0.5, 0.9)}),
    "accumulate_moments": Case(_moments, DECAYS | OFFSETS, fixed=NOT_SCHEDULED),
    "accumulate_moments[no mean]": Case(lambda **kw: _moments(b1=None, **kw), {"b2": (0.75, 0.99)}),
    "accumulate_moments[sum]": Case(
        _with_rule("sum", b1=None, b2=None), OFFSETS, fixed=NOT_SCHEDULED
    ),
    "accumulate_moments[infinity]": Case(
        _with_rule("infinity"), DECAYS | OFFSETS, fixed=NOT_SCHEDULED
    ),
    "accumulate_moments[belief]": Case(_with_rule("belief"), DECAYS | OFFSETS, fixed=NOT_SCHEDULED),
    "accumulate_moments[yogi]": Case(_with_rule("yogi"), DECAYS | OFFSETS, fixed=NOT_SCHEDULED),
    "accumulate_moments[factored]": Case(
        _with_rule("factored", min_size=2), DECAYS | OFFSETS, fixed=NOT_SCHEDULED
    ),
    "correct_bias": Case(_around(t.correct_bias, t.divide_by_rms()), {}),
    "keep_maximum": Case(_around(t.keep_maximum, t.correct_bias(), t.divide_by_rms()), {}),
    "subtract_squared_mean": Case(_around(t.subtract_squared_mean, t.divide_by_rms(0.1)), {}),
    "look_ahead": Case(
        _around(t.look_ahead, t.correct_bias(), t.divide_by_rms()), {"momentum_decay": (4e-3, 0.1)}
    ),
    "look_ahead[constant]": Case(_around(t.look_ahead, t.correct_bias(), t.divide_by_rms()), {}),
    "divide_by_rms": Case(_around(t.divide_by_rms), {"eps": (1e-3, 0.1), "eps_root": (0.0, 0.1)}),
    "divide_by_rectified_rms": Case(
        _around(t.divide_by_rectified_rms), {"eps": (1e-3, 0.1), "threshold": (4.0, 9.0)}
    ),
    "sign": Case(t.sign, {}),
    "interpolate_momentum": Case(t.interpolate_momentum, DECAYS),
    "scale_by_adadelta": Case(t.scale_by_adadelta, {"rho": (0.5, 0.9), "eps": (1e-6, 1e-2)}),
    "scale_by_trust_ratio": Case(
        t.scale_by_trust_ratio,
        {"coefficient": (0.1, 1.0), "weight_decay": (0.1, 0.2), "eps": (1e-3, 0.1)},
        needs_params=True,
        still=False,
    ),
    "scale_by_parameter_rms": Case(
        t.scale_by_parameter_rms, {"min_scale": (1e-3, 2.0)}, needs_params=True
    ),
    "clip_by_rms": Case(t.clip_by_rms, {"max_rms": (0.1, 0.5)}),
    "add_decayed_weights": Case(
        t.add_decayed_weights, {"weight_decay": (0.1, 0.2)}, needs_params=True, still=False
    ),
    "add_l1": Case(t.add_l1, {"strength": (0.1, 0.2)}, needs_params=True, still=False),
    "add_l2": Case(t.add_l2, {"strength": (0.1, 0.2)}, needs_params=True, still=False),
    "add_gradient_noise": Case(
        t.add_gradient_noise, {"variance": (0.1, 0.2), "annealing": (0.0, 0.55)}, still=False
    ),
    "centralize": Case(t.centralize, {}),
    "scale": Case(t.scale, {"factor": (-2.0, 0.5)}),
    "scale_by_learning_rate": Case(t.scale_by_learning_rate, {"learning_rate": (0.0, 0.5)}),
}


def make(name: str, which: int = 0) -> core.Transformation:
    """The transform of a row, with the first or second of each hyperparameter's values."""
    case = CASES[name]
    return case.make(**{k: pair[which] for k, pair in case.numbers.items()})


def address(tx: core.Transformation, name: str, number: str) -> str:
    """The path of a row's own hyperparameter in its chain."""
    return number if number in core.hyperparameters(tx) else f"{name.split('[')[0]}/{number}"


def tree(seed: int = 0, dtype: Any = np.float32) -> dict[str, Any]:
    """A matrix and a scalar of standard normal numbers, an empty and a missing leaf."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (4, 3), "scale": (), "empty": (0, 2)}
    draw = {k: rng.normal(size=s) for k, s in shapes.items()}
    if jnp.issubdtype(dtype, jnp.complexfloating):
        draw = {k: v + 1j * rng.normal(size=np.shape(v)) for k, v in draw.items()}
    return {k: jnp.asarray(v, dtype) for k, v in draw.items()} | {"none": None}


def kernel(seed: int = 0, dtype: Any = np.float32) -> dict[str, Any]:
    """The matrix of `tree` alone: a third of the compile time."""
    return {"kernel": tree(seed, dtype)["kernel"]}


def stack(trees: Any) -> Any:
    """Gradients of several steps, along a new first axis."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def last(txs: Any, states: Any, gradients: Any, params: Any) -> tuple[Any, Any]:
    """The last updates and states of every transform by itself, scanning over the gradients."""

    def step(carry, g):
        results = {k: tx.update(g, carry[1][k], params) for k, tx in txs.items()}
        return ({k: r[0] for k, r in results.items()}, {k: r[1] for k, r in results.items()}), None

    return jax.lax.scan(step, (dict.fromkeys(txs, params), states), gradients)[0]


def init(txs: Any, params: Any) -> Any:
    return {k: tx.init(params) for k, tx in txs.items()}


def run(txs: Any, gradients: Any, params: Any) -> tuple[Any, Any]:
    """`last` from the beginning."""
    return last(txs, init(txs, params), gradients, params)


def _accepted(options: dict[str, Any]) -> dict[str, Any]:
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except RuntimeError:  # another XLA, which has no such option
        return {}
    return options


# Where everything is compiled at once to run once: half the optimisation, a third of the time.
quick = functools.partial(
    jax.jit,
    compiler_options=_accepted(
        {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    ),
)
jit_run, jit_init = jax.jit(run), jax.jit(init)
jit_last = jax.jit(last, donate_argnums=(1, 3))  # states and parameters are used up


def follow(tx: core.Transformation, gradients: Any, params: Any = None) -> np.ndarray:
    """Every update of a scan over gradients (steps first) with fixed parameters, in one compile."""
    gradients = jnp.asarray(gradients)
    params = jnp.ones_like(gradients[0]) if params is None else jnp.asarray(params)
    return np.asarray(_follow(tx, gradients, params))


@jax.jit
def _follow(tx, gradients, params):
    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    return jax.lax.scan(step, tx.init(params), gradients)[1]


@jax.jit
def once(tx: core.Transformation, gradients: Any, params: Any = None) -> Any:
    """The first update; compiled once for all hyperparameters."""
    return tx.update(gradients, tx.init(gradients if params is None else params), params)[0]


def once_optax(tx: optax.GradientTransformation, gradients: Any, params: Any = None) -> Any:
    """The same for Optax's, which need default promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return tx.update(gradients, tx.init(gradients if params is None else params), params)[0]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers, in float64."""
    return np.random.default_rng(seed).normal(size=shape)
