"""Collection of outcomes that threads put into a queue, for processes of this machine and for a cluster."""

import queue
from collections.abc import Callable, Iterator
from typing import Any

LOOK_SECONDS = 1.0


def outcomes(events: "queue.SimpleQueue[Any]", count: int, look: Callable[[bool, int], None]) -> Iterator[Any]:
    """Yield ``count`` outcomes as they come, and None every second. Raises an exception that was put in their place.

    look: called before each, with whether an outcome came and how many are left; it may raise.
    """
    left = count
    while left:
        try:
            event = events.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            event = None
        look(event is not None, left)
        if isinstance(event, Exception):
            raise event
        left -= event is not None
        yield event
