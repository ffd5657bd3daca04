"""Python's collector of cyclic garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Context for large imports: the collector would take a seventh of their time, and find nothing. What was imported stays,
    so it is not looked through later either; that would also copy pages that processes share after a fork."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
