"""The lab: find initialisation, optimizer and learning rate by experiment, and see why a network
does not train.

_task        a problem to train on, as pure functions
_order       which examples a step takes
_outcome     trials, and the runs made of them
"""

from optlab.lab._outcome import Outcome, Trial
from optlab.lab._task import Task

__all__ = ["Outcome", "Task", "Trial"]
