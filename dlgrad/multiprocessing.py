"""Python's `multiprocessing`, under the name that PyTorch users import.

Floor 7.  A tensor that is sent to another process is copied; memory is not shared.
"""

import multiprocessing
from multiprocessing import *  # noqa: F403
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(multiprocessing, name)
