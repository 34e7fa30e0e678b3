"""The IDX format of MNIST: a magic number, the sizes, then bytes; plain or gzipped.

Floor 7.  A file is untrusted: the header is checked against the real length before more is
read, and a gzipped file is never unpacked further than its header promises.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from dlgrad.errors import FileFormatError

UNSIGNED_BYTE = 0x08  # the element type in the third byte of the magic number
MAX_BYTES = 1 << 28  # 256 MiB; MNIST's largest file has 47 MB
CHUNK_BYTES = 1 << 20


def read_idx(path: str, ndim: int) -> tuple[tuple[int, ...], bytes]:
    """The sizes and the bytes of an IDX file of `ndim` dimensions (uint8 elements, row-major).

    Raises FileFormatError where the file is not what its header says, and OSError where it
    cannot be read.
    """
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if gzipped:
                return _read_gzipped(file, ndim)
            return _read(file, ndim, os.fstat(file.fileno()).st_size)
        except FileFormatError as error:
            raise FileFormatError(f"{path} is not a valid IDX file: {error}") from None


def _read_gzipped(file: BinaryIO, ndim: int) -> tuple[tuple[int, ...], bytes]:
    import gzip
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _read(unpacked, ndim, None)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"its gzip data is damaged ({error})") from None


def _read(
    file: BinaryIO | object, ndim: int, length: int | None
) -> tuple[tuple[int, ...], bytes]:
    read = file.read  # type: ignore[union-attr]
    magic = read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, ndim])
    if magic != expected:
        raise FileFormatError(
            f"it begins with {magic.hex(' ') or 'nothing'}, not {expected.hex(' ')} "
            f"(unsigned bytes in {ndim} dimensions)"
        )
    sizes = read(4 * ndim)
    if len(sizes) != 4 * ndim:
        raise FileFormatError("it ends within its header")
    shape = tuple(int.from_bytes(sizes[4 * i : 4 * i + 4], "big") for i in range(ndim))
    nbytes = 1
    for size in shape:
        nbytes *= size
    if nbytes > MAX_BYTES:
        raise FileFormatError(f"its header claims {nbytes} bytes; {MAX_BYTES} are the most read")
    if length is not None and length != 4 + 4 * ndim + nbytes:
        raise FileFormatError(
            f"its header claims {nbytes} bytes of data, but it has {length - 4 - 4 * ndim}"
        )
    data = bytearray()
    while chunk := read(min(CHUNK_BYTES, nbytes + 1 - len(data))):
        data += chunk
    if len(data) != nbytes:
        more = "more" if len(data) > nbytes else f"only {len(data)}"
        raise FileFormatError(f"its header claims {nbytes} bytes of data, but it has {more}")
    return shape, bytes(data)
