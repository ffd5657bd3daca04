"""What surrounds a row in time: means and differences over windows of so many seconds, whatever the frame rate.

At the ends of a video a window is cut, so nothing tells how far away they are.
"""

import math

import torch
from torch import Tensor

from framewise.learning.tracks import Track

REACH_SECONDS = 1.3  # no window looks further
MOTION_FLOOR = 0.001  # of a brightness from 0 to 1: what a sensor's noise moves


def box(x: Tensor, seconds: float, frame_rate: float) -> Tensor:
    """Mean over the rows within so many seconds on either side, (T, N) as x."""
    radius, rows = round(seconds * frame_rate), torch.arange(len(x))
    sums = torch.cat([x.new_zeros(1, x.shape[1], dtype=torch.float64), x.double().cumsum(0)])
    first, stop = (rows - radius).clamp(min=0), (rows + radius + 1).clamp(max=len(x))
    return ((sums[stop] - sums[first]) / (stop - first).unsqueeze(1)).float()


def later(x: Tensor, seconds: float, frame_rate: float) -> Tensor:
    """The row so many seconds later (earlier, if negative), at least one; the last or first where there is none."""
    rows = max(1, round(abs(seconds) * frame_rate)) * (1 if seconds > 0 else -1)
    return x[(torch.arange(len(x)) + rows).clamp(0, len(x) - 1)]


def change(x: Tensor, seconds: float, frame_rate: float) -> Tensor:
    """From so many seconds before to as many after."""
    return later(x, seconds, frame_rate) - later(x, -seconds, frame_rate)


def activity(track: Track) -> Tensor:
    """Motion (T, M) as logarithms: of each row of the picture's grid the mean of left and right, and their difference.

    A walk to the left and one to the right look alike, and what happens at one side is still told from both.
    """
    spans = track.motion.reshape(len(track), 2, -1)
    side = math.isqrt(spans.shape[2])
    # Motion is stored where its span ends; the middle of the span is where it belongs.
    centred = [later(spans[:, 0], 1 / 30, track.frame_rate), later(spans[:, 1], 4 / 30, track.frame_rate)]
    logs = [torch.log(span + MOTION_FLOOR).reshape(len(track), side, side) for span in centred]
    half = side // 2
    folded = [((log + log.flip(2)) / 2, ((log - log.flip(2)) / 2).abs()) for log in logs]
    return torch.cat([part[:, :, :half].reshape(len(track), -1) for parts in folded for part in parts], 1)


def blocks(track: Track) -> list[Tensor]:
    """Three kinds of evidence, each (T, N): what is seen, how it changes, and how much moves where."""
    rate, seen, moves = track.frame_rate, track.components, activity(track)
    near = box(seen, 0.13, rate)
    appearance = [near, later(near, -0.5, rate), later(near, 0.5, rate), box(seen, 1.0, rate)]
    changes = [
        change(box(seen, 0.07, rate), 0.1, rate),
        change(near, 0.27, rate),
        change(box(seen, 0.27, rate), 0.67, rate),
    ]
    steady = box(moves, 0.1, rate)
    motion = [moves, steady, box(moves, 0.33, rate), box(moves, 1.0, rate)]
    motion += [change(steady, 0.17, rate), change(steady, 0.4, rate)]
    return [torch.cat(parts, 1) for parts in (appearance, changes, motion)]
