"""Quality of a control's predictions on videos that it did not learn from, as shown to users.

Everything here is about out-of-fold predictions: those of each video come from a learner that learned from other videos.
"""

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.core.metrics import average_precision, f1_of_counts, segment_counts

IOU_THRESHOLDS = (0.1, 0.25, 0.5)
F1S = ("f1", *(f"f1@{round(100 * threshold)}" for threshold in IOU_THRESHOLDS))
WITH_INTERVAL = ("f1", "f1@50")
BINS = 5
# Explanation for users of a label without scores.
UNMEASURED = "all marks of this label were held out at once, so it cannot be measured; mark it in another video"

RESAMPLES = 1000
SEED = 20
LEVEL = 0.9
DIFFERENCE_LEVEL = 0.95  # for comparing two versions: that happens after every training, each time with a chance of error
MIN_VIDEOS = 3  # fewer do not show how much videos differ
# Prior on how much videos differ, with the weight of two more videos: a quarter of the largest possible variance. Chosen by
# simulation of learners with three to thirty videos: 83 to 98 % of the intervals held the true score. If one video in seven
# fails altogether, which a few videos cannot show, it was two in three at worst.
PRIOR_VIDEOS = 2
PRIOR_SHARE = 0.25

Counts = npt.NDArray[np.float64]  # (..., L, F1S, 3): true positives, false positives, false negatives
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Scores in [0, 1]; NaN if undefined.

    method, weak: of the folds, as in ``Folds``.
    videos:       number of different videos that were scored.
    mean:         of F1S and average precision, over the labels that occur in the annotations and can be measured.
    interval:     (low, high) that contains the mean on many other videos in about nine cases of ten; NaN if ``weak``, or for
                  fewer than three videos.
    labels:       the same scores of each label, frame precision and recall, numbers of segments, and number of videos that
                  have it. Scores are NaN if all its segments were held out at once.
    reliability:  result of ``reliability``.
    """

    method: str
    weak: bool
    videos: int
    mean: dict[str, float]
    interval: dict[str, tuple[float, float]]
    labels: dict[str, dict[str, float]]
    reliability: list[tuple[float, float, int]]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON types: NaN becomes None, scores have four digits."""
        written: dict[str, Any] = _plain(vars(self))
        return written


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def measure(
    truth: Sequence[npt.NDArray[Any]],
    scores: Sequence[npt.NDArray[Any]],
    found: Sequence[npt.NDArray[Any]],
    labels: Sequence[str],
    method: str,
    weak: bool,
    known: Sequence[npt.NDArray[np.bool_]],
    regions: Sequence[tuple[float, bool]] = (),
    groups: Sequence[Hashable] | None = None,
    kept: float = 1.0,
    learned: float = 1.0,
    unmeasured: Collection[int] = (),
) -> Quality:
    """Measure the quality of out-of-fold predictions of V videos; columns are in the order of ``labels``.

    truth, found: 0/1, (T_i, L) each. found: the frames of the predicted segments.
    scores:       (T_i, L) each, any monotone score of a frame.
    known:        (T_i, L) each; cells that are false are ignored everywhere.
    regions:      predicted regions, as for ``reliability``.
    groups:       of each video; a group has the same content and counts as one video in the interval. None: all differ.
    kept, learned: of ``Folds``.
    unmeasured:   columns whose scores are meaningless: they are NaN, and not part of the mean.

    Frames and segments are pooled over the videos. Raises ValueError if the sequences differ in length.
    """
    names = list(range(len(truth))) if groups is None else list(groups)
    counts = counts_by_video(truth, found, known, names, len(labels))
    pooled = counts.sum(axis=0)
    measured = counts.copy()
    measured[:, list(unmeasured)] = 0
    table = np.column_stack([f1_of_counts(*np.moveaxis(pooled, -1, 0)), _precisions(truth, scores, known, len(labels))])
    columns = (*F1S, "average_precision")
    table[list(unmeasured)] = np.nan
    occurs = (measured[..., 0, 0] + measured[..., 0, 2] > 0).any(axis=0)
    means = table[occurs].mean(axis=0) if occurs.any() else np.full(len(columns), np.nan)
    intervals = [(math.nan, math.nan)] * len(F1S) if weak else mean_f1_intervals(measured, kept, learned)
    per_label = {}
    for column, label in enumerate(labels):
        tp, fp, fn = pooled[column, -1].astype(int).tolist()
        numbers = {"true_segments": tp + fn, "predicted_segments": tp + fp, "true_videos": _videos_with(counts[:, column])}
        frames = np.zeros(3) if column in unmeasured else pooled[column, 0]
        per_label[label] = _row(columns, table[column]) | _precision_recall(frames) | numbers
    return Quality(
        method,
        weak,
        len(counts),
        _row(columns, means),
        {name: intervals[F1S.index(name)] for name in WITH_INTERVAL},
        per_label,
        reliability(regions),
    )


def counts_by_video(
    truth: Sequence[npt.NDArray[Any]],
    found: Sequence[npt.NDArray[Any]],
    known: Sequence[npt.NDArray[np.bool_]],
    groups: Sequence[Hashable],
    num_labels: int,
) -> Counts:
    """Counts (V, L, F1S, 3) of V different videos, from the arguments of ``measure``: a group counts as one video."""
    counts: Counts = np.zeros((len(set(groups)), num_labels, len(F1S), 3))
    row_of = {group: row for row, group in enumerate(dict.fromkeys(groups))}
    for true, of_video, certain, group in zip(truth, found, known, groups, strict=True):
        counts[row_of[group]] += _counts(true, of_video, certain)
    return counts


def _row(columns: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(columns, values.tolist(), strict=True))


def _precision_recall(frames: FloatArray) -> dict[str, float]:
    """Precision and recall of a label's frames, from its counts (3,); NaN if none were found, or if none are true."""
    tp, fp, fn = frames.tolist()
    return {"precision": tp / (tp + fp) if tp + fp else math.nan, "recall": tp / (tp + fn) if tp + fn else math.nan}


def _videos_with(counts: Counts) -> int:
    """Number of videos with true frames of a label, from its counts (V, F1S, 3)."""
    return int((counts[:, 0, 0] + counts[:, 0, 2] > 0).sum())


def _counts(true: npt.NDArray[Any], found: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Counts:
    """Counts (L, F1S, 3) of one video: of frames, and of segments at each threshold, where the labels are known."""
    counts = np.zeros((true.shape[1], len(F1S), 3))
    for label in np.flatnonzero(known.any(axis=0)):
        is_true, is_found = (on[:, label].astype(bool) & known[:, label] for on in (true, found))
        counts[label, 0] = (is_true & is_found).sum(), (~is_true & is_found).sum(), (is_true & ~is_found).sum()
        segments = segment_counts(is_true, is_found, IOU_THRESHOLDS)
        counts[label, 1:] = np.column_stack([segments.tp, segments.fp, segments.fn])
    return counts


def _precisions(
    truth: Sequence[npt.NDArray[Any]],
    scores: Sequence[npt.NDArray[Any]],
    known: Sequence[npt.NDArray[np.bool_]],
    num_labels: int,
) -> FloatArray:
    """Average precision (L,) over the frames of all videos in which a label is known."""
    precisions = np.full(num_labels, np.nan)
    for label in range(num_labels):
        cells = [(t[:, label], s[:, label], k[:, label]) for t, s, k in zip(truth, scores, known, strict=True)]
        pairs = [(t[k], s[k]) for t, s, k in cells if k.any()]
        if pairs:
            precisions[label] = average_precision(*(np.concatenate(column) for column in zip(*pairs, strict=True)))
    return precisions


def mean_f1_intervals(counts: Counts, kept: float = 1.0, learned: float = 1.0) -> list[tuple[float, float]]:
    """(low, high) of the mean F1 over labels, for each of F1S. counts: (V, L, F1S, 3) of V videos.

    kept: share of the learned rows that does not repeat scored ones. Videos that repeat each other, such as cuts of a few
    recordings, count as correspondingly fewer independent videos.
    learned: share of all rows that a scored learner learned from. A version learns from all of them, so it may be better than
    the scored learners: high assumes an error that falls with the square root of the number of rows.

    The standard error is that of a bootstrap over videos, because frames of one video are alike. For few videos it is too
    small: in simulations, a 90 % percentile interval of three videos held the true score in half of the cases. So it is widened
    by sqrt(V / (V - 1)) and multiplied by a quantile of t instead of the normal distribution (Hesterberg 2015, "What Teachers
    Should Know About the Bootstrap"). Three videos may agree by chance, and perfect ones have no spread at all. So the variance
    between videos is moderated: it is averaged with a prior variance, weighted by degrees of freedom, and the prior's are added
    to those of the t (Smyth 2004, "Linear Models and Empirical Bayes Methods for Assessing Differential Expression"). The prior
    is PRIOR_SHARE p (1 - p), where p (1 - p) is the variance of videos that score 0 or 1; p is the score, kept away from 0 and
    1 by the rule of succession.
    """
    videos = len(counts)
    if videos < MIN_VIDEOS:
        return [(math.nan, math.nan)] * counts.shape[2]
    score = mean_f1(counts.sum(axis=0))
    half = _half_width(score, _resampled(counts), _prior_variance(score, videos), videos, LEVEL, kept)
    best = 1 - (1 - score) * math.sqrt(learned)
    low, high = np.clip(score - half, 0, 1), np.clip(best + half, 0, 1)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def mean_f1_difference(new: Counts, old: Counts) -> list[tuple[float, float]]:
    """(low, high) of the mean F1 of ``new`` minus that of ``old``, for each of F1S. Counts as for ``mean_f1_intervals``, of the
    same videos in the same order.

    Both are resampled together, so the difficulty that a video has for both cancels out. The prior variance is that of two
    independent scores. Simulated for two learners on videos of three segments: for equally good ones, high was below 0 in 0.5
    (three videos) to 3 % (twenty) of the cases; if the new one missed 50 % more segments, in 40 % with three videos, 74 % with
    five and 97 % with ten.
    """
    videos = len(new)
    if videos < MIN_VIDEOS:
        return [(math.nan, math.nan)] * new.shape[2]
    scores = [mean_f1(counts.sum(axis=0)) for counts in (new, old)]
    difference = scores[0] - scores[1]
    prior = _prior_variance(scores[0], videos) + _prior_variance(scores[1], videos)
    half = _half_width(difference, _resampled(new) - _resampled(old), prior, videos, DIFFERENCE_LEVEL)
    return list(zip((difference - half).tolist(), (difference + half).tolist(), strict=True))


def _resampled(counts: Counts) -> FloatArray:
    """Mean F1 (RESAMPLES, F1S) of videos drawn with replacement, always the same draws for the same V; NaN if no label
    occurs."""
    videos = len(counts)
    weights = np.random.default_rng(SEED).multinomial(videos, np.full(videos, 1 / videos), RESAMPLES)
    return mean_f1((weights @ counts.reshape(videos, -1)).reshape(RESAMPLES, *counts.shape[1:]))


def _prior_variance(score: FloatArray, videos: int) -> FloatArray:
    shrunk = (videos * score + 1) / (videos + 2)
    return PRIOR_SHARE * shrunk * (1 - shrunk)


def _half_width(
    value: FloatArray, resampled: FloatArray, prior: FloatArray, videos: int, level: float, kept: float = 1.0
) -> FloatArray:
    """Half the width of the interval around a value, from its resamples (RESAMPLES, F1S) and prior variance (F1S)."""
    # Resamples without labels are replaced by the value; if no label occurs at all, it is NaN and so are the ends.
    spread = videos**2 / (videos - 1) * np.where(np.isnan(resampled), value, resampled).var(axis=0)
    independent = max(kept * videos, 2.0)
    degrees = PRIOR_VIDEOS + independent - 1
    variance = (PRIOR_VIDEOS * prior + (independent - 1) * spread) / degrees
    half: FloatArray = t_quantile((1 + level) / 2, degrees) * np.sqrt(variance / independent)
    return half


def mean_f1(counts: Counts) -> FloatArray:
    """Mean F1 (..., F1S) over the labels that occur; NaN if none does. counts: (..., L, F1S, 3)."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    occurs = tp + fn > 0
    total = np.where(occurs, f1_of_counts(tp, fp, fn), 0.0).sum(axis=-2)
    number = occurs.sum(axis=-2)
    means: FloatArray = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return means


def t_quantile(share: float, degrees: float) -> float:
    """Quantile of Student's t, by the expansion 26.7.5 of Abramowitz and Stegun 1964; off by 1 % at 2 degrees and 95 %, less
    above."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))


def reliability(regions: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """(mean score, share of correct ones, count) of the regions in each of five equal score bins, without empty bins.

    regions: (score in [0, 1], True if correct: IoU of at least 0.5 with a true segment of its label) of each.
    """
    score, right = np.array([s for s, _ in regions], dtype=float), np.array([r for _, r in regions], dtype=float)
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    return [(float(score[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum())) for b in np.unique(bins)]
