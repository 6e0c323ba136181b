"""The samples a probe took, from wherever they are now: a state, several states, rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.core
import numpy as np

from optlab.core import trees

OWNER = "gradient_report"


@dataclasses.dataclass(frozen=True)
class Samples:
    """What was measured, oldest first.

    Attributes:
      steps: (samples,), the update each is of, from 1.
      groups: names, in the order of layers as far as names tell.
      columns: metrics by name, (samples, groups), float64; those that were measured.
      losses: (samples,), NaN where none is known.
      updates: done in all; None where only samples are known.
    """

    steps: np.ndarray
    groups: tuple[str, ...]
    columns: dict[str, np.ndarray]
    losses: np.ndarray
    updates: int | None = None

    def all_groups(self, column: str) -> np.ndarray:
        """The norm of all groups together, (samples,), from those of the groups."""
        return np.linalg.norm(self.columns[column], axis=1)

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each sample and group."""
        scale = noise_scale(self)
        found = []
        for i, step in enumerate(self.steps):
            for j, group in enumerate(self.groups):
                row = {"step": int(step), "group": group, "loss": float(self.losses[i])}
                row |= {name: float(column[i, j]) for name, column in self.columns.items()}
                if scale is not None:
                    row["noise_scale"] = float(scale[i, j])
                found.append(row)
        return found


def noise_and_signal(samples: Samples) -> tuple[np.ndarray, np.ndarray] | None:
    """`tr(cov)` and `|E g|²` of one batch by McCandlish's A.2 and A.3, (samples, groups).

    NaN at samples without a gradient before them; None where gradients were not compared.
    """
    if "successive_cosine" not in samples.columns:
        return None
    now, before, cosine = (
        samples.columns[name] for name in ("gradient_norm", "previous_norm", "successive_cosine")
    )
    known = (before > 0) & (now > 0)
    signal = np.where(known, now * before * cosine, np.nan)
    return np.where(known, (now**2 + before**2) / 2 - signal, np.nan), signal


def noise_scale(samples: Samples) -> np.ndarray | None:
    """Of single samples: infinite where successive gradients do not agree at all."""
    found = noise_and_signal(samples)
    if found is None:
        return None
    noise, signal = found
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(signal > 0, noise / signal, np.where(np.isnan(signal), np.nan, np.inf))


def samples_of(source: Any) -> Samples:
    """The samples of a state with a probe, of several such states, or of a report's rows.

    Raises:
      ValueError: without a probe, before its first sample, for a population.
      TypeError: for traced states.
    """
    if isinstance(source, list | tuple) and not hasattr(source, "_fields") and source:
        if all(isinstance(row, Mapping) and {"step", "group"} <= set(row) for row in source):
            return _of_rows(source)
        if all(_probes(state) for state in source):
            return _joined([_of_state(state) for state in source])
    return _of_state(source)


def _probes(state: Any) -> list[Any]:
    leaves = jax.tree.leaves(trees.unbox(state), is_leaf=_is_probed)
    return [leaf for leaf in leaves if _is_probed(leaf)]


def _is_probed(node: Any) -> bool:
    return callable(getattr(node, "probed", None))


def _of_state(state: Any) -> Samples:
    found = _probes(state)
    if not found:
        raise ValueError(
            f"{OWNER}: there is no probe in this {type(state).__name__}. Wrap the optimizer, "
            "tx = optlab.probe(tx), train with it, and give the optimizer's state."
        )
    if len(found) > 1:
        raise ValueError(
            f"{OWNER}: there are {len(found)} probes in this state, of the groups "
            f"{'; '.join(', '.join(_names(probe.groups)) for probe in found)}. Give the state of "
            "one of them."
        )
    probe = found[0]
    if isinstance(probe.samples, jax.core.Tracer):
        raise TypeError(f"{OWNER}: the state is traced; call it outside of jit.")
    if np.ndim(probe.samples):
        raise ValueError(
            f"{OWNER}: this is a population of states, {np.shape(probe.samples)}; give one, such "
            "as jax.tree.map(lambda x: x[0], state)."
        )
    if int(probe.samples) == 0:
        raise ValueError(
            f"{OWNER}: the probe has taken no sample yet; it takes one at the first update. Train "
            "first, and give the state that comes out of update."
        )
    kept = probe.probed()
    columns = {name: kept["values"][:, :, k] for k, name in enumerate(kept["metrics"])}
    return Samples(kept["steps"], tuple(kept["groups"]), columns, kept["losses"], int(probe.count))


def _names(entries: Any) -> list[str]:
    return [name for entry in entries for name in entry]


def _joined(parts: Sequence[Samples]) -> Samples:
    """Several states of one run, each sample once."""
    first = parts[0]
    for part in parts:
        if part.groups != first.groups or part.columns.keys() != first.columns.keys():
            raise ValueError(
                f"{OWNER}: the states are of probes that differ: {', '.join(first.groups)} and "
                f"{', '.join(part.groups)}. Give the states of one run."
            )
    steps = np.concatenate([part.steps for part in parts])
    order = np.unique(steps, return_index=True)[1]
    columns = {
        name: np.concatenate([part.columns[name] for part in parts])[order]
        for name in first.columns
    }
    losses = np.concatenate([part.losses for part in parts])[order]
    updates = max(part.updates or 0 for part in parts)
    return Samples(steps[order], first.groups, columns, losses, updates)


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> Samples:
    steps = sorted({int(row["step"]) for row in rows})
    groups = tuple(dict.fromkeys(str(row["group"]) for row in rows))
    if len(rows) != len(steps) * len(groups):
        raise ValueError(
            f"{OWNER}: {len(rows)} rows do not hold {len(groups)} groups at each of {len(steps)} "
            "steps, once each. Give the rows of one report, whole."
        )
    names = [name for name in rows[0] if name not in ("step", "group", "loss", "noise_scale")]
    columns = {name: np.full((len(steps), len(groups)), np.nan) for name in names}
    losses = np.full(len(steps), np.nan)
    places = {step: i for i, step in enumerate(steps)}
    for row in rows:
        i, j = places[int(row["step"])], groups.index(str(row["group"]))
        losses[i] = row.get("loss", np.nan)
        for name in names:
            columns[name][i, j] = row[name]
    return Samples(np.asarray(steps), groups, columns, losses)


def losses_of(samples: Samples, given: Any) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses in order: those given, or those that the probe was told.

    Raises:
      ValueError: for losses that are neither a sequence of numbers nor numbers by update, or of
        more or fewer updates than were done.
      TypeError: for losses that are no numbers.
    """
    if given is None:
        known = ~np.isnan(samples.losses) | _is_bad(samples)
        return samples.steps[known], samples.losses[known]
    if isinstance(given, Mapping):
        order = np.argsort(_integers(list(given)), kind="stable")
        steps, losses = _integers(list(given))[order], _numbers(list(given.values()))[order]
        last = steps.max(initial=1) if samples.updates is None else samples.updates
        if len(steps) and not 1 <= steps[0] <= steps[-1] <= last:
            raise ValueError(
                f"{OWNER}: losses are of updates {steps[0]} to {steps[-1]}, but updates 1 to "
                f"{last} were done. Count updates from 1."
            )
        return steps, losses
    losses = _numbers(given)
    if losses.ndim != 1:
        raise ValueError(
            f"{OWNER}: losses must be one number for each update, from the first, or a dict of "
            f"numbers by update; got an array of shape {losses.shape}."
        )
    done, least = samples.updates, int(samples.steps[-1])
    if len(losses) < least if done is None else len(losses) != done:
        wanted = f"at least {least}" if done is None else f"{done}"
        raise ValueError(
            f"{OWNER}: there are {len(losses)} losses, but {wanted} updates were done. Give one "
            "for each update, from the first; those of some updates as a dict {update: loss}."
        )
    return np.arange(1, len(losses) + 1), losses


def _numbers(given: Any) -> np.ndarray:
    found = np.asarray(given)
    real = found.dtype.kind in "iufb" or jax.numpy.issubdtype(found.dtype, np.floating)
    if found.size and not real:
        raise TypeError(f"{OWNER}: losses must be numbers, got {given!r:.80}.")
    return found.astype(np.float64)


def _integers(given: list[Any]) -> np.ndarray:
    found = np.asarray(given, None if given else int)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{OWNER}: losses by update need whole numbers as keys, got {given!r:.80}.")
    return found.astype(int)


def _is_bad(samples: Samples) -> np.ndarray:
    """Where a NaN is the loss itself, and not one that nobody told."""
    if np.isnan(samples.losses).all():
        return np.zeros(len(samples.steps), bool)
    return samples.columns["nonfinite_fraction"].max(axis=1) > 0
