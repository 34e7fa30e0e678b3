"""`dlgrad.data` under the name that PyTorch users import: `from dlgrad.utils.data import ...`.

Floor 7.
"""

from typing import Any

from dlgrad import data
from dlgrad.data import *  # noqa: F403
from dlgrad.data import __all__ as __all__


def __getattr__(name: str) -> Any:
    return getattr(data, name)
