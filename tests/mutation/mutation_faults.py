"""Faults made by hand: mistakes of the textbook that an operator on one node cannot express.

By file: (name, text that is there once, its replacement).
"""

from __future__ import annotations

_T, _R = "optlab/transforms/", "optlab/optimizers/"

FAULTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    f"{_T}_accumulate_moments.py": (
        (
            "weights late by a step",
            "1.0 if second_weight is None else second_weight, b2",
            "1.0 if second_weight is None else state.second_weight, b2",
        ),
        (
            "gradients cast early, to bfloat16",
            "gradients = jax.tree.map(numerics.saturate, updates)",
            "gradients = jax.tree.map("
            "lambda u: numerics.saturate(u.astype(jnp.bfloat16).astype(u.dtype)), updates)",
        ),
        (
            "a sum in place of an average",
            "+ numerics.complement(decay, old.dtype) * new",
            "+ new",
        ),
        (
            "the mean of the step before is given on",
            "return jax.tree.map(node, gradients, first, second), new_state",
            "return jax.tree.map("
            "node, gradients, first if self.b1 is None else state.first, second), new_state",
        ),
    ),
    f"{_T}_second_moments.py": (
        (
            "Yogi as Adam",
            "return v - decay[1] * jnp.sign(v - s) * s",
            "return v - decay[1] * (v - s)",
        ),
        (
            "Yogi's sign",
            "jnp.sign(v - s)",
            "jnp.sign(s - v)",
        ),
        (
            "infinity norm: eps outside of the maximum",
            "return jnp.maximum(decay[0] * v, jnp.abs(g) + offset)",
            "return jnp.maximum(decay[0] * v, jnp.abs(g)) + offset",
        ),
        (
            "belief: eps averaged",
            "rest * numerics.squared_magnitude(g - first) + offset",
            "rest * (numerics.squared_magnitude(g - first) + offset)",
        ),
        (
            "factored rows summed",
            "d * v.rows + rest * latest.rows",
            "v.rows + rest * latest.rows",
        ),
    ),
    f"{_T}_moment_links.py": (
        (
            "bias correction missing",
            "return replace(node, first=_unbiased(node.first), second=_unbiased(node.second))",
            "return node",
        ),
        (
            "bias correction of the mean only",
            "second=_unbiased(node.second))",
            "second=node.second)",
        ),
        (
            "bias corrected twice",
            "value=estimate.value / weight, weight=1.0)",
            "value=estimate.value / weight)",
        ),
        (
            "AMSGrad without the maximum",
            "jnp.maximum(top, node.second.value)",
            "node.second.value",
        ),
        (
            "AMSGrad keeps the maximum and does not use it",
            "lambda node, top: replace(node, second=replace(node.second, value=top))",
            "lambda node, top: node",
        ),
        (
            "NAdam's momenta late by a step",
            "now, after = self._momentum(b1, step), self._momentum(b1, step + 1)",
            "now, after = self._momentum(b1, step - 1), self._momentum(b1, step)",
        ),
        (
            "NAdam without looking ahead",
            "mean_weight = after / (1 - product * after)",
            "mean_weight = now / (1 - product)",
        ),
    ),
    f"{_T}_divide_by_rms.py": (
        (
            "eps inside the root",
            "(lax.sqrt(value) if node.power == 2 else value) + numerics.scalar(eps, dtype)",
            "lax.sqrt(value + numerics.scalar(eps, dtype)) if node.power == 2 else value",
        ),
        (
            "no root",
            "(lax.sqrt(value) if node.power == 2 else value) +",
            "value +",
        ),
        (
            "RAdam without rectification",
            "jnp.where(trusted, factor * ",
            "jnp.where(trusted, ",
        ),
        (
            "RAdam divides from the start",
            "trusted = rho > numerics.scalar(self.threshold, dtype)",
            "trusted = rho > -jnp.inf",
        ),
        (
            "RAdam's conventions swapped",
            'if self.convention == "pytorch":',
            'if self.convention != "pytorch":',
        ),
        (
            "RAdam counts from zero",
            "_rectification(rest, count.astype(dtype))",
            "_rectification(rest, state.count.astype(dtype))",
        ),
    ),
    f"{_T}_momentum.py": (
        (
            "Nesterov ignored",
            "if not self.nesterov:",
            "if True:",
        ),
        (
            "Nesterov with the momentum before",
            "* m, updates, momentum\n",
            "* m, updates, state.momentum\n",
        ),
        (
            "an average in place of a sum",
            "* m + weight * g",
            "* m + numerics.complement(self.decay, g.dtype) * g",
        ),
        (
            "never started: dampening is never used",
            "MomentumState(momentum, jnp.ones((), bool))",
            "MomentumState(momentum, jnp.zeros((), bool))",
        ),
    ),
    f"{_T}_sign.py": (
        (
            "kept from what was given on",
            "kept = jax.tree.map(mix(self.b2), updates, state.momentum)",
            "kept = jax.tree.map(mix(self.b2), given, state.momentum)",
        ),
        (
            "the sign of zero is one",
            "jax.tree.map(jnp.sign, updates)",
            "jax.tree.map(lambda u: jnp.sign(u) + (u == 0).astype(u.dtype), updates)",
        ),
    ),
    f"{_T}_adadelta.py": (
        (
            "divides by the mean square before this gradient",
            "updates, gradients, state.steps\n",
            "updates, state.gradients, state.steps\n",
        ),
        (
            "remembers gradients in place of steps",
            "jax.tree.map(average, stepped, state.steps)",
            "jax.tree.map(average, updates, state.steps)",
        ),
    ),
    f"{_T}_clipping.py": (
        (
            "global norm per leaf",
            "return shrink(updates, norm, self.max_norm), ClipState(recorded)",
            "return jax.tree.map(lambda u: shrink("
            "u, numerics.scaled_norm(u), self.max_norm), updates), ClipState(recorded)",
        ),
        (
            "leaf norms over all leaves",
            "lambda u: shrink(u, numerics.scaled_norm(u), self.max_norm)",
            "lambda u: shrink(u, numerics.scaled_norm(updates), self.max_norm)",
        ),
        (
            "norm after clipping recorded",
            "recorded = norm.value().astype(state.norm.dtype)",
            "recorded = jnp.minimum(norm.value(), numerics.scalar(self.max_norm, norm.root.dtype))"
            ".astype(state.norm.dtype)",
        ),
        (
            "divides inside of the bound too",
            "inside = norm.value() <= max_norm",
            "inside = norm.value() < 0",
        ),
    ),
    f"{_T}_adaptive_clip.py": (
        (
            "a unit is a row",
            "axes = tuple(range(u.ndim - 1)) or None",
            "axes = tuple(range(1, u.ndim)) or None",
        ),
        (
            "norm of the whole leaf",
            "axes = tuple(range(u.ndim - 1)) or None",
            "axes = None",
        ),
    ),
    f"{_T}_trust_ratio.py": (
        (
            "LARS: decay not in the norm",
            "size = gradient + decay * weight + ",
            "size = gradient + ",
        ),
        (
            "LARS: norm of the decayed gradient",
            "size = gradient + decay * weight + ",
            "size = numerics.norm(u + decay * p) + ",
        ),
        (
            "LARS: decay not in the step",
            "* (u + decay * p)",
            "* u",
        ),
        (
            "norm in place of the root mean square",
            "return numerics.norm(x) / max(x.size, 1) ** 0.5",
            "return numerics.norm(x)",
        ),
    ),
    f"{_T}_decay.py": (
        (
            "decay of the update, not of the weights",
            "* self._factor(rate, real) * p\n",
            "* self._factor(rate, real) * u\n",
        ),
        (
            "mask ignored",
            "if not chosen:",
            "if False:",
        ),
        (
            '"schedule" with the whole learning rate',
            "return numerics.safe_divide(here, peak)",
            "return here",
        ),
        (
            '"cautious" everywhere',
            'if self.coupling == "cautious":',
            "if False:",
        ),
        (
            "the learning rate twice: after it, not told",
            "here = numerics.scalar(rate.value(), dtype) if rate.applied else jnp.ones((), dtype)",
            "here = jnp.ones((), dtype)",
        ),
    ),
    f"{_T}_penalties.py": (
        (
            "mask ignored",
            "* self.slope(p) if chosen else u",
            "* self.slope(p)",
        ),
    ),
    f"{_T}_gradient_noise.py": (
        (
            "the same noise at every step",
            "jax.random.fold_in(jax.random.key(self.seed), state.count)",
            "jax.random.key(self.seed)",
        ),
        (
            "the same noise in every leaf",
            "jax.random.fold_in(key, zlib.crc32(trees.path_text(path).encode()))",
            "key",
        ),
    ),
    f"{_T}_centralize.py": (
        (
            "a unit is a row",
            "axis=tuple(range(u.ndim - 1))",
            "axis=tuple(range(1, u.ndim))",
        ),
        (
            "mean of the whole leaf",
            "axis=tuple(range(u.ndim - 1))",
            "axis=None",
        ),
    ),
    f"{_T}_learning_rate.py": (
        (
            "counted from one",
            "LearningRate(self.learning_rate, state.count,",
            "LearningRate(self.learning_rate, state.count + 1,",
        ),
        (
            "not recorded",
            'recorded: ClassVar[tuple[str, ...]] = ("learning_rate",)',
            "recorded: ClassVar[tuple[str, ...]] = ()",
        ),
    ),
    f"{_T}_freeze.py": (
        (
            "zero times the gradient",
            "jax.tree.map(numerics.zeros_like, updates)",
            "jax.tree.map(lambda u: 0 * u, updates)",
        ),
        (
            "lets everything pass",
            "jax.tree.map(numerics.zeros_like, updates)",
            "updates",
        ),
    ),
    f"{_T}_route.py": (
        (
            "a group sees the parameters of all",
            "None if params is None else _only(i, owners, params),",
            "params,",
        ),
        (
            "overlapping groups: the first one wins",
            "if any(len(g) > 1 for g in groups):",
            "if False:",
        ),
        (
            "states in one another's place",
            "states[name],\n                None",
            "[*states.values()][-1 - i],\n                None",
        ),
    ),
    f"{_R}_adam.py": (("bias correction missing", "        correct_bias(),\n", ""),),
    f"{_R}_adafactor.py": (
        (
            "decay before momentum and clipping",
            "        divide_by_rms(0.0),\n",
            "        divide_by_rms(0.0),\n"
            "        *([] if weight_decay is None else [add_decayed_weights(weight_decay, where)])"
            ",\n",
        ),
        (
            "decay counted from zero",
            "step = 1.0 + jnp.asarray(count, jnp.result_type(float))\n        return 1 - step",
            "step = jnp.asarray(count, jnp.result_type(float))\n        return 1 - step",
        ),
    ),
    f"{_R}_adamw.py": (
        (
            "decay before the moments: L2",
            "    return chain(\n",
            "    return chain(\n        decay,\n",
        ),
        (
            "independent decay before the learning rate",
            '(step, decay) if coupling == "independent" else (decay, step)',
            "(decay, step)",
        ),
    ),
    f"{_R}_amsgrad.py": (
        (
            "conventions swapped",
            'if convention == "pytorch" else reversed',
            'if convention != "pytorch" else reversed',
        ),
    ),
    f"{_R}_lars.py": (
        (
            "momentum before the learning rate",
            "        scale_by_learning_rate(learning_rate),\n"
            "        accumulate_momentum(momentum, nesterov=nesterov),\n",
            "        accumulate_momentum(momentum, nesterov=nesterov),\n"
            "        scale_by_learning_rate(learning_rate),\n",
        ),
    ),
    f"{_R}_sgd.py": (
        (
            "penalty behind the momentum",
            "chain(*penalty, *momentum_links,",
            "chain(*momentum_links, *penalty,",
        ),
    ),
}
