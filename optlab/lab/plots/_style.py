"""What the pictures have in common: colours, sizes, scales, hyperparameters as axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

# Told apart by eyes of any kind (Okabe and Ito), and without colour by dashes and markers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAP = "cividis"  # darker is always less, in grey as well
GREY = "#7F7F7F"
_WIDE = 30.0  # from this ratio on, logarithmic


def pyplot() -> Any:
    """matplotlib's, or what to install."""
    try:
        import matplotlib.pyplot as found
    except ImportError as error:
        raise ImportError(
            'plotting needs matplotlib, which is not installed: pip install "optlab[plot]"'
        ) from error
    return found


def axes(ax: Any, height: float = 4.5) -> Any:
    """These, or those of a new figure, 800 pixels wide."""
    if ax is not None:
        return ax
    return pyplot().subplots(figsize=(8, height), dpi=100, layout="constrained")[1]


def finish(ax: Any, *, grid: bool = True) -> Any:
    """The last touches every picture has."""
    if grid:
        ax.grid(True, alpha=0.3)
        ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def log_scale(ax: Any, which: str) -> None:
    """A logarithmic axis with plain numbers: powers of ten, and 2 and 5 times them if few."""
    from matplotlib import ticker

    getattr(ax, f"set_{which}scale")("log")
    low, high = getattr(ax, f"get_{which}lim")()
    if math.log10(high / low) < 2.5:
        axis_ = getattr(ax, f"{which}axis")
        axis_.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis_.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis_.set_minor_formatter(ticker.NullFormatter())


def vary_too(names: Sequence[str]) -> str:
    """`; momentum varies too`, or nothing."""
    return f"; {', '.join(names)} {'vary' if len(names) > 1 else 'varies'} too" if names else ""


def title(results: Any, text: str) -> str:
    """`task: text`."""
    return f"{results.task_name}: {text}"


def is_wide(values: Iterable[float]) -> bool:
    """Whether positive values differ so much that only logarithms show them all."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > _WIDE


def shown(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def varied(results: Any) -> list[str]:
    """Hyperparameters that are not the same in all trials."""
    found = {name: set() for name in results.hyperparameters}
    for trial in results.trials:
        for name, values in found.items():
            values.add(trial.hyperparameters.get(name))
    return [name for name, values in found.items() if len(values) > 1]


@dataclasses.dataclass(frozen=True)
class Axis:
    """Where the values of a hyperparameter lie.

    Attributes:
      name: of the hyperparameter.
      log: whether to draw it logarithmically.
      listed: its values in order where they are no numbers or few: they stand side by side.
      whole: whether all its values are whole numbers.
    """

    name: str
    log: bool
    listed: tuple[Any, ...] | None
    whole: bool = False

    def place(self, value: Any) -> float:
        """The coordinate of a value: the number itself, or its place in the list."""
        return float(value) if self.listed is None else float(self.listed.index(value))

    def unit(self, values: Sequence[Any]) -> np.ndarray:
        """Places from 0 to 1, for axes of different kinds side by side."""
        places = np.array([self.place(value) for value in values])
        return self.spread(places, places)

    def spread(self, places: Any, among: Any) -> np.ndarray:
        """These coordinates as shares of the way from the least to the largest of `among`."""
        places, among = (np.log(x) if self.log else np.asarray(x) for x in (places, among))
        low, high = np.min(among), np.max(among)
        return (places - low) / (high - low) if high > low else np.full_like(places, 0.5)

    def decorate(self, axis: Any, which: str) -> None:
        """Label, scale and ticks of the x or y axis of a picture."""
        getattr(axis, f"set_{which}label")(f"{self.name} (log scale)" if self.log else self.name)
        if self.log:
            getattr(axis, f"set_{which}scale")("log")
        if self.listed is not None:
            getattr(axis, f"set_{which}ticks")(range(len(self.listed)))
            getattr(axis, f"set_{which}ticklabels")([shown(value) for value in self.listed])
        elif self.whole and not self.log:
            from matplotlib import ticker

            getattr(axis, f"{which}axis").set_major_locator(ticker.MaxNLocator(6, integer=True))


def axis(results: Any, name: str, *, cells: bool = False) -> Axis:
    """How a hyperparameter is drawn; with `cells`, lists of numbers stand side by side as well."""
    if name not in results.hyperparameters:
        known = ", ".join(results.hyperparameters)
        raise ValueError(f"plot: there is no hyperparameter {name!r}; there are {known}.")
    values = list(dict.fromkeys(trial.hyperparameters.get(name) for trial in results.trials))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    dimension = None if results.space is None else results.space.dimensions.get(name)
    if not numbers:
        order = values if dimension is None or dimension.values is None else dimension.values
        return Axis(name, False, tuple(order))
    if cells and dimension is not None and dimension.kind == "grid":
        return Axis(name, False, tuple(dimension.values))
    log = is_wide(values) if dimension is None or not dimension.log else True
    return Axis(name, log, None, whole=all(isinstance(v, int) for v in values))


def legend_above(ax: Any, handles: Any = None, labels: Any = None, text: str | None = None) -> None:
    """A legend in one line above the picture, where it hides nothing, and the title above it."""
    if handles is None:
        handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles, labels, frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1),
            ncols=len(handles), borderaxespad=0.1, borderpad=0.2, columnspacing=1.5,
        )  # fmt: skip
    if text is not None:
        ax.set_title(text, loc="left", fontsize=10, pad=22 if handles else None)


class Fates(NamedTuple):
    """Trials by what became of them, each kind the best first: `full` trained to the end, `stopped`
    ended before the others, `diverged` has a run that did."""

    full: list[Any]
    stopped: list[Any]
    diverged: list[Any]


def fates(results: Any) -> Fates:
    """The ranked trials, sorted out; an error if none trained to the end."""
    ranking = results.ranking()
    sound = [ranked for ranked in ranking if ranked.status != "diverged"]
    if not sound:
        made = "every trial diverged" if results.outcomes else "no runs yet"
        raise ValueError(f"plot: {made}, so there is nothing to draw; see results.rows.")
    end = max(ranked.steps for ranked in sound)
    full = [ranked for ranked in sound if ranked.steps == end]
    stopped = [ranked for ranked in sound if ranked.steps < end]
    return Fates(full, stopped, [ranked for ranked in ranking if ranked.status == "diverged"])


def finals(results: Any, trials: Iterable[Any]) -> dict[int, list[float]]:
    """The metric at the end of each run, by trial."""
    found: dict[int, list[float]] = {ranked.trial: [] for ranked in trials}
    for row in results.rows:
        if row["trial"] in found and row[results.metric] is not None:
            found[row["trial"]].append(row[results.metric])
    return {trial: values for trial, values in found.items() if values}


def steps(results: Any) -> int:
    """Updates of the longest run."""
    return max((outcome.steps for outcome in results.outcomes), default=0)


def seeds_of(results: Any) -> str:
    """`3 seeds`."""
    count = max((ranked.seeds for ranked in results.ranking()), default=0)
    return "1 seed" if count == 1 else f"{count} seeds"
