"""The options that every trainer has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax

from optlab.core import checks
from optlab.training._console import UserError, check_number, check_whole, option
from optlab.training._files import check_writable, plain
from optlab.training.data import Batches, Source

Options = TypeVar("Options", bound="RunOptions")

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_PARTS = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in _UNITS))
_SMOKE_STEPS = 6


class Seconds(float):
    """A span of time: a float, which the command line also reads as `90s`, `5m`, `1h30m`, `2d`.

    Example:
      >>> import optlab as ol
      >>> ol.training.Seconds.from_text("1h30m")
      5400.0
    """

    METAVAR: ClassVar[str] = "TIME"

    @classmethod
    def from_text(cls, text: str) -> Seconds:
        """Raises ValueError for anything but a number, or numbers with units from d to s."""
        match = _PARTS.fullmatch(text)
        if text and match:
            return cls(
                sum(
                    float(number) * unit
                    for number, unit in zip(match.groups(), _UNITS.values(), strict=True)
                    if number
                )
            )
        return cls(float(text))

    def __repr__(self) -> str:
        return float.__repr__(self)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What every trainer can be told; a trainer adds its own fields, and other defaults.

    `parse` makes one from the command line. A subclass that has a `check` of its own calls
    `super().check()`; a field that it only gives another default keeps its help.

    Example:
      >>> import dataclasses, optlab as ol
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config(ol.training.RunOptions):
      ...     steps: int = 1500
      ...     width: int = 256
      ...     '''Units of the hidden layer.'''
      >>> config = ol.training.parse(Config, ["--width", "64", "--time-limit", "5m"])
      >>> config.steps, config.width, config.time_limit
      (1500, 64, 300.0)
    """

    steps: int = 1000
    """Updates of the parameters, those before a resume included."""
    batch_size: int = 64
    """Examples an update, over all devices together."""
    seed: int = 0
    """Decides the initial parameters, the order of the data and all that is drawn."""
    output: Path = Path("runs/train")
    """Folder of the run: checkpoints, metrics.jsonl, summary.json, curves.png."""
    resume: str = "auto"
    """Go on from the last checkpoint in the output folder: auto, if there is one; must, or fail;
    never: begin anew, and move what is there into a folder in it; or from that of a step: 400."""
    save_every: int = 200
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 3
    """Checkpoints kept: the latest ones; the best is kept besides."""
    log_every: int = 20
    """Steps between rows of metrics."""
    eval_every: int = 200
    """Steps between evaluations; the last step is always evaluated."""
    patience: int | None = None
    """Evaluations without a better one after which the run ends; None: it does not."""
    time_limit: Seconds | None = None
    """Save and end after so long: seconds, or a time such as 5m or 1h30m."""
    smoke: bool = False
    """A few steps of everything, in the folder `smoke` of the output folder."""
    profile: bool = False
    """Trace some steps with JAX's profiler into the folder `profile` of the output folder."""
    bf16: bool = False
    """Compute losses and gradients in bfloat16; parameters and optimizer keep float32."""
    mesh: str | None = None
    """Devices that share each batch, such as data=8; None: one device."""
    tensorboard: bool = False
    """Write for TensorBoard too, into the folder `tensorboard` of the output folder."""
    wandb: str | None = None
    """Project at Weights & Biases; offline unless WANDB_MODE says otherwise."""
    trackio: str | None = None
    """Project of trackio; on this machine unless TRACKIO_SPACE_ID says otherwise."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))  # text will do
        object.__setattr__(self, "resume", str(self.resume))  # and a number

    def check(self) -> None:
        """Judges every option, and whether the output folder can be written.

        Raises:
          UserError: in one line, with the option's spelling, its value and what is allowed.
        """
        for field in ("steps", "batch_size", "save_every", "keep", "log_every", "eval_every"):
            check_whole(option(field), getattr(self, field))
        check_whole("--seed", self.seed, 0, 2**32 - 1)
        if self.patience is not None:
            check_whole("--patience", self.patience)
        if self.time_limit is not None:
            check_number("--time-limit", self.time_limit, checks.positive)
        words = ("auto", "never", "must")
        if self.resume not in words and not re.fullmatch("[0-9]{1,10}", str(self.resume)):
            raise UserError(f"--resume: auto, never, must or a step expected, got {self.resume!r}")
        for field in ("wandb", "trackio"):
            project = getattr(self, field)
            if project is not None and not project.strip():
                raise UserError(f"{option(field)}: the name of a project expected, got {project!r}")
        shards = self.mesh_size
        if self.batch_size % shards:
            raise UserError(
                f"--batch-size: a multiple of {shards}, the devices of --mesh, expected, got "
                f"{self.batch_size}"
            )
        check_writable(self.output)

    @property
    def mesh_size(self) -> int:
        """8 for `--mesh data=8`; 1 for none.

        Raises:
          UserError: if it is of another form. Whether there are so many devices is seen later.
        """
        if self.mesh is None:
            return 1
        match = re.fullmatch(r"data=([1-9]\d{0,6})", self.mesh, re.ASCII)
        if not match:
            raise UserError(f"--mesh: data=NUMBER, such as data=8, expected, got {self.mesh!r}")
        return int(match[1])

    def effective(self: Options) -> Options:
        """The options to run with: themselves, or with `smoke` a copy that is soon through.

        Six steps, evaluated, logged and saved on the way, in a folder of their own, so that the
        real run's checkpoints are neither resumed nor overwritten; begun anew unless
        `resume="must"`. The copy has `smoke=False`.
        """
        if not self.smoke:
            return self
        steps = min(self.steps, _SMOKE_STEPS)
        every = max(1, steps // 2)
        return dataclasses.replace(
            self,
            steps=steps,
            save_every=every,
            eval_every=every,
            log_every=1,
            output=self.output / "smoke",
            resume="never" if self.resume == "auto" else self.resume,
            smoke=False,
        )

    def batches(self, source: Source, *, shuffle: bool = True) -> Batches:
        """The batches of a run with these options: this process's part of each.

        Raises:
          DataError, ValueError: see `ol.training.data.Batches`.
        """
        return Batches(
            source,
            self.batch_size,
            seed=self.seed,
            shuffle=shuffle,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def to_json(self) -> dict[str, Any]:
        """All fields, a subclass's too, as values that JSON knows; for the record of the run."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
