"""The training loop: reports, evaluations, checkpoints, and every way to end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax
from jax.experimental import multihost_utils

from optlab.training._checkpoints import Checkpoints
from optlab.training._console import Diverged, Terminated, UserError
from optlab.training._devices import Placement, data_mesh
from optlab.training._evaluate import require_names
from optlab.training._files import as_json, write_all
from optlab.training._json_lines import METRICS, read_rows
from optlab.training._loop import Loop, rest_of
from optlab.training._options import RunOptions
from optlab.training._progress import Progress
from optlab.training._record import NAME, record_of, resumed_step, set_aside, with_own_sums
from optlab.training._signals import StopSignals
from optlab.training._state import LossFn, TrainState, make_train_step
from optlab.training._writers import writers_for

PyTree = Any


class Fit(NamedTuple):
    """What became of a run.

    Attributes:
      state: after the last step.
      params: to use the model with: those of the best evaluation, the optimizer's average of them
        if it keeps one; without evaluations, the last ones. Whole, on one device.
      variables: of the same step as `params`.
      rows: what was reported, as in `metrics.jsonl`.
      reason: why it ended: `"finished"`, `"time limit"`, `"no improvement"` or `"callback"`.

    Example:
      >>> import optlab as ol
      >>> ol.training.Fit(None, None, None, rows=[], reason="finished").reason
      'finished'
    """

    state: TrainState
    params: PyTree
    variables: PyTree
    rows: list[dict[str, Any]]
    reason: str


def fit(
    loss_fn: LossFn,
    params: PyTree,
    tx: optax.GradientTransformation,
    batches: Any,
    options: RunOptions,
    *,
    variables: PyTree = None,
    evaluate: Callable[..., Mapping[str, float]] | None = None,
    monitor: str = "loss",
    mode: str = "min",
    accumulate: int = 1,
    compute_dtype: Any = None,
    config: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callable[[int, dict[str, Any], TrainState], bool | None]] = (),
    title: str = "training",
    progress_lines: int = 10,
) -> Fit:
    """Trains for `options.steps` steps in all, going on from the latest checkpoint if there is one.

    Whatever a step needs is a function of the state: its batch is `batches[step]`, its random key
    `fold_in(key, step)`. So a run that was interrupted, in whatever way, and started again by the
    same call gives the same numbers, to the bit, as one that was not.

    Args:
      loss_fn: see `make_train_step`.
      params: initial parameters. variables: what the model keeps beside them.
      tx: optlab's or Optax's transformation. Gradients are clipped, averaged, guarded in it.
      batches: with `iterate(start, stop)`; `options.batches(source)` makes them.
      options: steps, output folder, seed and all the rest.
      evaluate: `(params) -> dict of numbers`, or `(params, variables)` where there are any; called
        with the parameters to evaluate with, whole, on one device. Its numbers are reported as
        `validation_...`.
      monitor: which of them says what is best, with or without `validation_`; mode: `"min"` or
        `"max"`.
      accumulate, compute_dtype: see `make_train_step`; `options.bf16` asks for "bfloat16".
      config: more about the run, for its record: whatever JSON can hold.
      callbacks: each is called with `(step, row, state)` behind every report; if one gives True,
        the run ends behind this step.
      title: in front of progress lines and above the curves.
      progress_lines: about how many a run prints where there is no terminal; 0 for silence.

    Returns:
      A `Fit`. The output folder has `metrics.jsonl` (an object a report), `run.json` (options,
      versions, seed, digest of the data), `checkpoints/`, `summary.json` and `curves.png`. A run
      that overfits (see `overfitting`) says so at its end.

    Raises:
      Diverged: if the parameters are no longer finite, all steps of a report interval were bad, or
        the loss is 10,000 times what it was; the last good checkpoint is kept.
      Terminated: after SIGTERM or SIGINT, with a checkpoint of the current step.
      UserError: for options that do not fit the data or the run that is there.
      MismatchError, DamageError: see `Checkpoints`.
      ValueError, TypeError: for batches that end too early, a `monitor` that is not evaluated,
        and see `make_train_step`. A `monitor` that an `evaluator` of means does not give is named
        before the first step.

    Special cases:
      The device is waited for once a report, so steps are dispatched ahead. `bad_steps` counts the
      steps with a loss or gradient that is not finite; behind a `guard` they move nothing, and only
      a report of nothing else ends the run.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, optlab as ol
      >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
      >>> source = ol.training.data.Arrays({"x": x, "y": 3 * x})
      >>> def loss_fn(params, batch, key):
      ...     return jnp.mean((params * batch["x"] - batch["y"]) ** 2)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     options = ol.training.RunOptions(steps=40, batch_size=16, output=folder)
      ...     run = ol.training.fit(
      ...         loss_fn, jnp.zeros(()), ol.sgd(0.5), options.batches(source), options
      ...     )
      training  step 20/40 ...
      training  step 40/40 ...
      >>> run.params.round(2), run.reason
      (Array(3., dtype=float32), 'finished')
    """
    options = options.effective()
    options.check()
    if mode not in ("min", "max"):
        raise ValueError(f"fit: mode must be 'min' or 'max', got {mode!r}.")
    if not callable(getattr(batches, "iterate", None)):
        raise TypeError(
            f"fit: batches must have iterate(start, stop), got {type(batches).__name__}. Make them "
            "by options.batches(source)."
        )
    if options.patience is not None and evaluate is None:
        raise UserError("--patience: there is no evaluation to wait for")
    monitor = monitor.removeprefix("validation_")
    began = time.monotonic()
    place = Placement(_mesh(options))
    if options.resume == "never":
        _begin_anew(options, title)
    record = record_of(options, tx, batches, config)
    tx = place.optimizer(tx)
    step = make_train_step(
        loss_fn,
        tx,
        report_every=options.log_every,
        accumulate=accumulate,
        compute_dtype="bfloat16" if compute_dtype is None and options.bf16 else compute_dtype,
    )
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(options.output / "checkpoints", keep=options.keep, config=record)
        )
        start = resumed_step(options, checkpoints, record)
        example = place.batch(next(iter(batches.iterate(0, 1))))
        key = jax.random.key(options.seed)
        state = place.state(step.init, tx, params, key, example, variables)
        judged = jax.eval_shape(lambda s: (s.evaluation_params(), *rest_of(s)), state)
        require_names(evaluate, monitor, *judged)
        news = ""
        if start:
            restored, news = with_own_sums(checkpoints, place.without(state), start)
            state = place.back(restored, state)
        if jax.process_index() == 0:
            write_all(options.output, {NAME: as_json(record)})
        writers = writers_for(options, from_step=start, config=record)
        for writer in writers:
            stack.callback(writer.close)
        loop = Loop(
            options=options,
            place=place,
            checkpoints=checkpoints,
            writers=writers,
            stop=stack.enter_context(StopSignals()),
            progress=stack.enter_context(
                Progress(title, options.steps, progress_lines, first=f"validation_{monitor}")
            ),
            evaluate=evaluate,
            monitor=monitor,
            sign=1 if mode == "max" else -1,
            callbacks=callbacks,
            rows=read_rows(options.output / METRICS) if start else [],
            state=state,
        )
        if start:
            loop.progress.say(_whence(start, options, checkpoints, record) + news)
        try:
            reason = loop.run(step.update, batches, start)
        except (Diverged, Terminated) as error:
            loop.leave(title, str(error), time.monotonic() - began)
            raise
        loop.leave(title, reason, time.monotonic() - began)
        best = _best_state(loop)
        params, variables = place.alone((best.evaluation_params(), best.variables))
        return Fit(loop.state, params, variables, loop.rows, reason)


def _best_state(loop: Loop) -> TrainState:
    best = loop.checkpoints.best()
    if best is None or best == loop.checkpoints.latest():
        return loop.state
    return with_own_sums(loop.checkpoints, loop.place.without(loop.state), best, best=True)[0]


def _begin_anew(options: RunOptions, title: str) -> None:
    if jax.process_index() == 0:
        aside = set_aside(options.output)
        if aside is not None:
            print(f"{title}: the run that was in {options.output} is now in {aside}", flush=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the old run is set aside")


def _whence(start: int, options: RunOptions, checkpoints: Any, record: Any) -> str:
    """What the same call does a second time, and whether it is the same."""
    over = start >= options.steps
    said = f"finished at step {start}" if over else f"goes on from step {start}"
    then = checkpoints.manifest(start).config.get("optimizer")
    other = "" if then == record["optimizer"] else "; the optimizer is another than it was"
    return f"{options.output}: {said}{other}"


def _mesh(options: RunOptions) -> Any:
    try:
        return None if options.mesh is None else data_mesh(options.mesh)
    except ValueError as error:
        raise UserError(f"--mesh: {error}") from None
