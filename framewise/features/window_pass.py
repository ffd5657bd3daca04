"""One pass over a video with a network that sees several pictures at once (``window_network``): a row is of a window.

The network sees pictures at its own rate, in windows that overlap. A window's row stands in its middle; rows between are
interpolated. Motion is of every picture, as with other networks.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.features.motion import Motion, thumbnails_of
from framewise.features.preprocessing import preprocessor
from framewise.features.rows import pack
from framewise.features.window_network import WindowNetwork
from framewise.media.video import Losses, Picture, decode

STRIDE = 4  # pictures of the network between the middles of two windows
WINDOWS = f"windows, one each {STRIDE} pictures"  # part of the identity of their features

Floats = npt.NDArray[np.float32]


@dataclass
class _Window:
    """A window around a picture. seconds: of that picture. row: computed when it is first needed."""

    network: WindowNetwork
    seconds: float
    prepared: list[Any]

    @cached_property
    def row(self) -> Floats:
        found = self.network(self.prepared)
        self.prepared.clear()
        return found


@dataclass
class _Seen:
    """Pictures that the network sees, as far as windows still need them: their inputs and seconds, and the number of those
    before."""

    network: WindowNetwork
    prepared: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    first: int = 0
    windows: int = 0

    def add(self, image: npt.NDArray[np.uint8], seconds: float) -> Iterator[_Window]:
        """Add a picture, and yield the window that it completes, if it does."""
        self.prepared.append(self.network.prepare(image))
        self.seconds.append(seconds)
        if self.first + len(self.prepared) >= self.windows * STRIDE + self._after:
            yield self._next()

    def rest(self) -> Iterator[_Window]:
        """Yield the windows at the end, in which the last picture is repeated."""
        while self.windows * STRIDE < self.first + len(self.prepared):
            yield self._next()

    @property
    def _after(self) -> int:
        """Pictures of a window from its middle on."""
        return self.network.pictures - self.network.pictures // 2

    def _next(self) -> _Window:
        middle = self.windows * STRIDE - self.first
        index = np.arange(middle - self.network.pictures // 2, middle + self._after).clip(0, len(self.prepared) - 1)
        found = _Window(self.network, self.seconds[middle], [self.prepared[number] for number in index])
        self.windows += 1
        done = max((self.windows * STRIDE - self.network.pictures // 2) - self.first, 0)
        del self.prepared[:done], self.seconds[:done]
        self.first += done
        return found


class WindowPass:
    """Makes the records of a video's pictures (``rows.pack``). ``losses``: of the pictures that were decoded so far."""

    def __init__(self, path: Path, time_base: Fraction, network: WindowNetwork, profile: str):
        self._path, self._time_base, self._network = path, time_base, network
        self._small = preprocessor(profile, "center", network.side)
        self.losses = Losses()

    def chunks(self, size: int, known: npt.NDArray[np.int64], told: Callable[[int], None]) -> Iterator[npt.NDArray[Any]]:
        """Records of all pictures after the ``known`` ones, whose times these are, in arrays of ``size``; the last may be
        shorter.

        told: receives the number of pictures done since its last call. Raises MediaError.
        """
        rows = itertools.islice(self._rows(len(known)), len(known), None)
        while own := list(itertools.islice(self._told(rows, told), size)):
            pts, features, motion = zip(*own, strict=True)
            yield pack(np.array(pts), np.stack(features), np.stack(motion))

    @staticmethod
    def _told(rows: Iterator[Any], told: Callable[[int], None]) -> Iterator[Any]:
        for row in rows:
            yield row
            told(1)

    def _rows(self, known: int) -> Iterator[tuple[int, Floats, Floats]]:
        """Yield time, features and motion of each picture. The network computes none of the windows that only the first
        ``known`` pictures need, whose features are zeros."""
        self.losses = Losses()
        motion, waiting = Motion(), list[tuple[int, float, Floats]]()
        before: _Window | None = None
        done = 0
        for window in self._windows(motion, waiting):
            ready = [row for row in waiting if window is None or row[1] <= window.seconds]
            after = window or before
            if after is None:
                return
            yield from _between(before or after, after, ready, known - done)
            done, before = done + len(ready), after
            del waiting[: len(ready)]

    def _windows(self, motion: Motion, waiting: list[tuple[int, float, Floats]]) -> Iterator[_Window | None]:
        """Decode, add time, seconds and motion of each picture to ``waiting``, and yield windows as they are complete; None
        after the last."""
        seen, due = _Seen(self._network), 0.0
        for picture in decode(self._path, None, self.losses):
            seconds = float(picture.pts * self._time_base)
            waiting.append((picture.pts, seconds, self._motion(motion, picture, seconds)))
            if not seen.windows + len(seen.prepared) or seconds >= due - 1e-6:
                due = seconds + 1 / self._network.per_second
                yield from seen.add(picture.rgb, seconds)
        yield from seen.rest()
        yield None

    def _motion(self, motion: Motion, picture: Picture, seconds: float) -> Floats:
        found: Floats = motion.of(thumbnails_of(self._small(picture)[np.newaxis]), np.array([seconds]))[0]
        return found


def _between(
    before: _Window, after: _Window, pictures: list[tuple[int, float, Floats]], known: int
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield time, features and motion of pictures between the middles of two windows; of the first ``known`` without
    features."""
    for number, (pts, seconds, motion) in enumerate(pictures):
        if number < known:
            yield pts, np.zeros(1, np.float32), motion
            continue
        length = after.seconds - before.seconds
        share = np.float32((seconds - before.seconds) / length) if length else np.float32(0)
        yield pts, before.row if not share else before.row * (1 - share) + after.row * share, motion
