"""`python -m dlgrad`: what works on this machine, and a look into the cache.

Floor 8.  Without arguments it shows each device with PASS or the reason why not, after really
computing something on it, the compilers, and the cache.  Nothing here uses the network.
"""

from __future__ import annotations

import argparse
import os
import platform
import struct
import sys
import time
from collections.abc import Sequence

from dlgrad import config
from dlgrad.c_src import compiler, host
from dlgrad.codegen.kernel import (
    Alu,
    Index,
    Kernel,
    Literal,
    Load,
    Loop,
    LoopKind,
    Parameter,
    Store,
)
from dlgrad.dtype import float32
from dlgrad.errors import DlgradError
from dlgrad.helpers import colored, human_size
from dlgrad.lazy.ops import ElementwiseOps
from dlgrad.runtime import cache
from dlgrad.runtime.device import Buffer, Launch, canonical_device, get_backend
from dlgrad.version import __version__

PROGRAM = "python -m dlgrad"
MOST_NAMED = 8  # entries that a message lists
LENGTH = 100  # elements that the check of a device computes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: fine; 1: the default device does not work, or there is no such entry; 2: wrong usage.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command != "cache":
            return show_machine()
        if options.action == "show":
            return show_entry(options.name)
        if options.action == "clear":
            return clear_cache()
        return list_cache()
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Shows devices, compilers and the cache of dlgrad."
    )
    parser.add_argument("--version", action="version", version=f"dlgrad {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    cache_parser = commands.add_parser("cache", help="list, show or clear compiled kernels")
    actions = cache_parser.add_subparsers(dest="action", metavar="action")
    actions.add_parser("ls", help="list the entries, the least recently used first (default)")
    show = actions.add_parser("show", help="print how an entry was compiled, and its source")
    show.add_argument("name", help="the name of an entry, or the beginning of it")
    actions.add_parser("clear", help="remove all entries; downloads stay")
    return parser


# The machine ------------------------------------------------------------------------------------


def show_machine() -> int:
    """Prints the report; 1 where the default device does not work."""
    print(f"dlgrad {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{host.cpu_name()}, {host.thread_count()} threads")
    print("\ndevices")
    wanted = config.DEVICE.value.partition(":")[0]
    status = 1
    for device in ("cpu", "cuda", "metal"):
        problem, description = check_device(device)
        if device == wanted and not problem:
            status = 0
        word, color = ("no  ", "yellow") if problem else ("PASS", "green")
        word = colored(word, color, sys.stdout)
        print(f"  {device:<6} {word}  {_indented(problem or description)}")
    print("\nC compilers, in the order of preference")
    _show_compilers()
    entries = cache.entries()
    total = sum(entry.nbytes for entry in entries)
    print("\ncache")
    print(f"  {cache.directory()}")
    print(f"  {len(entries)} entries, {human_size(total)} of {config.CACHE_SIZE.value} MB")
    return status


def check_device(device: str) -> tuple[str, str]:
    """Computes something on a device: (problem, description), where the problem may be ""."""
    try:
        backend = get_backend(canonical_device(device))
        values = [float(number) for number in range(LENGTH)]
        data = struct.pack(f"<{LENGTH}f", *values)
        source, result = Buffer(backend, len(data)), Buffer(backend, len(data))
        source.copy_in(memoryview(data))
        launch = Launch(
            program=backend.compile([_check_kernel()])[0],
            buffers=((0, 0), (1, 0)),
            sizes=(LENGTH,),
            scalars=(),
            work=LENGTH,
            cost=LENGTH,
            note="check",
        )
        backend.run(backend.prepare([launch]), [result.address, source.address], [])
        backend.synchronize()
        out = bytearray(len(data))
        result.copy_out(memoryview(out))
        if list(struct.unpack(f"<{LENGTH}f", out)) != [value + 1.0 for value in values]:
            return "it computes wrong numbers", ""
        return "", backend.describe()
    except Exception as error:  # whatever it is, it is the reason why not
        kind = "" if isinstance(error, DlgradError) else f"{type(error).__name__}: "
        return f"{kind}{error}", ""


def _check_kernel() -> Kernel:
    """out[i] = in[i] + 1."""
    place = Index((("i", 1),))
    value = Alu(ElementwiseOps.ADD, (Load(1, place, float32), Literal(1.0, float32)), float32)
    loop = Loop("i", "n", LoopKind.PARALLEL, (Store(0, place, value),))
    parameters = (Parameter("out", float32, True), Parameter("a", float32, False))
    note = "a + 1, to see that the device works"
    return Kernel("dg_check", note, parameters, ("n",), (), (loop,))


def _show_compilers() -> None:
    try:
        for name, text in compiler.survey():
            print(f"  {name:<10} {text}")
    except DlgradError as error:
        print(f"  {_indented(str(error))}")


def _indented(text: str) -> str:
    return text.replace("\n", "\n               ")


# The cache --------------------------------------------------------------------------------------


def list_cache() -> int:
    """Prints a line for each entry."""
    entries = cache.entries()
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
        note = str(entry.metadata.get("note", ""))
        print(f"{used}  {human_size(entry.nbytes):>8}  {entry.stem}  {note}".rstrip())
    total = sum(entry.nbytes for entry in entries)
    print(f"{len(entries)} entries, {human_size(total)}, in {cache.directory()}")
    return 0


def show_entry(name: str) -> int:
    """Prints the record and the source of the entry whose name begins with `name`."""
    entries = cache.entries()
    matches = [entry for entry in entries if entry.stem == name]
    matches = matches or [entry for entry in entries if entry.stem.startswith(name)]
    if not matches:
        print(
            f"{PROGRAM}: no entry begins with {name!r}; `{PROGRAM} cache ls` lists all",
            file=sys.stderr,
        )
        return 1
    if len(matches) > 1:
        found = "\n".join(f"  {entry.stem}" for entry in matches[-MOST_NAMED:])
        print(
            f"{PROGRAM}: {len(matches)} entries begin with {name!r}; name one of them, such as "
            f"the last used\n{found}",
            file=sys.stderr,
        )
        return 1
    for key, value in matches[0].metadata.items():
        print(f"{key + ':':<14} {value}")
    for path in matches[0].paths:
        print(f"{'file:':<14} {path}")
    for path in matches[0].paths:
        if path.endswith((".c", ".cu", ".metal", ".log")):
            with open(path, encoding="utf-8", errors="replace") as file:
                print(f"\n{file.read().rstrip()}")
    return 0


def clear_cache() -> int:
    """Removes the entries and says how many there were."""
    print(f"removed {cache.clear()} entries from {cache.directory()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
