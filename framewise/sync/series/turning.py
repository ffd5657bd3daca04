"""Movement of the whole picture from one frame to the next: sideways, up and down, and rotation about its centre.

This is how the picture moves when a camera is turned or shaken. It is measured by phase correlation of small grey pictures,
left and right half separately: their common movement is a shift, their opposite vertical movement a rotation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from framewise.sync.offsets.movement import Grey
from framewise.sync.offsets.signals import Floats, Signal


@dataclass(frozen=True)
class Turning:
    """Shifts of a video's pictures, in pixels per second of a small picture, timed half way between its two pictures."""

    sideways: Signal
    upwards: Signal
    turn: Signal
    pictures: int

    @property
    def signals(self) -> tuple[Signal, ...]:
        return self.sideways, self.upwards, self.turn


class TurningMeter:
    """Meter of the shift of every picture against the one before."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._shifts: list[tuple[float, float, float]] = []
        self._before: list[npt.NDArray[np.complex64]] = []
        self._shape: tuple[int, ...] = ()

    def add(self, seconds: float, grey: Grey) -> None:
        """Add the next picture."""
        now = [_spectrum(half) for half in np.array_split(grey, 2, axis=1)]
        if self._seconds:
            self._shifts.append(_shift(self._before, now, grey.shape) if grey.shape == self._shape else (0.0, 0.0, 0.0))
        self._before, self._shape = now, grey.shape
        self._seconds.append(seconds)

    def turning(self) -> Turning:
        """Turning after three pictures or more."""
        return _as_turning(np.array(self._seconds), np.array(self._shifts))


def _as_turning(seconds: Floats, shifts: Floats) -> Turning:
    spans = np.diff(seconds)
    keep = spans > 1e-6
    middle = ((seconds[1:] + seconds[:-1]) / 2)[keep]
    speed = shifts[keep] / spans[keep, None]
    sideways, upwards, turn = (Signal(middle, speed[:, column]) for column in range(3))
    return Turning(sideways, upwards, turn, len(seconds))


def _spectrum(grey: Grey) -> npt.NDArray[np.complex64]:
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1])).astype(np.float32)
    return np.asarray(fft.rfft2((grey - grey.mean()) * window))


def _shift(before: list[npt.NDArray[np.complex64]], now: list[npt.NDArray[np.complex64]], shape: tuple[int, ...]) -> tuple[
    float, float, float
]:  # fmt: skip
    """(sideways, upwards, turn) in pixels."""
    widths = [len(part) for part in np.array_split(np.arange(shape[1]), 2)]
    (x1, y1), (x2, y2) = (_phase(a, b, (shape[0], w)) for a, b, w in zip(before, now, widths, strict=True))
    return (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1


def _phase(before: npt.NDArray[np.complex64], now: npt.NDArray[np.complex64], shape: tuple[int, int]) -> tuple[float, float]:
    """(sideways, upwards) movement of a picture in pixels: the peak of the phase correlation."""
    cross = now * np.conj(before)
    size = np.abs(cross)
    surface = fft.irfft2(cross / np.maximum(size, 1e-3 * size.max() + 1e-12), shape)
    row, column = np.unravel_index(int(np.argmax(surface)), shape)
    return _place(surface[row], int(column)), _place(surface[:, column], int(row))


def _place(line: Floats, peak: int) -> float:
    """Peak position in a circular line, refined between its values by a parabola, in -N/2 .. N/2."""
    left, middle, right = line[peak - 1], line[peak], line[(peak + 1) % len(line)]
    bend = float(left - 2 * middle + right)
    fine = 0.5 * float(left - right) / bend if bend < 0 else 0.0
    return fine + (peak if peak < len(line) / 2 else peak - len(line))
