"""Number of processors that learning uses."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def one_processor_a_thread() -> None:
    """Limit torch to one processor per calling thread, for a process that answers several requests at once.

    Threads of torch wait for each other at every step. On busy processors they wait longer than they compute.
    """
    torch.set_num_threads(1)


@contextmanager
def processors_left_free() -> Iterator[None]:
    """Context that limits torch to half of the processors: the web processes, the database and extraction need the others.

    Small networks gain nothing from more processors, and lose much if these are busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 2) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
