"""Facts about this machine: processor, caches, and how many threads may compute.

Floor 4.  Everything is read from files or system calls; no process is started.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from functools import lru_cache

from dlgrad import config

# The lines of /proc/cpuinfo that a compiler looks at when it is told to use "native".
_CPU_FIELDS = (
    "vendor_id", "cpu family", "model", "flags",  # x86
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",  # ARM
    "isa", "uarch", "cpu", "machine",  # RISC-V, POWER
)  # fmt: skip


def architecture() -> str:
    """ "x86_64", "aarch64", ...: one name for each, whatever the system calls it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@lru_cache(maxsize=1)
def cpu_identity() -> str:
    """What code for this processor depends on: its family and the features it has now.

    Two machines with equal text can run each other's kernels; a virtual machine that was
    moved to a processor with other features gets another text.
    """
    if sys.platform == "darwin":
        facts = [_sysctl_text(b"machdep.cpu.brand_string"), _sysctl_text(b"machdep.cpu.features")]
        facts.append(_sysctl_text(b"machdep.cpu.leaf7_features"))
        facts.append(str(_sysctl_number(b"sysctl.proc_translated")))
    else:
        fields = _first_processor()
        facts = [f"{name}={fields[name]}" for name in _CPU_FIELDS if name in fields]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return f"{architecture()}-{digest[:16]}"


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """The name of the processor for people."""
    if sys.platform == "darwin":
        name = _sysctl_text(b"machdep.cpu.brand_string")
    else:
        name = _first_processor().get("model name", "")
    return name or architecture()


def has_feature(name: str) -> bool:
    """Whether /proc/cpuinfo lists a feature of the processor, such as "avx512f"."""
    fields = _first_processor()
    return name in (fields.get("flags", "") + " " + fields.get("Features", "")).split()


@lru_cache(maxsize=1)
def _first_processor() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if not colon and fields:
            break
        fields.setdefault(name.strip(), value.strip())
    return fields


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# macOS answers questions about hardware through sysctl -------------------------------------------


def _sysctl(name: bytes) -> bytes:
    try:
        function = ctypes.CDLL(None).sysctlbyname
    except (OSError, AttributeError):
        return b""
    buffer = ctypes.create_string_buffer(4096)
    length = ctypes.c_size_t(len(buffer))
    failed = function(name, buffer, ctypes.byref(length), None, ctypes.c_size_t(0))
    return b"" if failed else buffer.raw[: length.value]


def _sysctl_text(name: bytes) -> str:
    return _sysctl(name).rstrip(b"\0").decode(errors="replace")


def _sysctl_number(name: bytes) -> int:
    return int.from_bytes(_sysctl(name), sys.byteorder)


# Caches -----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def cache_sizes() -> tuple[int, int]:
    """The bytes of a core's first-level data cache and of its second-level cache."""
    level1 = level2 = 0
    if sys.platform == "darwin":
        level1 = _sysctl_number(b"hw.perflevel0.l1dcachesize") or _sysctl_number(b"hw.l1dcachesize")
        level2 = _sysctl_number(b"hw.perflevel0.l2cachesize") or _sysctl_number(b"hw.l2cachesize")
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        kind = _read(f"{folder}/type").strip()
        level = _read(f"{folder}/level").strip()
        if level == "1" and kind in ("Data", "Unified"):
            level1 = _bytes_of(_read(f"{folder}/size"))
        elif level == "2" and kind in ("Data", "Unified"):
            level2 = _bytes_of(_read(f"{folder}/size"))
    return level1 or 32 * 1024, level2 or 1024 * 1024


def _bytes_of(text: str) -> int:
    """ "48K" -> 49152, and 0 for anything that is not a size."""
    text = text.strip()
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    digits = text.rstrip("KMG")
    return int(digits) * scale if digits.isdigit() else 0


# Threads ----------------------------------------------------------------------------------------


def thread_count() -> int:
    """How many threads compute.

    DLGRAD_NUM_THREADS decides, then OMP_NUM_THREADS; else it is the number of physical cores
    that this process may run on, and no more than the processor time that its container has.
    """
    if config.NUM_THREADS.value:
        return config.NUM_THREADS.value
    # OMP_NUM_THREADS may be a list, one number for each level of nesting.
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdigit() and int(openmp) > 0:
        return min(int(openmp), 1024)
    return usable_cores()


@lru_cache(maxsize=1)
def usable_cores() -> int:
    """Physical cores within this process's affinity, limited by the quota of its cgroup."""
    if sys.platform == "darwin":
        cores = _sysctl_number(b"hw.perflevel0.physicalcpu") or _sysctl_number(b"hw.physicalcpu")
        return max(1, cores or os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    else:
        processors = set(range(os.cpu_count() or 1))
    quota = cgroup_quota()
    cores = physical_cores(processors)
    return max(1, cores if quota is None else min(cores, -int(-quota // 1)))


def physical_cores(processors: set[int]) -> int:
    """How many cores a set of logical processors lies on."""
    cores = set()
    for number in processors:
        path = f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        cores.add(_read(path).strip() or str(number))
    return len(cores)


def cgroup_quota(root: str = "/") -> float | None:
    """The processors' worth of time that Linux control groups allow; None means no limit.

    `root` stands before the paths that are read.  Both versions of control groups count, and
    so do the limits of all the groups that this one lies in.
    """
    limits: list[float] = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            folder, is_second = os.path.join(root, "sys/fs/cgroup"), True
        elif "cpu" in controllers.split(","):
            folder, is_second = os.path.join(root, "sys/fs/cgroup/cpu"), False
        else:
            continue
        parts = [part for part in group.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            path = os.path.join(folder, *parts[:depth])
            limit = _second_quota(path) if is_second else _first_quota(path)
            if limit is not None:
                limits.append(limit)
    return min(limits, default=None)


def _second_quota(folder: str) -> float | None:
    """Version 2: "max 100000" or "150000 100000", the time and the period it is for."""
    words = _read(f"{folder}/cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _first_quota(folder: str) -> float | None:
    """Version 1: the time, negative for no limit, and the period in two files."""
    quota = _read(f"{folder}/cpu.cfs_quota_us").strip()
    period = _read(f"{folder}/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        return int(quota) / int(period)
    return None
