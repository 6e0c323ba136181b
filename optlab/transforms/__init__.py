"""Transforms: one idea a file; each is a link for chains.

_clipping              bounds on entries, on leaf norms, on the global norm
_adaptive_clip         bounds relative to each unit's weights
_momentum              decaying sums and averages of gradients
_accumulate_moments    running mean and mean square: gradients become `Moments`
_second_moments        the rules a second moment can follow
_moment_links          `Moments` to `Moments`: bias correction, maximum, variance, look-ahead
_divide_by_rms         `Moments` become updates, plainly or rectified
_sign                  signs, and Lion's interpolated momentum
_adadelta              the size of past steps in place of a learning rate
_trust_ratio           steps relative to the parameters' size
_decay, _penalties     decoupled decay; L1 and L2 in the gradient
_gradient_noise, _centralize, _scale, _learning_rate
_average_params, _average_tail, _averaging   averages of the parameters
_lookahead, _schedule_free   optimizers that move towards an average
_eval_params           the average to evaluate with
_guard, _loss_scale    steps that survive bad gradients, and float16's range
_accumulate_gradients  one step for several micro-batches
_conditional, _finite_links   what these three are made with
_route, _freeze        other links for other groups of parameters
_store, _state_fields  another link's state, kept in fewer bytes
_with_master, _apply_updates   16-bit parameters that learn
_describe              the table of what happens to which parameter
_probe, _probe_state, _probe_groups, _probe_measures, _probe_inside   a look at each layer
_migrate, _reset, _state_entries   states edited: for another transformation, afresh in parts
_sharding, _zero1, _offload, _meshes   where a state lies: which devices, which memory
"""

from optlab.transforms._accumulate_gradients import accumulate_gradients
from optlab.transforms._accumulate_moments import accumulate_moments
from optlab.transforms._adadelta import scale_by_adadelta
from optlab.transforms._adaptive_clip import adaptive_clip
from optlab.transforms._apply_updates import apply_updates
from optlab.transforms._average_params import average_params
from optlab.transforms._centralize import centralize
from optlab.transforms._clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from optlab.transforms._decay import add_decayed_weights
from optlab.transforms._describe import describe
from optlab.transforms._divide_by_rms import divide_by_rectified_rms, divide_by_rms
from optlab.transforms._eval_params import eval_params
from optlab.transforms._freeze import freeze
from optlab.transforms._gradient_noise import add_gradient_noise
from optlab.transforms._guard import guard, raise_if_gave_up
from optlab.transforms._learning_rate import scale_by_learning_rate
from optlab.transforms._lookahead import lookahead
from optlab.transforms._loss_scale import dynamic_loss_scale, scale_loss
from optlab.transforms._migrate import Migration, migrate
from optlab.transforms._moment_links import (
    correct_bias,
    keep_maximum,
    look_ahead,
    subtract_squared_mean,
)
from optlab.transforms._momentum import accumulate_average, accumulate_momentum
from optlab.transforms._offload import offload
from optlab.transforms._penalties import add_l1, add_l2
from optlab.transforms._probe import probe
from optlab.transforms._reset import reset
from optlab.transforms._route import route
from optlab.transforms._scale import scale
from optlab.transforms._schedule_free import schedule_free
from optlab.transforms._sharding import state_sharding
from optlab.transforms._sign import interpolate_momentum, sign
from optlab.transforms._store import store
from optlab.transforms._trust_ratio import (
    clip_by_rms,
    scale_by_parameter_rms,
    scale_by_trust_ratio,
)
from optlab.transforms._with_master import with_master
from optlab.transforms._zero1 import zero1

__all__ = [
    "Migration",
    "accumulate_average",
    "accumulate_gradients",
    "accumulate_moments",
    "accumulate_momentum",
    "adaptive_clip",
    "add_decayed_weights",
    "add_gradient_noise",
    "add_l1",
    "add_l2",
    "apply_updates",
    "average_params",
    "centralize",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_rms",
    "clip_by_value",
    "correct_bias",
    "describe",
    "divide_by_rectified_rms",
    "divide_by_rms",
    "dynamic_loss_scale",
    "eval_params",
    "freeze",
    "guard",
    "interpolate_momentum",
    "keep_maximum",
    "look_ahead",
    "lookahead",
    "migrate",
    "offload",
    "probe",
    "raise_if_gave_up",
    "reset",
    "route",
    "scale",
    "scale_by_adadelta",
    "scale_by_learning_rate",
    "scale_by_parameter_rms",
    "scale_by_trust_ratio",
    "scale_loss",
    "schedule_free",
    "sign",
    "state_sharding",
    "store",
    "subtract_squared_mean",
    "with_master",
    "zero1",
]
