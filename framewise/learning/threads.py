"""Number of processors that learning takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def one_processor_a_thread() -> None:
    """Have torch compute on the processor of the thread that calls it: in a process that answers several requests at once.

    Threads of torch wait for each other at every step, and where others want the processors too, longer than they compute.
    """
    torch.set_num_threads(1)


@contextmanager
def processors_left_free() -> Iterator[None]:
    """Have torch compute on half of this process's processors: the web processes, the database and extraction need the others.

    Small networks gain nothing from more, and lose much where others compute as well.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 2) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
