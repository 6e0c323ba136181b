"""The lab: find initialisation, optimizer and learning rate by experiment, and see why a network
does not train.

_task        a problem to train on, as pure functions
_from_flax   a Flax module as the functions of a task
_mode        how a module is told whether it trains
_order       which examples a step takes
_runs        the steps and seeds of runs
_outcome     trials, and the runs made of them
_dimensions  one hyperparameter's possible values: log_uniform, uniform, integers, choice, grid
_space       hyperparameters by name, checked against the function that takes them
_sampler     what proposes trials
_samplers    which hyperparameters a study tries: grid, random, sobol, halton
_optuna      Optuna's: tpe, gp, cmaes
_plan        how a population is computed
_population  many transformations as one
_programs    the compiled parts of a run
_engine      trains many runs, chunk by chunk
_store       a file that keeps a study, whatever ends the process: _store_refusal
_load        results from it, without running anything
_recover     what can be read of a damaged one
_bytes       arrays as bytes
_planner     chooses the plan: what is known of the device, and short trials
_halving     successive halving
_progress    a bar of steps
_sweep       trains a population of hyperparameters
_results     what a sweep found, as tables: _ranking, _results_text
_compare     optimizers tuned with equal budgets, and tested: _compare_inputs, _compare_runs
_compare_findings  scores, intervals and verdicts
_comparison  what it found, as a table, plots and a report: _compare_table, _compare_plots, _html
_statistics  whether two tuned optimizers differ
_lr_range    which learning rates train, and which to begin with: _ramped
init         a network at its start: report, advice, coordinate check
health       what a probe saw in training, and what that means
plots        pictures of experiments
tasks        built-in problems with targets
_fingerprint what tells one task from another
"""

from optlab.lab import health, init, plots, tasks
from optlab.lab._compare import compare
from optlab.lab._compare_findings import Scored, Verdict
from optlab.lab._comparison import Comparison
from optlab.lab._dimensions import Dimension, choice, grid, integers, log_uniform, uniform
from optlab.lab._load import load
from optlab.lab._lr_range import LRRange, lr_range
from optlab.lab._optuna import OptunaSampler, optuna_sampler
from optlab.lab._outcome import Outcome, Trial
from optlab.lab._plan import Plan
from optlab.lab._ranking import Ranked
from optlab.lab._recover import recover
from optlab.lab._results import Results
from optlab.lab._space import Space, check_space
from optlab.lab._store import Store, StoreError
from optlab.lab._sweep import sweep
from optlab.lab._task import Task
from optlab.lab.health import GradientReport, gradient_report
from optlab.lab.init import CoordinateCheck, InitReport, coordinate_check, init_report

__all__ = [
    "Comparison",
    "CoordinateCheck",
    "Dimension",
    "GradientReport",
    "InitReport",
    "LRRange",
    "OptunaSampler",
    "Outcome",
    "Plan",
    "Ranked",
    "Results",
    "Scored",
    "Space",
    "Store",
    "StoreError",
    "Task",
    "Trial",
    "Verdict",
    "check_space",
    "choice",
    "compare",
    "coordinate_check",
    "gradient_report",
    "grid",
    "health",
    "init",
    "init_report",
    "integers",
    "load",
    "log_uniform",
    "lr_range",
    "optuna_sampler",
    "plots",
    "recover",
    "sweep",
    "tasks",
    "uniform",
]
