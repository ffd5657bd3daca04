"""Temporal context of a row: means and differences over windows in seconds, independent of the frame rate.

Windows are cut at the ends of a video, so that they do not reveal the distance to the ends.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from framewise.learning.tracks import Track

REACH_SECONDS = 1.3  # maximum distance that a window covers
WINDOW_ROWS = 1024  # rows whose context is in memory at once: a video may be hours long
SHAPE_SIZE = 6  # the last numbers of each span of motion, in the order of features/motion.py
MOTION_FLOOR = 0.001  # of a brightness from 0 to 1: the sensor's noise
AMOUNT_FLOOR = 1e-7
FLAT = 0.003  # of a side of the picture: a spread that counts as zero


class Around:
    """Means of numbers (T, N) over windows around given rows."""

    def __init__(self, numbers: Tensor, frame_rate: float):
        self.frame_rate, self._last = frame_rate, len(numbers) - 1
        self._sums = torch.cat([numbers.new_zeros(1, numbers.shape[1], dtype=torch.float64), numbers.double().cumsum(0)])

    def mean(self, rows: Tensor, seconds: float, later: float = 0.0) -> Tensor:
        """Means (n, N) within ``seconds`` on either side of the rows (n,) shifted by ``later`` seconds, at most to the first or
        last row."""
        rows, radius = (rows + self._rows(later)).clamp(0, self._last), round(seconds * self.frame_rate)
        first, stop = (rows - radius).clamp(min=0), (rows + radius + 1).clamp(max=self._last + 1)
        return ((self._sums[stop] - self._sums[first]) / (stop - first).unsqueeze(1)).float()

    def change(self, rows: Tensor, seconds: float, later: float) -> Tensor:
        """Difference (n, N) of the means ``later`` seconds after and before."""
        return self.mean(rows, seconds, later) - self.mean(rows, seconds, -later)

    def _rows(self, seconds: float) -> int:
        return int(math.copysign(max(1, round(abs(seconds) * self.frame_rate)), seconds)) if seconds else 0


def cells(track: Track) -> Tensor:
    """Motion by place, (T, N), as logarithms: for each row of the picture's grid the mean of the left and right half and their
    absolute difference.

    So walking left and walking right look alike, but motion on one side still differs from motion on both.
    """
    logs = [torch.log(span[:, :-SHAPE_SIZE] + MOTION_FLOOR) for span in _spans(track)]
    side = math.isqrt(logs[0].shape[1])
    squares = [log.reshape(len(track), side, side) for log in logs]
    half = side // 2
    folded = [((log + log.flip(2)) / 2, ((log - log.flip(2)) / 2).abs()) for log in squares]
    return torch.cat([part[:, :, :half].reshape(len(track), -1) for parts in folded for part in parts], 1)


def shape(track: Track) -> Tensor:
    """Shape of the motion, (T, N): upright or lying, high or low, in the middle or at a side; left and right are equivalent."""
    parts = []
    for span in _spans(track):
        amount, y, x, spread_y, spread_x, covariance = span[:, -SHAPE_SIZE:].unbind(1)
        upright = spread_y**2 - spread_x**2
        # Difference of the squared half axes of the ellipse with these moments.
        stretch = (upright**2 + 4 * covariance**2).sqrt()
        long, short = (spread_y**2 + spread_x**2 + stretch) / 2, (spread_y**2 + spread_x**2 - stretch) / 2
        parts += [y, (x - 0.5).abs(), spread_y, spread_x, torch.log((spread_y + FLAT) / (spread_x + FLAT))]
        parts += [covariance.abs() / (spread_y * spread_x + FLAT**2), upright / (stretch + FLAT**2)]
        parts += [torch.log((long + FLAT**2) / (short.clamp(min=0) + FLAT**2)) / 2, torch.log(amount + AMOUNT_FLOOR) / 10]
    return torch.stack(parts, 1)


def _spans(track: Track) -> list[Tensor]:
    """Motion by span, (T, N) each, moved from the end of its span, where it is stored, to the middle."""
    short, long = track.motion.reshape(len(track), 2, -1).unbind(1)
    return [_moved(span, seconds, track.frame_rate) for span, seconds in ((short, 1 / 30), (long, 4 / 30))]


def _moved(x: Tensor, seconds: float, frame_rate: float) -> Tensor:
    """Rows of x, each replaced by the one ``seconds`` (at least one row) later, at most the last."""
    rows = max(1, round(seconds * frame_rate))
    return x[(torch.arange(len(x)) + rows).clamp(max=len(x) - 1)]


def end_to_end(parts: Iterable[Sequence[Tensor]], rows: int) -> list[Tensor]:
    """Join parts (n, N) of several matrices to whole matrices, (rows, N) each.

    Like ``torch.cat`` for each, but without keeping the parts: small remaining blocks would prevent the C library from
    returning the memory of large freed ones.
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
    """Yield (part, first row, own rows) of each window of a video. The part includes the rows within reach on either side;
    first row is its index in the video, and own rows are the slice of the part that belongs to the window."""
    margin = math.ceil(max((REACH_SECONDS, *track.windows)) * track.frame_rate) + 1
    for start in range(0, len(track), WINDOW_ROWS):
        first, stop = max(0, start - margin), min(start + WINDOW_ROWS, len(track))
        yield track.cut(first, stop + margin), first, slice(start - first, stop - first)


def blocks(track: Track, where: Tensor, how: Tensor, rows: Tensor) -> list[Tensor]:
    """Kinds of evidence of some rows (n,), (n, N) each: appearance, its changes, motion by place, and shape of the motion.

    where, how: ``cells`` and ``shape`` of the track. With several media, appearance and changes of each in turn.
    """
    rate = track.frame_rate
    media = track.components.split(track.layout.widths, 1) if track.layout else [track.components]
    each = zip(media, track.windows or [0.0] * len(media), strict=True)
    seen = [block for numbers, window in each for block in _seen(Around(numbers, rate), rows, window)]
    return [*seen, *(_over_time(moves, Around(moves, rate), rows) for moves in (where, how))]


def _seen(seen: Around, rows: Tensor, window: float) -> list[Tensor]:
    """Appearance around each row, and its changes. window: of a row, in seconds; such rows are means already, and change as
    slowly as their window is long (docs/decisions/0012)."""
    if window:
        appearance = [seen.mean(rows, 0.0, later) for later in (0.0, -window / 2, window / 2)] + [seen.mean(rows, window)]
        changes = [seen.change(rows, 0.0, window * share) for share in (0.125, 0.25, 0.5)]
        return [torch.cat(appearance, 1), torch.cat(changes, 1)]
    appearance = [seen.mean(rows, 0.13, later) for later in (0.0, -0.5, 0.5)] + [seen.mean(rows, 1.0)]
    changes = [seen.change(rows, seconds, later) for seconds, later in ((0.07, 0.1), (0.13, 0.27), (0.27, 0.67))]
    return [torch.cat(appearance, 1), torch.cat(changes, 1)]


def _over_time(moves: Tensor, around: Around, rows: Tensor) -> Tensor:
    """Motion over windows of three lengths, and its changes."""
    windows = [moves[rows]] + [around.mean(rows, seconds) for seconds in (0.1, 0.33, 1.0)]
    return torch.cat(windows + [around.change(rows, 0.1, later) for later in (0.17, 0.4)], 1)
