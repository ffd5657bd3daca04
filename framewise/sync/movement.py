"""How much moves in each picture of a recording, at the times of its pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from framewise.core.errors import MediaError
from framewise.media.video import decode, probe
from framewise.sync.correlate import Signal

SIZE = 160  # pixels of the longer side that pictures are compared at
_NOISE = 3.0  # grey levels that a pixel changes by without anything that moves
CUT_LEVELS = 12.0
STILL_LEVELS = 0.02  # of 255: pictures whose mean change never is more are static

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Movement:
    """levels (P - 1,): grey levels that pixels changed by, on average, from each picture to the next; signal: its logarithm,
    each value half way between its two pictures. pictures: how many were decoded."""

    signal: Signal
    levels: npt.NDArray[np.float64]
    pictures: int

    @property
    def still(self) -> bool:
        return len(self.levels) == 0 or float(np.percentile(self.levels, 98)) <= STILL_LEVELS


def measure_movement(path: Path, progress: Progress = lambda share: None) -> Movement:
    """Every picture compared with the one before, small and in grey; memory stays flat. Raises MediaError."""
    info = probe(path)
    total = info.video_seconds or info.duration_seconds
    seconds: list[float] = []
    levels: list[float] = []
    before: npt.NDArray[np.float32] | None = None
    for picture in decode(path):
        grey = small_grey(picture.frame)
        if before is not None and before.shape == grey.shape:
            levels.append(_change(before, grey))
        elif before is not None:
            levels.append(0.0)
        before = grey
        seconds.append(float(picture.pts * info.time_base))
        if total and len(seconds) % 25 == 0:
            progress(min(1.0, seconds[-1] / total))
    if len(seconds) < 3:
        raise MediaError(f"{path.name}: expected pictures that follow each other, found {len(seconds)}")
    return _as_movement(np.array(seconds), np.array(levels))


def _as_movement(seconds: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]) -> Movement:
    middle, spans = (seconds[1:] + seconds[:-1]) / 2, np.diff(seconds)
    # A picture that is there twice (another frame rate before) has no change between: its time belongs to the next change.
    twin = (levels < 1e-3) & (np.roll(levels, 1) > 0.05) & (np.roll(levels, -1) > 0.05)
    # A cut changes everything at once, and is no movement.
    around = median_filter(levels, 9, mode="nearest")
    cut = (levels > CUT_LEVELS) & (levels > 8 * around)
    keep = ~twin & ~cut
    speed = levels * float(np.median(spans)) / np.maximum(spans, 1e-6)
    floor = max(float(np.percentile(levels[keep], 20)), 0.01)
    return Movement(Signal(middle[keep], np.log(speed[keep] + 0.5 * floor)), levels, len(seconds))


def small_grey(frame: Any) -> npt.NDArray[np.float32]:
    """A picture (H, W) in grey, its longer side SIZE pixels at most."""
    scale = min(1.0, SIZE / max(frame.width, frame.height))
    width, height = max(2, round(frame.width * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)
    small = frame.reformat(width=width, height=height, format="gray", interpolation="AREA")
    return np.asarray(small.to_ndarray(), np.float32)


def _change(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> float:
    """Grey levels by which pixels changed, on average, what is noise left out and a change of the whole light taken away."""
    change = now - before
    change -= np.median(change)
    return float(np.maximum(np.abs(change) - _NOISE, 0).mean()) + 0.05 * float(np.abs(change).mean())
