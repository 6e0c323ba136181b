"""Images that tests write, and read back."""

import struct
import zlib

import PIL.Image

from optlab.training import data


def write(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or PIL.Image.new("RGB", (8, 8), "red")).save(path, **options)
    return path


def two_classes(root):
    for name in ("a", "b"):
        for number in (2, 1):
            write(root / name / f"{number}.png", PIL.Image.new("L", (8, 8), number * 10))
    return root


def decoded(root, image, size=4, name="x.png", save=None, **arguments):
    """What the reader makes of an image."""
    write(root / "a" / name, image, **(save or {}))
    parts = data.image_folder(root, size, min_classes=1, **arguments)
    return parts["train"].gather([0])["image"][0]


def png(width, height, depth, colour, rows):
    """A PNG written by hand: Pillow writes no 16-bit RGB."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
