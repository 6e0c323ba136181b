"""Health: what a probe measured during a training, as a table, a diagnosis and pictures.

_samples    the samples of a state, of several states, of rows
_findings   what a finding says, and the sources of thresholds
_thresholds from where on it is an illness
_course     a training as the rules see it
_signal_rules, _rate_rules   one illness a function: of layers, of steps
_rules      which rules there are, and which explain others
_report     the rules applied; the table and its text
_plot       heat map of layers and updates, update ratios, the loss and what happened when
"""

from optlab.lab.health._findings import Finding
from optlab.lab.health._report import GradientReport, gradient_report

__all__ = ["Finding", "GradientReport", "gradient_report"]
