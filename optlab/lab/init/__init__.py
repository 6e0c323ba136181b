"""Initialisation: what a start does to signal and gradient, and which one does better.

_init_report      the call
_model            a module or function as one traced program
_program          that program: a flat list of operations, run with taps
_layers, _tails   products with parameters, and what follows each; _layer is what is known of one
_activations      functions of one number told from their values
_measure          statistics of all layers, compiled once
_candidates       ways to initialise; _unit_variance, _mirrored, _sample
_summary          a draw judged
_findings         what is wrong, in words
_biases           biases that no kernel makes up for
_advice           what to do
_report, _table, _plot   how it is shown
_coordinate_check   how a layer's output grows with the width
"""

from optlab.lab.init._coordinate_check import CoordinateCheck, coordinate_check
from optlab.lab.init._findings import Finding
from optlab.lab.init._init_report import init_report
from optlab.lab.init._report import InitReport

__all__ = [
    "CoordinateCheck",
    "Finding",
    "InitReport",
    "coordinate_check",
    "init_report",
]
