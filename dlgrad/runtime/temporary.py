"""The temporary directory of this process, and what must happen when the process ends.

Floor 4.  Kernels are compiled in `dlgrad-PID-xxxx` below the system's temporary directory and
loaded from there.  At exit the registered actions run, newest first, and the directory goes.
A process that is killed leaves it behind; the next process that needs one sweeps it away.
A lock file, held as long as the owner or a fork of it lives, tells the two cases apart even
where processes of several containers share one temporary directory.

A forked child never touches the directory of its parent: it gets its own when it needs one.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable

from dlgrad.helpers import ForkSafeLock

PREFIX = "dlgrad-"
LOCK_NAME = "lock"
GRACE_SECONDS = 60.0  # a directory without its lock file may be one that is being made

_lock = ForkSafeLock()
_path = ""
_owner = 0  # the process that made `_path`
_descriptor = -1  # of the lock file; open as long as the process lives
_actions: list[Callable[[], None]] = []
_registered = False
_counter = 0


def directory() -> str:
    """The path of this process's directory, made on first use with mode 0700.

    Raises OSError where no temporary directory can be written.
    """
    global _path, _owner, _descriptor
    with _lock.held:
        if _owner != os.getpid() or not os.path.isdir(_path):
            parent = tempfile.gettempdir()
            _sweep(parent)
            _path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
            _owner = os.getpid()
            _descriptor = _hold(os.path.join(_path, LOCK_NAME))
            _register()
        return _path


def new_folder(purpose: str) -> str:
    """A fresh folder for one piece of work; whoever asked for it removes it."""
    global _counter
    with _lock.held:
        _counter += 1
        path = os.path.join(directory(), f"{purpose}-{_counter}")
        os.mkdir(path, 0o700)
    return path


def at_exit(action: Callable[[], None]) -> None:
    """Runs `action` when the process ends, before the directory goes; the newest runs first."""
    with _lock.held:
        _actions.append(action)
        _register()


def remove_tree(path: str) -> None:
    """Removes a folder with everything in it, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)


def _register() -> None:
    global _registered
    if _registered:
        return
    _registered = True
    atexit.register(leave)
    processes = sys.modules.get("multiprocessing.process")
    utilities = sys.modules.get("multiprocessing.util")
    if processes is not None and utilities is not None and processes.parent_process():
        # A forked worker of multiprocessing ends without running atexit.
        utilities.Finalize(None, leave, exitpriority=-100)


def leave() -> None:
    """The end of the process: actions in reverse order, then the files.

    Runs by itself at exit.  Nothing can be computed afterwards.
    """
    global _path
    while _actions:
        action = _actions.pop()
        try:
            action()
        except Exception as error:  # the other actions and the files still have their turn
            print(f"dlgrad: at exit: {type(error).__name__}: {error}", file=sys.stderr)
    if _owner == os.getpid() and _path:
        remove_tree(_path)
        _path = ""


def _after_fork_in_child() -> None:
    global _registered
    _registered = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# Leftovers of killed processes ------------------------------------------------------------------


def _hold(path: str) -> int:
    """Creates the lock file and locks it; the descriptor, or -1 where locks do not exist."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return -1
    return descriptor


def _sweep(parent: str) -> None:
    """Removes the directories of this user's dead processes from `parent`."""
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        if name.startswith(PREFIX) and _is_abandoned(os.path.join(parent, name)):
            remove_tree(os.path.join(parent, name))


def _is_abandoned(path: str) -> bool:
    """True for a real directory of this user whose process is gone."""
    pid = os.path.basename(path)[len(PREFIX) :].partition("-")[0]
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if not pid.isdigit() or not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    if _is_alive(int(pid)):
        return False
    return _is_unlocked(os.path.join(path, LOCK_NAME), time.time() - status.st_mtime)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_unlocked(path: str, age: float) -> bool:
    """True where nobody holds the lock file; without one, once the directory is old enough."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except (ImportError, OSError):
        return age > GRACE_SECONDS
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
