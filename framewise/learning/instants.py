"""Instant labels: touches, cuts, hits, foot strikes. They last a frame or two, and are found as peaks of a score.

For other labels, learning uses every third row, because neighbours are nearly the same. For an instant it uses all rows around
it, and widens the label a little, because neighbouring rows look like it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from framewise.core.errors import ModelError, brief
from framewise.core.metrics import f1_of_counts, runs
from framewise.learning.tracks import Track

FloatArray = npt.NDArray[np.float64]

LONGEST_SECONDS = 0.1  # maximum median length of an instant label: the step between learned rows
WIDER_SECONDS = 0.05  # widening on either side for learning
BESIDE = 0.3  # target score of the widened rows; less than the instant's own, so that the peak is on it
NEAR_SECONDS = 0.3  # on either side, within which learning uses all rows
APART_SECONDS = 0.25  # minimum distance of two instants, unless annotated ones are closer
THRESHOLDS = (0.3, 0.35, 0.25, 0.4, 0.2, 0.45, 0.5)  # of equally good ones the first is taken
TOLERANCE_SECONDS = 0.07  # for choosing the threshold: a found instant within this distance is correct
PRIOR_INSTANTS = 10  # weight of the first threshold as a prior, in instants


def instant_labels(truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]) -> list[int]:
    """Columns of instant labels, from the truth (T, L) of each video."""
    found = []
    for column in range(truth[0].shape[1]):
        seconds = [
            float(stop - start) / r for y, r in zip(truth, frame_rates, strict=True) for start, stop in runs(y[:, column])
        ]
        longest = max(LONGEST_SECONDS, 1 / min(frame_rates))
        if seconds and float(np.median(seconds)) <= longest + 1e-9:
            found.append(column)
    return found


@dataclass(frozen=True)
class Instant:
    """Decision on an instant label: peaks of at least ``threshold``, ``apart_seconds`` apart. seconds: their duration."""

    threshold: float
    apart_seconds: float
    seconds: float

    @classmethod
    def supposed(cls, truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]) -> Self:
        """Default decision from the 0/1 truth (T,) of each video."""
        lengths, gaps = [], [2 * APART_SECONDS]
        for y, rate in zip(truth, frame_rates, strict=True):
            found = runs(y)
            lengths += [float(stop - start) / rate for start, stop in found]
            gaps += [float(gap) / rate for gap in np.diff(found.mean(axis=1))]
        return cls(THRESHOLDS[0], min(gaps) / 2, float(np.median(lengths)))

    def chosen(
        self, scores: Sequence[FloatArray], truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]
    ) -> "Instant":
        """Decision with the threshold of the best F1 on out-of-fold scores (T,)."""
        total = sum(len(runs(y)) for y in truth)
        values = {t: _value(replace(self, threshold=t), scores, truth, frame_rates) for t in THRESHOLDS}
        best = max(THRESHOLDS, key=lambda threshold: values[threshold])
        share = total / (total + PRIOR_INSTANTS)
        return replace(self, threshold=share * best + (1 - share) * self.threshold)

    def peaks(self, scores: FloatArray, frame_rate: float) -> npt.NDArray[np.int64]:
        """Rows (P,) at which scores (T,) peak."""
        radius = max(1, math.ceil(self.apart_seconds * frame_rate) - 1)
        line = torch.from_numpy(np.ascontiguousarray(scores)).view(1, 1, -1)
        highest = max_pool1d(line, 2 * radius + 1, stride=1, padding=radius)[0, 0].numpy()
        found: list[int] = []
        for row in np.flatnonzero((scores >= highest) & (scores >= self.threshold)).tolist():
            if not found or row - found[-1] > radius:  # the first row of a plateau
                found.append(row)
        return np.array(found, dtype=np.int64)

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Load what ``to_json`` wrote. Raises ModelError for anything else."""
        try:
            threshold, apart, seconds = (float(written[name]) for name in ("threshold", "apart_seconds", "seconds"))
        except (KeyError, TypeError, ValueError):
            threshold = apart = seconds = 0.0
        if not (0 < threshold < 1 and 0 <= apart < math.inf and 0 < seconds < math.inf):
            raise ModelError(f"expected an instant's threshold between 0 and 1, and its seconds, found {brief(written)}")
        return cls(threshold, apart, seconds)

    def decided(self, scores: FloatArray, frame_rate: float) -> FloatArray:
        """Scores (T,) in [0, 1], at least 0.5 at instants and below 0.5 elsewhere."""
        peaks = self.peaks(scores, frame_rate)
        found: FloatArray = np.minimum(0.5 * scores / self.threshold, np.nextafter(0.5, 0))
        rows = max(1, round(self.seconds * frame_rate))
        for peak in peaks.tolist():
            first = peak - (rows - 1) // 2
            found[max(0, first) : first + rows] = 0.5 + 0.5 * (scores[peak] - self.threshold) / (1 - self.threshold)
        return found


def _value(
    instant: Instant, scores: Sequence[FloatArray], truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]
) -> float:
    """F1 of found instants within the tolerance; each true one counts once."""
    hits = found = true = 0
    for s, y, rate in zip(scores, truth, frame_rates, strict=True):
        peaks, middles = instant.peaks(s, rate), (runs(y).sum(axis=1) - 1) / 2
        near = np.abs(peaks[:, None] - middles) <= TOLERANCE_SECONDS * rate
        hits += int(min(near.any(axis=0).sum(), near.any(axis=1).sum()))
        found, true = found + len(peaks), true + len(middles)
    return float(np.nan_to_num(f1_of_counts(hits, found - hits, true - hits)))


def widened(track: Track, columns: Sequence[int]) -> Track:
    """Track with some labels widened on either side."""
    radius = max(1, math.floor(WIDER_SECONDS * track.frame_rate))
    labels = track.frame_labels.clone()
    known = (labels * track.known)[:, list(columns)]
    labels[:, list(columns)] = torch.maximum(labels[:, list(columns)], BESIDE * _spread(known, radius))
    return replace(track, frame_labels=labels)


def near_instants(track: Track, columns: Sequence[int]) -> Tensor:
    """Mask (T,) of rows near an instant of some labels."""
    near = _spread((track.frame_labels * track.known)[:, list(columns)], max(1, round(NEAR_SECONDS * track.frame_rate)))
    return near.any(1)


def _spread(on: Tensor, radius: int) -> Tensor:
    """Maximum (T, N) over ``radius`` rows on either side."""
    if not on.numel():
        return on
    wide: Tensor = max_pool1d(on.T.unsqueeze(1), 2 * radius + 1, stride=1, padding=radius)[:, 0].T
    return wide
