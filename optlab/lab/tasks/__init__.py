"""Built-in tasks: seeded, cheap, each with a target, a budget of steps and a known good baseline.

_digits_data, _layers        what several share
_digits_mlp                  handwritten digits
_quadratic                   curvatures that differ
"""

from optlab.lab.tasks._digits_mlp import digits_mlp
from optlab.lab.tasks._quadratic import quadratic

__all__ = ["digits_mlp", "quadratic"]
