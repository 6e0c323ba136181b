"""Which axes are inputs, outputs and stacks, told from names; errors where names do not tell."""

import pytest

from optlab.initializers import Axes, fan_axes, fans

KNOWN = [
    ("Dense_0/kernel", (64, 32), (), (64, 32)),
    ("kernel", (64, 32), (), (64, 32)),
    ("lora/lora_a", (64, 8), (), (64, 8)),
    ("linear/w", (64, 32), (), (64, 32)),
    ("Conv_0/kernel", (3, 3, 16, 32), (), (144, 288)),
    ("encoder/conv1/kernel", (5, 16, 32), (), (80, 160)),
    ("ConvTranspose_0/kernel", (2, 2, 16, 32), (), (64, 128)),
    ("attention/query/kernel", (512, 8, 64), (), (512, 512)),
    ("attention/key/kernel", (256, 8, 64), (), (256, 512)),
    ("attention/value/kernel", (512, 8, 32), (), (512, 256)),
    ("attention/out/kernel", (8, 64, 512), (), (512, 512)),
    ("query/kernel", (512, 512), (), (512, 512)),
    ("Embed_0/embedding", (1000, 64), (), (64, 1000)),
    ("linear/weight", (32, 64), (), (64, 32)),
    ("conv/weight", (32, 16, 3, 3), (), (144, 288)),
    ("blocks/Dense_0/kernel", (12, 64, 32), 0, (64, 32)),
    ("blocks/Dense_0/kernel", (64, 12, 32), 1, (64, 32)),
    ("blocks/query/kernel", (12, 512, 8, 64), 0, (512, 512)),
    ("blocks/out/kernel", (12, 3, 8, 64, 512), (0, 1), (512, 512)),
    ("blocks/Conv_0/kernel", (12, 3, 3, 16, 32), -5, (144, 288)),
    ("experts/embedding", (4, 1000, 64), 0, (64, 1000)),
]


@pytest.mark.parametrize(("path", "shape", "batch", "expected"), KNOWN)
def test_names_tell_the_fans(path, shape, batch, expected):
    assert fans(shape, *fan_axes(path, shape, batch)) == expected


def test_axes_are_counted_in_the_full_shape():
    assert fan_axes("out/kernel", (8, 12, 64, 512), 1) == Axes((0, 2), (3,), (1,))


UNDECIDED = [
    ("Dense_0/kernel", (12, 64, 64), (), "cannot be told.*stacked="),
    ("q_proj/kernel", (64, 4, 16), (), "cannot be told"),
    ("kernel", (3, 3, 16, 32), (), "cannot be told"),
    ("embedding", (4, 100, 64), (), "cannot be told"),
    ("query/kernel", (12, 512, 8, 64), (), "cannot be told"),
    ("Dense_0/bias", (32,), (), "'bias' with 1 axes of its own has no fans"),
    ("query/bias", (8, 64), (), "has no fans"),
    ("norm/scale", (12, 64), (), "has no fans"),
    ("Dense_0/kernel", (12, 64), 0, "1 axes of its own has no fans"),
    ("Dense_0/kernel", (64, 64), 5, "out of range"),
]


@pytest.mark.parametrize(("path", "shape", "batch", "message"), UNDECIDED)
def test_what_names_do_not_tell_is_an_error(path, shape, batch, message):
    with pytest.raises(ValueError, match=message):
        fan_axes(path, shape, batch)
