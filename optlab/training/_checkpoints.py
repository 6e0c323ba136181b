"""Checkpoints that can be believed: written beside a manifest, verified when read."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils

from optlab.training import _orbax_checkpoints as orbax
from optlab.training import _stored
from optlab.training._manifest import Manifest, MismatchError, table
from optlab.training._step_folders import StepFolders, best_of

PyTree = Any


class DamageError(ValueError):
    """A checkpoint is not what was saved.

    Attributes:
      step: the damaged one.
      intact: another step that was verified, the nearest earlier one if there is one; or None.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> with ol.training.Checkpoints("damaged run") as checkpoints:
      ...     written = [checkpoints.save(jnp.arange(3), step) for step in (100, 200)]
      >>> (checkpoints.folder / "200" / "manifest" / "metadata").unlink()
      >>> try:
      ...     state = checkpoints.restore(jnp.arange(3))
      ... except ol.training.DamageError as error:
      ...     state = checkpoints.restore(jnp.arange(3), step=error.intact)
      >>> checkpoints.steps()
      [100, 200]
    """

    def __init__(self, message: str, step: int, intact: int | None = None):
        super().__init__(message)
        self.step, self.intact = step, intact

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.step, self.intact)


class WriteError(OSError):
    """A checkpoint could not be written; those written before are as they were.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> try:
      ...     ol.training.Checkpoints("/proc/run").save(jnp.arange(3), 1)
      ... except ol.training.WriteError as error:
      ...     print(str(error)[:52])
      checkpoint 1 could not be written to /proc/run: [Err
    """


class Checkpoints:
    """Checkpoints of a run in a folder: asynchronous, atomic, verified.

    A step is written in the background into a folder with another name, which gets the step's
    name when everything is in it: whenever a process is killed, what has a step's name is whole,
    and all that can be lost is the checkpoint being written. A manifest beside the arrays has
    their shapes, dtypes and checksums, which `restore` verifies: it gives exactly the bits that
    were saved, or an error.

    A run goes on from the step last restored. If the folder has later ones, because the latest was
    damaged or because an earlier one was asked for, the next save sets them aside under a name
    such as `300.damaged-1` or `300.replaced-1`, and nothing touches them again.

    Close it, or use it in a `with`: an interpreter that ends does not wait for what is under way.
    One object, in one process for each host, writes to a folder at a time; others may read it.
    Opening a folder writes nothing; the first save deletes what killed processes left unfinished.

    Args:
      folder: a local or mounted folder; made when first needed.
      keep: how many of the latest checkpoints are kept, at least 1; the best one is kept besides.
      config: what the run is, kept in the manifests: a mapping that JSON can hold. `optimizer` and
        `model` are shown when a checkpoint does not fit.

    Raises:
      NotADirectoryError: if the folder is a file.
      TypeError: if JSON cannot hold the configuration.
      ValueError: if `keep` is below 1.

    Differs from:
      Orbax, which reads a file with a flipped bit without a word, and skips a save of a step that
      is not after the latest. Pickle is never read, nor written.

    Example:
      >>> import jax, jax.numpy as jnp, optlab as ol
      >>> state = {"params": jnp.arange(3.0), "key": jax.random.key(0)}
      >>> with ol.training.Checkpoints("run", config={"model": "three numbers"}) as checkpoints:
      ...     for step in (100, 200):
      ...         _ = checkpoints.save(state, step, metric=-step)
      >>> checkpoints.latest(), checkpoints.best()
      (200, 100)
      >>> checkpoints.restore(like=state)["params"]
      Array([0., 1., 2.], dtype=float32)
    """

    def __init__(self, folder: Any, *, keep: int = 3, config: Mapping[str, Any] | None = None):
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep must be a whole number of at least 1, got {keep!r}")
        try:
            self.config = json.loads(json.dumps(dict(config or {}), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TypeError(f"config must be something JSON can hold: {error}") from error
        self.keep = keep
        self._folders = StepFolders(folder)
        self._writer: orbax.Writer | None = None
        self._sweeper: threading.Thread | None = None
        self._here: int | None = None  # the step last saved or restored
        self._restored: int | None = None  # and not saved since
        self._damaged: set[int] = set()

    @property
    def folder(self) -> Any:
        """The folder, a `pathlib.Path`."""
        return self._folders.root

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def save(self, state: PyTree, step: int, *, metric: float | None = None) -> bool:
        """Starts to write a checkpoint, and returns when the arrays are copied or held.

        The state may be donated or changed afterwards. Waits for the save before it, and for the
        arrays to be computed.

        Args:
          state: arrays, keys of `jax.random`, Python numbers.
          step: a whole number of at least 0.
          metric: higher is better; NaN never is best.

        Returns:
          Whether a checkpoint is being written: False if the step is the one that was saved or
          restored last, which is there already, with the metric it had.

        Raises:
          WriteError: if this checkpoint cannot be begun, or the one before was not finished.
          ValueError: if the folder has this step or later ones, of which none was restored.
        """
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"step must be a whole number of at least 0, got {step!r}")
        self.wait()
        if step == self._here:
            return False
        self._refuse_conflict(step)
        metric = None if metric is None else float(metric)
        names = table(state)
        manifest = Manifest.of(state, step, metric, self.config)
        arrays = map(_stored.stored, jax.tree.leaves(state))
        with self._reported(step):
            self._set_aside()
            if self._writer is None:
                self._writer = orbax.Writer(self.folder)
            self._writer.start(step, dict(zip(names, arrays, strict=True)), manifest.to_json())
        self._here, self._restored = step, None
        return True

    def wait(self) -> None:
        """Returns when the checkpoint being written is complete, and old ones are put away.

        Raises:
          WriteError: if it could not be written; once.
        """
        if self._writer is None or self._writer.step is None:
            return
        with self._reported(self._writer.step):
            self._writer.finish()
        if jax.process_index() == 0:
            self._folders.prune(self.keep)
            self._join_sweeper()
            self._sweeper = threading.Thread(target=self._folders.sweep, daemon=True)
            self._sweeper.start()
        _meet("old ones put away")

    def close(self) -> None:
        """Waits, and ends Orbax's threads; a later `save` starts them again.

        Raises:
          WriteError: as `wait` does.
        """
        try:
            self.wait()
        finally:
            self._drop_writer()
            self._join_sweeper()

    def steps(self) -> list[int]:
        """The complete checkpoints, in order; without one that is still being written."""
        return self._folders.steps()

    def latest(self) -> int | None:
        """The last complete checkpoint."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The one with the highest metric, the later of equals; None if no metric was given.

        Raises:
          DamageError: if a manifest cannot be read.
        """
        metrics = {}
        for step in self.steps():
            with self._damage(step):
                metrics[step] = self._folders.metric(step)
        found = {step: value for step, value in metrics.items() if value is not None}
        return best_of(found) if found else None

    def manifest(self, step: int) -> Manifest:
        """What stands beside the arrays of a step.

        Raises:
          FileNotFoundError: if there is no such step.
          DamageError: if it is missing or damaged.
        """
        self._require(step)
        with self._damage(step):
            return self._folders.manifest(step)

    def restore(
        self, like: PyTree, step: int | None = None, *, best: bool = False, part: str = ""
    ) -> PyTree:
        """The state that was saved, or a part of it, bit for bit.

        Args:
          like: a state, or its shapes as `jax.eval_shape` gives them. A leaf goes where `like` is
            (its sharding, whatever it was saved with); without a place, it is free to move.
          step: which; None for the latest.
          best: the one with the highest metric instead; a look, not where the run goes on.
          part: path of a part, such as `"params"`: of a state with other parts, only this one is
            read, and `like` is a tree of that part. A look as well.

        Returns:
          A tree like `like`.

        Raises:
          FileNotFoundError: if there is no such step.
          MismatchError: if the paths, shapes or dtypes of the leaves are others, with the first of
            them, and with optimizer and model of both runs.
          DamageError: if something is missing, truncated or changed. Names it, and a step that was
            verified to be intact. Nothing is changed.
          ValueError: if both `step` and `best` are given.
        """
        if best and step is not None:
            raise ValueError(f"give step={step} or best=True, not both")
        self.wait()
        wanted = step if step is not None else self.best() if best else self.latest()
        if wanted is None:
            what = "no checkpoint with a metric" if best and self.steps() else "no checkpoint"
            raise FileNotFoundError(f"there is {what} in {self.folder}")
        self._require(wanted)
        try:
            state = self._read(like, wanted, part)
        except DamageError as error:
            raise self._with_offer(like, part, error) from error.__cause__
        if not best and not part:
            self._here = self._restored = wanted
        return state

    def _read(self, like: PyTree, step: int, part: str) -> PyTree:
        folder, names = self._folders.of(step), table(like, part)
        with self._damage(step):
            manifest = self._folders.manifest(step).within(part)
        manifest.require(names, self.config, str(folder))
        leaves, structure = jax.tree.flatten(like)
        for leaf in leaves:  # a sharding that does not divide a shape is no damage
            if (place := _stored.place(leaf)) is not None:
                place.shard_shape(leaf.shape)
        targets = dict(zip(names, map(_stored.target, leaves), strict=True))
        with self._damage(step):
            found = orbax.read(folder, targets, partial=bool(part))
        arrays = {
            name: _stored.returned(found[name], leaf)
            for name, leaf in zip(names, leaves, strict=True)
        }
        with self._damage(step):
            manifest.require_sums(arrays)
        return jax.tree.unflatten(structure, list(arrays.values()))

    def _require(self, step: int) -> None:
        if step not in (steps := self.steps()):
            has = f"it has {', '.join(map(str, steps))}" if steps else "it has none"
            raise FileNotFoundError(f"there is no checkpoint {step} in {self.folder}; {has}")

    @contextlib.contextmanager
    def _damage(self, step: int) -> Iterator[None]:
        """What fails when a checkpoint is read, as `DamageError`."""
        try:
            yield
        except jax.errors.JaxRuntimeError:  # memory, say
            raise
        except (OSError, ValueError, LookupError) as error:
            self._damaged.add(step)
            message = f"{self._folders.of(step)} is damaged: {orbax.reason(error)}."
            raise DamageError(message, step) from error

    def _with_offer(self, like: PyTree, part: str, error: DamageError) -> DamageError:
        """The error with a step that is intact: the nearest earlier one, else a later one."""
        others = sorted(set(self.steps()) - {error.step}, key=lambda s: (s > error.step, -s))
        intact = None
        for step in others:
            with contextlib.suppress(DamageError, MismatchError):
                self._read(like, step, part)
                intact = step
                break
        if intact is None:
            offer = "No other checkpoint in its folder is intact. Nothing was changed."
        else:
            offer = (
                f"Step {intact} is intact: go on from it with restore(step={intact}). Nothing was "
                f"changed; when the run goes on, {error.step} is set aside under another name."
            )
        return DamageError(f"{error} {offer}", error.step, intact)

    def _refuse_conflict(self, step: int) -> None:
        latest = self.latest()
        if latest is None or latest < step:
            return
        if self._restored is None or self._restored >= step:
            raise ValueError(
                f"{self.folder} has checkpoints up to step {latest}, so step {step} is not saved "
                "there: restore one before it to go on from, or use another folder"
            )

    def _set_aside(self) -> None:
        """Renames what was found damaged, and what lies after the step the run goes on from."""
        start = self._restored
        if start is None and not self._damaged:
            return
        steps = [
            step
            for step in self.steps()
            if step in self._damaged or (start is not None and step > start)
        ]
        _meet("listed")  # before another process renames what this one should have seen
        if steps:
            self._drop_writer()  # it remembers the steps it has seen
        if jax.process_index() == 0:
            for step in steps:
                self._folders.set_aside(step, "damaged" if step in self._damaged else "replaced")
        _meet("set aside")
        self._damaged.clear()

    @contextlib.contextmanager
    def _reported(self, step: int) -> Iterator[None]:
        """What fails when a checkpoint is written, as one `WriteError`."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            self._here = None
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # the same again
                self._drop_writer()
            reason = orbax.reason(error)
            latest = self.latest()
            left = "none is complete" if latest is None else f"the latest complete one is {latest}"
            raise WriteError(
                f"checkpoint {step} could not be written to {self.folder}: {reason}. "
                f"Earlier checkpoints are as they were; {left}."
            ) from error

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _join_sweeper(self) -> None:
        if self._sweeper is not None:
            self._sweeper.join()
            self._sweeper = None


def _meet(where: str) -> None:
    """Waits for the other processes, if there are any."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"optlab checkpoints: {where}")
