"""Decision on the labels of each row by hidden Markov chains: the most probable path given the scores, and given how long
labels last and which follow each other in the annotations.

Labels that exclude each other are states of one chain, together with "none of them"; every other label has its own chain.
Source: Rabiner 1989, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from framewise.core.errors import ModelError, brief
from framewise.core.metrics import runs

FloatArray = npt.NDArray[np.float64]

# Evidence, as log odds, of a second with a score 1 above its threshold: this constant divided by the mean duration of the
# shortest-lived label of the chain, within these limits. Rows are not independent, and less so in long states than in short
# ones: with 240 for all, states of minutes were cut to pieces.
EVIDENCE_OF_A_LABEL = 300.0
MIN_EVIDENCE, MAX_EVIDENCE = 20.0, 240.0
# A label that lasts longer than this many times the shortest-lived one of its chain needs proportionally more evidence for a
# change: otherwise states of minutes are cut to pieces beside labels of a second.
ALIKE = 3.0
SUPPOSED_CHANGES, SUPPOSED_SECONDS = 1.0, 1.0  # prior counts of each state, added to the annotated ones
MAX_CHANGES = 0.5  # maximum probability that a state ends from one row to the next
OVERLAP = 0.02  # tolerated overlap of labels that exclude each other, as a share of the rarer one's rows
MEETINGS = 1.0  # minimum number of overlaps expected by chance for their absence to be significant


@dataclass(frozen=True)
class Chain:
    """labels: columns that exclude each other. changes (S, S): transitions per second from one state to another, 0 on the
    diagonal; state 0 is none of the labels, state n the n-th of them."""

    labels: tuple[int, ...]
    changes: FloatArray

    @classmethod
    def of(
        cls,
        labels: Sequence[int],
        truth: Sequence[npt.NDArray[Any]],
        known: Sequence[npt.NDArray[np.bool_]],
        frame_rates: Sequence[float],
    ) -> Self:
        """Estimate from truth (T, L) 0/1 of each video, in rows where known (T, L) is true for all of these labels."""
        size = len(labels) + 1
        counts, seconds = np.full((size, size), SUPPOSED_CHANGES / (size - 1)), np.full(size, SUPPOSED_SECONDS)
        for on, told, rate in zip(truth, known, frame_rates, strict=True):
            states, certain = _states(on[:, list(labels)]), np.asarray(told[:, list(labels)].all(axis=1))
            changes = (states[:-1] != states[1:]) & certain[:-1] & certain[1:]
            np.add.at(counts, (states[:-1], states[1:]), changes)
            seconds += np.bincount(states[certain], minlength=size) / rate
        np.fill_diagonal(counts, 0)
        return cls(tuple(labels), counts / seconds[:, None])

    @property
    def evidence_per_second(self) -> float:
        """Log odds added by a second with a score 1 above its threshold."""
        soonest = float(self.changes[1:].sum(axis=1).max())
        return min(max(EVIDENCE_OF_A_LABEL * soonest, MIN_EVIDENCE), MAX_EVIDENCE)

    @property
    def resistance(self) -> FloatArray:
        """Factor (S, S) of the log odds against a change from one state to another, by the longer-lived of the two; "none" does
        not count."""
        ends = self.changes[1:].sum(axis=1)
        own = np.concatenate([[1.0], np.maximum(ends.max() / np.maximum(ends, 1e-12) / ALIKE, 1.0)])
        longest: FloatArray = np.maximum.outer(own, own)
        return longest

    def decode(self, above: FloatArray, frame_rate: float) -> npt.NDArray[np.bool_]:
        """Most probable sequence, (T, labels of the chain), given the margin of each score above its threshold, (T, L)."""
        chance = self.changes / frame_rate
        chance *= np.minimum(1, MAX_CHANGES / np.maximum(chance.sum(1, keepdims=True), 1e-12))
        stays = np.log(1 - chance.sum(1))
        evidence = np.zeros((len(above), len(chance)))
        evidence[:, 1:] = self.evidence_per_second / frame_rate * above[:, list(self.labels)]
        with np.errstate(divide="ignore"):  # the diagonal, set below
            change = (np.log(chance) - stays) * self.resistance
        np.fill_diagonal(change, 0)
        states = _most_probable(evidence + stays, change)
        on: npt.NDArray[np.bool_] = states[:, None] == np.arange(1, len(chance))
        return on

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "changes": self.changes.tolist()}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Load what ``to_json`` wrote. Raises ModelError for anything else."""
        try:
            labels, changes = tuple(int(label) for label in written["labels"]), np.array(written["changes"], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            labels, changes = (), np.empty(0)
        size = len(labels) + 1
        if size < 2 or changes.shape != (size, size) or not (np.isfinite(changes).all() and (changes >= 0).all()):
            raise ModelError(
                f"expected a chain's labels and changes per second, (n,) and (n + 1, n + 1), found {brief(written)}"
            )
        return cls(labels, changes)


def chains_of(
    truth: Sequence[npt.NDArray[Any]],
    known: Sequence[npt.NDArray[np.bool_]],
    frame_rates: Sequence[float],
    columns: Sequence[int] | None = None,
) -> list[Chain]:
    """Chains that contain each label once. truth 0/1 and known (T, L) of each video. columns: only these labels; None: all."""
    return [Chain.of(labels, truth, known, frame_rates) for labels in _exclusive(truth, known, columns)]


def decode(chains: Sequence[Chain], above: FloatArray, frame_rate: float) -> npt.NDArray[np.bool_]:
    """Labels that are on, (T, L), given the margin of each score above its threshold, (T, L)."""
    on = np.zeros(above.shape, dtype=bool)
    for chain in chains:
        on[:, list(chain.labels)] = chain.decode(above, frame_rate)
    return on


def _states(on: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """States (T,) of a chain from the labels that are on, (T, S - 1); if two are on, the first."""
    states: npt.NDArray[np.int64] = np.where(on.any(1), on.argmax(1) + 1, 0)
    return states


def _exclusive(
    truth: Sequence[npt.NDArray[Any]], known: Sequence[npt.NDArray[np.bool_]], columns: Sequence[int] | None
) -> list[list[int]]:
    """Groups of columns that exclude each other; the most certain pairs are grouped first."""
    sure = _exclusion_strength(truth, known)
    return grouped(np.where(sure >= MEETINGS, sure, 0.0), columns)


def grouped(sure: FloatArray, columns: Sequence[int] | None = None) -> list[list[int]]:
    """Groups of columns that exclude each other; the most certain pairs are grouped first.

    sure: (L, L), above 0 if two exclude each other. columns: only these labels; None: all.
    """
    chosen = list(range(len(sure)) if columns is None else columns)
    groups = [[column] for column in chosen]
    pairs = [(i, j) for j in chosen for i in chosen if i < j and sure[i, j] > 0]
    for i, j in sorted(pairs, key=lambda pair: -sure[pair]):
        one, other = (next(group for group in groups if column in group) for column in (i, j))
        if one is not other and (sure[np.ix_(one, other)] > 0).all():
            groups = [group for group in groups if group is not one and group is not other] + [sorted(one + other)]
    return sorted(groups)


def _exclusion_strength(truth: Sequence[npt.NDArray[Any]], known: Sequence[npt.NDArray[np.bool_]]) -> FloatArray:
    """(L, L): number of segments of one label that would overlap another by chance; 0 if the two do overlap."""
    size = truth[0].shape[1]
    both, own, segments, rows = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
    for on, told in zip(truth, known, strict=True):
        certain = told.astype(np.float64)
        counted = on * certain
        both += counted.T @ counted
        own += counted.T @ certain
        pairs = certain.T @ certain
        segments += (pairs > 0) * np.array([len(runs(counted[:, column])) for column in range(size)])[:, None]
        rows += pairs
    share = own / np.maximum(rows, 1)
    expected = np.maximum(segments * share.T, segments.T * share)
    overlap = both > OVERLAP * np.minimum(own, own.T)
    return np.where(overlap, 0.0, expected)


def _most_probable(evidence: FloatArray, change: FloatArray) -> npt.NDArray[np.int64]:
    """States (T,) by the Viterbi algorithm. evidence: (T, S), of each state. change: (S, S), score of each transition.

    While the states keep their order of evidence, a change is best before the first or after the last of these rows, so they
    are treated as one step.
    """
    if not len(evidence):
        return np.zeros(0, dtype=np.int64)
    order = evidence.argsort(axis=1, kind="stable")
    firsts = np.concatenate([[0], np.flatnonzero((order[1:] != order[:-1]).any(1)) + 1])
    best, *later = np.add.reduceat(evidence, firsts, axis=0)
    columns, came_from = np.arange(len(change)), np.empty((len(later), len(change)), dtype=np.int16)
    for before, step in zip(came_from, later, strict=True):
        paths = best[:, None] + change
        before[:] = paths.argmax(0)
        best = paths[before, columns] + step
    states = [int(best.argmax())]
    for before in came_from[::-1]:
        states.append(int(before[states[-1]]))
    return np.repeat(states[::-1], np.diff(np.append(firsts, len(evidence))))
