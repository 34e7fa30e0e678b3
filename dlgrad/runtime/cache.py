"""The cache of compiled kernels: readable sources and binaries, one entry per content hash.

Floor 4.  An entry is three files: NAME-HASH.c (or .cu, .metal) is the source, NAME-HASH.json
says how it was compiled, NAME-HASH.so (or .cubin, ...) is the result.  The hash covers the
source and everything that shaped the binary, so an entry never changes once written.

Nothing here depends on the files staying where they are: a binary is compiled in this
process's temporary directory and handed over as bytes, and the cache only keeps a copy for
later.  So any process may delete the cache, or write to it, at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlgrad import config
from dlgrad.errors import CompileError, NoCompileError
from dlgrad.helpers import ForkSafeLock, debug_print, human_time, write_atomically
from dlgrad.runtime import temporary
from dlgrad.runtime.notice import compiling
from dlgrad.runtime.timeline import span
from dlgrad.version import __version__

SECONDS_BETWEEN_TRIMS = 24 * 3600.0
TRIM_STAMP = ".trimmed"
LONGEST_NAME = 80

Build = Callable[[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A compiled kernel.

    `binary` is the compiled file; `source_path` is where the source can be read, as long as
    nobody clears the cache; `metadata` is the JSON file; `is_new` tells whether it was
    compiled just now.
    """

    stem: str  # NAME-HASH
    binary: bytes
    source_path: str
    metadata: Mapping[str, Any]
    is_new: bool


# The directory ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A cache directory that was found good, and whether new entries can be written to it."""

    path: str
    writable: bool


_lock = ForkSafeLock()
_places: dict[str, _Place] = {}  # wanted path -> what was made of it


def directory(name: str = "") -> str:
    """The cache directory, or the folder `name` in it, which can be written to.

    It is created with mode 0700.  Where the cache is not usable this is a folder of the
    process's temporary directory, which goes when the process ends.
    """
    place = _place()
    path = place.path if place.writable else _private_place().path
    if name:
        path = os.path.join(path, name)
        os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def wanted_path() -> str:
    """The path that the environment asks for; "" where it names none that makes sense."""
    if config.CACHE_DIR.value:
        return os.path.abspath(os.path.expanduser(config.CACHE_DIR.value))
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # the rule of XDG: a relative path counts as unset
            base = os.path.expanduser("~/.cache")
    return os.path.join(base, "dlgrad") if os.path.isabs(base) else ""


def _place() -> _Place:
    """Where the cache is.  Warns once where the wanted directory cannot be used."""
    wanted = wanted_path()
    with _lock.held:
        place = _places.get(wanted)
        if place is not None and os.path.isdir(place.path):
            return place
        problem = _make_private_directory(wanted)
        if problem:
            place = _private_place()
        else:
            place = _Place(wanted, os.access(wanted, os.W_OK | os.X_OK))
            problem = "" if place.writable else "it cannot be written to"
        first_time = wanted not in _places
        _places[wanted] = place
    if problem and first_time:
        where = f"The cache directory {wanted!r}" if wanted else "The cache"
        warnings.warn(
            f"{where} is not usable: {problem}. What is compiled now is kept until this process "
            "ends; set DLGRAD_CACHE_DIR to a directory of your own to keep it longer.",
            RuntimeWarning,
            stacklevel=2,
        )
    return place


def _private_place() -> _Place:
    path = os.path.join(temporary.directory(), "cache")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return _Place(path, True)


def _make_private_directory(path: str) -> str:
    """Creates the directory if need be; says what is wrong with it, or "" where all is well.

    A binary that others could replace would be code of theirs run by this user; so nobody
    else may own the directory or write to it, and it may not be a link to another place.
    """
    if not path:
        return "there is no home directory"
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.lstat(path)
    except OSError as error:
        return str(error.strerror or error).lower()
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if os.name == "posix":
        if status.st_uid != os.geteuid():
            return f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
        if status.st_mode & 0o022:
            mode = stat.S_IMODE(status.st_mode)
            return f"others may write to it (mode {mode:o}; chmod 700 helps)"
    return ""


# Small records ----------------------------------------------------------------------------------


def load_record(kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `store_record` kept under this key, or None."""
    content = _read_json(os.path.join(_place().path, "machine", _record_name(kind, key)))
    if content is None or content.get("key") != json.loads(json.dumps(key)):
        return None
    value = content.get("value")
    return value if isinstance(value, dict) else None


def store_record(kind: str, key: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Keeps a small finding about this machine, such as what its compiler can do."""
    text = json.dumps({"key": key, "value": value}, indent=1)
    try:
        path = os.path.join(directory("machine"), _record_name(kind, key))
        write_atomically(path, text.encode())
    except OSError:
        pass  # it is found out again next time


def _record_name(kind: str, key: Mapping[str, Any]) -> str:
    return f"{kind}-{_hash(json.dumps(key, sort_keys=True))[:16]}.json"


def _read_json(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


# Entries ----------------------------------------------------------------------------------------


def lookup_or_build(
    name: str,
    source: str,
    suffixes: tuple[str, str],
    identity: Mapping[str, Any],
    build: Build,
    note: str = "",
) -> Entry:
    """The compiled form of `source`, from the cache or from `build`.

    `suffixes` are those of source and binary, such as (".c", ".so").  `identity` says by what
    the source is compiled: anything that can change the binary (compiler and version, flags,
    processor), as JSON values.  `build(source_path, binary_path)` compiles one file to
    another, raises CompileError, and returns more to put on record (the command).

    Raises NoCompileError where DLGRAD_NO_COMPILE is set and there is no such entry.
    """
    machine = f"{sys.platform} {os.uname().machine if hasattr(os, 'uname') else ''}"
    key = {"dlgrad": __version__, "machine": machine, "source": source, "identity": identity}
    digest = _hash(json.dumps(key, sort_keys=True))
    stem = f"{re.sub(r'[^A-Za-z0-9_.]', '_', name)[:LONGEST_NAME]}-{digest[:16]}"
    entry = _find(stem, digest, suffixes)
    if entry is not None:
        return entry
    if config.NO_COMPILE.value:
        raise NoCompileError(
            f"{name} is not in the cache {_place().path!r}, and DLGRAD_NO_COMPILE is set; run "
            "once without it to compile"
        )
    metadata = {
        "name": name,
        "note": note,
        "hash": digest,
        "dlgrad": __version__,
        "machine": machine,
        **identity,
    }
    with span(name, "compile"), compiling():
        return _build(stem, source, suffixes, metadata, build)


def forget(entry: Entry) -> None:
    """Removes an entry whose binary turned out to be of no use on this machine."""
    path = os.path.join(_place().path, entry.stem)
    _remove([path + ".json"])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _find(stem: str, digest: str, suffixes: tuple[str, str]) -> Entry | None:
    """The entry if it is there and whole."""
    path = os.path.join(_place().path, stem)
    metadata = _read_json(path + ".json")
    if metadata is None or metadata.get("hash") != digest:
        return None
    try:
        with open(path + suffixes[1], "rb") as file:
            binary = file.read()
    except OSError:
        return None
    if hashlib.sha256(binary).hexdigest() != metadata.get("sha256"):
        return None
    with contextlib.suppress(OSError):
        os.utime(path + ".json")  # the stamp that trimming goes by
    return Entry(stem, binary, path + suffixes[0], metadata, is_new=False)


def _build(
    stem: str, source: str, suffixes: tuple[str, str], metadata: dict[str, Any], build: Build
) -> Entry:
    folder = temporary.new_folder("build")
    source_path = os.path.join(folder, stem + suffixes[0])
    binary_path = os.path.join(folder, stem + suffixes[1])
    started = time.perf_counter()
    try:
        with open(source_path, "w", encoding="utf-8") as file:
            file.write(source)
        try:
            metadata.update(build(source_path, binary_path))
        except CompileError as error:
            kept = _keep_failure(stem + suffixes[0], source, str(error))
            raise CompileError(f"{error}\nThe source is kept in {kept}") from None
        with open(binary_path, "rb") as binary_file:
            binary = binary_file.read()
    finally:
        temporary.remove_tree(folder)
    seconds = time.perf_counter() - started
    metadata["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    metadata["seconds"] = round(seconds, 3)
    metadata["sha256"] = hashlib.sha256(binary).hexdigest()
    if config.DEBUG.value >= 1:
        debug_print(f"compiled {stem} in {human_time(seconds)}")
    kept = _publish(stem, source, suffixes, metadata, binary)
    return Entry(stem, binary, kept, metadata, is_new=True)


def _publish(
    stem: str, source: str, suffixes: tuple[str, str], metadata: Mapping[str, Any], binary: bytes
) -> str:
    """Writes the three files, the JSON last because it vouches for the others.

    Returns the path of the source.  Failure costs a compilation next time, no more.
    """
    path = os.path.join(directory(), stem)
    for attempt in range(2):
        try:
            write_atomically(path + suffixes[0], source.encode())
            write_atomically(path + suffixes[1], binary)
            write_atomically(path + ".json", json.dumps(metadata, indent=1).encode())
            _trim_now_and_then()
            break
        except FileNotFoundError:  # somebody removed the directory under our feet
            if attempt:
                break
            _make_private_directory(os.path.dirname(path))
        except OSError:
            break
    return path + suffixes[0]


def _keep_failure(name: str, source: str, report: str) -> str:
    """Keeps the source of a failed compilation and its report; returns the source's path."""
    place = _place()
    if place.writable and place.path == wanted_path():
        path = os.path.join(place.path, name)
        try:
            write_atomically(path, source.encode())
            write_atomically(os.path.splitext(path)[0] + ".log", report.encode())
            return path
        except OSError:
            pass
    # Without a cache it outlives the process elsewhere, because somebody will want to read it.
    descriptor, path = tempfile.mkstemp(suffix="-" + name, prefix="failed-")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(source)
    return path


# Looking after it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """What the cache holds under one stem: its files with sizes in bytes, and when last used."""

    stem: str
    paths: tuple[str, ...]
    nbytes: int
    last_used: float
    metadata: Mapping[str, Any]


def entries() -> list[Listed]:
    """All entries, the least recently used first."""
    return sorted(
        (_describe(stem, paths) for stem, paths in _files_by_stem().items()),
        key=lambda entry: entry.last_used,
    )


def _files_by_stem() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        with os.scandir(_place().path) as items:
            for item in items:
                stem, suffix = os.path.splitext(item.name)
                if item.is_file(follow_symlinks=False) and suffix and not stem.startswith("."):
                    found.setdefault(stem, []).append(item.path)
    except OSError:
        pass
    return found


def _describe(stem: str, paths: list[str]) -> Listed:
    nbytes = 0
    last_used = 0.0
    metadata: dict[str, Any] = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        nbytes += status.st_size
        last_used = max(last_used, status.st_mtime)
        if path.endswith(".json"):
            metadata = _read_json(path) or {}
    return Listed(stem, tuple(sorted(paths)), nbytes, last_used, metadata)


def clear() -> int:
    """Removes all entries and findings (not the downloads); returns how many entries went."""
    files = _files_by_stem()
    for paths in files.values():
        _remove(paths)
    temporary.remove_tree(os.path.join(_place().path, "machine"))
    return len(files)


def trim(limit: int) -> int:
    """Removes the least recently used entries until `limit` bytes remain; returns how many."""
    listed = entries()
    total = sum(entry.nbytes for entry in listed)
    removed = 0
    for entry in listed:
        if total <= limit:
            break
        _remove(entry.paths)
        total -= entry.nbytes
        removed += 1
    return removed


def _remove(paths: list[str] | tuple[str, ...]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # somebody else may be quicker
            os.unlink(path)


def _trim_now_and_then() -> None:
    """Trims to DLGRAD_CACHE_SIZE, at most once a day among all processes."""
    stamp = os.path.join(_place().path, TRIM_STAMP)
    try:
        if time.time() - os.stat(stamp).st_mtime < SECONDS_BETWEEN_TRIMS:
            return
    except OSError:
        pass
    write_atomically(stamp, b"")
    trim(config.CACHE_SIZE.value << 20)
    _remove_forgotten_parts()


def _remove_forgotten_parts() -> None:
    """Removes the unfinished files of processes that were killed while writing."""
    try:
        with os.scandir(_place().path) as items:
            for item in items:
                is_part = item.name.startswith(".") and item.name.endswith(".tmp")
                if is_part and time.time() - item.stat().st_mtime > SECONDS_BETWEEN_TRIMS:
                    os.unlink(item.path)
    except OSError:
        pass
