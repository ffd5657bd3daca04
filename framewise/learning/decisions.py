"""Decision thresholds of the labels.

They are learned per label from out-of-fold scores and then folded into the scores, so that a label is on from 0.5. The final
decision also depends on neighbouring rows and on the other labels: see ``chains``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ModelError
from framewise.core.metrics import f1_of_counts, segment_counts
from framewise.learning.chains import Chain, decode
from framewise.learning.instants import Instant

FloatArray = npt.NDArray[np.float64]

THRESHOLDS = (0.45, 0.5, 0.4, 0.55, 0.35, 0.6, 0.3, 0.65)  # of equally good ones the first is taken
# Default threshold: a constant for a label that is almost never on, plus a weight times its share of frames; the lower of the
# two.
COMMON_THRESHOLD, COMMON_SHARE_WEIGHT = 0.3, 0.4
RARE_THRESHOLD, RARE_SHARE_WEIGHT = 0.2, 1.0
PRIOR_VIDEOS = 10  # weight of the default as a prior, in videos
MARGIN = 0.03  # minimum gain over the default for choosing another threshold
RATIO_WEIGHT = 0.1  # of the logarithm of the ratio of predicted to annotated segments, relative to frame F1 and F1@50
IOU = 0.5
BELOW = float(np.nextafter(0.5, 0))  # the highest score of a label that is off


@dataclass(frozen=True)
class Decision:
    """Decision on one label: it is on for scores of at least ``threshold``."""

    threshold: float = 0.45

    def fold(self, scores: npt.NDArray[Any]) -> FloatArray:
        """Rescale scores (T,) so that the threshold becomes 0.5, and 0 and 1 stay the same."""
        inside = np.clip(scores.astype(np.float64), 0, 1)
        below = 0.5 * inside / self.threshold
        above = 0.5 + 0.5 * (inside - self.threshold) / (1 - self.threshold)
        folded: FloatArray = np.where(inside < self.threshold, below, above)
        return folded

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> "Decision":
        """Load what ``to_json`` wrote. Raises ModelError for anything else."""
        try:
            threshold = float(written["threshold"])
        except (KeyError, TypeError, ValueError):
            threshold = 0.0
        if not 0 < threshold < 1:
            raise ModelError(f"expected a decision's threshold between 0 and 1, found {written!r}")
        return cls(threshold)


def decided(
    scores: FloatArray,
    decisions: Sequence[Decision],
    chains: Sequence[Chain],
    instants: Mapping[int, Instant],
    frame_rate: float,
) -> FloatArray:
    """Folded scores (T, L), at least 0.5 exactly where a label is on in the most probable sequence, or at an instant."""
    folded = np.stack([decision.fold(scores[:, column]) for column, decision in enumerate(decisions)], axis=1)
    on = decode(chains, _above(scores, [decision.threshold for decision in decisions]), frame_rate)
    found: FloatArray = np.where(on, np.maximum(folded, 0.5), np.minimum(folded, BELOW))
    for column, instant in instants.items():
        found[:, column] = instant.decided(scores[:, column], frame_rate)
    return found


def _above(scores: npt.NDArray[Any], thresholds: Sequence[float]) -> FloatArray:
    above: FloatArray = np.clip(scores.astype(np.float64), 0, 1) - np.asarray(thresholds)
    return above


def supposed_decision(truth: Sequence[npt.NDArray[Any]]) -> Decision:
    """Default decision for one label without out-of-fold scores, from its 0/1 truth in the known rows of each video.

    A ridge regression shrinks scores towards a label's share of rows p. If a fraction s of each difference from p remains,
    scores are (1 - s) p where it is off and (1 - s) p + s where it is on: the middle is s / 2 + (1 - s) p, here with s = 0.6.
    For a rare label less remains, because it looks different in new videos than in all annotated ones.
    """
    on = sum(int(np.sum(y)) for y in truth)
    if not on:
        return Decision()
    share = on / sum(len(y) for y in truth)
    return Decision(min(COMMON_THRESHOLD + COMMON_SHARE_WEIGHT * share, RARE_THRESHOLD + RARE_SHARE_WEIGHT * share))


def choose_decision(
    scores: Sequence[npt.NDArray[Any]],
    truth: Sequence[npt.NDArray[Any]],
    known: Sequence[npt.NDArray[np.bool_]],
    frame_rates: Sequence[float],
    default: Decision,
) -> Decision:
    """Best decision for one label by out-of-fold scores (T,) and 0/1 truth (T,) of each video, where known (T,) is true."""
    videos = sum(bool(y.any()) for y in truth)
    if not videos:
        return default
    chain = Chain.of([0], [y[:, None] for y in truth], [k[:, None] for k in known], frame_rates)
    values = {t: _value_with(chain, scores, truth, known, frame_rates, t) for t in (*THRESHOLDS, default.threshold)}
    best = max(THRESHOLDS, key=lambda threshold: values[threshold])
    if values[best] <= values[default.threshold] + MARGIN:
        return default
    share = videos / (videos + PRIOR_VIDEOS)
    return Decision(share * best + (1 - share) * default.threshold)


def _value_with(
    chain: Chain,
    scores: Sequence[npt.NDArray[Any]],
    truth: Sequence[npt.NDArray[Any]],
    known: Sequence[npt.NDArray[np.bool_]],
    frame_rates: Sequence[float],
    threshold: float,
) -> float:
    above = [_above(s[:, None], [threshold]) for s in scores]
    found = [chain.decode(a, rate)[:, 0] & k for a, k, rate in zip(above, known, frame_rates, strict=True)]
    return _value_of(found, truth)


def _value_of(found: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]]) -> float:
    """Mean of frame F1 and F1@50 pooled over all videos, minus a penalty for too many or too few segments."""
    on = np.array([[(y & f).sum(), (~y & f).sum(), (y & ~f).sum()] for y, f in _pairs(truth, found)]).sum(axis=0)
    counts = np.array([[*c.tp, *c.fp, *c.fn] for c in (segment_counts(y, f, [IOU]) for y, f in _pairs(truth, found))])
    tp, fp, fn = counts.sum(axis=0)
    ratio = abs(np.log((tp + fp + 1) / (tp + fn + 1)))
    return float(f1_of_counts(*on) + f1_of_counts(tp, fp, fn)) / 2 - RATIO_WEIGHT * float(ratio)


def _pairs(truth: Sequence[npt.NDArray[Any]], found: Sequence[npt.NDArray[Any]]) -> list[tuple[npt.NDArray[Any], ...]]:
    return [(np.asarray(y).astype(bool), np.asarray(f).astype(bool)) for y, f in zip(truth, found, strict=True)]
