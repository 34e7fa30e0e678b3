"""What every test runs under: checks of the intermediate forms on, and a cache of its own."""

import gc
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before dlgrad is imported, and for the processes that tests start.
os.environ.setdefault("DLGRAD_VERIFY", "1")
os.environ.setdefault("DLGRAD_CACHE_DIR", str(ROOT / ".pytest_cache" / "dlgrad"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the files in tests/golden anew instead of comparing with them",
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_sessionfinish() -> None:
    """Does what belongs to the end of the process while there is time for it.

    pytest-xdist kills a worker that has not ended ten seconds after its last test.  Thousands of
    tests leave thousands of kernels to unload, and objects that the last collections of garbage
    would go through.
    """
    temporary = sys.modules.get("dlgrad.runtime.temporary")
    if temporary is not None:
        temporary.leave()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many GPU tests met hardware and how many a simulator."""
    ran = [
        report.nodeid
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    hardware = sum("-hw" in name for name in ran)
    simulated = sum("-sim" in name for name in ran)
    if hardware or simulated:
        terminalreporter.write_line(f"GPU tests on hardware: {hardware}; simulated: {simulated}")
