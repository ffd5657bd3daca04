"""Progress of work: the share of it that is done, in [0, 1], and what is being done."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
ShareProgress = Callable[[float], None]  # where whoever asked knows what is being done


def silent(share: float, detail: str = "") -> None:
    """Progress that nobody watches."""


def part_of(progress: Progress, done: int, total: int) -> Progress:
    """Progress of one of ``total`` equal parts, ``done`` of which are behind."""
    return between(progress, done / total, (done + 1) / total)


def between(progress: Progress, begin: float, end: float) -> Progress:
    """Progress of the part of the work from one share of the whole to another."""
    return lambda share, detail: progress(begin * (1 - share) + end * share, detail)


def named(progress: Progress, detail: str) -> ShareProgress:
    """Progress of one thing that is done, which tells its share alone."""
    return lambda share: progress(share, detail)
