"""What is known of one layer, and what every value of a program depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

from optlab import initializers
from optlab.lab.init import _activations
from optlab.lab.init._program import Const, Program


@dataclasses.dataclass(eq=False)
class Layer:
    """A product with a kernel.

    Attributes:
      name: the kernel's path without what all layers share.
      leaf: the kernel's place among the program's inputs.
      shape: of the kernel.
      product: number of the value that leaves the product.
      pre, post: numbers of the values behind the bias, and behind the activation.
      units: axes of `product` and `pre` over output units; the others are examples and places.
      axes: roles of the kernel's axes, or None if they cannot be told.
      fan_in, fan_out: of the product itself.
      piece: `{axis: index}` where the product uses one slice of the kernel.
      bias: the place of the bias among the program's inputs, or None.
      activation: what leads from `pre`, or from the normalised value, to `post`.
      normalized: whether a statistic of the layer's own output lies between.
      reads: axes of `value` that the product sums over.
      own: values that depend on the batch through `pre` alone, up to the next layers.
      source: the layer whose `post` this one reads unchanged, or None.
      fed_by: the layer whose output this one reads, through operations of its own, or None.
      branch_end: whether the layer is the last of a residual branch.
      alone: whether nothing else reads this piece of the kernel.
    """

    name: str
    path: str
    leaf: int
    shape: tuple[int, ...]
    kind: str
    value: int
    product: int
    pre: int
    post: int
    units: tuple[int, ...]
    axes: initializers.Axes | None
    fan_in: int
    fan_out: int
    piece: dict[int, int]
    bias: int | None = None
    activation: _activations.Activation = _activations.NONE
    normalized: bool = False
    reads: tuple[int, ...] = ()
    own: frozenset[int] = frozenset()
    source: int | None = None
    fed_by: int | None = None
    branch_end: bool = False
    alone: bool = True


@dataclasses.dataclass
class Origins:
    """For every value: which inputs it depends on; `batch` is whether the batch is among them."""

    leaves: list[frozenset[int]]
    batch: list[bool]

    @classmethod
    def of(cls, program: Program, count: int) -> Origins:
        leaves: list[frozenset[int]] = [frozenset()] * len(program.shapes)
        batch = [False] * len(program.shapes)
        for i, number in enumerate(program.inputs):
            leaves[number] = frozenset([i]) if i < count else frozenset()
            batch[number] = i >= count
        for node in program.nodes:
            refs = [r for r in node.inputs if not isinstance(r, Const)]
            found = frozenset().union(*(leaves[r] for r in refs))
            for number in node.outputs:
                leaves[number] = found
                batch[number] = any(batch[r] for r in refs)
        return cls(leaves, batch)

    def is_kernel(self, ref: Any) -> bool:
        return not isinstance(ref, Const) and not self.batch[ref] and bool(self.leaves[ref])

    def is_signal(self, ref: Any) -> bool:
        return not isinstance(ref, Const) and self.batch[ref]
