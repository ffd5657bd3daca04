"""Amount of movement in the pictures of a recording, at their times."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from framewise.core.errors import MediaError
from framewise.core.progress import ShareProgress, silent
from framewise.media.video import decode, probe
from framewise.sync.offsets.signals import Signal

SIZE = 160  # pixels of the longer side at which pictures are compared
_NOISE = 3.0  # grey levels by which a pixel changes without movement
CUT_LEVELS = 12.0
STILL_LEVELS = 0.02  # of 255: pictures are static if their mean change never exceeds this

Grey = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Movement:
    """levels (P - 1,): mean change of pixels from each picture to the next, in grey levels. signal: its logarithm, each value
    timed half way between its two pictures. pictures: number of decoded pictures."""

    signal: Signal
    levels: npt.NDArray[np.float64]
    pictures: int

    @property
    def still(self) -> bool:
        return len(self.levels) == 0 or float(np.percentile(self.levels, 98)) <= STILL_LEVELS


def small_pictures(path: Path, progress: ShareProgress = silent) -> Iterator[tuple[float, Grey]]:
    """Yield (seconds, small grey picture) of each picture, in constant memory. Raises MediaError; for fewer than three
    pictures, at the end."""
    info = probe(path)
    total, count = info.video_seconds or info.duration_seconds, 0
    for count, picture in enumerate(decode(path), 1):
        seconds = float(picture.pts * info.time_base)
        yield seconds, small_grey(picture.frame)
        if total and count % 25 == 0:
            progress(min(1.0, seconds / total))
    if count < 3:
        raise MediaError(f"{path.name}: expected at least three pictures, found {count}")


class MovementMeter:
    """Meter of the change of every picture from the one before."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._levels: list[float] = []
        self._before: Grey | None = None

    def add(self, seconds: float, grey: Grey) -> None:
        """Add the next picture."""
        if self._before is not None:
            self._levels.append(_change(self._before, grey) if self._before.shape == grey.shape else 0.0)
        self._before = grey
        self._seconds.append(seconds)

    def movement(self) -> Movement:
        """Movement after three pictures or more."""
        return _as_movement(np.array(self._seconds), np.array(self._levels))


def measure_movement(path: Path, progress: ShareProgress = silent) -> Movement:
    """Measure the amount of movement in a file's pictures. Raises MediaError."""
    meter = MovementMeter()
    for picture in small_pictures(path, progress):
        meter.add(*picture)
    return meter.movement()


def _as_movement(seconds: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> Movement:
    middle, spans = (seconds[1:] + seconds[:-1]) / 2, np.diff(seconds)
    # A duplicated picture (from a frame rate conversion) shows no change: its time belongs to the next change.
    twin = (levels < 1e-3) & (np.roll(levels, 1) > 0.05) & (np.roll(levels, -1) > 0.05)
    # A cut changes everything at once and is not movement.
    around = median_filter(levels, 9, mode="nearest")
    cut = (levels > CUT_LEVELS) & (levels > 8 * around)
    keep = ~twin & ~cut
    speed = levels * float(np.median(spans)) / np.maximum(spans, 1e-6)
    floor = max(float(np.percentile(levels[keep], 20)), 0.01)
    return Movement(Signal(middle[keep], np.log(speed[keep] + 0.5 * floor)), levels, len(seconds))


def small_grey(frame: Any) -> npt.NDArray[np.float32]:
    """Scale a picture to grey, (H, W), with at most SIZE pixels on the longer side."""
    scale = min(1.0, SIZE / max(frame.width, frame.height))
    width, height = max(2, round(frame.width * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)
    small = frame.reformat(width=width, height=height, format="gray", interpolation="AREA")
    return np.asarray(small.to_ndarray(), np.float32)


def _change(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> float:
    """Mean change of pixels in grey levels, without noise and without a change of the overall light."""
    change = now - before
    change -= np.median(change)
    return float(np.maximum(np.abs(change) - _NOISE, 0).mean()) + 0.05 * float(np.abs(change).mean())
