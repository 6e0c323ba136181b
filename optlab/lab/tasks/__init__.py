"""Built-in tasks: seeded, cheap, each with a target, a budget of steps and a known good baseline.

_digits_data, _layers        what several share
_digits_mlp, _digits_cnn     handwritten digits
_deep                        deep networks that start badly on purpose: deep_tanh, deep_relu
_byte_lm                     the next byte of a text
_quadratic, _rosenbrock      curvatures that differ; a curved valley
_noisy_quadratic             noise against bias
_matrix_factorisation        a saddle at the start
_sparse_logistic             features of which most are rare
"""

from optlab.lab.tasks._byte_lm import byte_lm
from optlab.lab.tasks._deep import deep_relu, deep_tanh
from optlab.lab.tasks._digits_cnn import digits_cnn
from optlab.lab.tasks._digits_mlp import digits_mlp
from optlab.lab.tasks._matrix_factorisation import matrix_factorisation
from optlab.lab.tasks._noisy_quadratic import noisy_quadratic
from optlab.lab.tasks._quadratic import quadratic
from optlab.lab.tasks._rosenbrock import rosenbrock
from optlab.lab.tasks._sparse_logistic import sparse_logistic

__all__ = [
    "byte_lm",
    "deep_relu",
    "deep_tanh",
    "digits_cnn",
    "digits_mlp",
    "matrix_factorisation",
    "noisy_quadratic",
    "quadratic",
    "rosenbrock",
    "sparse_logistic",
]
