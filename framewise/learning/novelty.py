"""Novelty detection by appearance: scenes unlike all learned ones, in which no label is predicted.

The appearance of a row differs from the mean of the learned rows by x. The part of x along the directions in which these vary
is explained; the rest is new: x' (I + C / e)^-1 x, where C is their covariance and e a noise. It is measured relative to their
own mean squared distance from the mean. Motion is left out: it is similar in scenes that have nothing else in common.

Source: Hoffmann 2007, "Kernel PCA for novelty detection": a reconstruction error, here with a noise level instead of a number
of components. Measured in docs/decisions/0012.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.core.errors import ModelError, brief
from framewise.learning.context import Around
from framewise.learning.joint import JointBasis, in_groups
from framewise.learning.tracks import READ_ROWS, SPREAD_POWER, Basis, Rows, Track

NOISE = 0.01  # of the variance along the first component
# A scene is new if its unexplained part exceeds both the learned rows' own distance from their mean, and the unexplained part
# of any annotated video given the others: other people and rooms are normal. One or two videos do not show how much others will
# differ: there is no limit then.
LIMIT, MIN_VIDEOS = 1.1, 3
STEP_SECONDS, SCENE_SECONDS = 0.5, 5.0  # between examined rows; on either side of each
MAX_COUNTED = 2.0  # cap of a row's novelty, times the limit: a glimpse of something else, or a dark picture, is not a new scene
STILL = 1e-9  # a spread that counts as zero


@dataclass(frozen=True)
class Novelty:
    """Limit of novelty in one medium. spread: mean squared distance of the learned rows from their mean. limit: a scene is new
    if its novelty, relative to that spread, exceeds this."""

    spread: float
    limit: float

    @classmethod
    def of(cls, basis: Basis, tracks: Sequence[tuple[Tensor, float]], groups: Sequence[Hashable]) -> Self | None:
        """Fit to components (T, C) and frame rate of each track, and the group of its video; None if all rows are alike, or for
        fewer than MIN_VIDEOS videos."""
        whole = _Moments.of(basis, tracks)
        numbers = {name: [n for n, group in enumerate(groups) if group == name] for name in groups}
        if whole.is_still or len(numbers) < MIN_VIDEOS:
            return None
        found = [LIMIT]
        for own in numbers.values():
            others = whole.without(_Moments.of(basis, [tracks[n] for n in own]))
            if not others.is_still:
                found += [float(others.novelty(basis, *tracks[n]).max()) for n in own]
        return cls(float(whole.covariance.trace()), max(found))

    def exceeded(self, basis: Basis, rows: Rows) -> npt.NDArray[np.bool_]:
        """Mask (T,) of rows whose scene is new."""
        step = _step(rows.frame_rate)
        index = np.arange(0, len(rows), step)
        parts = [index[start : start + READ_ROWS] for start in range(0, len(index), READ_ROWS)]
        unexplained = torch.cat([_unexplained(basis, torch.from_numpy(rows.read(p)[0])) for p in parts])
        novelty = (unexplained / self.spread).clamp(max=MAX_COUNTED * self.limit)
        new = _over_scenes(novelty, rows.frame_rate / step) > self.limit
        whole: npt.NDArray[np.bool_] = new.numpy().repeat(step)[: len(rows)]
        return whole

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Load what ``to_json`` wrote. Raises ModelError for anything else."""
        try:
            spread, limit = float(written["spread"]), float(written["limit"])
        except (KeyError, TypeError, ValueError):
            spread = limit = 0.0
        if not (0 < spread < math.inf and 0 < limit < math.inf):
            raise ModelError(f"expected a spread and a limit of novelty, both above 0, found {brief(written)}")
        return cls(spread, limit)


@dataclass(frozen=True)
class _Moments:
    """Number, sum (C,) and products (C, C) of the rows of some tracks, in the coordinates of a basis."""

    number: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, basis: Basis, tracks: Sequence[tuple[Tensor, float]]) -> Self:
        size = basis.projection.shape[1]
        number, total, products = 0, torch.zeros(size).double(), torch.zeros(size, size).double()
        for components, frame_rate in tracks:
            rows = _along(basis, components[:: _step(frame_rate)]).double()
            number, total, products = number + len(rows), total + rows.sum(0), products + rows.T @ rows
        return cls(number, total, products)

    def without(self, some: "_Moments") -> "_Moments":
        return _Moments(self.number - some.number, self.total - some.total, self.products - some.products)

    @cached_property
    def mean(self) -> Tensor:
        return self.total / max(self.number, 1)

    @cached_property
    def covariance(self) -> Tensor:
        return self.products / max(self.number, 1) - torch.outer(self.mean, self.mean)

    @property
    def is_still(self) -> bool:
        return not float(self.covariance.trace()) > STILL

    def novelty(self, basis: Basis, components: Tensor, frame_rate: float) -> Tensor:
        """Novelty (n,) of the scenes of another track."""
        step = _step(frame_rate)
        apart = _along(basis, components[::step]).double() - self.mean
        noise = NOISE * float(torch.linalg.eigvalsh(self.covariance)[-1])
        noisy = self.covariance + noise * torch.eye(len(self.mean)).double()
        new = noise * (apart * torch.linalg.solve(noisy, apart.T).T).sum(1) / self.covariance.trace()
        return _over_scenes(new, frame_rate / step)


def novelties(basis: Basis | JointBasis, tracks: Sequence[Track], groups: Sequence[Hashable]) -> list[Novelty | None]:
    """Limits of all media of the tracks, in order; None for a series, whose features have units of their own."""
    found: list[Novelty | None] = []
    column = 0
    for medium in _media(basis):
        columns = slice(column, column := column + medium.projection.shape[1])
        parts = [(t.components[:, columns], t.frame_rate, g) for t, g in zip(tracks, groups, strict=True)]
        there = [(part, rate, group) for part, rate, group in parts if not part[:1].isnan().any()]
        told = medium.scale is None and there
        found.append(Novelty.of(medium, [p[:2] for p in there], [p[2] for p in there]) if told else None)
    return found


def unlike(basis: Basis | JointBasis, limits: Sequence[Novelty | None], rows: Any) -> npt.NDArray[np.bool_]:
    """Mask (T,) of rows that are new in all present media with a limit; all False if no medium has one."""
    rows = in_groups(rows)
    parts = [p for p, b in zip(rows.parts, basis.bases, strict=True) if b] if isinstance(basis, JointBasis) else [rows]
    told = [(m, n, p) for m, n, p in zip(_media(basis), limits, parts, strict=True) if n is not None and p is not None]
    if not told:
        return np.zeros(len(rows), dtype=bool)
    found: npt.NDArray[np.bool_] = np.all([novelty.exceeded(medium, part) for medium, novelty, part in told], axis=0)
    return found


def read_limits(written: Any, basis: Basis | JointBasis) -> list[Novelty | None] | None:
    """Load the saved limits of each medium; None for a version without them. Raises ModelError for anything else."""
    if written is None:
        return None
    if not isinstance(written, list) or len(written) != len(_media(basis)):
        raise ModelError(f"expected limits of novelty for {len(_media(basis))} media, found {brief(written)}")
    return [None if limit is None else Novelty.from_json(limit) for limit in written]


def _media(basis: Basis | JointBasis) -> list[Basis]:
    return [b for b in basis.bases if b] if isinstance(basis, JointBasis) else [basis]


def _along(basis: Basis, components: Tensor) -> Tensor:
    """Undo the projection's scaling of components (n, C), to lengths along unit directions."""
    lengths: Tensor = components / basis.projection.norm(dim=0)
    return lengths


def _unexplained(basis: Basis, features: Tensor) -> Tensor:
    """Squared length (n,) of the part of features (n, D) not explained by the rows that the basis was fitted to."""
    apart = features - basis.mean
    # Relative to the first component's: components are scaled by a power of its root.
    variance = basis.projection.norm(dim=0) ** (-2 / SPREAD_POWER)
    explained = _along(basis, apart @ basis.projection) ** 2 * variance / (variance + NOISE)
    rest: Tensor = (apart**2).sum(1) - explained.sum(1)
    return rest


def _over_scenes(novelty: Tensor, per_second: float) -> Tensor:
    """Means (n,) over SCENE_SECONDS on either side of each."""
    return Around(novelty.unsqueeze(1), per_second).mean(torch.arange(len(novelty)), SCENE_SECONDS)[:, 0]


def _step(frame_rate: float) -> int:
    return max(1, round(STEP_SECONDS * frame_rate))
