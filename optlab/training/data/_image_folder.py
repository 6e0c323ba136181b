"""Folders of images, one folder a class, decoded when asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optlab.core import checks
from optlab.training.data._decode import SUFFIXES, Form, check_header, decode, pixel_limit
from optlab.training.data._errors import DataError, listed
from optlab.training.data._files import digest_file, folder_at, relative_name, walk
from optlab.training.data._source import Batch, Source, digest_of

_PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_MAX_PIXELS = 50_000_000


class _Found(NamedTuple):
    file: Path
    label: int


class _Images(Source):
    """Files and labels of one part."""

    def __init__(self, name: str, root: Path, found: list[_Found], form: Form, info: dict):
        self.name, self.info = name, info
        self._root, self._form = root, form
        self._files = [item.file for item in found]
        self._labels = np.array([item.label for item in found], np.int32)
        self._digest: str | None = None

    def __len__(self) -> int:
        return len(self._files)

    def gather(self, indices: Any) -> Batch:
        chosen = self.check(indices)
        form = self._form
        images = np.empty((len(chosen), form.height, form.width, form.channels), np.uint8)
        for place, index in enumerate(chosen):
            images[place] = decode(self._files[index], form)
        return {"image": images, "label": self._labels[chosen]}

    def column(self, field: str) -> np.ndarray:
        return self._labels if field == "label" else super().column(field)

    def digest(self) -> str:
        if self._digest is None:
            names = (relative_name(file, self._root) for file in self._files)
            content = [
                part
                for name, file in zip(names, self._files, strict=True)
                for part in (name, digest_file(file))
            ]
            form = repr(self._form._replace(max_pixels=0))
            self._digest = digest_of("images", form, self._labels, *content)
        return self._digest


def image_folder(
    root: str | os.PathLike[str],
    size: int | tuple[int, int],
    *,
    channels: int = 3,
    background: str = "white",
    max_pixels: int = _MAX_PIXELS,
    min_classes: int = 2,
    skip_bad: bool = False,
    verify: bool = False,
) -> dict[str, Source]:
    """Images in folders named after their classes.

    The layout is `root/class/image.png`, or `root/part/class/image.png` where part is train
    (training), validation (valid, val) or test. PNG, JPEG, WebP, BMP, GIF, TIFF and PPM are read;
    other files are counted and left alone, and so are folders that begin with `.` or `__`.

    An image is turned upright by its EXIF orientation and freed from its transparency; 16 bits
    become 8, CMYK becomes RGB by Pillow's formula, without a colour profile. The largest rectangle
    with the proportions of `size` is cut from the middle and resized (bilinear, with
    antialiasing). Of an animation the first frame counts.

    Args:
      root: the folder.
      size: of the result in pixels, a number for squares or (height, width).
      channels: 3 (RGB) or 1 (grey).
      background: `"white"` or `"black"`, on which transparent images are laid.
      max_pixels: of a file's image; larger ones are bad, and never decoded.
      min_classes: fewer class folders are an error, since the root is then mostly another folder.
      skip_bad: leave bad files out, with a warning that names them; otherwise they are an error.
      verify: decode every file now. Otherwise only headers are read, and damage behind them is an
        error when the image is asked for.

    Returns:
      A source a part, or `train` alone, with fields `image` (uint8, height x width x channels) and
      `label` (int32, by sorted class names of `train`). `info`: `classes`; `bad`, messages of the
      files left out; `ignored`, the number of files that are no images. Order: by class, then
      path. Its digest reads every file once.

    Raises:
      DataError: for a folder of another layout, an empty one, bad files (all of them in one
        message), or a link that leads out of the root or to a folder.
      ImportError: without Pillow.

    Example:
      >>> import pathlib
      >>> import PIL.Image
      >>> import optlab as ol
      >>> for name, colour in (("cherries", "red"), ("limes", "green")):
      ...     pathlib.Path(name).mkdir()
      ...     PIL.Image.new("RGB", (40, 30), colour).save(f"{name}/1.png")
      >>> parts = ol.training.data.image_folder(".", size=8)
      >>> parts["train"]
      train of .: 2 examples of image uint8 8x8x3, label int32
      >>> parts["train"].gather([0])["image"][0, 0, 0]
      array([255,   0,   0], dtype=uint8)
    """
    form = _form(size, channels, background, max_pixels)
    owner = "image_folder"
    checks.positive_count(owner, "min_classes", min_classes)
    checks.boolean(owner, "skip_bad", skip_bad)
    checks.boolean(owner, "verify", verify)
    top = folder_at(root)
    check = (lambda file: decode(file, form)) if verify else (lambda f: check_header(f, max_pixels))
    folders = _part_folders(top)
    classes: tuple[str, ...] | None = None
    found: dict[str, tuple[list[_Found], dict]] = {}
    for part in sorted(folders, key=list(_PARTS.values()).index):
        names = tuple(folder.name for folder in _class_folders(top, folders[part]))
        classes = _classes(folders[part], names, classes, min_classes)
        found[part] = _read_part(top, folders[part], classes, check)
    bad = [message for _, info in found.values() for message in info["bad"]]
    if bad and not skip_bad:
        raise DataError(
            f"{top}: {len(bad)} bad file{'s' * (len(bad) > 1)}; mend or remove them, or choose "
            f"skip_bad=True\n{listed(bad)}"
        )
    if bad:
        message = f"{top}: {len(bad)} bad file{'s' * (len(bad) > 1)} left out\n{listed(bad)}"
        warnings.warn(message, stacklevel=2)
    for part, (items, _) in found.items():
        if not items:
            raise DataError(f"{folders[part]}: no image is left")
    return {
        part: _Images(f"{part} of {top}", top, items, form, info)
        for part, (items, info) in found.items()
    }


def _form(size: Any, channels: int, background: str, max_pixels: int) -> Form:
    owner = "image_folder"
    height, width = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    if channels not in (1, 3):
        raise ValueError(f"{owner}: channels must be 1 (grey) or 3 (RGB), got {channels!r}.")
    side = checks.Interval(1, 16384, integer=True)
    return Form(
        side(owner, "size", height),
        side(owner, "size", width),
        channels,
        checks.one_of("white", "black")(owner, "background", background),
        checks.Interval(1, pixel_limit(), integer=True)(owner, "max_pixels", max_pixels),
    )


def _part_folders(root: Path) -> dict[str, Path]:
    """`train`, `validation`, `test` where the root has them, else the root as `train`."""
    names = [folder.name for folder in _class_folders(root, root)]
    if not set(names) & {"train", "training"}:
        return {"train": root}
    strange = [name for name in names if name not in _PARTS]
    if strange:
        raise DataError(
            f"{root}: has a part for training and folders that are no parts: {', '.join(strange)}; "
            f"parts are {', '.join(_PARTS)}"
        )
    folders: dict[str, Path] = {}
    for name in names:
        if _PARTS[name] in folders:
            raise DataError(f"{root}: {folders[_PARTS[name]].name} and {name} are the same part")
        folders[_PARTS[name]] = root / name
    return folders


def _class_folders(root: Path, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: relative_name(path, root)):
        if path.is_symlink():
            list(walk(root, folder))  # says what is wrong with it, if it is a folder
        elif path.is_dir() and not path.name.startswith((".", "__")):
            yield path


def _classes(
    folder: Path, names: tuple[str, ...], known: tuple[str, ...] | None, least: int
) -> tuple[str, ...]:
    """The names labels stand for: those of the training part."""
    if known is not None:
        if strange := [name for name in names if name not in known]:
            raise DataError(
                f"{folder}: classes that the training part lacks: {', '.join(strange)}; it has "
                f"{', '.join(known)}"
            )
        return known
    if not names:
        raise DataError(f"{folder}: has no folders of classes; folder/class/image is expected")
    if len(names) < least:
        raise DataError(
            f"{folder}: has {len(names)} folder of a class, {', '.join(names)}, at least {least} "
            "are expected. Is it the right folder? If so, choose min_classes."
        )
    return names


def _read_part(
    root: Path, folder: Path, classes: tuple[str, ...], check: Callable[[Path], Any]
) -> tuple[list[_Found], dict]:
    """The good images; info with what is wrong with the bad ones, and the number of other files."""
    found, bad, ignored = [], [], 0
    for class_folder in _class_folders(root, folder):
        empty = True
        for file in walk(root, class_folder):
            if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                ignored += 1
                continue
            empty = False
            try:
                check(file)
            except DataError as error:
                bad.append(str(error))
            else:
                found.append(_Found(file, classes.index(class_folder.name)))
        if empty:
            raise DataError(f"{class_folder}: has no images")
    return found, {"classes": classes, "bad": tuple(bad), "ignored": ignored}
