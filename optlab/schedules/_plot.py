"""Pictures of schedules. matplotlib is imported when one is drawn."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.core import checks
from optlab.schedules._base import Schedule
from optlab.schedules._fields import as_schedule, steps_count

# Told apart by eyes of any kind (Okabe and Ito), and without colour by their dashes.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
_POINTS = 2000


def plot(
    schedule: Callable[[Any], Any] | Mapping[str, Callable[[Any], Any]],
    steps: int | None = None,
    ax: Any = None,
) -> Any:
    """Draws one schedule, or several in one picture.

    Args:
      schedule: a schedule, any other function of the count, or a dict of these by the names to give
        them. Fields must be concrete.
      steps: counts to show, 0 to this; None shows what is worth seeing of each.
      ax: matplotlib Axes to draw into; None makes a new figure of 800 x 450 pixels.

    Returns:
      The Axes.

    Raises:
      ImportError: without matplotlib.
      TypeError: for what is no schedule.
      ValueError: for steps < 1, an empty dict, traced fields, or steps=None where a plain function
        does not tell how long it is.

    Special cases:
      At most 2,000 counts are evaluated, evenly spaced.

    Example:
      >>> import optlab as ol
      >>> ax = ol.schedules.plot(ol.schedules.cosine(0.1, steps=100))  # doctest: +SKIP
      >>> ax.figure.savefig("cosine.png")  # doctest: +SKIP
    """
    named = schedule if isinstance(schedule, Mapping) else {"": schedule}
    named = {name: as_schedule("plot", name or "schedule", s) for name, s in named.items()}
    if not named:
        raise ValueError("plot: schedule must hold at least one schedule, got an empty dict.")
    last = _last_count(named) if steps is None else steps_count("plot", "steps", steps)
    counts = np.unique(np.linspace(0, last, min(last + 1, _POINTS)).astype(np.int64))
    if ax is None:
        ax = _pyplot().subplots(figsize=(8, 4.5), dpi=100, layout="constrained")[1]
    styles = zip(itertools.cycle(_COLORS), itertools.cycle(_DASHES), strict=False)
    for (name, one), (color, dashes) in zip(named.items(), styles, strict=False):
        evaluate = one if isinstance(one, Schedule) else jax.vmap(one)
        values = np.asarray(evaluate(jnp.asarray(counts, jnp.int32)))
        ax.plot(counts, values, dashes, color=color, linewidth=2, label=name or None)
    _decorate(ax, named, last)
    return ax


def _last_count(named: Mapping[str, Any]) -> int:
    for name, one in named.items():
        if not isinstance(one, Schedule):
            raise ValueError(
                f"plot: {name or one!r} does not tell how long it is; pass steps, the number of "
                "counts to show."
            )
        if not checks.is_concrete(*jax.tree.leaves(one)):
            raise ValueError(f"plot: {one!r} has traced fields; draw it outside of jit.")
    return round(min(max(one.horizon() for one in named.values()), 2**31 - 1))


def _decorate(ax: Any, named: Mapping[str, Any], last: int) -> None:
    ax.set_xlabel("updates done")
    ax.set_ylabel("value")
    ax.set_xlim(0, last)
    ax.margins(y=0.06)
    ax.grid(True, alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if list(named) == [""]:
        lines = textwrap.wrap(repr(named[""]), width=100, max_lines=3, placeholder=" ...")
        ax.set_title("\n".join(lines), fontsize=10, loc="left")
    else:
        ax.legend(frameon=False)


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as pyplot
    except ImportError as error:
        raise ImportError(
            'plotting needs matplotlib, which is not installed: pip install "optlab[plot]"'
        ) from error
    return pyplot
