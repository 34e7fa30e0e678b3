"""Intel's MKL is not used: dlgrad writes its own matrix products.

Floor 7.
"""


def is_available() -> bool:
    """False."""
    return False
