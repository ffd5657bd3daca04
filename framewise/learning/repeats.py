"""What is in several videos at once, such as a recording and a film cut from it: nothing honest is measured on it.

A learner that learned from one of them knows the other by heart. So where a fold holds out a video, what repeats it is not
learned from either.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from framewise.core.metrics import runs
from framewise.learning.context import box
from framewise.learning.folds import Fold, Folds, Piece, unseen_labels
from framewise.learning.tracks import Track

# Distance of two moments, each a mean over half a second, as a share of the spread of all rows. On the fall detection data of
# docs/decisions/0012, at ten videos, held-out F1 is .88 with .2, for most repeats stay, and .80 with .3; with .4 it is .75, as
# other recordings of one room are taken for repeats. Of videos never seen it is .84.
SAME = 0.3
AVERAGED_SECONDS = 0.25  # on either side: noise of encoding averages out
BESIDE_SECONDS = 0.5  # of a repeat is left out as well
SHORTEST_SECONDS = 1.0  # of what is left
COMPARED_PER_SECOND = 10
COMPARED_ROWS = 512  # at once, with all that is held out: hours of it are tens of thousands of rows


def without_repeats(folds: Folds, tracks: Sequence[Track]) -> Folds:
    """The folds, less what their train sides repeat of their test sides. One that would have nothing left stays as it is."""
    if folds.weak or not folds.folds:
        return folds
    spread = torch.cat([t.components for t in tracks]).var(0, correction=0).sum().sqrt() + 1e-6
    moments = [_moments(t) / spread for t in tracks]
    kept = [_kept(fold, tracks, moments) for fold in folds.folds]
    labels = [t.frame_labels.numpy() for t in tracks]
    return replace(folds, folds=kept, unseen=[unseen_labels(fold, labels) for fold in kept])


def _moments(track: Track) -> Tensor:
    """Means (M, C) around every ``_step``-th row; of windows of the video, which may be hours long."""
    step, margin = _step(track), math.ceil(AVERAGED_SECONDS * track.frame_rate) + 1
    parts = []
    for rows in torch.arange(0, len(track), step).split(COMPARED_ROWS):
        first = max(0, int(rows[0]) - margin)
        parts.append(
            box(track.components[first : int(rows[-1]) + margin + 1], AVERAGED_SECONDS, track.frame_rate)[rows - first]
        )
    return torch.cat(parts)


def _kept(fold: Fold, tracks: Sequence[Track], moments: Sequence[Tensor]) -> Fold:
    """A fold by whole videos, less what its train side repeats."""
    held_out = torch.cat([moments[p.video] for p in fold.test])
    train = [kept for piece in fold.train for kept in _parts(piece, tracks[piece.video], moments[piece.video], held_out)]
    return Fold(train, fold.test) if train else fold


def _parts(piece: Piece, track: Track, moments: Tensor, held_out: Tensor) -> list[Piece]:
    """What is left of a piece of a train side."""
    step, length = _step(track), piece.stop - piece.start
    distances = torch.cat([torch.cdist(part, held_out).min(1).values for part in moments.split(COMPARED_ROWS)])
    same = (distances < SAME).float().repeat_interleave(step)[:length]
    radius = round(BESIDE_SECONDS * track.frame_rate)
    near = max_pool1d(same.view(1, 1, -1), 2 * radius + 1, stride=1, padding=radius)[0, 0] > 0
    shortest = SHORTEST_SECONDS * track.frame_rate
    return [
        Piece(piece.video, piece.start + int(start), piece.start + int(stop))
        for start, stop in runs(~near.numpy())
        if stop - start >= shortest
    ]


def _step(track: Track) -> int:
    return max(1, round(track.frame_rate / COMPARED_PER_SECOND))
