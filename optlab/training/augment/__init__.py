"""Augmentation of batches on the device: frozen records, called `augmentation(key, batch)`.

_base       what an augmentation is; keys of examples; what a batch must look like
_crop       shifted views of a padded image
_flip       mirror images
_resample   rotation, scale and shift by bilinear sampling
_spans      what an example draws, and ranges to draw from
_cutout     squares blanked out
_mixing     pairs of examples: mixup, cutmix
_labels     integer labels as distributions; smoothing
_normalize  zero mean, unit spread
_compose    several in order

A batch is a dict with `image` (N, H, W, C), floating in [0, 1], and `label` (N,) integer or
(N, classes) floating; other entries pass through. The same key gives the same bits, jitted or not,
sharded or not. What happens to an example follows from the key and the example's position alone
(and, for mixup and cutmix, from its partner).
"""

from optlab.training.augment._base import Augmentation, ImageAugmentation
from optlab.training.augment._compose import compose
from optlab.training.augment._crop import random_crop
from optlab.training.augment._cutout import cutout
from optlab.training.augment._flip import random_flip
from optlab.training.augment._labels import label_smoothing
from optlab.training.augment._mixing import cutmix, mixup
from optlab.training.augment._normalize import normalize
from optlab.training.augment._resample import random_affine, random_rotation, random_scale

__all__ = [
    "Augmentation",
    "ImageAugmentation",
    "compose",
    "cutmix",
    "cutout",
    "label_smoothing",
    "mixup",
    "normalize",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_rotation",
    "random_scale",
]
