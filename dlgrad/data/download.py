"""Files from the network: mirrors in turn, a checksum, and a name only when all is well.

Floor 7.  Nothing here runs unless a file is missing; DLGRAD_OFFLINE=1 forbids it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from dlgrad import config
from dlgrad.drawing.progress import Progress
from dlgrad.errors import DownloadError
from dlgrad.helpers import write_atomically

TIMEOUT_SECONDS = 15.0  # without an answer
MAX_BYTES = 1 << 28
CHUNK_BYTES = 1 << 16


def file_sha256(path: str) -> str:
    """The SHA-256 of a file's contents, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(urls: Sequence[str], path: str, sha256: str) -> None:
    """Fetches the file with that checksum from the first of `urls` that has it, to `path`.

    Does nothing where `path` already holds it.  The file appears under its name only when it
    is whole and its checksum right.  Raises DownloadError, with the reason for each mirror.
    """
    if os.path.isfile(path) and file_sha256(path) == sha256:
        return
    name = os.path.basename(path)
    if config.OFFLINE.value:
        raise DownloadError(
            f"{name} is not in {os.path.dirname(path)}, and DLGRAD_OFFLINE forbids to fetch it; "
            "put the file there, or unset DLGRAD_OFFLINE"
        )
    reasons = []
    for url in urls:
        try:
            data = _fetch(url, name)
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
            reasons.append(f"{url}: {error}")
            continue
        found = hashlib.sha256(data).hexdigest()
        if found == sha256:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, data, mode=0o644)
            return
        reasons.append(f"{url}: the checksum is {found}, not {sha256}")
    raise DownloadError("\n  ".join([f"{name} could not be fetched:", *reasons]))


def _fetch(url: str, name: str) -> bytes:
    """The bytes behind `url`; OSError where they do not come, or too many do."""
    import http.client
    import urllib.request

    data = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            with Progress[None](total=total, description=name, unit="bytes", disable=None) as bar:
                while chunk := answer.read(CHUNK_BYTES):
                    data += chunk
                    bar.update(len(chunk))
                    if len(data) > MAX_BYTES:
                        raise OSError(f"more than {MAX_BYTES} bytes came")
    except http.client.HTTPException as error:
        raise OSError(f"the answer was cut off ({error!r})") from None
    return bytes(data)
