"""What every test runs under: checks of the intermediate forms on, and a cache of its own."""

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
