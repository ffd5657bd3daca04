"""From scores to yes and no: above which score each label speaks for itself.

Learned per label from out-of-fold scores, and then folded into the score itself, so that 0.5 is where a label is on. Where it
is on in the end also depends on its neighbours in time and on the other labels: see ``chains``.
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
# Of a label that is nearly never on, and what its share of frames adds; the lower of the two counts.
COMMON_THRESHOLD, COMMON_SHARE_WEIGHT = 0.3, 0.4
RARE_THRESHOLD, RARE_SHARE_WEIGHT = 0.2, 1.0
PRIOR_VIDEOS = 10  # what is learned from few videos is drawn towards the default, as if so many more had said that
MARGIN = 0.03  # by which another threshold than the default must be better
RATIO_WEIGHT = 0.1  # of the logarithm of predicted to annotated segments, beside frame F1 and F1@50
IOU = 0.5
BELOW = float(np.nextafter(0.5, 0))  # the highest score of what is not on


@dataclass(frozen=True)
class Decision:
    """Decision on one label: scores from ``threshold`` on say that it is on."""

    threshold: float = 0.45

    def fold(self, scores: npt.NDArray[Any]) -> FloatArray:
        """Scores (T,) stretched so that the threshold is at 0.5 and 0 and 1 stay where they are."""
        inside = np.clip(scores.astype(np.float64), 0, 1)
        below = 0.5 * inside / self.threshold
        above = 0.5 + 0.5 * (inside - self.threshold) / (1 - self.threshold)
        folded: FloatArray = np.where(inside < self.threshold, below, above)
        return folded

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> "Decision":
        """Raises ModelError for what ``to_json`` did not write."""
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
    """Folded scores (T, L), at least 0.5 where a label is on in the most probable course, or has an instant, and below where it
    is not."""
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
    """The decision of one label where no out-of-fold scores say better, by its 0/1 truth in the known rows of each video.

    A ridge regression draws scores towards a label's share of rows p. If of every difference from it the part s remains, scores
    are (1 - s) p where it is off and (1 - s) p + s where it is on: the middle is s / 2 + (1 - s) p, here with s = 0.6. Less
    remains of a rare label, which new videos show in ways that no annotated one does.
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
    """The best for one label by out-of-fold scores (T,) and 0/1 truth (T,) of each video, where known (T,) is true."""
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
    """Mean of frame F1 and F1@50 over all videos together, less what too many or too few segments cost."""
    on = np.array([[(y & f).sum(), (~y & f).sum(), (y & ~f).sum()] for y, f in _pairs(truth, found)]).sum(axis=0)
    counts = np.array([[*c.tp, *c.fp, *c.fn] for c in (segment_counts(y, f, [IOU]) for y, f in _pairs(truth, found))])
    tp, fp, fn = counts.sum(axis=0)
    ratio = abs(np.log((tp + fp + 1) / (tp + fn + 1)))
    return float(f1_of_counts(*on) + f1_of_counts(tp, fp, fn)) / 2 - RATIO_WEIGHT * float(ratio)


def _pairs(truth: Sequence[npt.NDArray[Any]], found: Sequence[npt.NDArray[Any]]) -> list[tuple[npt.NDArray[Any], ...]]:
    return [(np.asarray(y).astype(bool), np.asarray(f).astype(bool)) for y, f in zip(truth, found, strict=True)]
