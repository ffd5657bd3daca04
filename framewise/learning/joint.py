"""Several media of a sync group, or groups of features, as one track: each has its own components, and media may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.core.errors import ModelError
from framewise.learning.tracks import MOTION_NAMES, MOTION_SIZE, Basis, Floats, Layout, Part, Rows, TrackMaker, room


class JointRows:
    """Rows of several media on one grid, limited to the first ``number``: nothing is predicted beyond the shortest medium.

    parts: in the order of the group's media; None if the task lacks one. moving: the medium with motion. names: of the parts,
    for users. shares: default shares of groups of features, none of which can be missing. counts: None, each part has its own.
    """

    counts: Floats | None = None

    def __init__(
        self,
        parts: Sequence[Rows | None],
        number: int,
        frame_rate: float,
        moving: int | None,
        names: Sequence[str] = (),
        shares: Sequence[float] = (),
    ):
        if all(part is None for part in parts) or number < 1:
            raise ValueError("expected at least one medium, and a row")
        self.parts = [None if part is None else Part(part, 0, number) for part in parts]
        self.frame_rate, self.moving = frame_rate, moving
        self.names = list(names) or [f"medium {number}" for number in range(1, len(parts) + 1)]
        self.shares = tuple(shares)
        self._number = number

    def __len__(self) -> int:
        return self._number

    def first(self, number: int) -> "JointRows":
        return JointRows(self.parts, number, self.frame_rate, self.moving, self.names, self.shares)

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        """Read the present media, concatenated, and the motion of the medium that has it."""
        read = [None if part is None else part.read(index) for part in self.parts]
        moving = None if self.moving is None else read[self.moving]
        return np.concatenate([part[0] for part in read if part is not None], axis=1), moving[1] if moving else None


def parts_of(rows: Rows | None, number: int) -> Sequence[Rows | None]:
    """The ``number`` parts of a medium's rows, all None if a task lacks the medium."""
    if rows is None:
        return [None] * number
    return rows.parts if isinstance(rows, JointRows) else [rows]


class Columns:
    """A group of features of other rows, without motion."""

    def __init__(self, rows: Rows, columns: slice):
        self.frame_rate = rows.frame_rate
        self.counts: Floats | None = np.ones(columns.stop - columns.start, np.float32)
        self._rows, self._columns = rows, columns

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: npt.NDArray[np.int64]) -> tuple[Floats, None]:
        return self._rows.read(index)[0][:, self._columns], None


def in_groups(rows: Rows) -> Rows:
    """Convert rows with groups of features to rows of several media that are always present; others are unchanged."""
    groups: Sequence[tuple[str, slice, float]] | None = getattr(rows, "groups", None)
    if not groups:
        return rows
    names, columns, shares = zip(*groups, strict=True)
    return JointRows([Columns(rows, own) for own in columns], len(rows), rows.frame_rate, None, names, shares)


@dataclass(frozen=True)
class JointBasis(TrackMaker):
    """Basis of each medium; None if no annotated task had the medium, which is then ignored. moving, complete, shares: see
    ``Layout``. names: of the media, for users."""

    bases: tuple[Basis | None, ...]
    moving: int | None
    names: tuple[str, ...]
    complete: bool = False
    shares: tuple[float, ...] = ()

    @classmethod
    def fit(cls, videos: Sequence[JointRows]) -> Self:
        """Fit the basis of each medium to the tasks that have it, regardless of labels."""
        media = range(len(videos[0].parts))
        there = [[part for v in videos if (part := v.parts[medium]) is not None] for medium in media]
        bases = tuple(Basis.fit(parts) if parts else None for parts in there)
        moving = videos[0].moving
        moves = moving if moving is not None and bases[moving] else None
        return cls(bases, moves, tuple(videos[0].names), bool(videos[0].shares), videos[0].shares)

    @cached_property
    def layout(self) -> Layout:  # type: ignore[override]
        used = [number for number, basis in enumerate(self.bases) if basis]
        widths = tuple(basis.projection.shape[1] for basis in self.bases if basis)
        return Layout(widths, None if self.moving is None else used.index(self.moving), self.complete, self.shares)

    def windows(self, rows: Any) -> tuple[float, ...]:
        parts: Sequence[Rows | None] = getattr(in_groups(rows), "parts", ())
        return tuple(getattr(part, "window_seconds", 0.0) for part, basis in zip(parts, self.bases, strict=True) if basis)

    def apply(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Components (T, C), medium by medium, and motion (T, M); NaN for missing media."""
        rows = in_groups(rows)
        if not isinstance(rows, JointRows) or len(rows.parts) != len(self.bases):
            raise ModelError(f"the version learned from {len(self.bases)} media that play in sync, but the task has others")
        components, motion = room(len(rows), sum(self.layout.widths)), room(len(rows), MOTION_SIZE)
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
        return {"media": len(self.bases), "moving": self.moving, "names": list(self.names), "complete": self.complete}

    def block_names(self) -> list[str]:
        """Names like ``tracks.BLOCK_NAMES``, medium by medium."""
        names = [name for name, basis in zip(self.names, self.bases, strict=True) if basis]
        return [told for name in names for told in (name, f"changes of {name}")] + list(MOTION_NAMES)

    def fits_together(self) -> bool:
        moving = self.moving is None or (0 <= self.moving < len(self.bases) and self.bases[self.moving] is not None)
        return (
            moving
            and len(self.names) == len(self.bases)
            and any(self.bases)
            and all(basis.fits_together() for basis in self.bases if basis)
        )


def fit_basis(rows: Sequence[Rows]) -> Basis | JointBasis:
    """Fit the basis of a single medium or of a sync group."""
    joint = [r for r in map(in_groups, rows) if isinstance(r, JointRows)]
    return JointBasis.fit(joint) if joint else Basis.fit(rows)


def read_basis(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Basis | JointBasis:
    """Load a saved basis. Raises KeyError, ValueError or TypeError for anything else."""
    if "media" not in description:
        return _read_basis("basis", tensors)
    bases: list[Basis | None] = []
    for number in range(int(description["media"])):
        name = f"basis.{number}"
        bases.append(_read_basis(name, tensors) if f"{name}.mean" in tensors else None)
    moving, numbers = description["moving"], range(1, len(bases) + 1)
    # Earlier versions do not have these.
    names = tuple(str(name) for name in description.get("names", [f"medium {number}" for number in numbers]))
    return JointBasis(tuple(bases), None if moving is None else int(moving), names, bool(description.get("complete", False)))


def _read_basis(name: str, tensors: Mapping[str, Tensor]) -> Basis:
    return Basis(tensors[f"{name}.mean"], tensors[f"{name}.projection"], tensors.get(f"{name}.scale"))
