"""Pictures of experiments, 800 pixels wide; matplotlib is imported when one is drawn.

_curves       a metric over the updates, with a band over the seeds
_sensitivity  a hyperparameter against the final metric: the optimum, and how wide it is
_heat_map     two hyperparameters against the final metric
_parallel     all hyperparameters of all trials, as lines
_rates        the loss at each learning rate of a range test
_layers       a quantity of every layer at every step
_style        what they have in common
"""

from optlab.lab.plots._curves import curves
from optlab.lab.plots._heat_map import heat_map
from optlab.lab.plots._layers import layers
from optlab.lab.plots._parallel import parallel
from optlab.lab.plots._rates import rates
from optlab.lab.plots._sensitivity import Width, sensitivity, width

__all__ = ["Width", "curves", "heat_map", "layers", "parallel", "rates", "sensitivity", "width"]
