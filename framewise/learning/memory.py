"""Return of freed memory to the system."""

import ctypes


def give_back() -> None:
    """Make the C library return the freed memory that it holds, if it can (glibc can).

    It holds tens of megabytes in fragments, so that the process would grow with each part of a training.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
