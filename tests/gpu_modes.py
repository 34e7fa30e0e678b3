"""Runs the files of cases in a child process, on a simulated or a real GPU.

Each mode is a process of its own: which library stands for the driver, in which order threads
run and what is checked is decided before the first use.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sim import build

TESTS = Path(__file__).resolve().parent

# mode -> (options of build.environment, which cases)
MODES: dict[str, tuple[dict[str, int], list[str]]] = {
    "forward": ({}, ["gpu_cases.py", "gpu_primitive_cases.py", "gpu_tensor_cases.py"]),
    "reverse": ({"order": 1}, ["gpu_cases.py", "gpu_tensor_cases.py"]),
    "races": (
        {"races": True, "traps": True},
        ["gpu_cases.py", "gpu_primitive_cases.py::test_examples"],
    ),
    "hardware": ({}, ["gpu_cases.py", "gpu_primitive_cases.py", "gpu_tensor_cases.py"]),
}


def child_environment(device: str, mode: str, cache: Path) -> dict[str, str]:
    """The environment of a child for the device type "cuda" or "metal"."""
    variables = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    for name in list(variables):
        if name.startswith("DLGRAD_"):
            del variables[name]
    if mode != "hardware":
        variables |= build.environment(device, **MODES[mode][0])
    variables |= {
        "DLGRAD_CACHE_DIR": str(cache),
        "DLGRAD_VERIFY": "1",
        "DLGRAD_TEST_DEVICE": device,
        "DLGRAD_TEST_SIMULATED": str(int(mode != "hardware")),
    }
    return variables


def kernel_cache() -> Path:
    """Where simulated kernels stay from run to run; the folder goes by the simulators' state."""
    folder = build.build_folder() / build.source_digest() / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def run_cases(device: str, mode: str, cache: Path, *options: str) -> str:
    """The report of the cases; AssertionError with all of it where one failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    result = subprocess.run(
        [*command, *(str(TESTS / name) for name in MODES[mode][1])],
        env=child_environment(device, mode, cache),
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    report = result.stdout + result.stderr
    assert result.returncode == 0, report
    return report


def run_program(device: str, program: str, mode: str = "forward", **more: str) -> str:
    """The output of a Python program on a simulated device; it must succeed."""
    environment = {**child_environment(device, mode, kernel_cache()), **more}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def hardware_reason(device: str, cache: Path) -> str:
    """Why the cases cannot run on hardware here; "" where they can."""
    program = (
        "from dlgrad.runtime.device import get_backend; "
        f"print(get_backend('{device}:0').describe())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(device, "hardware", cache),
        capture_output=True,
        text=True,
    )
    return "" if result.returncode == 0 else result.stderr.strip().splitlines()[-1]
