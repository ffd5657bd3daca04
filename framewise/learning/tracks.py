"""Annotated videos as the learners see them: a few numbers a row, on Label Studio's frame grid.

Shapes: T rows of a video, D features, C components, M motion numbers, L labels. Nothing here says where in its video a row is.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Kinds of evidence, for people, in the order of ``context.blocks``.
SEEN_NAMES, MOTION_NAMES = ("what is seen", "how it changes"), ("how much moves", "in what shape it moves")
BLOCK_NAMES = (*SEEN_NAMES, *MOTION_NAMES)
COMPONENTS = 128
# Components count by the root of their spread: the largest of them are about the scene, and what is labelled is often small.
# Between none of it and all of it (whitening), see docs/decisions/0012.
SPREAD_POWER = 0.5
MAX_BASIS_ROWS = 3000
FAR_OUT = 0.001  # of a feature's values, at either end
MAX_DEVIATION = 10.0  # standard deviations; beyond it, only that it is far
MOTION_SIZE = 44  # numbers of motion in a row of a track, as features/motion.py makes them; 0 of media that have none
MOTION_SECONDS = 8 / 30  # between the pictures whose difference is motion, at most
READ_ROWS = 1024  # of features in memory at once: a video may be hours long
MAPPED_BYTES = 4 << 20  # from which on a track's numbers lie in a file

Floats = npt.NDArray[np.float32]


class Rows(Protocol):
    """A file's features, read in parts.

    counts: of features that have each a unit of its own, and are NaN where nothing is known, how much each counts, (D,); None
    of features that are of one unit and count as they spread.
    Two attributes need not be there. pieces: spans [start, stop) of rows of which something is known; others are never read.
    groups: names, columns and supposed shares of groups of features, each of which is evidence of its own.
    """

    frame_rate: float
    counts: Floats | None

    def __len__(self) -> int: ...

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        """Appearance (len(index), D) and motion (len(index), M) of these rows, in ascending order; None of media that have no
        motion."""
        ...


def appearance_of(rows: Rows) -> Floats:
    """Appearance of all rows, (T, D)."""
    return rows.read(np.arange(len(rows)))[0]


@dataclass(frozen=True)
class LabelledVideo:
    """An annotated video. frame_labels: 0/1, (T, L), which count where known (T, L) is true. points (T, L): known cells that
    stand for an occurrence whose ends are not known; None where all regions are drawn. group: videos of the same group, such as
    two tasks with one file, are held out together."""

    rows: Rows
    frame_labels: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]
    group: Hashable
    points: npt.NDArray[np.bool_] | None = None


class Part:
    """Rows [start, stop) of others."""

    def __init__(self, rows: Rows, start: int, stop: int):
        self.frame_rate, self.counts = rows.frame_rate, rows.counts
        self.groups = getattr(rows, "groups", None)
        self._rows, self._start, self._stop = rows, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        return self._rows.read(index + self._start)


def spans(rows: Rows) -> list[tuple[int, int]]:
    """[start, stop) of the stretches of rows of which something is known, in order: all of them, but for a series with gaps."""
    pieces = getattr(rows, "pieces", None)
    return [(0, len(rows))] if pieces is None else list(pieces)


def stretches(rows: Rows) -> list[Rows]:
    """The rows of each of ``spans``."""
    found = spans(rows)
    return [rows] if found == [(0, len(rows))] else [Part(rows, *span) for span in found]


@dataclass(frozen=True)
class Layout:
    """Several media in one track, or groups of features. widths: components of each, one after the other. moving: the medium
    that motion is of, if any is. complete: whether all of them are always there. shares: how much each counts where nothing was
    left out to tell; empty if all count alike."""

    widths: tuple[int, ...]
    moving: int | None
    complete: bool = False
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Track:
    """A video's rows, or a piece of them: components (T, C), motion (T, M), frame_labels (T, L), known (T, L) bool.

    layout: where the rows are of several media; then what a medium that is missing would say is NaN.
    """

    components: Tensor
    motion: Tensor
    frame_rate: float
    frame_labels: Tensor
    known: Tensor
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.components)

    def cut(self, start: int, stop: int) -> "Track":
        """Rows [start, stop) as a video of its own."""
        part = slice(start, stop)
        labels, known = self.frame_labels[part], self.known[part]
        return Track(self.components[part], self.motion[part], self.frame_rate, labels, known, self.layout)


class TrackMaker:
    """Protocol of makers of tracks from rows."""

    layout: Layout | None = None

    def apply(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of all rows."""
        raise NotImplementedError

    def tracks(self, video: LabelledVideo) -> list[Track]:
        """A track of each stretch of a video's rows."""
        found = []
        for rows, (start, stop) in zip(stretches(video.rows), spans(video.rows), strict=True):
            labels = torch.from_numpy(video.frame_labels[start:stop].astype(np.float32))
            known = torch.from_numpy(np.array(video.known[start:stop]))
            found.append(Track(*self.apply(rows), rows.frame_rate, labels, known, self.layout))
        return found

    def unlabelled(self, rows: Rows, num_labels: int) -> Track:
        """A track without annotations."""
        labels, known = torch.zeros(len(rows), num_labels), torch.zeros(len(rows), num_labels, dtype=torch.bool)
        return Track(*self.apply(rows), rows.frame_rate, labels, known, self.layout)


@dataclass(frozen=True)
class Basis(TrackMaker):
    """Principal components of the features: mean (D,), projection (D, C), scaled by their spread. scale (D,): of features that
    have each a unit of its own."""

    mean: Tensor
    projection: Tensor
    scale: Tensor | None = None

    @classmethod
    def fit(cls, videos: Sequence[Rows]) -> Self:
        """From evenly chosen rows of all videos; labels play no part."""
        step = max(1, math.ceil(sum(len(rows) for rows in videos) / MAX_BASIS_ROWS))
        chosen = [features.double() for rows in videos for _, features, _ in _in_parts(rows, step)]
        centred = torch.cat(chosen)
        del chosen
        counts, scale = videos[0].counts, None
        if counts is None:
            mean = centred.mean(0)
            centred -= mean
        else:
            weights = torch.from_numpy(counts).double()
            mean, scale = _usual(centred)
            centred = _in_deviations(centred, mean, scale) * weights
        # The smaller of the two products has the same eigenvalues.
        if len(centred) < centred.shape[1]:
            values, vectors = torch.linalg.eigh(centred @ centred.T)
            directions = centred.T @ vectors / values.clamp(min=1e-12).sqrt()
        else:
            values, directions = torch.linalg.eigh(centred.T @ centred)
        values, directions = values.flip(0)[:COMPONENTS].clamp(min=0), directions.flip(1)[:, :COMPONENTS]
        kept = values > values[0] * 1e-7
        spread = (values[kept] / values[0].clamp(min=1e-12)).sqrt()
        projection = directions[:, kept] * spread**-SPREAD_POWER
        if scale is None:
            return cls(mean.float(), projection.float())
        return cls(mean.float(), (weights.unsqueeze(1) * projection).float(), scale.float())

    def tensors(self) -> dict[str, Tensor]:
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"mean": self.mean, "projection": self.projection, **scale}

    def description(self) -> dict[str, Any]:
        return {}

    def block_names(self) -> list[str]:
        return list(BLOCK_NAMES)

    def fits_together(self) -> bool:
        """True if the sizes of the tensors are those of one basis."""
        size = len(self.mean)
        scaled = self.scale is None or self.scale.shape == (size,)
        return scaled and self.mean.shape == (size,) and self.projection.ndim == 2 and len(self.projection) == size

    def apply(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of a whole video, whose features are never in memory as a whole."""
        components, moved = room(len(rows), self.projection.shape[1]), room(len(rows), MOTION_SIZE)
        for start, features, motion in _in_parts(rows):
            inside = slice(start, start + len(features))
            centred = features - self.mean if self.scale is None else _in_deviations(features, self.mean, self.scale)
            components[inside] = centred @ self.projection
            moved[inside] = 0.0 if motion is None else motion
        # A video's first pictures have none as much earlier to compare with, which would tell where a video begins.
        first = min(math.ceil(MOTION_SECONDS * rows.frame_rate), len(rows) - 1)
        moved[:first] = moved[first].clone()
        return components, moved


def _usual(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each of the features (N, D), NaN where nothing is known, without what is far out: one
    spike must not make all else the same. One that never changes, or is never known, has a deviation of 1."""
    known = (~features.isnan()).sum(0).clamp(min=1)
    ordered, ends = features.sort(0).values, ((known - 1) * FAR_OUT).ceil().long()  # NaN come last
    low, high = (ordered.gather(0, rows.unsqueeze(0))[0] for rows in (ends, known - 1 - ends))
    inside = features.clamp(low, high)
    mean = inside.nansum(0) / known
    deviation = (((inside - mean) ** 2).nansum(0) / known).sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


def _in_deviations(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(N, D) from each mean, in standard deviations; beyond MAX_DEVIATION only that it is far, and 0 for what is not known."""
    return ((features - mean) / scale).clamp(-MAX_DEVIATION, MAX_DEVIATION).nan_to_num()


def _in_parts(rows: Rows, step: int = 1) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Index of the first row, appearance (n, D) and motion (n, M) of each ``step``-th row, of one part after the other."""
    index = np.arange(0, len(rows), step)
    for start in range(0, len(index), READ_ROWS):
        appearance, motion = rows.read(index[start : start + READ_ROWS])
        yield start, torch.from_numpy(appearance), None if motion is None else torch.from_numpy(motion)


def room(rows: int, columns: int) -> Tensor:
    """(rows, columns), uninitialised; a large one is mapped from a file that has no name and ends with it.

    The system writes its pages to disk where it needs the memory: many hours of video are learned from at once.
    """
    size = 4 * rows * columns
    if size < MAPPED_BYTES:
        return torch.empty(rows, columns)
    try:
        with tempfile.TemporaryFile(prefix="framewise-track-") as file:
            # Of the whole file now: to write to a mapped page for which there is no room on the disk would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.float32).view(rows, columns)
    except (OSError, AttributeError):  # no room on the disk, or a system that cannot say so: then in memory
        return torch.empty(rows, columns)
