"""Training: what a real run needs around an optimizer.

data      sources of examples, batches as a function of the step, readers of real formats
augment   augmentation of batches on the device
metrics   what an evaluation ends with

_state        the state of a run, and the step that changes it
_fit          a run: resumed or new, and what it leaves; _loop is the loop inside
_evaluate     all examples once
_cross_validation   folds
_options, _console  options of a trainer, its command line and exit codes
_devices      many devices, many processes
_checkpoints  written atomically, verified when read; _manifest, _checksums, _stored, _step_folders
_writers      TensorBoard, Weights & Biases, trackio
_json_lines   metrics.jsonl
_progress, _report, _curves  what a run shows, and leaves behind
_overfitting  validation that gets worse while training gets better
_record, _versions, _files  what a run says of itself; files written all or none
_signals, _profile  asked to stop; a profile of some steps

flax, orbax, grain, matplotlib and the others are imported where they are used.
"""

from optlab.training import augment, data, metrics
from optlab.training._checkpoints import Checkpoints, DamageError, WriteError
from optlab.training._checksums import checksums
from optlab.training._console import (
    Diverged,
    Terminated,
    UserError,
    check_number,
    check_whole,
    main,
    parse,
    pick,
    require,
)
from optlab.training._cross_validation import CrossValidation, cross_validate
from optlab.training._devices import Placement, data_mesh, start_processes
from optlab.training._evaluate import evaluator, means
from optlab.training._files import as_json, npz, read_npz, write_all
from optlab.training._fit import Fit, fit
from optlab.training._json_lines import JsonLines, read_rows
from optlab.training._manifest import Manifest, MismatchError
from optlab.training._options import RunOptions, Seconds
from optlab.training._overfitting import Overfitting, overfitting
from optlab.training._progress import Progress
from optlab.training._report import curves, summary, table
from optlab.training._signals import StopSignals
from optlab.training._state import TrainState, TrainStep, make_train_step
from optlab.training._writers import TensorBoard, Trackio, WandB, Writer, writers_for

__all__ = [
    "Checkpoints",
    "CrossValidation",
    "DamageError",
    "Diverged",
    "Fit",
    "JsonLines",
    "Manifest",
    "MismatchError",
    "Overfitting",
    "Placement",
    "Progress",
    "RunOptions",
    "Seconds",
    "StopSignals",
    "TensorBoard",
    "Terminated",
    "Trackio",
    "TrainState",
    "TrainStep",
    "UserError",
    "WandB",
    "WriteError",
    "Writer",
    "as_json",
    "augment",
    "check_number",
    "check_whole",
    "checksums",
    "cross_validate",
    "curves",
    "data",
    "data_mesh",
    "evaluator",
    "fit",
    "main",
    "make_train_step",
    "means",
    "metrics",
    "npz",
    "overfitting",
    "parse",
    "pick",
    "read_npz",
    "read_rows",
    "require",
    "start_processes",
    "summary",
    "table",
    "write_all",
    "writers_for",
]
