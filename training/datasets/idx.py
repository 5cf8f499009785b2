"""Reads IDX, the format of the MNIST family: a magic number, the dimensions, then the values in row-major order.

Only unsigned bytes are read, gzipped or not. What the header claims is checked against the bytes that are there, and
the digest is taken of the decompressed content, because gzip files of the same data differ. Called by the loaders.
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetCorrupt

_UNSIGNED_BYTES = 0x08
_MAX_DIMENSIONS = 4


def read(path: Path) -> NDArray[np.uint8]:
    """The array of a file; one that ends in .gz is decompressed. Raises DatasetCorrupt, OSError."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DatasetCorrupt(f"{path} is damaged ({error}); fetch it again") from error
    return _parse(path, content)


def digest(array: NDArray[np.uint8]) -> str:
    """SHA-256, in hex, of the uncompressed IDX file that holds this array."""
    return hashlib.sha256(encode(array)).hexdigest()


def encode(array: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file that holds this array."""
    return struct.pack(f">HBB{array.ndim}I", 0, _UNSIGNED_BYTES, array.ndim, *array.shape) + array.tobytes()


def _parse(path: Path, content: bytes) -> NDArray[np.uint8]:
    try:
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        if (zeros, kind) != (0, _UNSIGNED_BYTES) or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise DatasetCorrupt(f"{path} is not an IDX file of bytes: it begins with {content[:4].hex()}")
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except struct.error as error:
        raise DatasetCorrupt(f"{path} is too short to be an IDX file: it has {len(content)} bytes") from error
    found, declared = len(content) - 4 - 4 * dimensions, math.prod(shape)
    if found != declared:
        raise DatasetCorrupt(f"{path} declares {declared} values and holds {found}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
