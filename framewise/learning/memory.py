"""Memory that is free goes back to the system."""

import ctypes


def give_back() -> None:
    """Have the C library return what it keeps of freed memory, if it can (glibc's can).

    It keeps tens of megabytes, in pieces between others, so that each part of a training would add to what the process has.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
