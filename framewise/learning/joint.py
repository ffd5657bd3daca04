"""Several media that play in sync as one track: each with components of its own, and without what a task lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.core.errors import ModelError
from framewise.learning.tracks import MOTION_NAMES, SEEN_NAMES, Basis, Layout, Part, Rows, TrackMaker, room


class JointRows:
    """Rows of several media on one grid, of which the first ``number`` count: what is beyond the shortest is not claimed.

    parts: in the order of the group's media; None for one that the task does not have. moving: the medium that has motion.
    counts: each part has its own.
    """

    counts: npt.NDArray[np.float32] | None = None

    def __init__(self, parts: Sequence[Rows | None], number: int, frame_rate: float, moving: int | None):
        there = [part for part in parts if part is not None]
        if not there or number < 1:
            raise ValueError("expected at least one medium, and a row")
        self.parts = [None if part is None else Part(part, 0, number) for part in parts]
        self.frame_rate, self.moving, self.motion_size = frame_rate, moving, there[0].motion_size
        self._number = number

    def __len__(self) -> int:
        return self._number

    def first(self, number: int) -> "JointRows":
        return JointRows(self.parts, number, self.frame_rate, self.moving)

    def read(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Of the media that are there, one after the other; the motion last."""
        read = [part.read(index) for part in self.parts if part is not None]
        moving = None if self.moving is None else self.parts[self.moving]
        motion = np.zeros((len(index), self.motion_size), np.float32) if moving is None else moving.read(index)
        return np.concatenate([*(r[:, : -self.motion_size] for r in read), motion[:, -self.motion_size :]], axis=1)


@dataclass(frozen=True)
class JointBasis(TrackMaker):
    """A basis for each medium, None for one that no annotated task had: what it says is not used. moving: see ``Layout``."""

    bases: tuple[Basis | None, ...]
    moving: int | None

    @classmethod
    def fit(cls, videos: Sequence[JointRows]) -> Self:
        """Each medium's from the tasks that have it; labels play no part."""
        media = range(len(videos[0].parts))
        there = [[part for v in videos if (part := v.parts[medium]) is not None] for medium in media]
        bases = tuple(Basis.fit(parts) if parts else None for parts in there)
        moving = videos[0].moving
        return cls(bases, moving if moving is not None and bases[moving] else None)

    @cached_property
    def layout(self) -> Layout:  # type: ignore[override]
        used = [number for number, basis in enumerate(self.bases) if basis]
        widths = tuple(basis.projection.shape[1] for basis in self.bases if basis)
        return Layout(widths, None if self.moving is None else used.index(self.moving))

    def apply(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Components (T, C), medium by medium, and motion (T, M); NaN of what is missing."""
        if not isinstance(rows, JointRows) or len(rows.parts) != len(self.bases):
            raise ModelError(f"the version learned from {len(self.bases)} media that play in sync, and is asked about others")
        components, motion = room(len(rows), sum(self.layout.widths)), room(len(rows), rows.motion_size)
        motion.fill_(0.0 if self.moving is None else torch.nan)
        column = 0
        for number, (basis, part) in enumerate(zip(self.bases, rows.parts, strict=True)):
            if not basis:
                continue
            columns = slice(column, column := column + basis.projection.shape[1])
            if part is None:
                components[:, columns] = torch.nan
                continue
            components[:, columns], moved = basis.apply(part)
            if number == self.moving:
                motion[:] = moved
        return components, motion

    def tensors(self) -> dict[str, Tensor]:
        named = [(number, basis) for number, basis in enumerate(self.bases) if basis]
        return {f"{number}.{name}": tensor for number, basis in named for name, tensor in basis.tensors().items()}

    def description(self) -> dict[str, Any]:
        return {"media": len(self.bases), "moving": self.moving}

    def block_names(self) -> list[str]:
        """As ``tracks.BLOCK_NAMES``, by the numbers of the media."""
        media = [number for number, basis in enumerate(self.bases) if basis]
        return [f"{name} in medium {number + 1}" for number in media for name in SEEN_NAMES] + list(MOTION_NAMES)

    def fits_together(self) -> bool:
        moving = self.moving is None or (0 <= self.moving < len(self.bases) and self.bases[self.moving] is not None)
        return moving and any(self.bases) and all(basis.fits_together() for basis in self.bases if basis)


def fit_basis(rows: Sequence[Rows]) -> Basis | JointBasis:
    """Of a single medium, or of the media of a sync group."""
    joint = [r for r in rows if isinstance(r, JointRows)]
    return JointBasis.fit(joint) if joint else Basis.fit(rows)


def read_basis(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Basis | JointBasis:
    """What was saved. Raises KeyError, ValueError or TypeError for something else."""
    if "media" not in description:
        return _read_basis("basis", tensors)
    bases: list[Basis | None] = []
    for number in range(int(description["media"])):
        name = f"basis.{number}"
        bases.append(_read_basis(name, tensors) if f"{name}.mean" in tensors else None)
    moving = description["moving"]
    return JointBasis(tuple(bases), None if moving is None else int(moving))


def _read_basis(name: str, tensors: Mapping[str, Tensor]) -> Basis:
    return Basis(tensors[f"{name}.mean"], tensors[f"{name}.projection"], tensors.get(f"{name}.scale"))
