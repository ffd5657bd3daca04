"""Cross-validation folds of annotated videos: every row is scored by a model that did not learn from it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_FOLDS = 5
MIN_VIDEOS = 3  # with two, leaving one out would leave only one to learn from
# Descriptions of how held-out videos are scored, by the method's name in versions.
METHODS = {
    "leave one video out": "each by a model that learned from all others",
    "5-fold by video": "each by one of five models that did not learn from it",
    "blocks in time": "of two recordings: each part by a model that learned from the other parts",
}
BLOCKS = 4  # per video, if there are fewer videos
MAX_GAP_SHARE = 1 / 8  # of a video, on either side of a block: at least half of the video remains to learn from

FrameLabels = npt.NDArray[Any]  # 0/1, (T, L)


class Piece(NamedTuple):
    """Rows [start, stop) of the video with index ``video``."""

    video: int
    start: int
    stop: int


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to score; neither side is empty, and no row is in both."""

    train: list[Piece]
    test: list[Piece]


@dataclass(frozen=True)
class Folds:
    """Folds in which each row of each video is in the test side of exactly one; empty for a single video, and if no video has
    two rows.

    method: one of METHODS, or "none".
    weak:   True if train and test sides come from the same videos: such scores say little about other videos.
    unseen: for each fold, the labels (columns) that are on in its test side but never in its train side. They cannot be
            found there, because too few videos have them; that says nothing about the network.
    kept:   share of the train sides' rows that remains after removing repeats of the test sides.
    """

    folds: list[Fold]
    method: str
    weak: bool
    unseen: list[set[int]]
    kept: float = 1.0

    @property
    def unmeasured(self) -> frozenset[int]:
        """Labels whose out-of-fold scores are meaningless, because all their occurrences are in one fold's test side."""
        return frozenset[int]().union(*self.unseen)

    @property
    def learned(self) -> float:
        """Mean share of all rows that a fold learns from; 1 without folds."""
        rows = sum(stop - start for fold in self.folds for _, start, stop in fold.test)
        learned = sum(stop - start for fold in self.folds for _, start, stop in fold.train)
        return learned / (len(self.folds) * rows) if rows else 1.0


def make_folds(
    lengths: Sequence[int],
    frame_labels: Sequence[FrameLabels],
    groups: Sequence[Hashable] | None,
    gap_rows: int,
    recordings: Sequence[int] | None = None,
) -> Folds:
    """Make folds by video, or in time if there are two different videos; none for one.

    lengths:      rows of each video.
    frame_labels: 0/1, (T_i, L), of each video.
    groups:       of each video; videos of the same group, such as tasks with the same file, are never on both sides of a
                  fold. None: each video is its own group.
    gap_rows:     rows next to a block in time that are not learned from, being nearly the same; fewer for a short video.
    recordings:   index of the recording that each video is a stretch of, in order of time. None: all are whole recordings.
    """
    rows = [v for v, length in enumerate(lengths) if length]
    names = [groups[v] if groups is not None else v for v in rows]
    if len(set(names)) >= MIN_VIDEOS:
        tests = [[rows[i] for i in fold] for _, fold in video_folds([frame_labels[v] for v in rows], names)]
        folds = [_whole_videos(lengths, rows, test) for test in tests]
        method = "leave one video out" if len(set(names)) <= MAX_FOLDS else f"{MAX_FOLDS}-fold by video"
        return Folds(folds, method, weak=False, unseen=[unseen_labels(fold, frame_labels) for fold in folds])
    if len(set(names)) < 2:  # pieces of one recording say nothing of the next
        return Folds([], "none", weak=True, unseen=[])
    folds = block_folds(lengths, gap_rows, recordings)
    return Folds(folds, "blocks in time", weak=True, unseen=[unseen_labels(fold, frame_labels) for fold in folds])


def _whole_videos(lengths: Sequence[int], videos: Sequence[int], test: Sequence[int]) -> Fold:
    pieces = [Piece(v, 0, lengths[v]) for v in videos]
    return Fold([p for p in pieces if p.video not in test], [p for p in pieces if p.video in test])


def unseen_labels(fold: Fold, frame_labels: Sequence[FrameLabels]) -> set[int]:
    """Columns that are on in a fold's test side but never in its train side."""

    def occurring(pieces: Sequence[Piece]) -> set[int]:
        return {int(c) for p in pieces for c in np.flatnonzero(frame_labels[p.video][p.start : p.stop].any(axis=0))}

    return occurring(fold.test) - occurring(fold.train)


def video_folds(
    frame_labels: Sequence[FrameLabels], groups: Sequence[Hashable] | None = None
) -> list[tuple[list[int], list[int]]]:
    """(train, test) video indices of each fold: leave-one-group-out for up to five groups, otherwise five balanced folds.

    frame_labels: 0/1, (T_i, L), of each video. Deterministic. Raises ValueError for fewer than two groups.
    """
    names = list(range(len(frame_labels))) if groups is None else list(groups)
    members: dict[Hashable, list[int]] = {}
    for video, name in enumerate(names):
        members.setdefault(name, []).append(video)
    if len(members) < 2:
        raise ValueError(f"expected videos of at least 2 groups, found {len(members)}")
    videos_of = list(members.values())
    if len(videos_of) <= MAX_FOLDS:
        tests = videos_of
    else:
        positives = np.array([sum(frame_labels[v].sum(axis=0, dtype=np.int64) for v in videos) for videos in videos_of])
        frames = np.array([sum(len(frame_labels[v]) for v in videos) for videos in videos_of])
        fold_of = _balanced(positives, frames)
        tests = [sorted(v for g in np.flatnonzero(fold_of == fold) for v in videos_of[g]) for fold in range(MAX_FOLDS)]
    return [(sorted(set(range(len(names))) - set(test)), test) for test in tests]


def _balanced(positives: npt.NDArray[np.int64], frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Fold of each group, (G,), with each label's frames and all frames spread over the folds, none of which is empty.

    positives (G, L), frames (G,). Greedy, rarest label first, as in Sechidis, Tsoumakas and Vlahavas 2011, "On the
    Stratification of Multi-Label Data": later groups, with more common labels, balance what earlier ones skewed.
    """
    amounts = np.column_stack([positives, frames])
    shares = amounts / np.maximum(amounts.sum(axis=0), 1)
    has = positives > 0
    fold_of = np.full(len(frames), -1, dtype=np.int64)
    while (open_groups := fold_of < 0).any():
        waiting = has[open_groups].sum(axis=0)
        present = np.flatnonzero(waiting)
        rarest = int(present[np.argmin(waiting[present])]) if len(present) else -1  # -1: the last column, all frames
        group = int(np.argmax(np.where(open_groups, amounts[:, rarest], -1)))
        fold_of[group] = _best_fold(group, rarest, shares, has, fold_of)
    return fold_of


def _best_fold(
    group: int, rarest: int, shares: npt.NDArray[np.float64], has: npt.NDArray[np.bool_], fold_of: npt.NDArray[np.int64]
) -> int:
    """Fold for a group: one that leaves no label without a train side; then the one with the least of its rarest label, with
    the least of all labels of the group, with the fewest frames."""
    folds = range(MAX_FOLDS)
    loads = np.array([shares[fold_of == fold].sum(axis=0) for fold in folds])
    # Labels for which this is the last group: if all other groups are in one fold, it would have no train side with the label.
    last = has[group] & ~has[(fold_of < 0) & (np.arange(len(fold_of)) != group)].any(axis=0)
    placed = has[fold_of >= 0].sum(axis=0)
    trapped = [int((last & (placed > 0) & (has[fold_of == fold].sum(axis=0) == placed)).sum()) for fold in folds]
    mine = np.append(has[group], True)
    # An empty fold has the least of everything, so none stays empty.
    return min(folds, key=lambda f: (trapped[f], loads[f, rarest], loads[f, mine].sum(), loads[f, -1], f))


def block_folds(lengths: Sequence[int], gap_rows: int, recordings: Sequence[int] | None = None) -> list[Fold]:
    """Folds in time: each holds out one of four blocks of every recording, so identical ones are held out at the same times.

    Rows within ``gap_rows`` of a block (at most an eighth of the recording) are in neither side. recordings: as for
    ``make_folds``; pauses between the stretches of a recording do not count.
    """
    whole: dict[int, list[int]] = {}
    for video, recording in enumerate(range(len(lengths)) if recordings is None else recordings):
        whole.setdefault(recording, []).append(video)
    folds = []
    for block in range(BLOCKS):
        train: list[Piece] = []
        test: list[Piece] = []
        for videos in whole.values():
            length = sum(lengths[video] for video in videos)
            start, stop = block * length // BLOCKS, (block + 1) * length // BLOCKS
            gap = min(gap_rows, int(length * MAX_GAP_SHARE)) if start < stop else 0
            first = 0
            for video in videos:
                rows = range(first, first + lengths[video])
                train += [*_within(video, rows, 0, start - gap), *_within(video, rows, stop + gap, length)]
                test += _within(video, rows, start, stop)
                first = rows.stop
        if train and test:
            folds.append(Fold(train, test))
    return folds


def _within(video: int, rows: range, start: int, stop: int) -> list[Piece]:
    """Piece of a video inside [start, stop) of its recording; empty if there is none. rows: of the recording, in this video."""
    inside = Piece(video, max(start, rows.start) - rows.start, min(stop, rows.stop) - rows.start)
    return [inside] if inside.start < inside.stop else []
