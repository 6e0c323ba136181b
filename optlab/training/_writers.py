"""Where the rows of a run go: metrics.jsonl always; TensorBoard, Weights & Biases, trackio."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from optlab.training._files import plain
from optlab.training._json_lines import METRICS, JsonLines, Number, checked, read_rows
from optlab.training._options import RunOptions
from optlab.training.data._errors import extra

__all__ = ["JsonLines", "TensorBoard", "Trackio", "WandB", "Writer", "read_rows", "writers_for"]


class Writer(Protocol):
    """What takes the rows of a run.

    Example:
      >>> import optlab as ol
      >>> class Printed:
      ...     def write(self, step, row):
      ...         print(step, row)
      ...     def flush(self): ...
      ...     def close(self): ...
      >>> writer: ol.training.Writer = Printed()
      >>> writer.write(10, {"loss": 0.5})
      10 {'loss': 0.5}
    """

    def write(self, step: int, row: Mapping[str, Number]) -> None:
        """Takes a row; two rows of one step have different names."""

    def flush(self) -> None:
        """What was written so far outlives this process, however it ends."""

    def close(self) -> None:
        """Flushes, and writes no more; a second time does nothing."""


class TensorBoard:
    """Event files for TensorBoard: numbers as scalars, text as text.

    Args:
      folder: of the event files.
      from_step: what an earlier process wrote of later steps is hidden; 0 hides nothing.

    Raises:
      ImportError: without tensorboardX.

    Example:
      >>> import tempfile, optlab as ol
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     writer = ol.training.TensorBoard(folder)
      ...     writer.write(20, {"loss": 0.5})
      ...     writer.close()
    """

    def __init__(self, folder: str | os.PathLike[str], *, from_step: int = 0):
        library = extra("tensorboardX", "--tensorboard")
        self._writer = library.SummaryWriter(
            os.fspath(folder), purge_step=from_step + 1 if from_step else None
        )

    def write(self, step: int, row: Mapping[str, Number]) -> None:
        for name, value in checked(row).items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            else:
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Service:
    """A run at a service that takes rows by `log` and ends by `finish`."""

    _run: Any

    def write(self, step: int, row: Mapping[str, Number]) -> None:
        self._run.log(checked(row), step=step)

    def flush(self) -> None:
        """Nothing to do: rows go to a process or a thread of the service at once."""

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None


class WandB(_Service):
    """A run at Weights & Biases, on this machine only unless WANDB_MODE says otherwise.

    Args:
      project: its name.
      config: the run's record.
      folder: where wandb keeps its files. Its name is the run's group: a run that was interrupted
        and goes on is a run of its own there, in the same group.

    Raises:
      ImportError: without wandb.

    Example:
      >>> import optlab as ol
      >>> writer = ol.training.WandB("digits", {"seed": 0}, "runs/1")  # doctest: +SKIP
      >>> writer.write(20, {"loss": 0.5})  # doctest: +SKIP
    """

    def __init__(
        self, project: str, config: Mapping[str, Any], folder: str | os.PathLike[str]
    ) -> None:
        library = extra("wandb", "--wandb", "wandb")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = library.init(
            project=project,
            config=plain(config),
            dir=os.fspath(folder),
            group=folder.resolve().name,
            mode=os.environ.get("WANDB_MODE", "offline"),
        )


class Trackio(_Service):
    """A run of trackio, on this machine unless TRACKIO_SPACE_ID says otherwise.

    Args:
      project: its name.
      config: the run's record.
      name: of the run; one of that name goes on.

    Raises:
      ImportError: without trackio.

    Example:
      >>> import optlab as ol
      >>> writer = ol.training.Trackio("digits", {"seed": 0}, "run 1")  # doctest: +SKIP
      >>> writer.write(20, {"loss": 0.5})  # doctest: +SKIP
    """

    def __init__(self, project: str, config: Mapping[str, Any], name: str):
        library = extra("trackio", "--trackio", "trackio")
        self._run = library.init(project=project, name=name, config=plain(config), resume="allow")


def writers_for(
    options: RunOptions,
    *,
    from_step: int = 0,
    config: Mapping[str, Any] | None = None,
    process: int | None = None,
) -> list[Writer]:
    """The writers that options ask for; none on processes other than 0.

    Args:
      options: output, tensorboard, wandb, trackio.
      from_step: the step the run goes on from, 0 for a new one.
      config: the run's record, for those that show it; None: the options.
      process: the number of this process; None asks JAX.

    Raises:
      UserError: if the output folder cannot be written. ImportError: for a missing package, naming
        its extra; nothing has been written then.

    Example:
      >>> import tempfile, optlab as ol
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     (writer,) = ol.training.writers_for(ol.training.RunOptions(output=folder))
      ...     writer.write(20, {"loss": 0.5})
      ...     writer.close()
      ...     ol.training.read_rows(f"{folder}/metrics.jsonl")
      [{'step': 20, 'loss': 0.5}]
    """
    if (jax.process_index() if process is None else process) != 0:
        return []
    record = options.to_json() if config is None else config
    folder = options.output
    asked = (
        (options.tensorboard, "tensorboardX", "examples"),
        (options.wandb, "wandb", "wandb"),
        (options.trackio, "trackio", "trackio"),
    )
    for wanted, module, name in asked:
        if wanted:
            extra(module, "this run", name)
    writers: list[Writer] = [JsonLines(folder / METRICS, from_step=from_step)]
    if options.tensorboard:
        writers.append(TensorBoard(folder / "tensorboard", from_step=from_step))
    if options.wandb:
        writers.append(WandB(options.wandb, record, folder))
    if options.trackio:
        writers.append(Trackio(options.trackio, record, folder.resolve().name))
    return writers
