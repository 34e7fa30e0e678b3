"""Intel's oneDNN is not used: dlgrad writes its own kernels.

Floor 7.
"""

enabled = False


def is_available() -> bool:
    """False."""
    return False
