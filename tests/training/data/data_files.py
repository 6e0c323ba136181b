"""What several tests of data write and read: sources that count, small files, archives."""

import gzip
import hashlib
import struct
import threading

import numpy as np

from optlab.training import data


class Slow(data.Source):
    """Like a source of files: not in memory; remembers which threads gathered."""

    name = "slow"

    def __init__(self, length=10, fail_at=None):
        self.length, self.fail_at = length, fail_at
        self.threads = set()
        self.gathered = 0

    def __len__(self):
        return self.length

    def gather(self, indices):
        chosen = self.check(indices)
        self.threads.add(threading.current_thread().name)
        self.gathered += len(chosen) > 0
        if self.fail_at in chosen:
            raise data.DataError(f"example {self.fail_at} is damaged")
        return {"x": chosen, "y": np.stack([chosen, chosen], 1).astype(np.float32)}

    def digest(self):
        return hashlib.sha256(f"slow {self.length}".encode()).hexdigest()


def numbers(length):
    return data.Arrays({"x": np.arange(length)}, name="numbers")


def idx_bytes(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx(folder, prefix="train", count=6, side=4, packed=False, labels=None):
    images = np.arange(count * side * side, dtype=np.uint32).astype(np.uint8)
    images = images.reshape(count, side, side)
    labels = np.arange(count, dtype=np.uint8) % 10 if labels is None else labels
    for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
        content = idx_bytes(array)
        name = f"{prefix}-{kind}-ubyte" + (".gz" if packed else "")
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return images, labels
