"""Separation of errors that concern a single task from those that end the work on all tasks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from framewise.core.errors import FramewiseError, ProjectForgotten, is_disk_full, is_temporary

# A file is given up after this many processes died at it, for lack of memory or through a defect of a library.
MAX_DEATHS = 2


class Interruption(Exception):
    """Base class of exceptions that end work early without an error."""


@dataclass(frozen=True)
class Failure:
    """An error as it is shown and logged."""

    error: BaseException

    @property
    def text(self) -> str:
        if isinstance(self.error, OSError) and is_disk_full(self.error):
            where = self.error.filename or "CACHE_DIR, MODEL_ROOT or DATA_DIR"
            return f"no room on the disk ({self.error.strerror}: {where}); make room"
        return f"{type(self.error).__name__}: {self.error}" if self.is_defect else str(self.error)

    @property
    def is_defect(self) -> bool:
        """True for an internal error, whose traceback belongs into the log."""
        return not isinstance(self.error, FramewiseError | OSError)

    @property
    def is_temporary(self) -> bool:
        return is_temporary(self.error)


def concerns_all(error: Exception) -> bool:
    """True for an error that every further task would hit: a full disk, a forgotten project, an interruption."""
    return is_disk_full(error) or isinstance(error, ProjectForgotten | Interruption)


@contextmanager
def isolate_errors(tell: Callable[[Failure], None], concerns_all: Callable[[Exception], bool] = concerns_all) -> Iterator[None]:
    """Context that passes an error of one task to ``tell``. Raises errors that concern all tasks."""
    try:
        yield
    except Exception as error:
        if concerns_all(error):
            raise
        tell(Failure(error))
