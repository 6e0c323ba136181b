"""Candidates: ways to initialise the kernels that were found, each with its formula in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from optlab import initializers
from optlab.core import checks
from optlab.lab.init import _mirrored, _sample
from optlab.lab.init._layer import Layer
from optlab.lab.init._measure import Meter
from optlab.lab.init._model import as_glob

PyTree = Any
GIVEN = "as given"
ZERO_BIASES = "zero biases"


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A way to initialise.

    Attributes:
      name: as tables call it.
      formula: in words.
      rules: for `initializers.reinitialize`, or None where more than rules is needed.
      draw: `key -> params`, by the initializers themselves.
      sample: `seed -> leaves`, by the same law and without compilation; None where there is no
        faster way than `draw`.
      fixed: whether all draws are the same.
    """

    name: str
    formula: str
    rules: Mapping[Hashable, initializers.Initializer] | None
    draw: Callable[[jax.Array], PyTree]
    sample: Callable[[int], list[Any]] | None = None
    fixed: bool = False


class Bench:
    """Makes the candidates of one model; with 0 for the biases of `unbiased`, layers."""

    def __init__(self, meter: Meter, unbiased: Sequence[Layer] = ()):
        self.meter, self.model, self.layers = meter, meter.model, meter.layers
        self.unbiased = [x for x in dict.fromkeys(x.bias for x in unbiased) if x is not None]
        self._bias_names = [x.name for x in unbiased]  # layers of a scan share one
        first: dict[int, Layer] = {}
        for layer in self.layers:
            first.setdefault(layer.leaf, layer)
        # A kernel that is zero on purpose (a residual branch's last, a head's) is still redrawn.
        self.kernels = [x for x in first.values() if x.axes is not None]
        self.branches = sum(layer.branch_end for layer in self.layers)

    def defaults(self) -> list[Candidate]:
        makers = {
            "lecun_normal": self.simple(
                "lecun_normal", initializers.lecun_normal(), "Var(w) = 1/fan_in"
            ),
            "xavier_uniform": self.simple(
                "xavier_uniform",
                initializers.xavier_uniform(),
                "Var(w) = 2/(fan_in + fan_out)",
            ),
            "he_normal": self.simple("he_normal", initializers.he_normal(), "Var(w) = 2/fan_in"),
            "orthogonal": self.orthogonal(),
            "lsuv": self.unit_variance(),
        }
        found = list(makers.values())
        if self.branches:
            found.append(self.depth_scaled())
        mirrored = self.mirrored()
        return [*found, mirrored] if mirrored is not None else found

    def given(self) -> Candidate:
        return Candidate(
            GIVEN, "the parameters given", None, lambda _: self.model.params, fixed=True
        )

    def zero_biases(self) -> Candidate:
        """The kernels given."""
        rules = self._told({})
        text = "the kernels given" + self._bias_text()
        return Candidate(
            ZERO_BIASES, text, rules, lambda _: self._start(), lambda _: self._leaves(), fixed=True
        )

    def simple(self, name: str, initializer: Any, formula: str) -> Candidate:
        """One initializer for every kernel."""
        return self._by_rules(name, formula, {x.path: initializer for x in self.kernels})

    def orthogonal(self) -> Candidate:
        rules = {
            x.path: initializers.orthogonal(
                self._gain(x) * _widening(x) * (self._end_factor() if x.branch_end else 1.0)
            )
            for x in self.kernels
        }
        text = "WᵀW = gain² I, gain = 1/sqrt(E f(z)²) of the activation f before the layer"
        return self._by_rules("orthogonal", text + self._end_text(), rules)

    def unit_variance(self) -> Candidate:
        rules = self._told({x.path: initializers.orthogonal() for x in self.kernels})
        text = "orthogonal, each kernel scaled until its layer's output has variance 1 on the batch"
        if self.meter.fit.centred:
            text += ", each bias set so that every unit's output has mean 0"

        def draw(key: jax.Array) -> PyTree:
            drawn = initializers.reinitialize(key, self._start(), rules)
            return self._placed(self.meter.unit_variance(self.model.leaves(drawn)))

        def sample(seed: int) -> list[Any]:
            return self.meter.unit_variance(self._sample(rules, seed, self._leaves()))

        text += self._end_text() + self._bias_text()
        return Candidate("lsuv", text, None, draw, sample)

    def depth_scaled(self) -> Candidate:
        rules: dict[str, Any] = {}
        for x in self.kernels:
            rules[x.path] = initializers.variance_scaling(self._gain(x) ** 2, "fan_in")
            if x.branch_end:
                layers = self.branches
                rules[x.path] = initializers.depth_scaled(rules[x.path], layers=layers, branches=1)
        text = "Var(w) = gain²/fan_in, gain² = 2 behind a ReLU and 1 behind no activation"
        return self._by_rules("depth_scaled", text + self._end_text(), rules)

    def mirrored(self) -> Candidate | None:
        plan = _mirrored.plan(self.model, self.layers)
        if not plan:
            return None
        inner = self._told(
            {
                x.path: initializers.orthogonal(
                    plan[x.leaf].factor if x.leaf in plan else self._gain(x)
                )
                for x in self.kernels
            }
        )
        text = (
            "orthogonal Q in blocks, W = [[Q, -Q], [-Q, Q]]: pairs of units see z and -z, and "
            "f(z) - f(-z) = c z, so the network starts linear"
        )

        blocks = _mirrored.blocks(self._leaves(), plan)

        def draw(key: jax.Array) -> PyTree:
            drawn = initializers.reinitialize(key, self.model.tree(blocks), inner)
            return self._placed(_mirrored.unfolded(self.model.leaves(drawn), plan))

        def sample(seed: int) -> list[Any]:
            return _mirrored.unfolded(self._sample(inner, seed, blocks), plan)

        return Candidate("mirrored", text + self._bias_text(), None, draw, sample)

    def custom(self, owner: str, name: str, value: Any) -> Candidate:
        """One that the user gave."""
        if isinstance(value, initializers.Initializer):
            return self.simple(name, value, repr(value))
        if isinstance(value, Mapping):
            return Candidate(
                name,
                f"{len(value)} rules",
                value,
                lambda key: initializers.reinitialize(key, self.model.params, value),
            )
        if callable(value):
            return Candidate(name, "made by a function", None, value)
        raise TypeError(
            f"{owner}: candidate {name!r} must be an initializer, rules for "
            f"initializers.reinitialize, or a function key -> params, got {value!r}."
        )

    def _by_rules(self, name: str, formula: str, rules: dict[str, Any]) -> Candidate:
        told = self._told(rules)
        return Candidate(
            name,
            formula + self._bias_text(),
            told,
            lambda key: initializers.reinitialize(key, self._start(), told),
            lambda seed: self._sample(told, seed, self._leaves()),
        )

    def _leaves(self) -> list[Any]:
        """Those that candidates start from."""
        leaves = self.model.leaves(self.model.params)
        return [jnp.zeros_like(x) if i in self.unbiased else x for i, x in enumerate(leaves)]

    def _start(self) -> PyTree:
        return self.model.tree(self._leaves()) if self.unbiased else self.model.params

    def _bias_text(self) -> str:
        names = self._bias_names
        if len(names) > 3:
            names = [f"{names[0]} to {names[-1]}"]
        return f"; 0 for the biases of {', '.join(names)}" if names else ""

    def _sample(self, rules: Mapping[Hashable, Any], seed: int, leaves: list[Any]) -> list[Any]:
        new = list(leaves)
        for x in self.kernels:
            rule = rules.get(as_glob(x.path))
            if rule is not None:
                old = leaves[x.leaf]
                new[x.leaf] = _sample.sample(rule, seed, x.path, old.shape, old.dtype)
        return new

    def _placed(self, leaves: list[Any]) -> PyTree:
        """The leaves as a tree, on the devices of those given."""
        pairs = zip(leaves, self._leaves(), strict=True)
        return self.model.tree(
            [jax.device_put(new, getattr(old, "sharding", None)) for new, old in pairs]
        )

    def _told(self, rules: dict[str, Any]) -> dict[Hashable, Any]:
        axes = {x.path: x.axes for x in self.kernels}
        told = {as_glob(path): with_axes(rule, axes[path]) for path, rule in rules.items()}
        biases = [self.model.paths[self.model.varied[leaf]] for leaf in self.unbiased]
        return {**told, **{as_glob(path): initializers.zeros for path in biases}}

    def _gain(self, layer: Layer) -> float:
        if layer.fed_by is None:
            return 1.0
        before = self.layers[layer.fed_by].activation.gain
        return before if math.isfinite(before) else 1.0

    def _end_factor(self) -> float:
        return 1 / math.sqrt(max(self.branches, 1))

    def _end_text(self) -> str:
        if not self.branches:
            return ""
        count = self.branches
        return f"; the last kernel of each of {count} residual branches over sqrt({count})"


def with_axes(initializer: Any, axes: initializers.Axes | None) -> Any:
    """The initializer with the axes that the product itself has, where it names none."""
    if axes is None:
        return initializer
    if isinstance(initializer, initializers.scaled):
        return initializer.with_values(initializer=with_axes(initializer.initializer, axes))
    if not hasattr(initializer, "in_axis") or initializer.in_axis is not None:
        return initializer
    return dataclasses.replace(initializer, **axes._asdict())


def choose(
    owner: str, bench: Bench, wanted: Sequence[str] | Mapping[str, Any] | str | None
) -> list[Candidate]:
    """The parameters as given, and the candidates asked for."""
    known = {x.name: x for x in bench.defaults()}
    first = [bench.given(), *([bench.zero_biases()] if bench.unbiased else [])]
    if wanted is None:
        return [*first, *known.values()]
    if isinstance(wanted, str):
        wanted = [wanted]
    if not wanted:
        raise ValueError(
            f"{owner}: candidates is empty: there is nothing to compare with. Leave it out for "
            f"{', '.join(known)}, or give names of these, or {{name: initializer}}."
        )
    if isinstance(wanted, Mapping):
        return [*first, *(bench.custom(owner, str(k), v) for k, v in wanted.items())]
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"{owner}: unknown candidate {name!r} for this model; "
                f"{checks.nearest(str(name), known)}"
            )
    return [*first, *(known[name] for name in dict.fromkeys(wanted))]


def _widening(layer: Layer) -> float:
    """What keeps the variance, and not the norm, where there are more outputs than inputs."""
    if layer.axes is None:
        return 1.0
    outputs = math.prod(layer.shape[i] for i in layer.axes.out_axis)
    return math.sqrt(max(1.0, outputs / max(layer.fan_in, 1)))
