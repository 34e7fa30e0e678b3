"""cuDNN is not used: dlgrad writes its own convolutions.

Floor 7.
"""

enabled = False
benchmark = False
deterministic = False
allow_tf32 = False


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None: there is no version of it here."""
