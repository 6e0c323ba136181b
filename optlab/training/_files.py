"""Files of a run: written all or none, and never half; JSON, NPZ, digests, versions."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optlab.training._console import UserError


def write_all(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Writes each file beside its place, then renames all of them into it.

    Args:
      folder: made if it is missing.
      files: contents by name, without folders in it.

    Raises:
      UserError: if that fails (disk full, read-only, a folder in the place of a file): none of
        the files has changed then, unless a rename itself failed.

    Example:
      >>> from optlab.training._files import write_all
      >>> write_all("run", {"config.json": b"{}", "note.txt": b"first"})
    """
    folder = Path(folder)
    for name in files:
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"write_all: {name!r} must be the name of a file, without folders.")
    beside = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            with open(beside[name], "wb") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())  # before the rename: a power cut leaves old or new
        for name in files:
            if (folder / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
        for name, part in beside.items():
            part.replace(folder / name)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        for part in beside.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike[str], name: str = "--output") -> None:
    """Tries, before the training, whether `folder` can be made and written; leaves no trace.

    Args:
      folder: need not exist.
      name: heads the message.

    Raises:
      UserError: if not, saying why.
    """
    parent = folder = Path(folder)
    if "\0" in str(folder):
        raise UserError(f"{name}: a path expected, got {str(folder)!r}")
    try:
        while not parent.exists():
            if parent.is_symlink():
                raise FileNotFoundError(errno.ENOENT, f"{parent} is a link that leads nowhere")
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(f"{name}: cannot write to {folder}: {error.strerror}") from None


def as_json(value: Mapping[str, Any]) -> bytes:
    """One line a key, in the order given. NaN and infinities, unknown to JSON, become null.

    Example:
      >>> from optlab.training._files import as_json
      >>> print(as_json({"loss": float("nan"), "shape": (2, 3)}).decode(), end="")
      {
      "loss": null,
      "shape": [2, 3]
      }
    """
    lines = (
        f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}"
        for key, item in plain(value).items()
    )
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def plain(value: Any) -> Any:
    """What JSON knows: arrays and tuples become lists, paths text, what is not finite None.

    Raises:
      TypeError: for anything else, rather than its repr.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy and JAX
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(
        f"JSON knows numbers, text, lists and dicts, got {value!r} of type {type(value).__name__}."
    )


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays by name as the bytes of an .npz file; the same arrays give the same bytes.

    Raises:
      TypeError: for arrays of objects, which would be pickled, and of types that the format
        forgets, such as bfloat16.

    Example:
      >>> import numpy as np, optlab as ol
      >>> ol.training.read_npz(ol.training.npz({"kernel": np.ones(2)}))
      {'kernel': array([1., 1.])}
    """
    kept = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in kept.items():
        if array.dtype.hasobject or array.dtype.type.__module__ != "numpy":
            raise TypeError(
                f"npz: {name!r} is an array of {array.dtype}, which the format cannot keep; "
                "convert it, bfloat16 to float32 without loss."
            )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in kept.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return file.getvalue()


def read_npz(source: bytes | str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; nothing in it is unpickled.

    Raises:
      UserError: if it is missing, damaged, or holds anything but arrays of numbers and text.

    Example:
      >>> import optlab as ol
      >>> ol.training.read_npz(b"a pickle, or anything")
      Traceback (most recent call last):
          ...
      optlab.training._console.UserError: the archive: damaged, or no .npz file
    """
    name = "the archive" if isinstance(source, bytes) else os.fspath(source)
    try:
        contents = source if isinstance(source, bytes) else Path(source).read_bytes()
        opened = np.load(io.BytesIO(contents), allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise UserError(f"{name}: is a single array, an .npz file is expected")
        with opened:
            return {key: opened[key] for key in opened.files}
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's advice on what it takes for a pickle is to load it: not repeated here
        why = "damaged, or no .npz file" if "pickle" in str(error).lower() else f"damaged: {error}"
        raise UserError(f"{name}: {why}") from None


def digest(source: bytes | str | os.PathLike[str]) -> str:
    """SHA-256 of bytes, or of the contents of a file, as 64 hexadecimal digits.

    Raises:
      UserError: if the file cannot be read.

    Example:
      >>> from optlab.training._files import digest
      >>> digest(b"abc")[:16]
      'ba7816bf8f01cfea'
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{os.fspath(source)}: cannot be read: {error.strerror}") from None
