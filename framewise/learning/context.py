"""Surroundings of a row in time: means and differences over windows of so many seconds, whatever the frame rate.

At the ends of a video a window is cut, so nothing tells how far away they are.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from framewise.learning.tracks import Track

REACH_SECONDS = 1.3  # no window looks further
WINDOW_ROWS = 1024  # whose surroundings are in memory at once: a video may be hours long
SHAPE_SIZE = 6  # of the last numbers of each span of motion, in the order of features/motion.py
MOTION_FLOOR = 0.001  # of a brightness from 0 to 1: what a sensor's noise moves
AMOUNT_FLOOR = 1e-7
FLAT = 0.003  # of a side of the picture: a spread that is none


class Around:
    """Means of numbers (T, N) over windows around some of their rows."""

    def __init__(self, numbers: Tensor, frame_rate: float):
        self.frame_rate, self._last = frame_rate, len(numbers) - 1
        self._sums = torch.cat([numbers.new_zeros(1, numbers.shape[1], dtype=torch.float64), numbers.double().cumsum(0)])

    def mean(self, rows: Tensor, seconds: float, later: float = 0.0) -> Tensor:
        """(n, N) within so many seconds on either side of the rows (n,) that are so much later: of the first or last row, where
        there is none."""
        rows, radius = (rows + self._rows(later)).clamp(0, self._last), round(seconds * self.frame_rate)
        first, stop = (rows - radius).clamp(min=0), (rows + radius + 1).clamp(max=self._last + 1)
        return ((self._sums[stop] - self._sums[first]) / (stop - first).unsqueeze(1)).float()

    def change(self, rows: Tensor, seconds: float, later: float) -> Tensor:
        """(n, N), of those means from so much before to as much after."""
        return self.mean(rows, seconds, later) - self.mean(rows, seconds, -later)

    def _rows(self, seconds: float) -> int:
        return int(math.copysign(max(1, round(abs(seconds) * self.frame_rate)), seconds)) if seconds else 0


def cells(track: Track) -> Tensor:
    """Motion by place, (T, N), as logarithms: of each row of the picture's grid the mean of left and right, and their
    difference.

    A walk to the left and one to the right look alike, and what happens at one side is still told from both.
    """
    logs = [torch.log(span[:, :-SHAPE_SIZE] + MOTION_FLOOR) for span in _spans(track)]
    side = math.isqrt(logs[0].shape[1])
    squares = [log.reshape(len(track), side, side) for log in logs]
    half = side // 2
    folded = [((log + log.flip(2)) / 2, ((log - log.flip(2)) / 2).abs()) for log in squares]
    return torch.cat([part[:, :, :half].reshape(len(track), -1) for parts in folded for part in parts], 1)


def shape(track: Track) -> Tensor:
    """In what shape it moves, (T, N): upright or lying, high or low, in the middle or at a side; left and right are alike."""
    parts = []
    for span in _spans(track):
        amount, y, x, spread_y, spread_x, covariance = span[:, -SHAPE_SIZE:].unbind(1)
        upright = spread_y**2 - spread_x**2
        # Of the ellipse with these moments: the difference of the squared half axes.
        stretch = (upright**2 + 4 * covariance**2).sqrt()
        long, short = (spread_y**2 + spread_x**2 + stretch) / 2, (spread_y**2 + spread_x**2 - stretch) / 2
        parts += [y, (x - 0.5).abs(), spread_y, spread_x, torch.log((spread_y + FLAT) / (spread_x + FLAT))]
        parts += [covariance.abs() / (spread_y * spread_x + FLAT**2), upright / (stretch + FLAT**2)]
        parts += [torch.log((long + FLAT**2) / (short.clamp(min=0) + FLAT**2)) / 2, torch.log(amount + AMOUNT_FLOOR) / 10]
    return torch.stack(parts, 1)


def _spans(track: Track) -> list[Tensor]:
    """Motion by span, (T, N) each. It is stored where its span ends; the middle of the span is where it belongs."""
    short, long = track.motion.reshape(len(track), 2, -1).unbind(1)
    return [_moved(span, seconds, track.frame_rate) for span, seconds in ((short, 1 / 30), (long, 4 / 30))]


def _moved(x: Tensor, seconds: float, frame_rate: float) -> Tensor:
    """The row so many seconds later, at least one; the last where there is none."""
    rows = max(1, round(seconds * frame_rate))
    return x[(torch.arange(len(x)) + rows).clamp(max=len(x) - 1)]


def end_to_end(parts: Iterable[Sequence[Tensor]], rows: int) -> list[Tensor]:
    """Join parts (n, N) of several matrices to whole ones, (rows, N) each.

    As ``torch.cat`` of each, but the parts are not kept meanwhile: between small ones that stay, the C library cannot give
    back the memory of large ones that went.
    """
    whole: list[Tensor] = []
    at = 0
    for part in parts:
        whole = whole or [p.new_empty(rows, p.shape[1]) for p in part]
        for matrix, p in zip(whole, part, strict=True):
            matrix[at : at + len(p)] = p
        at += len(part[0])
    return whole


def windows(track: Track) -> Iterator[tuple[Track, int, slice]]:
    """One part of a video after the other, with what lies within reach on either side: the part, which row of the video its
    first one is, and which of its rows are the window's own."""
    margin = math.ceil(REACH_SECONDS * track.frame_rate) + 1
    for start in range(0, len(track), WINDOW_ROWS):
        first, stop = max(0, start - margin), min(start + WINDOW_ROWS, len(track))
        yield track.cut(first, stop + margin), first, slice(start - first, stop - first)


def blocks(track: Track, where: Tensor, how: Tensor, rows: Tensor) -> list[Tensor]:
    """Kinds of evidence, (n, N) each of some rows (n,): what is seen, how it changes, how much moves where, and in what shape.

    where, how: ``cells`` and ``shape`` of the track. Of several media, what is seen and how it changes of one after the other.
    """
    rate = track.frame_rate
    media = track.components.split(track.layout.widths, 1) if track.layout else [track.components]
    seen = [block for numbers in media for block in _seen(Around(numbers, rate), rows)]
    return [*seen, *(_over_time(moves, Around(moves, rate), rows) for moves in (where, how))]


def _seen(seen: Around, rows: Tensor) -> list[Tensor]:
    """Appearance around each row, and how it changes."""
    appearance = [seen.mean(rows, 0.13, later) for later in (0.0, -0.5, 0.5)] + [seen.mean(rows, 1.0)]
    changes = [seen.change(rows, seconds, later) for seconds, later in ((0.07, 0.1), (0.13, 0.27), (0.27, 0.67))]
    return [torch.cat(appearance, 1), torch.cat(changes, 1)]


def _over_time(moves: Tensor, around: Around, rows: Tensor) -> Tensor:
    """Motion, over windows of three lengths, and how it changes."""
    windows = [moves[rows]] + [around.mean(rows, seconds) for seconds in (0.1, 0.33, 1.0)]
    return torch.cat(windows + [around.change(rows, 0.1, later) for later in (0.17, 0.4)], 1)
