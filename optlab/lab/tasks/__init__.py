"""Built-in tasks: seeded, cheap, each with a target, a budget of steps and a known good baseline.

_digits_data, _digits_task, _layers    what several share
_digits_mlp, _digits_cnn     handwritten digits
_deep                        deep networks that start badly on purpose: deep_tanh, deep_relu
_byte_lm                     the next byte of a text
_quadratic, _rosenbrock      curvatures that differ; a curved valley
_noisy_quadratic             noise against bias
_matrix_factorisation        a saddle at the start
_sparse_logistic             features of which most are rare

Measured on one core, five seeds: all baselines reach their targets.

    task                   metric    target   steps   reached at   CPU seconds a run
    byte_lm                loss      2.48     500     350-400      0.5
    deep_relu              accuracy  0.9      300     135-225      0.09
    deep_tanh              accuracy  0.9      300     165-210      0.09
    digits_cnn             accuracy  0.97     250     112-188      0.15
    digits_mlp             accuracy  0.97     300     135-270      0.07
    matrix_factorisation   loss      0.02     300     150-225      0.03
    noisy_quadratic        loss      0.25     300     180-240      0.01
    quadratic              loss      1e-5     300     195          0.02
    rosenbrock             loss      1e-2     1000    350          0.01
    sparse_logistic        loss      0.43     300     75-105       0.04
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
