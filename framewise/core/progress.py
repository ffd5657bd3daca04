"""Progress of work: the share that is done, in [0, 1], and what is being done."""

import time
from collections.abc import Callable

Progress = Callable[[float, str], None]
ShareProgress = Callable[[float], None]  # without a description


def silent(share: float, detail: str = "") -> None:
    """Progress that is discarded."""


def part_of(progress: Progress, done: int, total: int) -> Progress:
    """Progress within one of ``total`` equal parts, ``done`` of which are complete."""
    return between(progress, done / total, (done + 1) / total)


def between(progress: Progress, begin: float, end: float) -> Progress:
    """Progress within the part of the work from share ``begin`` to share ``end`` of the whole."""
    return lambda share, detail: progress(begin * (1 - share) + end * share, detail)


def named(progress: Progress, detail: str) -> ShareProgress:
    """Progress with a fixed description, which takes only the share."""
    return lambda share: progress(share, detail)


class Pace:
    """Rate limit: ``is_due`` is True at most once in ``seconds``.

    at_once: the first call is due immediately.
    """

    def __init__(self, seconds: float, at_once: bool = True):
        self._seconds = seconds
        self._last = float("-inf") if at_once else time.monotonic()

    def is_due(self) -> bool:
        due = time.monotonic() - self._last >= self._seconds
        if due:
            self.restart()
        return due

    def restart(self) -> None:
        """Count the time from now."""
        self._last = time.monotonic()


class Throttled:
    """Progress that is passed on at most once in ``seconds``, and with ``flush``."""

    def __init__(self, progress: Progress, seconds: float):
        self._progress, self._pace = progress, Pace(seconds)
        self._unsaid: tuple[float, str] | None = None

    def __call__(self, share: float, detail: str) -> None:
        self._unsaid = (share, detail)
        if self._pace.is_due():
            self.flush()

    def flush(self) -> None:
        """Pass on the latest progress, so that the last step is seen."""
        if self._unsaid:
            self._progress(*self._unsaid)
            self._pace.restart()
            self._unsaid = None
