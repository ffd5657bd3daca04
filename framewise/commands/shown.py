"""Progress of commands on standard error."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from framewise.core.progress import Progress


@contextmanager
def progress_bar(what: str) -> Iterator["Progress"]:
    """Context with a progress bar on standard error, if that is a terminal."""
    shape = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
    with tqdm(total=1.0, desc=what, bar_format=shape, disable=None, dynamic_ncols=True) as bar:

        def progress(share: float, detail: str) -> None:
            bar.set_postfix_str(detail, refresh=False)
            bar.update(share - bar.n)

        yield progress
        progress(1.0, "")


def say(text: str) -> None:
    """Print a line without disturbing the bars."""
    tqdm.write(f"framewise: {text}", file=sys.stderr)


class StepBars:
    """Bars on standard error, one for each step. ``tell`` may be called from several threads."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "StepBars":
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def tell(self, share: float, what: str) -> None:
        with self._lock:
            if what not in self._bars:
                form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}"
                self._bars[what] = tqdm(total=1.0, desc=what, bar_format=form, position=len(self._bars), disable=None)
            bar = self._bars[what]
            bar.update(max(0.0, min(1.0, share) - bar.n))
