"""`init_report`: what a start does, what would do better, and that it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from optlab.core import checks
from optlab.lab.init import _advice, _biases, _candidates, _findings, _layers, _model, _summary
from optlab.lab.init._layer import Layer
from optlab.lab.init._measure import STATISTICS, Measured, Meter
from optlab.lab.init._report import InitReport, Row, block_rows

PyTree = Any
_FEWEST_SEEDS = 5
_LARGEST_KERNEL = 256  # whose condition number is computed


def init_report(
    model: Any,
    params: PyTree,
    batch: PyTree,
    *,
    loss: Callable[[Any, PyTree], Any] | None = None,
    tx: Any = None,
    candidates: Mapping[str, Any] | Sequence[str] | None = None,
    seeds: int = _FEWEST_SEEDS,
    key: jax.Array | None = None,
) -> InitReport:
    """Measures every layer at step 0, compares initialisations, and recommends one.

    The model is traced once, and its layers are found in what it computes: products of a signal
    with a parameter. What lies behind each (bias, normalisation, activation) is told from its
    values. One compiled program then measures all candidates and seeds.

    Args:
      model: a Linen or NNX module, or a function `(params, batch) -> outputs`, also one that
        returns `{path of a kernel: output of its layer}` as `initializers.lsuv` takes it.
      params: its parameters: those that training would start from. For NNX an `nnx.State` of
        `nnx.Param`, or None for those in the module. For Linen the params, or all variables.
      batch: examples along the first axis, at least 2 and better 64 or more, prepared as in
        training. A module is called with it, or with the first entry of a tuple
        `(inputs, targets)`.
      loss: `(outputs, batch) -> scalar`; None for the product of the outputs with one random
        direction of length 1, by which gradients have about the size of a single output's.
      tx: an optimizer, for the ratio of its first update to the weights.
      candidates: `{name: initializer, or rules for initializers.reinitialize, or key -> params}`,
        or names out of the default ones. Default: lecun_normal, xavier_uniform, he_normal,
        orthogonal (with the measured activation's gain), lsuv (scaled, and where the activation is
        not 0 at 0 centred, on the batch), for residual networks depth_scaled, and for chains of
        ReLU, GELU or SiLU mirrored (orthogonal kernels for pairs of units, so that the network
        starts linear).
        Kernels get the axes that the products really sum over, whatever their names say.
      seeds: >= 5, draws of each candidate; the worst of them counts.
      key: for draws; `jax.random.key(0)` if None.

    Returns:
      An `InitReport`; print it.

    Raises:
      ValueError: for a model without layers, parameters of another model, non-finite numbers, a
        batch of one example or of copies of one, no candidates, fewer than 5 seeds, a loss that is
        no scalar.
      TypeError: for what is no model, a loss or optimizer that is none.

    Special cases:
      `nn.scan` over layers is unrolled, a row a layer. Products of two signals (attention scores)
      are no layers. Modules run with dropout off; one that takes `train`, `training` or
      `deterministic` is told to evaluate, but with BatchNorm's statistics among its variables to
      train, as BatchNorm then normalises by the batch. A candidate changes kernels only, lsuv also
      biases; what no product reads stays as given. Where no candidate mends the start with the
      hidden biases given, and they do with 0 in their place, all of them get 0, and "zero biases",
      the kernels given, is one more. The score adds powers of ten: of the signal's
      and the gradient's change over the depth, of the share of differences between examples, and
      shares of dead and saturated units. It judges the start, not the training. XLA's code is not
      optimised on CPU: milliseconds are not those of training.

    Example:
      >>> import flax.linen as nn, jax, optlab as ol
      >>> class Deep(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x):
      ...         for _ in range(12):
      ...             x = nn.relu(nn.Dense(64)(x))
      ...         return nn.Dense(10)(x)
      >>> x = jax.random.normal(jax.random.key(0), (64, 32))
      >>> params = Deep().init(jax.random.key(1), x)["params"]
      >>> report = ol.lab.init_report(Deep(), params, x, candidates=["lecun_normal", "he_normal"])
      >>> report.recommendation.name
      'he_normal'
      >>> report.findings[0].kind
      'signal vanishes'

    Source: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural
      networks, AISTATS 2010; K. He et al., 2015, arXiv:1502.01852; D. Mishkin, J. Matas, 2015,
      arXiv:1511.06422; D. Balduzzi et al., 2017, arXiv:1702.08591.
    """
    began = time.perf_counter()
    seeds = checks.positive_count("init_report", "seeds", seeds)
    if seeds < _FEWEST_SEEDS:
        raise ValueError(
            f"init_report: seeds must be a whole number >= {_FEWEST_SEEDS}, got {seeds}: fewer "
            "draws do not show how much luck there was."
        )
    if loss is not None and not callable(loss):
        raise TypeError(f"init_report: loss must be a function (outputs, batch), got {loss!r}.")
    if tx is not None and not (hasattr(tx, "init") and hasattr(tx, "update")):
        raise TypeError(f"init_report: tx must be an optimizer with init and update, got {tx!r}.")
    key = jax.random.key(0) if key is None else key
    traced = _model.read_model("init_report", model, params, batch)
    _model.check_examples_differ("init_report", model, batch)
    layers = _layers.find_layers(traced)
    objective = _on_batch(loss, batch)
    if objective is not None:
        _model.check_loss("init_report", traced, objective)
    meter = Meter(traced, layers, objective, tx)

    def tried(bench: _candidates.Bench) -> tuple[list[Trials], list[float]]:
        chosen = _candidates.choose("init_report", bench, candidates)
        trials = [Trials(meter, candidate, seeds, key) for candidate in chosen]
        return trials, [trial.summary.score for trial in trials]

    trials, scores = tried(_candidates.Bench(meter))
    first = trials[0]
    biased = _biases.of_hidden(traced, layers, first.leaves)
    on_biases = []
    if biased and _biases.may_gain(scores):
        others, without = tried(_candidates.Bench(meter, biased))
        if _biases.is_gain(scores, without):
            trials = others
            on_biases = [_biases.finding(biased, first.leaves, scores, without)]
    chosen = [trial.candidate for trial in trials]
    start = _findings.Start(
        layers, first.leaves, first.measured[0], first.summary, first.copies,
        first.singular_values, tx is not None,
    )  # fmt: skip
    findings = _findings.find(start)
    if on_biases:
        findings = on_biases + [x for x in findings if x.kind not in _biases.EFFECTS]
    rows = [row for trial in trials for row in trial.rows(tx is not None)]
    summaries = {trial.candidate.name: trial.summary for trial in trials}
    best = _summary.best_candidate({k: s.score for k, s in summaries.items()}, _candidates.GIVEN)
    ratios = [r["update_ratio"] for r in rows if r["candidate"] == best and r["update_ratio"]]
    advice = _advice.recommend(chosen, summaries, start, findings, max(ratios) if ratios else None)
    if advice.name == _candidates.GIVEN:
        findings = [_advice.without_recommendation(finding) for finding in findings]
    return InitReport(
        rows=tuple(rows),
        blocks=tuple(r for r in block_rows(rows) if r["candidate"] == _candidates.GIVEN),
        candidates=tuple(trial.row() for trial in trials),
        findings=tuple(findings),
        recommendation=advice,
        seconds=time.perf_counter() - began,
        key=key,
        draws={candidate.name: candidate.draw for candidate in chosen},
    )


class Trials:
    """The draws of one candidate."""

    def __init__(self, meter: Meter, candidate: _candidates.Candidate, seeds: int, key: Any):
        self.meter, self.candidate, self.layers = meter, candidate, meter.layers
        count = 1 if candidate.fixed else seeds
        self.measured: list[Measured] = []
        summaries = []
        for seed in range(count):
            leaves = self._draw(seed, key)
            copies = _summary.equal_units(self.layers, leaves)
            self.measured.append(meter(leaves, jax.random.fold_in(key, seed)))
            summaries.append(_summary.summarize(self.measured[-1], self.layers, copies))
            if seed == 0:
                self.leaves, self.copies = leaves, copies
        self.summary = _summary.worst(summaries)
        self.singular_values = meter.singular_values(self.leaves)

    def _draw(self, seed: int, key: Any) -> list[Any]:
        sample = self.candidate.sample
        if sample is not None:
            base = int(jax.random.key_data(key).ravel()[-1])
            return sample(base * 1000 + seed)
        params = self.candidate.draw(jax.random.fold_in(key, seed))
        expected = jax.tree.structure(self.meter.model.params)
        if jax.tree.structure(params) != expected:
            raise ValueError(
                f"init_report: candidate {self.candidate.name!r} made parameters of another "
                "structure than those given."
            )
        return self.meter.model.leaves(params)

    def row(self) -> Row:
        values = self.singular_values
        condition = None
        if values is not None and values.size:
            condition = float(np.median(values[:, 0] / np.maximum(values[:, -1], 1e-300)))
        summary = {name: getattr(self.summary, name) for name in self.summary.__dataclass_fields__}
        return {
            "candidate": self.candidate.name,
            "seeds": len(self.measured),
            **summary,
            "condition": condition,
            "formula": self.candidate.formula,
        }

    def rows(self, has_tx: bool) -> list[Row]:
        tables = np.median([m.layers for m in self.measured], axis=0)
        norms, gradients, updates = (
            np.median([getattr(m, name) for m in self.measured], axis=0)
            for name in ("parameter_norm", "parameter_gradient", "update_norm")
        )
        rows = []
        for k, layer in enumerate(self.layers):
            kernel = np.asarray(self.leaves[layer.leaf], np.float64)
            norm = float(norms[layer.leaf])
            rows.append(
                {
                    "candidate": self.candidate.name,
                    "layer": layer.name,
                    "block": layer.name.split("/")[0],
                    "index": k,
                    "path": layer.path,
                    "kind": layer.kind,
                    "activation": layer.activation.name,
                    "normalized": layer.normalized,
                    "fan_in": layer.fan_in,
                    "fan_out": layer.fan_out,
                    "kernel_scale": float((kernel**2).mean()) * layer.fan_in,
                    "condition": _condition(layer, kernel),
                    **dict(zip(STATISTICS, map(float, tables[:, k]), strict=True)),
                    "parameter_gradient": float(gradients[layer.leaf]),
                    "update_ratio": (
                        float(updates[layer.leaf]) / norm if has_tx and norm > 0 else None
                    ),
                }
            )
        return rows


def _condition(layer: Layer, kernel: np.ndarray) -> float | None:
    """Of the kernel as a matrix from inputs to outputs."""
    if layer.axes is None or layer.axes.batch_axis or not np.isfinite(kernel).all():
        return None
    order = (*layer.axes.receptive(kernel.shape), *layer.axes.in_axis, *layer.axes.out_axis)
    outputs = int(np.prod([kernel.shape[i] for i in layer.axes.out_axis]))
    matrix = kernel.transpose(order).reshape(-1, outputs)
    if max(matrix.shape) > _LARGEST_KERNEL:
        return None
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else float("inf")


def _on_batch(loss: Any, batch: PyTree) -> Any:
    """The loss as a function of the outputs and the batch's arrays."""
    if loss is None:
        return None
    structure = jax.tree.structure(batch)
    return lambda outputs, arrays: loss(outputs, jax.tree.unflatten(structure, arrays))
