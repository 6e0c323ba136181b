"""An image file as an array of bytes, whatever it was stored as."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optlab.training.data._errors import DataError, extra
from optlab.training.data._files import file_at

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # decoders without an interpreter
_COLOURS = {"white": 255, "black": 0}
_ORIENTATION = 0x0112  # the EXIF tag; the turns below undo it, as numbered by Pillow's Transpose
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N"}
_ERRORS = (  # what decoders raise for damaged files
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


class Form(NamedTuple):
    """height, width: of the result. channels: 1 or 3. background: under transparent pixels."""

    height: int
    width: int
    channels: int
    background: str
    max_pixels: int


def pillow() -> Any:
    """The module `PIL.Image`."""
    return extra("PIL.Image", "reading images", package="Pillow")


def pixel_limit() -> int:
    """Above which Pillow itself warns of a decompression bomb."""
    return pillow().MAX_IMAGE_PIXELS or 89_478_485


def check_header(file: Path, max_pixels: int) -> None:
    """Reads the header only.

    Raises:
      DataError: if it is no image, or too large, or of a kind that does not fit into bytes.
    """
    with _opened(file, max_pixels):
        pass


def decode(file: Path, form: Form) -> np.ndarray:
    """The image upright, in the asked channels, cut out of the middle and resized.

    Raises:
      DataError: if it is damaged, or does not pass `check_header`.
    """
    with _opened(file, form.max_pixels) as image:
        try:
            if image.format == "JPEG":  # decode no more than twice what is needed
                longest = 2 * max(form.height, form.width)
                image.draft(None, (longest, longest))
            image.load()  # a TIFF turns upright here, and has no orientation any more
            turn = _TURNS.get(image.getexif().get(_ORIENTATION))
            flat = _flat(image, form)
            return _resized(flat if turn is None else flat.transpose(turn), form)
        except (*_ERRORS, pillow().DecompressionBombError) as error:
            raise DataError(f"{file}: damaged image: {_reason(error)}") from None


def _opened(file: Path, max_pixels: int) -> Any:
    module = pillow()
    file_at(file)
    try:
        image = module.open(file, formats=_FORMATS)
    except module.UnidentifiedImageError:
        kinds = ", ".join(_FORMATS)
        raise DataError(f"{file}: is no image, or its header is damaged ({kinds})") from None
    except module.DecompressionBombError as error:
        raise DataError(f"{file}: too large: {error}") from None
    except _ERRORS as error:
        raise DataError(f"{file}: cannot be read: {_reason(error)}") from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise DataError(f"{file}: too large: {width} x {height} pixels, more than {max_pixels}")
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        image.close()
        raise DataError(f"{file}: has 32 bits a channel, whose range is unknown; 8 or 16 are read")
    return image


def _flat(image: Any, form: Form) -> Any:
    """Grey or RGB of 8 bits, without transparency."""
    module = pillow()
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode in _DEEP or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("values beyond 16 bits")
        image = module.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif image.has_transparency_data:
        below = module.new("RGBA", image.size, (_COLOURS[form.background],) * 3 + (255,))
        image = module.alpha_composite(below, image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return image.convert(mode)


def _resized(image: Any, form: Form) -> np.ndarray:
    """The largest rectangle of the right proportions in the middle, filtered to its size."""
    width, height = image.size
    scale = min(width / form.width, height / form.height)
    across, down = form.width * scale, form.height * scale
    left, top = (width - across) / 2, (height - down) / 2
    box = (left, top, left + across, top + down)
    result = image.resize((form.width, form.height), pillow().Resampling.BILINEAR, box=box)
    return np.asarray(result).reshape(form.height, form.width, form.channels)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
