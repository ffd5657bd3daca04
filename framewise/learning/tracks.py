"""Annotated videos as seen by the learners: a few numbers per row, on Label Studio's frame grid.

Shapes: T rows of a video, D features, C components, M motion numbers, L labels. Rows do not contain their position in time.
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

# Names of the kinds of evidence for users, in the order of ``context.blocks``.
SEEN_NAMES, MOTION_NAMES = ("what is seen", "how it changes"), ("how much moves", "in what shape it moves")
BLOCK_NAMES = (*SEEN_NAMES, *MOTION_NAMES)
COMPONENTS = 128
# Components count by the root of their spread: the largest ones describe the scene, and the labelled event is often small. A
# compromise between no scaling and whitening, see docs/decisions/0012.
SPREAD_POWER = 0.5
MAX_BASIS_ROWS = 3000
FAR_OUT = 0.001  # share of a feature's values that count as outliers, at either end
MAX_DEVIATION = 10.0  # standard deviations; values beyond are clipped
MOTION_SIZE = 44  # motion numbers in a row of a track, as made by features/motion.py; 0 for media without motion
MOTION_SECONDS = 8 / 30  # maximum time between the pictures whose difference is motion
READ_ROWS = 1024  # rows of features in memory at once: a video may be hours long
MAPPED_BYTES = 4 << 20  # from this size a track's numbers are kept in a file

Floats = npt.NDArray[np.float32]


class Rows(Protocol):
    """Features of a file, read in parts.

    counts: weights (D,) of features with individual units, which are NaN if unknown; None for features of a common unit, which
    count by their spread.
    Some attributes are optional. pieces: spans [start, stop) of rows of which something is known; others are never read.
    groups: name, columns and default share of each group of features, which is a kind of evidence of its own.
    window_seconds: length of the window that a row describes, in whose middle it stands; 0 for a moment.
    """

    frame_rate: float
    counts: Floats | None

    def __len__(self) -> int: ...

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        """Appearance (len(index), D) and motion (len(index), M) of these rows, in ascending order. Motion is None for media
        without it."""
        ...


def appearance_of(rows: Rows) -> Floats:
    """Appearance of all rows, (T, D)."""
    return rows.read(np.arange(len(rows)))[0]


@dataclass(frozen=True)
class LabelledVideo:
    """An annotated video. frame_labels: 0/1, (T, L), valid where known (T, L) is true. points (T, L): known cells that mark an
    occurrence whose ends are unknown; None if all regions are drawn. group: videos of the same group, such as two tasks with
    one file, are held out together."""

    rows: Rows
    frame_labels: npt.NDArray[np.uint8]
    known: npt.NDArray[np.bool_]
    group: Hashable
    points: npt.NDArray[np.bool_] | None = None


class Part:
    """Rows [start, stop) of other rows."""

    def __init__(self, rows: Rows, start: int, stop: int):
        self.frame_rate, self.counts = rows.frame_rate, rows.counts
        self.groups = getattr(rows, "groups", None)
        self.window_seconds: float = getattr(rows, "window_seconds", 0.0)
        self._rows, self._start, self._stop = rows, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        return self._rows.read(index + self._start)


def spans(rows: Rows) -> list[tuple[int, int]]:
    """[start, stop) of the stretches of known rows, in order: a single one, except for a series with gaps."""
    pieces = getattr(rows, "pieces", None)
    return [(0, len(rows))] if pieces is None else list(pieces)


def stretches(rows: Rows) -> list[Rows]:
    """Rows of each of ``spans``."""
    found = spans(rows)
    return [rows] if found == [(0, len(rows))] else [Part(rows, *span) for span in found]


@dataclass(frozen=True)
class Layout:
    """Several media, or groups of features, in one track. widths: number of components of each, in order. moving: the medium
    with motion, if any. complete: True if all of them are always present. shares: default share of each, used without left-out
    videos; empty if all are equal."""

    widths: tuple[int, ...]
    moving: int | None
    complete: bool = False
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Track:
    """Rows of a video, or a piece of them: components (T, C), motion (T, M), frame_labels (T, L), known (T, L) bool.

    layout: for rows of several media; numbers of a missing medium are NaN. windows: ``Rows.window_seconds`` of each medium;
    empty if all are 0.
    """

    components: Tensor
    motion: Tensor
    frame_rate: float
    frame_labels: Tensor
    known: Tensor
    layout: Layout | None = None
    windows: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.components)

    def cut(self, start: int, stop: int) -> "Track":
        """Rows [start, stop) as a video of its own."""
        part = slice(start, stop)
        labels, known = self.frame_labels[part], self.known[part]
        return Track(self.components[part], self.motion[part], self.frame_rate, labels, known, self.layout, self.windows)


class TrackMaker:
    """Base class of makers of tracks from rows."""

    layout: Layout | None = None

    def apply(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of all rows."""
        raise NotImplementedError

    def windows(self, rows: Any) -> tuple[float, ...]:
        """``Rows.window_seconds`` of each medium."""
        return (getattr(rows, "window_seconds", 0.0),)

    def tracks(self, video: LabelledVideo) -> list[Track]:
        """Tracks of all stretches of a video's rows."""
        found = []
        for rows, (start, stop) in zip(stretches(video.rows), spans(video.rows), strict=True):
            labels = torch.from_numpy(video.frame_labels[start:stop].astype(np.float32))
            known = torch.from_numpy(np.array(video.known[start:stop]))
            found.append(Track(*self.apply(rows), rows.frame_rate, labels, known, self.layout, self.windows(rows)))
        return found

    def unlabelled(self, rows: Rows, num_labels: int) -> Track:
        """Track without annotations."""
        labels, known = torch.zeros(len(rows), num_labels), torch.zeros(len(rows), num_labels, dtype=torch.bool)
        return Track(*self.apply(rows), rows.frame_rate, labels, known, self.layout, self.windows(rows))


@dataclass(frozen=True)
class Basis(TrackMaker):
    """Principal components of the features: mean (D,), projection (D, C), scaled by their spread. scale (D,): for features with
    individual units."""

    mean: Tensor
    projection: Tensor
    scale: Tensor | None = None

    @classmethod
    def fit(cls, videos: Sequence[Rows]) -> Self:
        """Fit to evenly chosen rows of all videos, regardless of labels."""
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
            mean, scale = _clipped_moments(centred)
            centred = _in_deviations(centred, mean, scale) * weights
        # Both products have the same nonzero eigenvalues: use the smaller.
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
        """True if the sizes of the tensors are consistent."""
        size = len(self.mean)
        scaled = self.scale is None or self.scale.shape == (size,)
        return scaled and self.mean.shape == (size,) and self.projection.ndim == 2 and len(self.projection) == size

    def apply(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of a whole video, without loading all of its features at once."""
        components, moved = room(len(rows), self.projection.shape[1]), room(len(rows), MOTION_SIZE)
        for start, features, motion in _in_parts(rows):
            inside = slice(start, start + len(features))
            centred = features - self.mean if self.scale is None else _in_deviations(features, self.mean, self.scale)
            components[inside] = centred @ self.projection
            moved[inside] = 0.0 if motion is None else motion
        # The first pictures have no earlier ones to compare with; their motion would reveal the start of the video.
        first = min(math.ceil(MOTION_SECONDS * rows.frame_rate), len(rows) - 1)
        moved[:first] = moved[first].clone()
        return components, moved


def _clipped_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each of the features (N, D), NaN if unknown, with outliers clipped: a spike must not make
    all other values look the same. A feature that is constant or never known has a deviation of 1."""
    known = (~features.isnan()).sum(0).clamp(min=1)
    ordered, ends = features.sort(0).values, ((known - 1) * FAR_OUT).ceil().long()  # NaN come last
    low, high = (ordered.gather(0, rows.unsqueeze(0))[0] for rows in (ends, known - 1 - ends))
    inside = features.clamp(low, high)
    mean = inside.nansum(0) / known
    deviation = (((inside - mean) ** 2).nansum(0) / known).sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


def _in_deviations(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Deviations (N, D) from the means in standard deviations, clipped at MAX_DEVIATION; 0 if unknown."""
    return ((features - mean) / scale).clamp(-MAX_DEVIATION, MAX_DEVIATION).nan_to_num()


def _in_parts(rows: Rows, step: int = 1) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Yield (index of the first row, appearance (n, D), motion (n, M)) of each part of every ``step``-th row."""
    index = np.arange(0, len(rows), step)
    for start in range(0, len(index), READ_ROWS):
        appearance, motion = rows.read(index[start : start + READ_ROWS])
        yield start, torch.from_numpy(appearance), None if motion is None else torch.from_numpy(motion)


def room(rows: int, columns: int) -> Tensor:
    """Uninitialised tensor (rows, columns). A large one is mapped from an unnamed file that is deleted with it.

    The system can then page it out to disk, because many hours of video are learned from at once.
    """
    size = 4 * rows * columns
    if size < MAPPED_BYTES:
        return torch.empty(rows, columns)
    try:
        with tempfile.TemporaryFile(prefix="framewise-track-") as file:
            # Allocate the whole file now: writing to a mapped page without room on the disk would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.float32).view(rows, columns)
    except (OSError, AttributeError):  # no room on the disk, or no support by the system: use memory
        return torch.empty(rows, columns)
