"""Which axes of a built model's parameter are inputs, outputs and stacks, from its path and shape.

A shape alone does not tell: (512, 8, 64) may be an attention query (fan_in 512), a 1-D convolution
(fan_in 4096) or 512 stacked matrices (fan_in 8). Flax's own names do; where neither decides, the
answer is an error that says what to write, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from optlab.initializers import _fans

_QUERIES = ("query", "key", "value")
_OUTPUT = "out"
_REMEDY = (
    "Name the axes in the rule's initializer (he_normal(in_axis=0, out_axis=(1, 2)); a convolution "
    "is in_axis=-2, out_axis=-1), and for layers stacked by nn.scan or vmap pass "
    'stacked={"glob/of/paths": 1}.'
)


def fan_axes(path: str, shape: Sequence[int], batch_axis: int | Sequence[int] = ()) -> _fans.Axes:
    """The roles of a parameter's axes, as `reinitialize` infers them.

    With stacked axes left out of the count:

    | last names of the path | axes | inputs | outputs | window |
    |---|---|---|---|---|
    | `.../kernel` (or any name but those below) | 2 | 0 | 1 | |
    | `...conv.../kernel` (any case, ConvTranspose too) | 3 and more | -2 | -1 | the others |
    | `query/kernel`, `key/kernel`, `value/kernel` | 3 | 0 | 1, 2 | |
    | `out/kernel` | 3 | 0, 1 | 2 | |
    | `embedding` | 2 | 1 | 0 | |
    | `.../weight` (Equinox, PyTorch) | 2 and more | 1 | 0 | the others |

    Args:
      path: names joined by "/", such as `"block/attention/query/kernel"`.
      shape: of the parameter, stacked axes included.
      batch_axis: axes over stacked layers or experts.

    Returns:
      `Axes(in_axis, out_axis, batch_axis)`, counted from 0 in the full shape.

    Raises:
      ValueError: for biases, scales and other parameters without fans, and where names do not
        decide: a kernel of three or more axes under another name.

    Special cases:
      An embedding's fan_in is its features: the layer a tied output head sees, and Flax's own
      default. As a table, where one row is read at a time, `normal(stddev)` says what is meant.
      Not to be told from path and shape: `transpose_kernel=True` (inputs and outputs exchanged),
      stacked convolutions that nothing in the path calls a stack.

    Example:
      >>> import optlab as ol
      >>> ol.initializers.fan_axes("attention/query/kernel", (512, 8, 64))
      Axes(in_axis=(0,), out_axis=(1, 2), batch_axis=())
      >>> ol.initializers.fan_axes("layers/Dense_0/kernel", (12, 512, 512), batch_axis=0)
      Axes(in_axis=(1,), out_axis=(2,), batch_axis=(0,))
    """
    shape = _fans.check_shape("fan_axes", shape)
    every = _fans.resolve_axes(
        "fan_axes", shape, (), (), _fans.axis_field("", "batch_axis", batch_axis)
    )
    own = every.receptive(shape)  # what is left when stacks are taken away
    inputs, outputs = _roles(path, [shape[i] for i in own])
    return _fans.Axes(
        tuple(own[i] for i in inputs), tuple(own[i] for i in outputs), every.batch_axis
    )


def _roles(path: str, shape: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    *parents, name = path.split("/")
    layer = parents[-1] if parents else ""
    rank = len(shape)
    if rank < 2 or name in ("bias", "scale"):
        raise ValueError(
            f"a parameter named {name!r} with {rank} axes of its own has no fans. Use zeros, ones, "
            "constant(value) or normal(stddev) for biases and scales, or name the axes."
        )
    if name == "weight":
        return (1,), (0,)
    if rank == 2:
        return ((1,), (0,)) if name == "embedding" else ((0,), (1,))
    if name != "embedding":
        if "conv" in layer.lower():
            return (rank - 2,), (rank - 1,)
        if rank == 3 and layer in _QUERIES:
            return (0,), (1, 2)
        if rank == 3 and layer == _OUTPUT:
            return (0, 1), (2,)
    raise ValueError(
        f"the fans of {path!r} cannot be told from its name and its {rank} axes of sizes "
        f"{tuple(shape)}: it may be a convolution, a layer with several input or output axes, or a "
        f"stack of layers. {_REMEDY}"
    )
