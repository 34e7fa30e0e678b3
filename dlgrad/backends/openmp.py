"""OpenMP is not used: dlgrad has threads of its own, see `dlgrad.set_num_threads`.

Floor 7.
"""


def is_available() -> bool:
    """False."""
    return False
