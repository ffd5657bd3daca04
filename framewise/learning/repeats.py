"""Material repeated in several videos, such as a recording and a film cut from it, which would make scores too optimistic.

A learner that learned from one of them has memorised the other. So when a fold holds out a video, its repeats are not learned
from either. Only pictures are compared: silence and a resting sensor are the same in all recordings.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from framewise.core.metrics import runs
from framewise.learning.context import Around
from framewise.learning.folds import Fold, Folds, Piece, unseen_labels
from framewise.learning.tracks import Track, room

# Maximum distance of two moments, each a mean over half a second, relative to the spread of all rows. On the fall detection
# data of docs/decisions/0012, at ten videos, held-out F1 is .88 with .2, because most repeats stay, and .80 with .3; with .4 it
# is .75, because other recordings of the same room are taken for repeats. On unseen videos it is .84.
SAME = 0.3
AVERAGED_SECONDS = 0.25  # on either side: averages out encoding noise
BESIDE_SECONDS = 0.5  # on either side of a repeat, removed as well
SHORTEST_SECONDS = 1.0  # minimum length of a remaining part
COMPARED_PER_SECOND = 10
# Rows processed at once: hours of video are tens of thousands of moments.
AVERAGED_ROWS = COMPARED_ROWS = 1024


def without_repeats(folds: Folds, tracks: Sequence[Track]) -> Folds:
    """Remove from train sides what repeats their test sides. A fold whose train side would become empty stays unchanged."""
    if folds.weak or not folds.folds:
        return folds
    seen = [_pictures(t) for t in tracks]
    shown = [s for s in seen if s is not None]
    if not shown:
        return folds
    spread = _variance(shown).sum().sqrt() + 1e-6
    moments = [None if s is None else _moments(t, s).div_(spread) for t, s in zip(tracks, seen, strict=True)]
    kept = [_kept(fold, tracks, moments) for fold in folds.folds]
    labels = [(t.frame_labels * t.known).numpy() for t in tracks]
    rows = [sum(stop - start for fold in some for _, start, stop in fold.train) for some in (folds.folds, kept)]
    unseen = [unseen_labels(fold, labels) for fold in kept]
    return replace(folds, folds=kept, unseen=unseen, kept=rows[1] / max(rows[0], 1))


def _pictures(track: Track) -> Tensor | None:
    """Components (T, C) of the pictures; None for a track without pictures."""
    seen = track.components
    if track.layout:
        if track.layout.moving is None:
            return None
        first = sum(track.layout.widths[: track.layout.moving])
        seen = seen[:, first : first + track.layout.widths[track.layout.moving]]
        return None if seen[:1].isnan().any() else seen
    return seen if track.motion.any() else None  # motion of sensors and sound is 0


def _variance(seen: Sequence[Tensor]) -> Tensor:
    """Variance (C,) over all rows of all videos."""
    rows = torch.tensor([float(len(s)) for s in seen]).unsqueeze(1)
    means = torch.stack([s.mean(0) for s in seen])
    within = torch.stack([s.var(0, correction=0) for s in seen])
    mean = (rows * means).sum(0) / rows.sum()
    return (rows * (within + (means - mean) ** 2)).sum(0) / rows.sum()


def _moments(track: Track, seen: Tensor) -> Tensor:
    """Means (M, C) around every ``_step``-th row, computed window by window: a video may be hours long."""
    step, margin = _step(track), math.ceil(AVERAGED_SECONDS * track.frame_rate) + 1
    chosen = torch.arange(0, len(track), step)
    found = room(len(chosen), seen.shape[1])
    for part, rows in zip(found.split(AVERAGED_ROWS), chosen.split(AVERAGED_ROWS), strict=True):
        first = max(0, int(rows[0]) - margin)
        around = Around(seen[first : int(rows[-1]) + margin + 1], track.frame_rate)
        part[:] = around.mean(rows - first, AVERAGED_SECONDS)
    return found


def _kept(fold: Fold, tracks: Sequence[Track], moments: Sequence[Tensor | None]) -> Fold:
    """Fold by whole videos without the repeats in its train side."""
    shown = [found for p in fold.test if (found := moments[p.video]) is not None]
    held_out = torch.cat(shown).split(COMPARED_ROWS) if shown else ()
    train: list[Piece] = []
    for piece in fold.train:
        own = moments[piece.video]
        train += [piece] if own is None or not held_out else _parts(piece, tracks[piece.video], own, held_out)
    return Fold(train, fold.test) if train else fold


def _parts(piece: Piece, track: Track, moments: Tensor, held_out: Sequence[Tensor]) -> list[Piece]:
    """Remaining parts of a piece of a train side."""
    step, length = _step(track), piece.stop - piece.start
    same = (
        torch.cat([_nearest(part, held_out) < SAME for part in moments.split(COMPARED_ROWS)])
        .float()
        .repeat_interleave(step)[:length]
    )
    radius = round(BESIDE_SECONDS * track.frame_rate)
    near = max_pool1d(same.view(1, 1, -1), 2 * radius + 1, stride=1, padding=radius)[0, 0] > 0
    shortest = SHORTEST_SECONDS * track.frame_rate
    return [
        Piece(piece.video, piece.start + int(start), piece.start + int(stop))
        for start, stop in runs(~near.numpy())
        if stop - start >= shortest
    ]


def _nearest(moments: Tensor, held_out: Sequence[Tensor]) -> Tensor:
    """Distance (M,) of each moment to the nearest held-out one."""
    return torch.stack([torch.cdist(moments, part).min(1).values for part in held_out]).amin(0)


def _step(track: Track) -> int:
    return max(1, round(track.frame_rate / COMPARED_PER_SECOND))
