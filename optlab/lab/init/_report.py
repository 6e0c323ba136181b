"""`InitReport`: what `init_report` returns."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from optlab.lab.init import _plot, _table
from optlab.lab.init._advice import Recommendation
from optlab.lab.init._findings import Finding

PyTree = Any
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class InitReport:
    """What a start does to signal and gradient, and which one does better. Prints as text.

    Attributes:
      rows: a dict a layer and candidate, medians over the seeds. `candidate`, `layer`, `block`
        (first part of its path), `index`, `path`, `kind`, `activation` (told from its values;
        "none", "times c", "?" another function, "mixed"), `normalized`, `fan_in`, `fan_out`;
        `kernel_scale` (E w² times fan_in), `condition` (of the kernel as a matrix, None if large);
        `input_rms`, `pre_mean`, `pre_std`, `post_mean`, `post_std` (before and behind the
        activation); `signal` (spread between examples, behind the bias); `variety` (its share in
        what is passed on); `dead`, `saturated` (shares); `gradient` (norm of the loss's gradient by
        the layer's output),
        `parameter_gradient` (by its kernel), `update_ratio` (update over weight norm, None without
        `tx`).
      blocks: the same for blocks: signal and gradient at both ends, the worst of the rest.
      candidates: a dict a candidate, of its worst seed: `signal` (last layer over first),
        `gradient` (first over last), `signal_depth`, `gradient_depth` (layers survived within 1e-3
        and 1e3), `variety`, `dead`, `saturated`, `condition` (of the input-output Jacobian, None if
        large),
        `score` (powers of ten lost; less is better), `seeds`, `formula`.
      findings: what is wrong with the parameters given.
      recommendation: what to do, with numbers before and after.
      seconds: what it took.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> params = {"a": 0.01 * jax.random.normal(jax.random.key(0), (8, 8)), "b": jnp.eye(8)}
      >>> x = jax.random.normal(jax.random.key(1), (32, 8))
      >>> report = ol.lab.init_report(
      ...     lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], params, x, candidates=["orthogonal"]
      ... )
      >>> report
      InitReport(0 findings, recommends 'orthogonal')
      >>> sorted(report.params), report.rows[0]["activation"]
      (['a', 'b'], 'tanh')
    """

    rows: tuple[Row, ...]
    blocks: tuple[Row, ...]
    candidates: tuple[Row, ...]
    findings: tuple[Finding, ...]
    recommendation: Recommendation
    seconds: float
    key: jax.Array = dataclasses.field(repr=False)
    draws: Mapping[str, Callable[[jax.Array], PyTree]] = dataclasses.field(repr=False)

    def apply(self, key: jax.Array, candidate: str | None = None) -> PyTree:
        """New parameters by the recommended candidate, or another one.

        Args:
          key: a `jax.random.key`.
          candidate: its name; None for the recommended one.

        Returns:
          Parameters of the structure that was given; those themselves for "as given".

        Raises:
          ValueError: for a name that the report does not have.
        """
        name = self.recommendation.name if candidate is None else candidate
        if name not in self.draws:
            raise ValueError(
                f"InitReport.apply: no candidate {name!r}; this report has {', '.join(self.draws)}."
            )
        return self.draws[name](key)

    @functools.cached_property
    def params(self) -> PyTree:
        """Recommended parameters: `apply` with the key of the report."""
        return self.apply(self.key)

    def plot(self, figure: Any = None) -> Any:
        """Draws signal and gradient over the layers, a line a candidate.

        Args:
          figure: a matplotlib Figure to draw into; None makes one of 800 x 700 pixels.

        Returns:
          The Figure.

        Raises:
          ImportError: without matplotlib.
        """
        return _plot.plot_report(self, figure)

    def layers(self, candidate: str) -> list[Row]:
        """The rows of one candidate."""
        return [row for row in self.rows if row["candidate"] == candidate]

    def __repr__(self) -> str:
        name = self.recommendation.name
        return f"InitReport({len(self.findings)} findings, recommends {name!r})"

    def __str__(self) -> str:
        given = self.layers(self.candidates[0]["candidate"])
        lines = [f"Initialisation of {len(given)} layers, as given", ""]
        lines += _table.layer_table(given)
        if 1 < len(self.blocks) <= len(given) / 2:
            lines += ["", *_block_lines(self.blocks)]
        lines += ["", "Candidates, worst seed. Signal: last layer over first; gradient: first over"]
        lines[-1] += " last; score:"
        lines += ["powers of ten lost; cond.: of the input-output Jacobian."]
        lines += ["", *_table.candidate_table(self.candidates, len(given)), ""]
        for i, finding in enumerate(self.findings, 1):
            lines += _table.paragraph(str(finding), indent="   ", first=f"{i}. ")
        if not self.findings:
            lines.append("No findings: signal and gradient stay within a factor of 10.")
        lines += ["", *_table.paragraph(f"Recommendation: {self.recommendation}")]
        if self.recommendation.name != self.candidates[0]["candidate"]:
            lines.append("report.params are such parameters; report.apply(key) draws others.")
        return "\n".join(lines)


def _block_lines(blocks: tuple[Row, ...]) -> list[str]:
    header = ("block", "layers", "signal in", "out", "gradient in", "out", "dead", "sat.")
    keys = ("signal_first", "signal_last", "gradient_first", "gradient_last")
    rows = []
    for row in _table.shortened(list(blocks), 12):
        if row is None:
            rows.append(("...",) + ("",) * (len(header) - 1))
            continue
        numbers = [_table.number(row[key]) for key in keys]
        shares = (_table.percent(row["dead"]), _table.percent(row["saturated"]))
        rows.append((_table.clipped(row["block"]), str(row["layers"]), *numbers, *shares))
    return _table.table(header, rows)


def block_rows(rows: list[Row]) -> list[Row]:
    """Rows of layers gathered by block, for each candidate."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["candidate"], row["block"]), []).append(row)
    return [
        {
            "candidate": candidate,
            "block": block,
            "layers": len(members),
            "signal_first": members[0]["signal"],
            "signal_last": members[-1]["signal"],
            "gradient_first": members[0]["gradient"],
            "gradient_last": members[-1]["gradient"],
            "dead": float(np.max([m["dead"] for m in members])),
            "saturated": float(np.max([m["saturated"] for m in members])),
        }
        for (candidate, block), members in groups.items()
    ]
