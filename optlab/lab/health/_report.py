"""The report: a table of what was measured, and what is wrong, in plain words."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

import numpy as np

from optlab.lab.health import _rules
from optlab.lab.health._course import Course
from optlab.lab.health._findings import Finding
from optlab.lab.health._samples import Samples, losses_of, noise_and_signal, samples_of

WIDTH = 100
MOST_GROUPS = 40
COLUMNS = (  # of the table: heading, column
    ("gradient", "gradient_norm"),
    ("update", "update_norm"),
    ("weight", "weight_norm"),
    ("upd/wt", "update_ratio"),
    ("cosine", "cosine"),
    ("dead", "dead_fraction"),
    ("clipped", "clipped_fraction"),
    ("v spread", "second_moment_spread"),
)


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What a probe measured, and what is wrong with the training. Prints as text.

    Attributes:
      findings: what is wrong; empty for a healthy training.
      samples: the measurements as arrays.
      loss_steps, losses: the losses that are known, and the updates they are of.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx, params = ol.probe(ol.sgd(0.1)), {"Dense_0": {"kernel": jnp.eye(2)}}
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> report = ol.lab.gradient_report(state)
      >>> [(row["group"], round(row["update_ratio"], 3)) for row in report.rows]
      [('Dense_0', 0.1)]
    """

    findings: tuple[Finding, ...]
    samples: Samples
    loss_steps: np.ndarray
    losses: np.ndarray

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each sample and group: `step`, `group`, `loss`, and each metric."""
        return self.samples.rows()

    def plot(self, figure: Any = None) -> Any:
        """Draws gradient norms by layer and update, update ratios, and the loss with its events.

        Args:
          figure: a matplotlib Figure to draw into; None makes one, 800 pixels wide.

        Returns:
          The Figure.

        Raises:
          ImportError: without matplotlib.
        """
        from optlab.lab.health import _plot

        return _plot.draw(self, figure)

    def __str__(self) -> str:
        steps = self.samples.steps
        several = "sample" if len(steps) == 1 else "samples"
        lines = [f"{len(steps)} {several}, updates {steps[0]} to {steps[-1]}; {self._losses()}"]
        lines += [*self._table(), ""]
        if not self.findings:
            return "\n".join([*lines, "No finding: nothing that the rules know looks ill."])
        for number, finding in enumerate(self.findings, 1):
            lines += textwrap.wrap(
                str(finding), WIDTH, initial_indent=f"{number}. ", subsequent_indent="   "
            )
        return "\n".join(lines)

    def _losses(self) -> str:
        if not len(self.losses):
            return "no losses known"
        return f"loss {self.losses[0]:.4g} at first, {self.losses[-1]:.4g} at last"

    def _table(self) -> list[str]:
        samples = self.samples
        shown = [(title, name) for title, name in COLUMNS if name in samples.columns]
        scales = _scales(samples)
        titles = [title for title, _ in shown] + (["noise"] if scales is not None else [])
        width = min(max(len("group"), *map(len, samples.groups)), WIDTH - 9 * len(titles))
        lines = [
            "medians of the second half of the samples; noise scale in batches",
            "group".ljust(width) + "".join(title.rjust(9) for title in titles),
        ]
        half = slice(len(samples.steps) // 2, None)
        for j, group in enumerate(samples.groups[:MOST_GROUPS]):
            cells = [f"{np.median(samples.columns[name][half, j]):.2g}" for _, name in shown]
            cells += [] if scales is None else [f"{scales[j]:.2g}"]
            name = group if len(group) <= width else f"...{group[3 - width :]}"
            lines.append(name.ljust(width) + "".join(cell.rjust(9) for cell in cells))
        if len(samples.groups) > MOST_GROUPS:
            lines.append(f"and {len(samples.groups) - MOST_GROUPS} more groups: see rows")
        return lines


def _scales(samples: Samples) -> np.ndarray | None:
    """The noise scale of each group: a ratio of averages, infinite where there is no signal."""
    found = noise_and_signal(samples)
    if found is None:
        return None
    half = slice(len(samples.steps) // 2, None)
    noise, signal = (np.nansum(part[half], axis=0) for part in found)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(signal > 0, noise / signal, np.where(noise > 0, np.inf, np.nan))


def gradient_report(state_or_history: Any, *, losses: Any = None) -> GradientReport:
    """Reads what a `probe` measured during a training, and says what is wrong with it.

    Args:
      state_or_history: the optimizer's state, or any state around it, with one probe somewhere
        inside; or a list of such states of one run, taken before the probe's ring was full again;
        or the `rows` of a report.
      losses: one number for each update, from the first; or numbers by update, as a dict. None:
        those that `update` was given as `value`, where it was.

    Returns:
      A `GradientReport` with `rows`, `findings` and `plot()`; `print` shows it in 100 columns.

    Raises:
      ValueError: for a state without a probe, with several, before the first sample, or of a
        population; for losses in another form, or of other updates than were done.
      TypeError: inside `jit`; for losses that are no numbers.

    Special cases:
      The rules, with |g|, |u|, |w| the norms of a group's gradient, update, weights; all thresholds
      are in `optlab.lab.health._thresholds`, and each finding tells its own:

      - uphill: the median cosine between update and negative gradient is under -0.5.
      - loss is not finite: none is, from the first update on.
      - diverging: gradients or losses that are not finite; a loss that ends 1.2 times its start.
      - zero initialisation: |w| = 0 at first and |g| = 0 always.
      - symmetric units: gradients of all outputs of a layer equal within 1e-3.
      - exploding: |g| / |w| over 100 (median). vanishing: |g| under 1e-3 of the largest |g| of a
        layer, and under 1e-3 |w|, in most samples.
      - dead units: over a third of a layer's outputs; not where the layer's bias learns while all
        its outputs' weights do not, as behind a layer that is dead.
      - saturated units: after the first update the roots of second moments differ by over 1e12 in
        two layers or more, |g| < 1e-3 |w| in all, and the loss is not halved.
      - learning rate too large: |u| / |w| of all groups over 0.3 once, and weights or loss grew
        3-fold; too small: it never reached 1e-4 (where |g| < 1e-3 |w| in all layers, the advice
        is to look at the gradients first); at the edge of stability: successive gradients have a
        mean cosine under -0.5.
      - always clipped: over 0.9 of the steps of the second half.
      - noise-dominated: noise scale surely over 10 batches in the second half, while the loss is
        still over half of its start (it grows as a training succeeds), and not below it by over 3
        standard errors (of the means of the first twentieth and the last tenth).
      - stalled: the loss ends over 0.95 of its start, and no other rule knows why.

      Rules that need losses are silent without them. They know common illnesses of layers and
      steps; no finding does not mean that the model is right.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.probe(ol.sgd(1e-7), every=1)
      >>> params = {"Dense_0": {"kernel": jnp.eye(2)}}
      >>> state = tx.init(params)
      >>> for _ in range(4):
      ...     updates, state = tx.update(params, state, params)
      >>> [finding.rule for finding in ol.lab.gradient_report(state).findings]
      ['learning rate too small']

    Source:
      Each finding names its own.
    """
    samples = samples_of(state_or_history)
    steps, values = losses_of(samples, losses)
    findings = _rules.apply(Course(samples, steps, values))
    return GradientReport(tuple(findings), samples, steps, values)
