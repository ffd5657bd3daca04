"""The default learner: a closed-form one and a network over time, blended by how they do on videos they did not learn from."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from framewise.core.errors import ModelError
from framewise.core.metrics import best_matches, runs
from framewise.learning import checkpoints
from framewise.learning.calibration import RegionCalibration
from framewise.learning.chains import Chain, chains_of
from framewise.learning.context import shape_in_windows
from framewise.learning.decisions import Decision, choose_decision, decided, supposed_decision, value_of_decision
from framewise.learning.folds import Folds, Piece, make_folds
from framewise.learning.joint import JointBasis, fit_basis, read_basis
from framewise.learning.kernel import Block, KernelRidge
from framewise.learning.quality import Quality, measure
from framewise.learning.repeats import without_repeats
from framewise.learning.temporal import TemporalNet, fit_temporal
from framewise.learning.threads import processors_left_free
from framewise.learning.tracks import Basis, LabelledVideo, Rows, Track

Progress = Callable[[float, str], None]
FloatArray = npt.NDArray[np.float64]

NETWORKS = 2  # whose scores are averaged
NETWORK_VIDEOS = 5  # from which on they are used: with fewer they did harm
GAP_SECONDS = 2.0  # between what is learned from and what is scored, where both are of one video
BLENDS = (0.75, 1.0, 0.5, 0.0)  # share of the closed-form learner; of equal ones the first is taken
BLEND_MARGIN = 0.03  # by which another than the first must be better
RIGHT_IOU = 0.5


@dataclass(frozen=True)
class Learners:
    """What was fitted on some tracks: the closed-form learner, and networks over time if there are any. alone: columns of
    labels of which only the former has a say."""

    kernel: KernelRidge
    networks: list[TemporalNet] = field(default_factory=list)
    alone: frozenset[int] = frozenset()

    def scores(self, track: Track) -> tuple[Tensor, Tensor]:
        """(T, L) of the closed-form learner and of the networks; of the former twice where there is no network."""
        closed = self.kernel.scores(track)
        if not self.networks:
            return closed, closed
        inputs = torch.cat([closed, shape_in_windows(track)], 1)
        over_time = torch.stack([n.probabilities(inputs, track.frame_rate) for n in self.networks]).mean(0)
        columns = sorted(self.alone)
        over_time[:, columns] = closed[:, columns].clamp(0, 1)
        return closed, over_time


@dataclass(frozen=True)
class AutoClassifier:
    """A trained version. blend: share of the closed-form learner in a score. decisions: of each label, in order. chains: each
    label is in one of them."""

    labels: list[str]
    basis: Basis | JointBasis
    learners: Learners
    decisions: list[Decision]
    chains: list[Chain]
    calibration: RegionCalibration | None = None
    blend: float = BLENDS[0]

    def get_label_map(self) -> dict[str, int]:
        return {label: column for column, label in enumerate(self.labels)}

    def predict(self, rows: Rows) -> FloatArray:
        """Scores (T, L) in [0, 1] of a video; a label is on from 0.5."""
        track = self.basis.unlabelled(rows, len(self.labels))
        with torch.inference_mode():
            closed, over_time = self.learners.scores(track)
        return decided(_blended(closed, over_time, self.blend), self.decisions, self.chains, rows.frame_rate)

    def region_scores(self, scores: Sequence[float]) -> list[float]:
        """How likely regions are right whose frames have these mean scores."""
        if self.calibration is None or not len(scores):
            return [float(score) for score in scores]
        return [float(score) for score in self.calibration.apply(np.asarray(scores))]

    def save(self, folder: Path) -> None:
        """Write the classifier into ``folder``: tensors in safetensors, the rest in JSON."""
        kernel = self.learners.kernel
        tensors = {f"basis.{name}": tensor for name, tensor in self.basis.tensors().items()}
        tensors |= {"kernel.prior": kernel.prior}
        for number, block in enumerate(kernel.blocks):
            halved = block._replace(rows=block.rows.half())
            tensors |= {f"kernel.{number}.{name}": tensor for name, tensor in halved._asdict().items()}
        for number, network in enumerate(self.learners.networks):
            tensors |= {f"network.{number}.{name}": tensor for name, tensor in network.state_dict().items()}
        description = {
            "class": type(self).__name__,
            "labels": self.labels,
            "decisions": [decision.to_json() for decision in self.decisions],
            "chains": [chain.to_json() for chain in self.chains],
            "calibration": self.calibration.to_json() if self.calibration else None,
            "blend": self.blend,
            "blocks": len(kernel.blocks),
            "networks": len(self.learners.networks),
            "alone": sorted(self.learners.alone),
            **self.basis.description(),
        }
        checkpoints.write(folder, description, tensors)

    @classmethod
    def from_checkpoint(cls, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "AutoClassifier":
        """What ``save`` wrote. Raises KeyError, ValueError, TypeError, RuntimeError or ModelError for something else."""
        labels = [str(label) for label in description["labels"]]
        blocks = [
            Block(*(tensors[f"kernel.{number}.{name}"].float() for name in Block._fields))
            for number in range(int(description["blocks"]))
        ]
        kernel = KernelRidge(blocks, tensors["kernel.prior"])
        networks = []
        for number in range(int(description["networks"])):
            prefix = f"network.{number}."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            network = TemporalNet(len(state["centre"]), len(labels))
            network.load_state_dict(state)
            networks.append(network.eval())
        calibration = description["calibration"]
        decisions = [Decision.from_json(d) for d in description["decisions"]]
        chains = [Chain.from_json(c) for c in description["chains"]]
        alone = frozenset(int(column) for column in description["alone"])
        basis = read_basis(description, tensors)
        in_chains, columns = sorted(label for chain in chains for label in chain.labels), list(range(len(labels)))
        is_whole = len(decisions) == len(labels) and in_chains == columns and alone.issubset(columns)
        if not (is_whole and _fit_together(basis, kernel, len(labels))):
            raise ModelError(f"expected decisions, chains, columns and tensors that fit each other, for {len(labels)} labels")
        return cls(
            labels,
            basis,
            Learners(kernel, networks, alone),
            decisions,
            chains,
            RegionCalibration.from_json(calibration) if calibration else None,
            float(description["blend"]),
        )


def _fit_together(basis: Basis | JointBasis, kernel: KernelRidge, num_labels: int) -> bool:
    """Whether the sizes of tensors are those of one classifier."""
    fits = [basis.fits_together(), kernel.prior.shape == (num_labels,)]
    fits += [block.fits_together(num_labels) for block in kernel.blocks]
    return all(fits)


@processors_left_free()
def learn_quickly(videos: Sequence[LabelledVideo], labels: list[str], previous: AutoClassifier | None) -> AutoClassifier:
    """The closed-form learner alone, on all videos; a label of which it was measured how it is best decided is decided so."""
    basis = fit_basis([v.rows for v in videos])
    tracks = [basis.track(v) for v in videos]
    kernel = KernelRidge.fit(tracks).with_fewer_rows()
    measured = previous if previous and previous.calibration else None  # else supposed, from fewer videos than there are now
    known = dict(zip(measured.labels, measured.decisions, strict=True)) if measured else {}
    decisions = [known.get(label, supposed) for label, supposed in zip(labels, _supposed(tracks), strict=True)]
    calibration = measured.calibration if measured else None
    return AutoClassifier(labels, basis, Learners(kernel), decisions, _chains(tracks), calibration, blend=1.0)


class Thorough(NamedTuple):
    """What comes of learning thoroughly. quality: None if that cannot be told. held_out: of each video, in order, scores (T, L)
    by learners that did not learn from it, on from 0.5; no video if there is no quality."""

    classifier: AutoClassifier
    quality: Quality | None
    held_out: list[FloatArray]


@processors_left_free()
def learn_thoroughly(videos: Sequence[LabelledVideo], labels: list[str], progress: Progress) -> Thorough:
    """All learners on all videos, and how good they are on videos that they did not learn from.

    The basis is of all videos, also of those that a fold leaves out: it knows no labels.
    """
    basis = fit_basis([v.rows for v in videos])
    tracks, groups = [basis.track(v) for v in videos], [v.group for v in videos]
    folds = without_repeats(_folds(tracks, groups), tracks)
    steps = len(folds.folds) + 1
    pieces: list[Piece] = []
    scored: list[tuple[Tensor, Tensor]] = []
    with_networks = len(set(groups)) >= NETWORK_VIDEOS
    for number, fold in enumerate(folds.folds):
        told = f"part {number + 1} of {steps}: learning without {len(fold.test)} of {len(videos)} videos, to score them"
        taught = [groups[p.video] for p in fold.train]
        train = [_piece(tracks, p) for p in fold.train]
        learners = _fit(train, taught, with_networks, _within(progress, number, steps, told))
        pieces += fold.test
        scored += [learners.scores(_piece(tracks, p)) for p in fold.test]
        del learners  # before the next ones are there
    told = f"part {steps} of {steps}: learning from all videos"
    learners = _fit(tracks, groups, with_networks, _within(progress, steps - 1, steps, told))
    supposed = _supposed(tracks)
    learners = replace(learners, kernel=learners.kernel.with_fewer_rows())
    plain = AutoClassifier(labels, basis, learners, supposed, _chains(tracks))
    if not pieces:
        return Thorough(plain, None, [])
    closed, over_time = (_whole(tracks, pieces, scores) for scores in zip(*scored, strict=True))
    # Scores of a video that was learned from in part are better than a new one's will be: nothing is decided by them.
    blend = BLENDS[0] if folds.weak else _best_blend(closed, over_time, tracks, supposed)
    scores = [_blended(c, o, blend) for c, o in zip(closed, over_time, strict=True)]
    decisions = supposed if folds.weak else _decisions(scores, tracks, supposed, folds.alone)
    held_out = _held_out(scores, decisions, folds, tracks)
    regions = _regions(held_out, tracks)
    calibration = None
    if not folds.weak:
        calibration = RegionCalibration.fit([score for score, _ in regions], [right for _, right in regions])
    classifier = replace(plain, decisions=decisions, calibration=calibration, blend=blend)
    calibrated = list(zip(classifier.region_scores([s for s, _ in regions]), [r for _, r in regions], strict=True))
    quality = measure(
        [v.frame_labels for v in videos],
        held_out,
        [scores >= 0.5 for scores in held_out],
        labels,
        folds.method,
        folds.weak,
        [v.taught for v in videos],
        calibrated,
        [v.group for v in videos],
    )
    return Thorough(classifier, quality, held_out)


def _folds(tracks: Sequence[Track], groups: Sequence[Hashable]) -> Folds:
    labels = [t.frame_labels.numpy().astype(np.uint8) for t in tracks]
    gap = math.ceil(GAP_SECONDS * max(t.frame_rate for t in tracks))
    return make_folds([len(t) for t in tracks], labels, groups, gap)


def _piece(tracks: Sequence[Track], piece: Piece) -> Track:
    return tracks[piece.video].cut(piece.start, piece.stop)


def _fit(tracks: Sequence[Track], groups: Sequence[Hashable], with_networks: bool, progress: Progress) -> Learners:
    """The closed-form learner, and the networks, which learn from scores that it gives to videos that it was not fitted on."""
    kernel = KernelRidge.fit(tracks)
    if not with_networks:
        return Learners(kernel)
    folds = without_repeats(_folds(tracks, groups), tracks)
    if folds.weak:  # nearly all of the videos repeat each other
        return Learners(kernel)
    scores = [torch.zeros_like(t.frame_labels) for t in tracks]
    for fold, unseen in zip(folds.folds, folds.unseen, strict=True):
        without = KernelRidge.fit([_piece(tracks, p) for p in fold.train])
        for piece in fold.test:
            held_out = without.scores(_piece(tracks, piece))
            if columns := sorted(unseen):
                # Of a label that is nowhere else, the scores of the learner that knows it: else what the networks see of it on
                # new videos, beside the other labels' scores, would be unlike all that they learned from.
                held_out[:, columns] = kernel.scores(_piece(tracks, piece))[:, columns]
            scores[piece.video][piece.start : piece.stop] = held_out
        del without  # before the next one is there
    inputs = [torch.cat([s, shape_in_windows(t)], 1) for s, t in zip(scores, tracks, strict=True)]
    labels, taught = [t.frame_labels for t in tracks], [t.taught for t in tracks]
    rates = [t.frame_rate for t in tracks]
    networks = []
    for seed in range(NETWORKS):
        part = _within(progress, seed, NETWORKS, "")
        networks.append(fit_temporal(inputs, labels, taught, rates, seed, part))
    # What the networks make of such a label's scores, they learned from scores that are better than a new video's will be.
    return Learners(kernel, networks, folds.alone)


def _whole(tracks: Sequence[Track], pieces: Sequence[Piece], scores: Sequence[Tensor]) -> list[Tensor]:
    """Out-of-fold scores of each whole video from those of its pieces."""
    whole = [torch.zeros_like(t.frame_labels) for t in tracks]
    for piece, part in zip(pieces, scores, strict=True):
        whole[piece.video][piece.start : piece.stop] = part
    return whole


def _blended(closed: Tensor, over_time: Tensor, blend: float) -> FloatArray:
    mixed: FloatArray = (blend * closed.clamp(0, 1) + (1 - blend) * over_time).double().numpy()
    return mixed


def _chains(tracks: Sequence[Track]) -> list[Chain]:
    truth, taught = [t.frame_labels.numpy() for t in tracks], [t.taught.numpy().astype(bool) for t in tracks]
    return chains_of(truth, taught, [t.frame_rate for t in tracks])


def _held_out(
    scores: Sequence[FloatArray], decisions: Sequence[Decision], folds: Folds, tracks: Sequence[Track]
) -> list[FloatArray]:
    """Decided scores of each whole video, by what follows what in the annotations that its fold learned from."""
    whole = [np.zeros_like(s) for s in scores]
    for fold in folds.folds:
        chains = _chains([_piece(tracks, p) for p in fold.train])
        for video, start, stop in fold.test:
            whole[video][start:stop] = decided(scores[video][start:stop], decisions, chains, tracks[video].frame_rate)
    return whole


def _by_label(
    scores: Sequence[FloatArray], tracks: Sequence[Track]
) -> Iterator[tuple[list[FloatArray], list[npt.NDArray[np.float32]], list[float]]]:
    """Of each label, in order: scores (T,), truth (T,) and frame rate of the videos in which it is taught."""
    for column in range(scores[0].shape[1]):
        told = [(s, t) for s, t in zip(scores, tracks, strict=True) if bool(t.taught[column])]
        truth = [t.frame_labels[:, column].numpy() for _, t in told]
        yield [s[:, column] for s, _ in told], truth, [t.frame_rate for _, t in told]


def _supposed(tracks: Sequence[Track]) -> list[Decision]:
    """Of each label by what is annotated alone."""
    truth = [t.frame_labels.double().numpy() for t in tracks]
    return [supposed_decision(label[1]) for label in _by_label(truth, tracks)]


def _best_blend(
    closed: Sequence[Tensor], over_time: Sequence[Tensor], tracks: Sequence[Track], supposed: Sequence[Decision]
) -> float:
    def value(blend: float) -> float:
        scores = [_blended(c, o, blend) for c, o in zip(closed, over_time, strict=True)]
        labels = zip(_by_label(scores, tracks), supposed, strict=True)
        values = [value_of_decision(*label, decision) for label, decision in labels if any(y.any() for y in label[1])]
        return float(np.mean(values)) if values else 0.0

    values = {blend: value(blend) for blend in BLENDS}
    best = max(BLENDS, key=lambda blend: values[blend])
    return best if values[best] > values[BLENDS[0]] + BLEND_MARGIN else BLENDS[0]


def _decisions(
    scores: Sequence[FloatArray], tracks: Sequence[Track], supposed: Sequence[Decision], alone: frozenset[int]
) -> list[Decision]:
    labels = enumerate(zip(_by_label(scores, tracks), supposed, strict=True))
    return [default if column in alone else choose_decision(*label, default) for column, (label, default) in labels]


def _regions(held_out: Sequence[FloatArray], tracks: Sequence[Track]) -> list[tuple[float, bool]]:
    """Score of each predicted region, and whether it is right: its best match among the annotated ones overlaps by half."""
    found = []
    for scores, track in zip(held_out, tracks, strict=True):
        for column in range(scores.shape[1]):
            if not bool(track.taught[column]):
                continue
            predicted = runs(scores[:, column] >= 0.5)
            overlaps = best_matches(runs(track.frame_labels[:, column].numpy()), predicted)[1]
            means = [float(scores[start:stop, column].mean()) for start, stop in predicted]
            found += list(zip(means, (overlaps >= RIGHT_IOU).tolist(), strict=True))
    return found


def _within(progress: Progress, done: int, total: int, told: str) -> Progress:
    return lambda share, _: progress((done + share) / total, told)
