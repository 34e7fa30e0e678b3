"""Writing PNG files.

Floor 7.
"""

from __future__ import annotations

import struct
import zlib

from dlgrad.helpers import write_atomically


def write_png_bytes(path: str, width: int, height: int, channels: int, data: bytes) -> None:
    """Writes `height` rows of `width` pixels of `channels` (1 or 3) bytes each."""
    stride = width * channels
    if width < 1 or height < 1 or len(data) != stride * height:
        raise ValueError(
            f"{width}x{height} pixels of {channels} bytes need {stride * height} bytes, "
            f"got {len(data)}"
        )
    # Each row of a PNG begins with the number of its filter; 0 means none.
    rows = b"".join(b"\0" + data[i * stride : (i + 1) * stride] for i in range(height))
    color_type = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")):
        checksum = zlib.crc32(kind + body)
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum))
    write_atomically(path, b"".join(parts), mode=0o666)
