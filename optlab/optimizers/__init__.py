"""Recipes: a chain and its docstring each.

_sgd        Gradient descent, with momentum, Nesterov's look-ahead and an L2 penalty.
_adagrad    Adagrad: steps shrink with the sum of squared gradients.
_adadelta   Adadelta: the size of past steps in place of a learning rate.
_rmsprop    RMSProp: steps divided by a running root mean square.
_adam       Adam: the four-link sentence the other recipes vary.
_adamw      AdamW: Adam and decoupled weight decay.
_adamax     AdaMax: Adam in the infinity norm.
_nadam      NAdam: Adam and Nesterov's look-ahead.
_radam      RAdam: Adam, rectified while its second moment is young.
_amsgrad    AMSGrad: Adam whose second moment only grows.
_adabelief  AdaBelief: Adam divided by the gradient's deviation from its mean.
_yogi       Yogi: Adam whose second moment grows by small steps only.
_lion       Lion: the sign of an interpolated momentum.
_lamb       LAMB: AdamW with layer-wise steps.
_lars       LARS: momentum with layer-wise steps.
_adafactor  Adafactor: Adam's second moment in sublinear memory.
_arguments  checks of arguments under the recipes' own names
"""

from optlab.optimizers._adabelief import adabelief
from optlab.optimizers._adadelta import adadelta
from optlab.optimizers._adafactor import adafactor
from optlab.optimizers._adagrad import adagrad
from optlab.optimizers._adam import adam
from optlab.optimizers._adamax import adamax
from optlab.optimizers._adamw import adamw
from optlab.optimizers._amsgrad import amsgrad
from optlab.optimizers._lamb import lamb
from optlab.optimizers._lars import lars
from optlab.optimizers._lion import lion
from optlab.optimizers._nadam import nadam
from optlab.optimizers._radam import radam
from optlab.optimizers._rmsprop import rmsprop
from optlab.optimizers._sgd import sgd
from optlab.optimizers._yogi import yogi

__all__ = [
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "lamb",
    "lars",
    "lion",
    "nadam",
    "radam",
    "rmsprop",
    "sgd",
    "yogi",
]
