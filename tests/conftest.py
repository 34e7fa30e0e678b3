"""What every test runs under: checks of the intermediate forms on, and a cache of its own."""

import gc
import os
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
    """Lets the last collections of garbage pass over what is there now.

    pytest and Python each go through all objects once more; after thousands of tests that takes
    longer than the ten seconds that pytest-xdist gives a worker to end, and a worker that is
    killed cannot remove its temporary files.
    """
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
