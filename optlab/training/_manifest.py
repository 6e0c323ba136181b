"""What a checkpoint says about itself: its leaves and their checksums, the run, the versions."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from optlab.core import trees
from optlab.training._checksums import checksums, hex_text
from optlab.training._versions import versions

PyTree = Any
_SHOWN = 3
_LONGEST = 60  # letters of what differs between two descriptions


class MismatchError(ValueError):
    """A checkpoint holds other arrays than those asked for: another width, another optimizer.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> with ol.training.Checkpoints("narrow run") as checkpoints:
      ...     written = checkpoints.save({"w": jnp.zeros(3)}, 1)
      >>> try:
      ...     checkpoints.restore({"w": jnp.zeros(4)})
      ... except ol.training.MismatchError as error:
      ...     print(str(error).splitlines()[1])
        w: float32[3] in the checkpoint, float32[4] here
    """


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a checkpoint: shape, dtype as text, checksum as 16 hexadecimal digits."""

    shape: tuple[int, ...]
    dtype: str
    checksum: str = ""

    @property
    def kind(self) -> str:
        """`"float32[3, 4]"`."""
        return f"{self.dtype}{list(self.shape)}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What stands beside the arrays of a checkpoint.

    Attributes:
      step: number of the step.
      metric: given when it was saved, higher is better; None if none was given.
      time: UTC, ISO 8601.
      versions: of optlab, jax, jaxlib, optax, flax, orbax-checkpoint, numpy and python.
      config: what the run said about itself.
      leaves: shape, dtype and checksum by path.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> manifest = ol.training.Manifest.of({"w": jnp.ones(3)}, step=7, config={"seed": 0})
      >>> manifest.leaves["w"].kind, ol.training.Manifest.parse(manifest.to_json()) == manifest
      ('float32[3]', True)
    """

    step: int
    metric: float | None
    time: str
    versions: dict[str, str]
    config: dict[str, Any]
    leaves: dict[str, Leaf]

    @classmethod
    def of(
        cls,
        state: PyTree,
        step: int,
        metric: float | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """The manifest of a state; waits until its arrays are computed."""
        sums = jax.tree.leaves(jax.device_get(checksums(state)))
        leaves = {
            path: dataclasses.replace(leaf, checksum=hex_text(pair))
            for (path, leaf), pair in zip(table(state).items(), sums, strict=True)
        }
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(step, metric, now, versions(), dict(config or {}), leaves)

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`; with a digest, so that damage to the manifest itself is seen."""
        content = dataclasses.asdict(self)
        if self.metric is not None and not math.isfinite(self.metric):
            content["metric"] = str(self.metric)  # JSON has no NaN
        content = json.loads(json.dumps(content, allow_nan=False))
        return {"digest": _digest(content), **content}

    @classmethod
    def parse(cls, content: Any) -> Manifest:
        """The inverse of `to_json`.

        Raises:
          ValueError: if a byte of it is another.
        """
        if not isinstance(content, dict) or content.pop("digest", None) != _digest(content):
            raise ValueError("its digest does not match what it says")
        metric = content["metric"]
        leaves = {
            path: Leaf(tuple(leaf["shape"]), leaf["dtype"], leaf["checksum"])
            for path, leaf in content["leaves"].items()
        }
        metric = None if metric is None else float(metric)
        return cls(**{**content, "metric": metric, "leaves": leaves})

    def within(self, part: str) -> Manifest:
        """The manifest of the leaves at or below a path; `""` is above all."""
        leaves = {
            path: leaf
            for path, leaf in self.leaves.items()
            if part in ("", path) or path.startswith(f"{part}/")
        }
        return dataclasses.replace(self, leaves=leaves)

    def require(self, wanted: Mapping[str, Leaf], config: Mapping[str, Any], where: str) -> None:
        """Raises `MismatchError` unless the leaves are those of a table, in path, shape, dtype."""
        others = []
        for path in sorted({*self.leaves, *wanted}):
            there, here = self.leaves.get(path), wanted.get(path)
            kinds = [leaf.kind if leaf else "missing" for leaf in (there, here)]
            if kinds[0] != kinds[1]:
                others.append((f"  {path}: {kinds[0]} in the checkpoint, {kinds[1]} here", kinds))
        if not others:
            return
        lines = [line for line, _ in sorted(others, key=lambda other: "missing" in other[1])]
        total = len({*self.leaves, *wanted})
        more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        runs = []
        for name in ("optimizer", "model"):
            there, here = self.config.get(name), config.get(name)
            if there != here:
                there, here = _where_they_differ(str(there), str(here))
                runs.append(f"  {name}: {there} in the checkpoint, {here} here")
        raise MismatchError(
            "\n".join(
                [
                    f"{where} holds another state: {len(lines)} of {total} leaves differ.",
                    *lines[:_SHOWN],
                    *more,
                    *runs,
                    "Make the model and the optimizer it was saved with, or use another folder.",
                ]
            )
        )

    def require_sums(self, found: Mapping[str, Any]) -> None:
        """Raises `ValueError` naming the first array whose bits are not those that were saved."""
        pairs = jax.device_get(checksums(dict(found)))
        damaged = [path for path in found if hex_text(pairs[path]) != self.leaves[path].checksum]
        if damaged:
            more = f" and {len(damaged) - 1} more leaves do" if damaged[1:] else " does"
            raise ValueError(f"{damaged[0]}{more} not have the checksum of what was saved")


def table(tree: PyTree, under: str = "") -> dict[str, Leaf]:
    """Shape and dtype of each leaf by path, in the order of the leaves.

    Paths begin with `under`, if the tree is a part of another.

    Raises:
      TypeError: naming a leaf that is no array and no number.
      ValueError: if two leaves have the same path as text, or there is none.
    """
    found: dict[str, Leaf] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = "/".join(filter(None, (under, trees.path_text(path)))) or "."
        if isinstance(leaf, bool | int | float | complex):
            leaf = np.asarray(leaf)
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            raise TypeError(
                f"{name!r} is {leaf!r} of type {type(leaf).__name__}; a checkpoint keeps arrays "
                "and numbers. Leave it out of the state."
            )
        if name in found:
            raise ValueError(f"two leaves have the path {name!r}; rename one of them")
        found[name] = Leaf(tuple(leaf.shape), str(leaf.dtype))
    if not found:
        raise ValueError("the state holds no array; there is nothing to keep")
    return found


def _where_they_differ(one: str, two: str) -> tuple[str, str]:
    """Two texts, of long ones the part from a little before the first difference on.

    Example:
      >>> from optlab.training._manifest import _where_they_differ
      >>> _where_they_differ("adam(b2=0.9)" * 20, "adam(b2=0.9)" * 10 + "end")[1]
      '...b2=0.9)adam(b2=0.9)end'
    """
    if max(len(one), len(two)) <= _LONGEST:
        return one, two
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
    same = min(len(one), len(two)) if same is None else same
    begin = max(0, same - _LONGEST // 3)

    def short(text: str) -> str:
        end = begin + _LONGEST
        return "..." * (begin > 0) + text[begin:end] + "..." * (len(text) > end)

    return short(one), short(two)


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
