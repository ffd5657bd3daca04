"""Default learner: in closed form, with kinds of evidence weighted by their usefulness on left-out videos."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.core.errors import ModelError
from framewise.core.metrics import best_matches, runs
from framewise.core.progress import Progress
from framewise.learning import checkpoints
from framewise.learning.calibration import RegionCalibration
from framewise.learning.chains import Chain, chains_of
from framewise.learning.decisions import BELOW, Decision, choose_decision, decided, supposed_decision
from framewise.learning.evidence import choose, in_words, supposed_shares
from framewise.learning.folds import Folds, Piece, make_folds
from framewise.learning.instants import Instant, instant_labels, near_instants, widened
from framewise.learning.joint import JointBasis, fit_basis, read_basis
from framewise.learning.kernel import Block, KernelRidge, Sample, solve
from framewise.learning.novelty import Novelty, novelties, read_limits, unlike
from framewise.learning.points import with_ends
from framewise.learning.quality import Quality, measure
from framewise.learning.repeats import without_repeats
from framewise.learning.threads import processors_left_free
from framewise.learning.tracks import Basis, LabelledVideo, Rows, Track, spans, stretches

FloatArray = npt.NDArray[np.float64]

GAP_SECONDS = 2.0  # between learned and scored rows of the same video
RIGHT_IOU = 0.5


@dataclass(frozen=True)
class AutoClassifier:
    """A trained version. shares: (L, K), share of each block of the kernel for each label. decisions: of each label, in order.
    chains, instants: each label is either in a chain or has its column in instants.
    limits: of novelty in each medium, above which no label is predicted; None for earlier versions."""

    labels: list[str]
    basis: Basis | JointBasis
    kernel: KernelRidge
    shares: Tensor
    decisions: list[Decision]
    chains: list[Chain]
    instants: dict[int, Instant]
    calibration: RegionCalibration | None = None
    limits: list[Novelty | None] | None = None

    def get_label_map(self) -> dict[str, int]:
        return {label: column for column, label in enumerate(self.labels)}

    def predict(self, rows: Rows) -> FloatArray:
        """Scores (T, L) in [0, 1] of a video. A label is on from 0.5, and never outside the rows' pieces."""
        found = np.zeros((len(rows), len(self.labels)))
        for part, (start, stop) in zip(stretches(rows), spans(rows), strict=True):
            with torch.inference_mode():
                scores = self.kernel.scores(self.basis.unlabelled(part, len(self.labels)), bool(self.instants))
            found[start:stop] = decided(_in_unit(scores), self.decisions, self.chains, self.instants, rows.frame_rate)
            if self.limits is not None:
                _claim_nothing(found[start:stop], unlike(self.basis, self.limits, part))
        return found

    def region_scores(self, scores: Sequence[float], columns: Sequence[int]) -> list[float]:
        """Calibrated probabilities that regions are correct, given their mean frame scores and the columns of their labels.

        Scores of instants stay unchanged, because the calibration is learned from intervals.
        """
        if self.calibration is None or not len(scores):
            return [float(score) for score in scores]
        right = self.calibration.apply(np.asarray(scores)).tolist()
        told = zip(scores, right, columns, strict=True)
        return [float(score) if column in self.instants else calibrated for score, calibrated, column in told]

    def evidence(self) -> dict[str, str]:
        """Kinds of evidence that count most for each label, in words."""
        names, active = self.basis.block_names(), [bool(b.linear.any() or b.gaussian.any()) for b in self.kernel.blocks]
        told = [name for name, used in zip(names, active, strict=True) if used]
        used = self.shares[:, active].tolist()
        return {label: in_words(shares, told) for label, shares in zip(self.labels, used, strict=True)}

    def save(self, folder: Path) -> None:
        """Write the classifier to ``folder``: tensors in safetensors, the rest in JSON."""
        tensors = {f"basis.{name}": tensor for name, tensor in self.basis.tensors().items()}
        tensors |= {"kernel.prior": self.kernel.prior, "shares": self.shares}
        for number, block in enumerate(self.kernel.blocks):
            halved = block._replace(rows=block.rows.half())
            tensors |= {f"kernel.{number}.{name}": tensor for name, tensor in halved._asdict().items()}
        description = {
            "class": type(self).__name__,
            "labels": self.labels,
            "decisions": [decision.to_json() for decision in self.decisions],
            "chains": [chain.to_json() for chain in self.chains],
            "instants": {str(column): instant.to_json() for column, instant in self.instants.items()},
            "calibration": self.calibration.to_json() if self.calibration else None,
            "blocks": len(self.kernel.blocks),
            "novelty": None if self.limits is None else [limit.to_json() if limit else None for limit in self.limits],
            **self.basis.description(),
        }
        checkpoints.write(folder, description, tensors)

    @classmethod
    def from_checkpoint(cls, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "AutoClassifier":
        """Load what ``save`` wrote. Raises KeyError, ValueError, TypeError, RuntimeError or ModelError for anything else.

        Earlier versions also have networks over time, which are ignored, and no limits of novelty.
        """
        labels, is_old = [str(label) for label in description["labels"]], "networks" in description
        blocks = [
            Block(*(tensors[f"kernel.{number}.{name}"].float() for name in Block._fields))
            for number in range(int(description["blocks"]))
        ]
        kernel = KernelRidge(blocks, tensors["kernel.prior"])
        calibration = description["calibration"]
        decisions = [Decision.from_json(d) for d in description["decisions"]]
        chains = [Chain.from_json(c) for c in description["chains"]]
        written = {} if is_old else dict(description["instants"])
        instants = {int(column): Instant.from_json(i) for column, i in written.items()}
        basis = read_basis(description, tensors)
        limits = read_limits(description.get("novelty"), basis)
        shares = torch.ones(len(labels), len(blocks)) if is_old else tensors["shares"]
        told = sorted([*instants, *(label for chain in chains for label in chain.labels)])
        is_whole = len(decisions) == len(labels) and told == list(range(len(labels)))
        is_whole = is_whole and shares.shape == (len(labels), len(blocks))
        if not (is_whole and _fit_together(basis, kernel, len(labels))):
            raise ModelError(f"expected decisions, chains, columns and tensors that fit each other, for {len(labels)} labels")
        return cls(
            labels,
            basis,
            kernel,
            shares,
            decisions,
            chains,
            instants,
            RegionCalibration.from_json(calibration) if calibration else None,
            limits,
        )


def _fit_together(basis: Basis | JointBasis, kernel: KernelRidge, num_labels: int) -> bool:
    """True if the sizes of the tensors are consistent."""
    fits = [basis.fits_together(), kernel.prior.shape == (num_labels,), len(kernel.blocks) == len(basis.block_names())]
    fits += [block.fits_together(num_labels) for block in kernel.blocks]
    return all(fits)


class _TrainingSet:
    """Annotated videos as tracks, one for each stretch of a video's rows."""

    def __init__(self, videos: Sequence[LabelledVideo]):
        self.videos = videos
        self.basis = fit_basis([part for v in videos for part in stretches(v.rows)])
        self.groups: list[Hashable] = [v.group for v in videos for _ in spans(v.rows)]
        marks = [None if v.points is None else v.points[start:stop] for v in videos for start, stop in spans(v.rows)]
        self.tracks = with_ends([track for v in videos for track in self.basis.tracks(v)], marks)
        self.places = [(number, *span) for number, v in enumerate(videos) for span in spans(v.rows)]
        self.instants = instant_labels([_truth(t) for t in self.tracks], [t.frame_rate for t in self.tracks])
        wide = [widened(t, self.instants) if self.instants else t for t in self.tracks]
        self.sample = Sample(wide, [near_instants(t, self.instants) for t in self.tracks])

    def truth(self) -> list[npt.NDArray[np.uint8]]:
        """Truth 0/1 (T, L) of each video, in which points are replaced by the intervals found for them."""
        return [on.astype(np.uint8) for on in self.whole([_truth(t).astype(np.float64) for t in self.tracks])]

    def known(self) -> list[npt.NDArray[np.bool_]]:
        """Known cells (T, L) of each video, only within its pieces."""
        return [cells.astype(bool) for cells in self.whole([t.known.double().numpy() for t in self.tracks])]

    def folds(self) -> Folds:
        gap = math.ceil(GAP_SECONDS * max(t.frame_rate for t in self.tracks))
        lengths, labels = [len(t) for t in self.tracks], [_truth(t).astype(np.uint8) for t in self.tracks]
        recordings = [video for video, _, _ in self.places]
        return without_repeats(make_folds(lengths, labels, self.groups, gap, recordings), self.tracks)

    def limits(self) -> list[Novelty | None]:
        return novelties(self.basis, self.tracks, self.groups)

    def whole(self, of_tracks: Sequence[FloatArray]) -> list[FloatArray]:
        """Values (T, L) of each video from those of its tracks; 0 between them."""
        found = [np.zeros(v.frame_labels.shape) for v in self.videos]
        for (video, start, stop), scores in zip(self.places, of_tracks, strict=True):
            found[video][start:stop] = scores
        return found


@processors_left_free()
def learn_quickly(videos: Sequence[LabelledVideo], labels: list[str], previous: AutoClassifier | None) -> AutoClassifier:
    """Learn a classifier with decisions and evidence weights of an earlier evaluated version, or otherwise with defaults."""
    taught = _TrainingSet(videos)
    measured = previous if previous and previous.calibration else None  # not evaluated: its defaults are from fewer videos
    shares = _known_shares(taught.sample, labels, measured)
    weights = taught.sample.weights(shares)
    kernel = KernelRidge.of(taught.sample, weights, solve(taught.sample, weights, [])[0]).with_fewer_rows()
    known = dict(zip(measured.labels, measured.decisions, strict=True)) if measured else {}
    decisions = [known.get(label, supposed) for label, supposed in zip(labels, _supposed(taught.tracks), strict=True)]
    calibration = measured.calibration if measured else None
    instants = _known_instants(taught, labels, measured)
    chains = _chains(taught.tracks, instants)
    return AutoClassifier(labels, taught.basis, kernel, shares, decisions, chains, instants, calibration, taught.limits())


def _known_shares(sample: Sample, labels: Sequence[str], measured: AutoClassifier | None) -> Tensor:
    """Shares (L, K) of an evaluated version, with their mean for labels new to it; default shares without such a version."""
    if measured is None or measured.shares.shape[1] != len(sample.blocks):
        return supposed_shares(sample)
    shares = measured.shares.mean(0).repeat(len(labels), 1)
    for column, label in enumerate(labels):
        if label in measured.labels:
            shares[column] = measured.shares[measured.labels.index(label)]
    return shares


def _supposed_instants(taught: _TrainingSet) -> dict[int, Instant]:
    """Default decisions of instant labels, by their columns, from the annotations alone."""
    truth, rates = [_truth(t) for t in taught.tracks], [t.frame_rate for t in taught.tracks]
    return {column: Instant.supposed([y[:, column] for y in truth], rates) for column in taught.instants}


def _known_instants(taught: _TrainingSet, labels: Sequence[str], measured: AutoClassifier | None) -> dict[int, Instant]:
    """Default decisions of instant labels, with the thresholds of an evaluated version if it has them."""
    of_label = {measured.labels[column]: i.threshold for column, i in measured.instants.items()} if measured else {}
    supposed = _supposed_instants(taught)
    return {column: replace(i, threshold=of_label.get(labels[column], i.threshold)) for column, i in supposed.items()}


class Thorough(NamedTuple):
    """Result of ``learn_thoroughly``. quality: None if it cannot be measured. held_out: for each video, in order, scores (T, L)
    by learners that did not learn from it, on from 0.5; empty without quality. explained: for each label, share of its variance
    in left-out videos that each kind of evidence explains alone; empty if nothing could be left out. truth: 0/1 (T, L) of each
    video in held_out, in which points are replaced by the intervals found for them."""

    classifier: AutoClassifier
    quality: Quality | None
    held_out: list[FloatArray]
    explained: dict[str, dict[str, float]]
    truth: list[npt.NDArray[np.uint8]]


@processors_left_free()
def learn_thoroughly(videos: Sequence[LabelledVideo], labels: list[str], progress: Progress) -> Thorough:
    """Learn a classifier, and measure its quality by cross-validation.

    The basis is fitted to all videos, including those that a fold leaves out, because it uses no labels.
    """
    taught = _TrainingSet(videos)
    folds, sample, tracks = taught.folds(), taught.sample, taught.tracks
    progress(0.1, f"weighting the evidence of {len(videos)} videos")
    explained = {}
    if folds.weak or not folds.folds:
        shares = supposed_shares(sample)
    else:
        shares, of_blocks = choose(sample, folds.folds, taught.groups)
        names = taught.basis.block_names()
        explained = {
            label: {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)}
            for label, values in zip(labels, of_blocks.tolist(), strict=True)
        }
    weights = sample.weights(shares)
    progress(0.4, f"learning from {len(videos)} videos")
    whole, parts = solve(sample, weights, [~sample.inside(fold.train) for fold in folds.folds])
    kernel, supposed = KernelRidge.of(sample, weights, whole).with_fewer_rows(), _supposed(tracks)
    instants = _supposed_instants(taught)
    chains = _chains(tracks, instants)
    plain = AutoClassifier(labels, taught.basis, kernel, shares, supposed, chains, instants, limits=taught.limits())
    if not folds.folds:
        return Thorough(plain, None, [], explained, [])
    without = (KernelRidge.of(sample, weights, part) for part in parts)  # one at a time: each is large
    scored = _scored_without(folds, without, tracks, bool(instants), progress)
    # Scores of a partly learned video are better than those of a new one will be: no decision is based on them.
    decisions = supposed if folds.weak else _decisions(scored, tracks, supposed, folds.unmeasured)
    if not folds.weak:
        instants = _chosen_instants(scored, tracks, instants, folds.unmeasured)
    held_out = _held_out(scored, decisions, instants, folds, tracks)
    regions = _regions(held_out, tracks, instants)
    calibration = None
    if not folds.weak:
        calibration = RegionCalibration.fit([score for score, _ in regions], [right for _, right in regions])
    classifier = replace(plain, decisions=decisions, instants=instants, calibration=calibration)
    said = np.array([score for score, _ in regions])
    calibrated = (calibration.apply(said) if calibration else said).tolist()
    of_videos, truth = taught.whole(held_out), taught.truth()
    quality = measure(
        truth,
        of_videos,
        [scores >= 0.5 for scores in of_videos],
        labels,
        folds.method,
        folds.weak,
        taught.known(),
        list(zip(calibrated, [right for _, right in regions], strict=True)),
        [v.group for v in videos],
        folds.kept,
        folds.learned,
        folds.unmeasured,
    )
    return Thorough(classifier, quality, of_videos, explained, truth)


def _scored_without(
    folds: Folds, kernels: Iterable[KernelRidge], tracks: Sequence[Track], fine: bool, progress: Progress
) -> list[FloatArray]:
    """Out-of-fold scores (T, L) of each track."""
    scored = [np.zeros(track.frame_labels.shape) for track in tracks]
    for number, (fold, kernel) in enumerate(zip(folds.folds, kernels, strict=True)):
        told = f"scoring held-out videos, part {number + 1} of {len(folds.folds)}"
        progress(0.6 + 0.4 * number / len(folds.folds), told)
        for track, start, stop in fold.test:
            scored[track][start:stop] = _in_unit(kernel.scores(tracks[track].cut(start, stop), fine))
    return scored


def _claim_nothing(found: FloatArray, rows: npt.NDArray[np.bool_]) -> None:
    """Lower scores (T, L) in some rows (T,) so that no label is on, and the likeliest is just below it."""
    likeliest = found[rows].argmax(axis=1)
    found[rows] = np.minimum(found[rows], BELOW)
    found[rows, likeliest] = BELOW


def _in_unit(scores: Tensor) -> FloatArray:
    inside: FloatArray = scores.clamp(0, 1).double().numpy()
    return inside


def _truth(track: Track) -> npt.NDArray[np.float32]:
    """Labels known to be on, (T, L)."""
    on: npt.NDArray[np.float32] = (track.frame_labels * track.known).numpy()
    return on


def _piece(tracks: Sequence[Track], piece: Piece) -> Track:
    return tracks[piece.video].cut(piece.start, piece.stop)


def _chains(tracks: Sequence[Track], instants: Mapping[int, Instant]) -> list[Chain]:
    known, rates = [t.known.numpy() for t in tracks], [t.frame_rate for t in tracks]
    columns = [column for column in range(tracks[0].frame_labels.shape[1]) if column not in instants]
    return chains_of([_truth(t) for t in tracks], known, rates, columns)


def _held_out(
    scores: Sequence[FloatArray],
    decisions: Sequence[Decision],
    instants: Mapping[int, Instant],
    folds: Folds,
    tracks: Sequence[Track],
) -> list[FloatArray]:
    """Decided out-of-fold scores of each track, with chains from the annotations that its fold learned from."""
    whole = [np.zeros_like(s) for s in scores]
    for fold in folds.folds:
        chains = _chains([_piece(tracks, p) for p in fold.train], instants)
        for video, start, stop in fold.test:
            rate = tracks[video].frame_rate
            whole[video][start:stop] = decided(scores[video][start:stop], decisions, chains, instants, rate)
    return whole


class _LabelOfVideos(NamedTuple):
    """One label in the tracks where it is known: scores, truth and known (T,), and frame rates."""

    scores: list[FloatArray]
    truth: list[npt.NDArray[np.float32]]
    known: list[npt.NDArray[np.bool_]]
    frame_rates: list[float]


def _by_label(scores: Sequence[FloatArray], tracks: Sequence[Track]) -> Iterator[_LabelOfVideos]:
    for column in range(tracks[0].frame_labels.shape[1]):
        told = [(s[:, column], t) for s, t in zip(scores, tracks, strict=True) if bool(t.known[:, column].any())]
        truth, known = [_truth(t)[:, column] for _, t in told], [t.known[:, column].numpy() for _, t in told]
        yield _LabelOfVideos([s for s, _ in told], truth, known, [t.frame_rate for _, t in told])


def _supposed(tracks: Sequence[Track]) -> list[Decision]:
    """Default decision of each label, from the annotations alone."""
    truth: list[FloatArray] = [t.frame_labels.double().numpy() for t in tracks]
    return [supposed_decision([y[k] for y, k in zip(of.truth, of.known, strict=True)]) for of in _by_label(truth, tracks)]


def _decisions(
    scores: Sequence[FloatArray], tracks: Sequence[Track], supposed: Sequence[Decision], unmeasured: frozenset[int]
) -> list[Decision]:
    labels = enumerate(zip(_by_label(scores, tracks), supposed, strict=True))
    return [default if column in unmeasured else choose_decision(*label, default) for column, (label, default) in labels]


def _chosen_instants(
    scores: Sequence[FloatArray], tracks: Sequence[Track], supposed: Mapping[int, Instant], unmeasured: frozenset[int]
) -> dict[int, Instant]:
    of_labels = list(_by_label(scores, tracks)) if supposed else []
    found = {}
    for column, instant in supposed.items():
        of = of_labels[column]
        known = [np.where(k, s, 0.0) for s, k in zip(of.scores, of.known, strict=True)]
        found[column] = instant if column in unmeasured else instant.chosen(known, of.truth, of.frame_rates)
    return found


def _regions(
    held_out: Sequence[FloatArray], tracks: Sequence[Track], instants: Mapping[int, Instant]
) -> list[tuple[float, bool]]:
    """(score, True if correct) of each predicted region. It is correct if an annotated region overlaps it by RIGHT_IOU.

    Instants are left out, because their correctness is not a matter of overlap.
    """
    found = []
    for scores, track in zip(held_out, tracks, strict=True):
        truth, known = _truth(track), track.known.numpy()
        for column in (c for c in range(scores.shape[1]) if c not in instants):
            predicted = runs((scores[:, column] >= 0.5) & known[:, column])
            overlaps = best_matches(runs(truth[:, column]), predicted)[1]
            means = [float(scores[start:stop, column].mean()) for start, stop in predicted]
            found += list(zip(means, (overlaps >= RIGHT_IOU).tolist(), strict=True))
    return found
