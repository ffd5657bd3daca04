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

COMPONENTS = 128
# Components count by the root of their spread: the largest of them are about the scene, and what is labelled is often small.
# Between none of it and all of it (whitening), see docs/decisions/0012.
SPREAD_POWER = 0.5
MAX_BASIS_ROWS = 3000
MOTION_SECONDS = 8 / 30  # between the pictures whose difference is motion, at most
READ_ROWS = 1024  # of features in memory at once: a video may be hours long
MAPPED_BYTES = 4 << 20  # from which on a track's numbers lie in a file


class Rows(Protocol):
    """A video's features, read in parts. ``motion_size`` of the last columns are motion, the others the backbone's."""

    frame_rate: float
    motion_size: int

    def __len__(self) -> int: ...

    def read(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(len(index), D) of these rows, in ascending order."""
        ...


@dataclass(frozen=True)
class LabelledVideo:
    """frame_labels: 0/1, (T, L). taught (L,): False for a label that the annotation says nothing of. group: videos of the same
    group, such as two tasks with one file, are one."""

    rows: Rows
    frame_labels: npt.NDArray[np.uint8]
    taught: npt.NDArray[np.bool_]
    group: Hashable


@dataclass(frozen=True)
class Layout:
    """Several media in one track. widths: components of each, one after the other. moving: the medium that motion is of, if any
    is."""

    widths: tuple[int, ...]
    moving: int | None


@dataclass(frozen=True)
class Track:
    """A video's rows, or a piece of them: components (T, C), motion (T, M), frame_labels (T, L), taught (L,).

    layout: where the rows are of several media; then what a medium that is missing would say is NaN.
    """

    components: Tensor
    motion: Tensor
    frame_rate: float
    frame_labels: Tensor
    taught: Tensor
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.components)

    def cut(self, start: int, stop: int) -> "Track":
        """Rows [start, stop) as a video of its own."""
        part = slice(start, stop)
        labels = self.frame_labels[part]
        return Track(self.components[part], self.motion[part], self.frame_rate, labels, self.taught, self.layout)


class TrackMaker:
    """What makes tracks of rows."""

    layout: Layout | None = None

    def apply(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of all rows."""
        raise NotImplementedError

    def track(self, video: LabelledVideo) -> Track:
        components, motion = self.apply(video.rows)
        labels = torch.from_numpy(video.frame_labels.astype(np.float32))
        taught = torch.from_numpy(np.asarray(video.taught))
        return Track(components, motion, video.rows.frame_rate, labels, taught, self.layout)

    def unlabelled(self, rows: Rows, num_labels: int) -> Track:
        """A track of which nothing is known."""
        components, motion = self.apply(rows)
        labels, taught = torch.zeros(len(rows), num_labels), torch.zeros(num_labels, dtype=torch.bool)
        return Track(components, motion, rows.frame_rate, labels, taught, self.layout)


@dataclass(frozen=True)
class Basis(TrackMaker):
    """Principal components of the backbone's features: mean (D,), projection (D, C), scaled by their spread."""

    mean: Tensor
    projection: Tensor

    @classmethod
    def fit(cls, videos: Sequence[Rows]) -> Self:
        """From evenly chosen rows of all videos; labels play no part."""
        step = max(1, math.ceil(sum(len(rows) for rows in videos) / MAX_BASIS_ROWS))
        chosen = [part[:, : -rows.motion_size].double() for rows in videos for _, part in _in_parts(rows, step)]
        centred = torch.cat(chosen)
        del chosen
        mean = centred.mean(0)
        centred -= mean
        # The smaller of the two products has the same eigenvalues.
        if len(centred) < centred.shape[1]:
            values, vectors = torch.linalg.eigh(centred @ centred.T)
            directions = centred.T @ vectors / values.clamp(min=1e-12).sqrt()
        else:
            values, directions = torch.linalg.eigh(centred.T @ centred)
        values, directions = values.flip(0)[:COMPONENTS].clamp(min=0), directions.flip(1)[:, :COMPONENTS]
        kept = values > values[0] * 1e-7
        spread = (values[kept] / values[0].clamp(min=1e-12)).sqrt()
        return cls(mean.float(), (directions[:, kept] * spread**-SPREAD_POWER).float())

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "projection": self.projection}

    def description(self) -> dict[str, Any]:
        return {}

    def fits_together(self) -> bool:
        """Whether the sizes of the tensors are those of one basis."""
        size = len(self.mean)
        return self.mean.shape == (size,) and self.projection.ndim == 2 and len(self.projection) == size

    def apply(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Components (T, C) and motion (T, M) of a whole video, whose features are never in memory as a whole."""
        components, moved = room(len(rows), self.projection.shape[1]), room(len(rows), rows.motion_size)
        for start, part in _in_parts(rows):
            inside = slice(start, start + len(part))
            components[inside] = (part[:, : -rows.motion_size] - self.mean) @ self.projection
            moved[inside] = part[:, -rows.motion_size :]
        # A video's first pictures have none as much earlier to compare with, which would tell where a video begins.
        first = min(math.ceil(MOTION_SECONDS * rows.frame_rate), len(rows) - 1)
        moved[:first] = moved[first].clone()
        return components, moved


def _in_parts(rows: Rows, step: int = 1) -> Iterator[tuple[int, Tensor]]:
    """Index of the first row and rows (n, D), each ``step``-th, of one part after the other."""
    index = np.arange(0, len(rows), step)
    for start in range(0, len(index), READ_ROWS):
        yield start, torch.from_numpy(rows.read(index[start : start + READ_ROWS]))


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
