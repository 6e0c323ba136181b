"""Findings: what is wrong, where, when, by which measure, and who says that it is too much."""

from __future__ import annotations

import dataclasses

CLIPPING = 'Pascanu, Mikolov, Bengio, "On the difficulty of training RNNs", 2013, arXiv:1211.5063'
DEPTH = 'Glorot, Bengio, "Understanding the difficulty of training deep networks", AISTATS 2010'
BOOK = 'Goodfellow, Bengio, Courville, "Deep learning", 2016'
DYING = 'Lu, Shin, Su, Karniadakis, "Dying ReLU and initialization", 2019, arXiv:1903.06733'
NOISE = 'McCandlish et al., "An empirical model of large-batch training", 2018, arXiv:1812.06162'
RATIO = 'Karpathy, "CS231n: Learning and evaluation", Stanford 2015 (update ratio about 1e-3)'
CATAPULT = 'Lewkowycz et al., "The large learning rate phase", 2020, arXiv:2003.02218'
DESCENT = 'Nocedal, Wright, "Numerical optimization", 2006, section 2.2'
EDGE = 'Cohen et al., "Gradient descent at the edge of stability", 2021, arXiv:2103.00065'
RANGE = 'Smith, "Cyclical learning rates for training neural networks", 2015, arXiv:1506.01186'


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a training.

    Attributes:
      rule: its name, such as `"vanishing"`.
      groups: those that have it; empty if it is one of the whole network.
      first_step, last_step: the updates of the samples that show it.
      measure: what was measured, in words.
      value: the measured number.
      threshold: the number from which on, or under which, it is an illness.
      source: author, year, where; a threshold that is not theirs says so in `measure`.
      advice: what it means, and what to do.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx, params = ol.probe(ol.sgd(1e-7)), {"Dense_0": {"kernel": jnp.eye(2)}}
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> finding = ol.lab.gradient_report(state).findings[0]
      >>> finding.rule, finding.threshold
      ('learning rate too small', 0.0001)
    """

    rule: str
    groups: tuple[str, ...]
    first_step: int
    last_step: int
    measure: str
    value: float
    threshold: float
    source: str
    advice: str

    def __str__(self) -> str:
        where = f" in {listed(self.groups)}" if self.groups else ""
        return (
            f"{self.rule}{where}, updates {self.first_step} to {self.last_step}: {self.measure}: "
            f"{self.value:.3g} (threshold {self.threshold:.3g}). {self.advice} [{self.source}]"
        )


def listed(groups: tuple[str, ...], limit: int = 4) -> str:
    shown = ", ".join(groups[:limit])
    return shown if len(groups) <= limit else f"{shown} and {len(groups) - limit} more"
