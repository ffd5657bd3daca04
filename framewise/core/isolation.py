"""Errors that concern one task alone, and errors that end the work on all tasks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from framewise.core.errors import FramewiseError, ProjectForgotten, is_disk_full, is_temporary

# Processes that may die at one file, for lack of memory or by a defect of a library, before it is given up.
MAX_DEATHS = 2


class Interruption(Exception):
    """Base of what ends work early for a reason of its own, and is no error of what was worked on."""


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
        """True for an error that is not about input or surroundings: a traceback belongs into the log."""
        return not isinstance(self.error, FramewiseError | OSError)

    @property
    def is_temporary(self) -> bool:
        return is_temporary(self.error)


def concerns_all(error: Exception) -> bool:
    """True for an error that the next task would have as well: a full disk, a project that was forgotten, an interruption."""
    return is_disk_full(error) or isinstance(error, ProjectForgotten | Interruption)


@contextmanager
def isolate_errors(tell: Callable[[Failure], None], concerns_all: Callable[[Exception], bool] = concerns_all) -> Iterator[None]:
    """Tell whatever goes wrong with one task, and leave the others alone. Raises what concerns them all."""
    try:
        yield
    except Exception as error:
        if concerns_all(error):
            raise
        tell(Failure(error))
