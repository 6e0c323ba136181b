"""Schedules: numbers that depend on how many updates are done.

Each is a frozen record, called with a count; any can stand for any hyperparameter. A count below 0
is taken as 0; at its end a schedule stays where it is.

_base             Schedule: what may be asked of one
_fields           the checks fields share
_arithmetic       fractions of integer counts that are exact at both ends
_constant         constant
_ramps            linear, polynomial
_exponential      exponential, step
_piecewise        piecewise
_cosine           cosine, warmup_cosine
_cosine_restarts  cosine_restarts, and _cycles, which finds the cycle of a count
_one_cycle        one_cycle
_inverse_sqrt     inverse_sqrt
_wsd              wsd: warm-up, stable, decay
_combinators      join, scale, shift
_plot             plot
"""

from optlab.schedules._base import Schedule
from optlab.schedules._combinators import join, scale, shift
from optlab.schedules._constant import constant
from optlab.schedules._cosine import cosine, warmup_cosine
from optlab.schedules._cosine_restarts import cosine_restarts
from optlab.schedules._exponential import exponential, step
from optlab.schedules._inverse_sqrt import inverse_sqrt
from optlab.schedules._one_cycle import one_cycle
from optlab.schedules._piecewise import piecewise
from optlab.schedules._plot import plot
from optlab.schedules._ramps import linear, polynomial
from optlab.schedules._wsd import wsd

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_sqrt",
    "join",
    "linear",
    "one_cycle",
    "piecewise",
    "plot",
    "polynomial",
    "scale",
    "shift",
    "step",
    "warmup_cosine",
    "wsd",
]
