"""`dlgrad.nn` under another name that PyTorch users import: `from dlgrad.nn.modules import Linear`.

Floor 7.
"""

import sys
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(sys.modules["dlgrad.nn"], name)
