"""From scores to yes and no: how much to smooth a label's scores, and above which score it is on.

Both are learned per label from out-of-fold scores, and then folded into the score itself, so that 0.5 is where a label is on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ModelError
from framewise.core.metrics import f1_of_counts, runs, segment_counts

FloatArray = npt.NDArray[np.float64]

THRESHOLDS = (0.45, 0.5, 0.4, 0.55, 0.35, 0.6, 0.3, 0.65)  # of equally good ones the first is taken
WINDOWS_SECONDS = (0.0, 0.2, 0.4, 0.7, 1.1, 1.6)
LONGEST_SHARE = 0.75  # of a label's median annotated length: a median over more would remove what is sought
RAREST_THRESHOLD, SHARE_WEIGHT = 0.3, 0.4  # of a label that is nearly never on, and what its share of frames adds
PRIOR_VIDEOS = 10  # what is learned from few videos is drawn towards the default, as if so many more had said that
RATIO_WEIGHT = 0.1  # of the logarithm of predicted to annotated segments, beside frame F1 and F1@50
IOU = 0.5
SMOOTHED_ROWS = 8192  # whose windows are in memory at once


@dataclass(frozen=True)
class Decision:
    """Of one label. A score is smoothed by a median over ``window_seconds``; the label is on where it reaches ``threshold``."""

    threshold: float = 0.45
    window_seconds: float = 0.4

    def apply(self, scores: npt.NDArray[Any], frame_rate: float) -> FloatArray:
        """Scores (T,) smoothed, and stretched so that the threshold is at 0.5 and 0 and 1 stay where they are."""
        smooth = smoothed(np.clip(scores.astype(np.float64), 0, 1), self.window_seconds, frame_rate)
        below = 0.5 * smooth / self.threshold
        above = 0.5 + 0.5 * (smooth - self.threshold) / (1 - self.threshold)
        folded: FloatArray = np.where(smooth < self.threshold, below, above)
        return folded

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> "Decision":
        """Raises ModelError for what ``to_json`` did not write."""
        try:
            threshold, window = float(written["threshold"]), float(written["window_seconds"])
        except (KeyError, TypeError, ValueError):
            threshold, window = 0.0, 0.0
        if not (0 < threshold < 1 and 0 <= window < 60):
            raise ModelError(f"expected a decision's threshold and window_seconds, found {written!r}")
        return cls(threshold, window)


def smoothed(scores: FloatArray, window_seconds: float, frame_rate: float) -> FloatArray:
    """Median over a window around each row, (T,); at the ends the first and last row are repeated."""
    radius = round(window_seconds * frame_rate / 2)
    if radius < 1 or len(scores) == 0:
        return scores
    padded = np.pad(scores, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1)
    # In parts: the windows of hours of video would be gigabytes once sorted.
    parts = [np.median(windows[start : start + SMOOTHED_ROWS], axis=1) for start in range(0, len(windows), SMOOTHED_ROWS)]
    return np.concatenate(parts)


def supposed_decision(truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]) -> Decision:
    """What is decided for one label where no out-of-fold scores say better, by its 0/1 truth (T,) in each video.

    A ridge regression draws scores towards a label's share of rows p. If of every difference from it the part s remains, scores
    are (1 - s) p where it is off and (1 - s) p + s where it is on: the middle is s / 2 + (1 - s) p, here with s = 0.6.
    """
    lengths = _lengths(truth, frame_rates)
    if not lengths:
        return Decision()
    share = sum(int(np.sum(y)) for y in truth) / sum(len(y) for y in truth)
    return Decision(
        RAREST_THRESHOLD + SHARE_WEIGHT * share, min(Decision.window_seconds, LONGEST_SHARE * float(np.median(lengths)))
    )


def _lengths(truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float]) -> list[float]:
    """Of all annotated segments of a label, in seconds."""
    return [(stop - start) / rate for y, rate in zip(truth, frame_rates, strict=True) for start, stop in runs(y)]


def choose_decision(
    scores: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float], default: Decision
) -> Decision:
    """The best for one label by out-of-fold scores (T,) and 0/1 truth (T,) of each video."""
    lengths = _lengths(truth, frame_rates)
    if not lengths:
        return default
    longest = LONGEST_SHARE * float(np.median(lengths))
    best, best_value = default, value_of_decision(scores, truth, frame_rates, default)
    for window in (w for w in WINDOWS_SECONDS if w <= longest):
        smooth = [
            smoothed(np.clip(s.astype(np.float64), 0, 1), window, rate) for s, rate in zip(scores, frame_rates, strict=True)
        ]
        for threshold in THRESHOLDS:
            value = _value_of([s >= threshold for s in smooth], truth)
            if value > best_value:
                best, best_value = Decision(threshold, window), value
    share = (videos := sum(bool(y.any()) for y in truth)) / (videos + PRIOR_VIDEOS)
    return Decision(
        share * best.threshold + (1 - share) * default.threshold,
        min(share * best.window_seconds + (1 - share) * default.window_seconds, longest),
    )


def value_of_decision(
    scores: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]], frame_rates: Sequence[float], decision: Decision
) -> float:
    """How good a label's segments are with this decision, by out-of-fold scores (T,) and 0/1 truth (T,) of each video."""
    return _value_of([decision.apply(s, rate) >= 0.5 for s, rate in zip(scores, frame_rates, strict=True)], truth)


def _value_of(found: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]]) -> float:
    """Mean of frame F1 and F1@50 over all videos together, less what too many or too few segments cost."""
    on = np.array([[(y & f).sum(), (~y & f).sum(), (y & ~f).sum()] for y, f in _pairs(truth, found)]).sum(axis=0)
    counts = np.array([[*c.tp, *c.fp, *c.fn] for c in (segment_counts(y, f, [IOU]) for y, f in _pairs(truth, found))])
    tp, fp, fn = counts.sum(axis=0)
    ratio = abs(np.log((tp + fp + 1) / (tp + fn + 1)))
    return float(f1_of_counts(*on) + f1_of_counts(tp, fp, fn)) / 2 - RATIO_WEIGHT * float(ratio)


def _pairs(truth: Sequence[npt.NDArray[Any]], found: Sequence[npt.NDArray[Any]]) -> list[tuple[npt.NDArray[Any], ...]]:
    return [(np.asarray(y).astype(bool), np.asarray(f).astype(bool)) for y, f in zip(truth, found, strict=True)]
