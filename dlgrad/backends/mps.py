"""The GPU of a Mac: in dlgrad the device "metal", for which "mps" is another name.

Floor 7.
"""

from dlgrad.runtime.device import is_there


def is_available() -> bool:
    """Whether tensors can be on the device."""
    return is_there("metal:0")


def is_built() -> bool:
    """True: the kernels for it are written here, whatever the machine."""
    return True
