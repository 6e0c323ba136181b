"""The `optlab` command.

optlab sweep TASK OPTIMIZER NAME=VALUES ...      which hyperparameters?
optlab compare TASKS OPTIMIZERS NAME=VALUES ...  which optimizer?
optlab lr-range TASK OPTIMIZER                   which learning rate?
optlab inspect FACTORY                           what is in a chain, or in a network at its start?
optlab schedule SCHEDULE NAME=VALUE ...          which rate at which step?
optlab check FACTORY                             does it keep the contract?

_main, _arguments, __main__   the command line
_sweep, _compare, _lr_range, _inspect, _schedule, _check   a command each
"""

from optlab.cli._main import main, script

__all__ = ["main", "script"]
