"""Health: what a probe measured during a training, as a table, a diagnosis and pictures.

_samples    the samples of a state, of several states, of rows
_findings   what a finding says, and the sources of thresholds
_rules      one illness a function
_report     the rules applied; the table and its text
_plot       heat map of layers and updates, update ratios, the loss and what happened when
"""

from optlab.lab.health._findings import Finding
from optlab.lab.health._report import GradientReport, gradient_report

__all__ = ["Finding", "GradientReport", "gradient_report"]
