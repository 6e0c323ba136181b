"""Moments: running statistics of the gradient and of its square.

After clipping, before `correct_bias` and `divide_by_rms`. Takes plain updates, gives `Moments`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import (
    Estimate,
    Link,
    Moments,
    Transformation,
    checks,
    data,
    hyperparameter,
    numerics,
    require_arrays,
    static,
    trees,
)
from optlab.transforms import _second_moments as second_moments


class MomentsState(NamedTuple):
    """Statistics, in the parameters' compute dtype.

    Attributes:
      first: shaped like the parameters; None if b1 is None.
      second: shaped like the parameters and real; `Factored` nodes where factored.
      first_weight, second_weight: float32 scalars (float64 if a leaf is) in [0, 1], what the
        averages would be of gradients that are all ones; None where there is no average.
    """

    first: Any
    second: Any
    first_weight: jax.Array | None
    second_weight: jax.Array | None


class AccumulateMoments(Link):
    """Attributes: see `accumulate_moments`."""

    b1: Any = hyperparameter(checks.optional(checks.decay_rate), default=0.9)
    b2: Any = hyperparameter(checks.optional(checks.decay_rate), default=0.999)
    initial_value: Any = data(checks.nonnegative, default=0.0)
    offset: Any = hyperparameter(checks.nonnegative, default=0.0)
    second: str = static(checks.one_of(*second_moments.RULES), default="square")
    min_size: int = static(checks.positive_count, default=128)

    def check(self) -> None:
        if self.second == "belief" and self.b1 is None:
            raise ValueError(
                f"{self.record_name}: second='belief' measures the gradient against its mean, so "
                "b1 must be a number, got None."
            )
        if self.second != "sum" and self.b2 is None:
            raise ValueError(
                f"{self.record_name}: second={self.second!r} needs a decay b2, got None. Only "
                "second='sum' goes without."
            )

    @property
    def _rule(self) -> second_moments.Rule:
        return second_moments.RULES[self.second]

    def init(self, params: Any) -> MomentsState:
        dtype = numerics.widest(jax.tree.leaves(params))
        tracked = self.b1 is not None
        return MomentsState(
            first=jax.tree.map(numerics.zeros_like, params) if tracked else None,
            second=jax.tree.map(
                lambda p: second_moments.start(self.second, p, self.initial_value, self.min_size),
                params,
            ),
            first_weight=jnp.zeros((), dtype) if tracked else None,
            second_weight=jnp.zeros((), dtype) if self._rule.weighted else None,
        )

    def meanings(self) -> dict[str, str]:
        averaged = self.second in ("square", "belief", "yogi", "infinity")
        return {"first": "mean", "second": "mean square" if averaged else self.second}

    def resumed(self, state: MomentsState, count: jax.Array) -> MomentsState:
        def weight(decay, fresh):
            if fresh is None:
                return None
            return jnp.asarray(_weight_after(decay, int(count)), fresh.dtype)

        return state._replace(
            first_weight=weight(self.b1, state.first_weight),
            second_weight=weight(self.b2, state.second_weight),
        )

    def update(self, updates: Any, state: MomentsState, params: Any = None, **extra: Any) -> Any:
        require_arrays(self.record_name, updates)
        rule = self._rule
        gradients = jax.tree.map(numerics.saturate, updates)
        first, first_weight = gradients, None
        if self.b1 is not None:
            first = trees.map_leaves(
                lambda g, m: _average(self.b1, m, g),
                gradients,
                state.first,
                names=("first moment",),
            )
            first_weight = _average(self.b1, state.first_weight, 1)
        second = self._update_second(rule, gradients, first, state.second)
        second_weight = _average(self.b2, state.second_weight, 1) if rule.weighted else None
        b1, b2 = (0.0 if b is None else b for b in (self.b1, self.b2))

        def node(g, m, v):
            return Moments(
                gradient=g,
                first=Estimate(m, 1.0 if first_weight is None else first_weight, b1),
                second=Estimate(
                    second_moments.dense(v), 1.0 if second_weight is None else second_weight, b2
                ),
                power=rule.power,
            )

        new_state = MomentsState(
            None if first_weight is None else first, second, first_weight, second_weight
        )
        return jax.tree.map(node, gradients, first, second), new_state

    def _update_second(self, rule: Any, gradients: Any, first: Any, second: Any) -> Any:
        shapes = jax.tree.map(
            second_moments.described, second, is_leaf=second_moments.is_factored_node
        )
        trees.check_same("updates", gradients, "second moment", shapes)

        def update(g, m, v):
            dtype = numerics.real_dtype(g.dtype)
            b2 = 0.0 if self.b2 is None else self.b2
            decay = numerics.scalar(b2, dtype), numerics.complement(b2, dtype)
            return rule.update(v, g, m, decay, numerics.scalar(self.offset, dtype))

        return jax.tree.map(update, gradients, first, second)


def _weight_after(decay: Any, count: int) -> float:
    """The average of ones after so many updates, in float64."""
    if callable(decay):
        return 1 - float(np.prod(np.asarray(jax.vmap(decay)(jnp.arange(count)), np.float64)))
    return 1 - float(decay) ** count


def _average(decay: Any, old: Any, new: Any) -> jax.Array:
    """`decay · old + (1 - decay) · new`; average and weight decay by the very same floats."""
    return numerics.scalar(decay, old.dtype) * old + numerics.complement(decay, old.dtype) * new


def accumulate_moments(
    b1: Any = 0.9,
    b2: Any = 0.999,
    *,
    second: str = "square",
    initial_value: Any = 0.0,
    offset: Any = 0.0,
    min_size: int = 128,
) -> Transformation:
    """Running mean of the gradient (m) and of its squared magnitude (v).

    `m <- b1 m + (1 - b1) g`, and for v by the rule `second`, with s = |g|² + offset:

    - `"square"`: `v <- b2 v + (1 - b2) s` (Adam, RMSProp).
    - `"sum"`: `v <- v + s` (Adagrad).
    - `"infinity"`: `v <- max(b2 v, |g| + offset)`, a magnitude, not a square (AdaMax).
    - `"belief"`: `v <- b2 v + (1 - b2) |g - m|² + offset` (AdaBelief).
    - `"yogi"`: `v <- v - (1 - b2) sign(v - s) s` (Yogi).
    - `"factored"`: `"square"`, kept as row and column means of the last two axes (Adafactor).

    Args:
      b1: decay of the mean in [0, 1), or a schedule; None keeps no mean: m is the gradient.
      b2: decay of the second moment in [0, 1), or a schedule; None for `"sum"`, which has none.
      second: the rule, see above.
      initial_value: >= 0, v before the first gradient, in squared gradient units.
      offset: >= 0, the ε that Adafactor, AdaBelief and AdaMax add inside the statistic, or a
        schedule.
      min_size: `"factored"` factors a leaf only if its last two axes are both at least this long.

    Returns:
      A `Transformation` that turns each gradient leaf into a `Moments` node; follow it with
      `divide_by_rms`, usually after `correct_bias`.

    Raises:
      ValueError: for values out of range or an unknown rule. TypeError: for no number.

    Special cases:
      Step 1: m = (1 - b1) g, and its weight is 1 - b1 too. Entries are bounded to 2**60 (about
      1e18), infinite ones too, so that v stays finite; a NaN stays in the state: put a guard
      before it.
      Moments of bf16 and float16 parameters are float32. Complex gradients have a real v.

    Cost:
      8 bytes a parameter (4 without b1; for a factored n x m matrix 4 (n + m) bytes in place of
      4 n m).

    Place in a chain:
      After clipping. Between it and `divide_by_rms` only links that take `Moments` may stand.

    Differs from:
      `optax.scale_by_adam` keeps a step count and computes 1 - b**t, which is 1e-5 off in float32
      at step 1; here the weight of the average is averaged itself, also right for scheduled decays.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.chain(ol.accumulate_moments(), ol.correct_bias(), ol.divide_by_rms(eps=0.0))
      >>> tx.update(jnp.array([-2.0]), tx.init(jnp.zeros(1)))[0]
      Array([-1.], dtype=float32)

    Source:
      Kingma, Ba, "Adam: a method for stochastic optimization", 2014, arXiv:1412.6980, algorithm 1;
      Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011; Zhuang et al., "AdaBelief
      optimizer", 2020, arXiv:2010.07468; Zaheer et al., "Adaptive methods for nonconvex
      optimization", NeurIPS 2018; Shazeer, Stern, "Adafactor", 2018, arXiv:1804.04235, algorithm 4.
    """
    return Transformation(
        AccumulateMoments(
            b1=b1,
            b2=b2,
            initial_value=initial_value,
            offset=offset,
            second=second,
            min_size=min_size,
        )
    )
