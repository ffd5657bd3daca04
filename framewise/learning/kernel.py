"""A closed-form learner: kernel ridge regression on each row's surroundings, fitted in a second, and good with few videos.

The kernel is a sum over the blocks of ``context``, each a blend of a linear and a Gaussian one: linear ones carry over to new
scenes, Gaussian ones follow what is not linear once there is enough of it. Source: Saunders, Gammerman and Vovk 1998, "Ridge
Regression Learning Algorithm in Dual Variables"; the parameters are from docs/decisions/0012.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from framewise.learning.context import REACH_SECONDS, blocks, cells, shape
from framewise.learning.tracks import Track

MAX_ROWS = 2400  # that are learned from: neighbours are nearly the same
SHORTEST_STEP_SECONDS = 0.1
LINEAR_SHARE = 0.6
GAUSSIAN_RATE = 1.0
# For each row, and at most: with more rows the first would blur what earlier videos taught, as if they had never been fitted.
RIDGE, MOST_RIDGE = 1e-3, 1.0
# How much each of the blocks of context.blocks weighs: what is seen, and motion where it is steady.
SEEN_WEIGHTS, MOTION_WEIGHTS = (0.5, 0.5), (0.8, 3.0)
STEADY_SECONDS, LEAST_STEADY = 0.3, 0.05
WINDOW_ROWS = 4096  # whose surroundings are in memory at once: a video may be hours long


class KernelRidge:
    """rows: per block (N, B) scaled; centre (B,) and scale (B,) of each block; weights (N, L); prior (L,)."""

    def __init__(self, rows: list[Tensor], centres: list[Tensor], scales: list[Tensor], weights: Tensor, prior: Tensor):
        self.rows, self.centres, self.scales, self.weights, self.prior = rows, centres, scales, weights, prior

    @classmethod
    def fit(cls, tracks: Sequence[Track]) -> Self:
        """From all tracks. A label learns from the tracks in which it is taught."""
        step = math.ceil(sum(len(t) for t in tracks) / MAX_ROWS)
        chosen = [_chosen(t, step) for t in tracks]
        parts = [_blocks_of(t, rows) for t, rows in zip(tracks, chosen, strict=True)]
        stacked = [torch.cat(block) for block in zip(*parts, strict=True)]
        centres = [block.mean(0) for block in stacked]
        scales = [_seen_scale(block, weight) for block, weight in zip(stacked[:2], SEEN_WEIGHTS, strict=True)]
        for block, weight, steady in zip(stacked[2:], MOTION_WEIGHTS, _steadiness(tracks), strict=True):
            scales.append(_motion_scale(block, weight, steady))
        rows = [(b - c) / s for b, c, s in zip(stacked, centres, scales, strict=True)]
        labels = torch.cat([t.frame_labels[r] for t, r in zip(tracks, chosen, strict=True)])
        taught = torch.cat([t.taught.expand(len(r), -1) for t, r in zip(tracks, chosen, strict=True)])
        weights, prior = _solve(_kernel(rows, rows), labels, taught)
        return cls(rows, centres, scales, weights, prior)

    def scores(self, track: Track) -> Tensor:
        """(T, L), around 0 where a label is off and 1 where it is on."""
        parts = []
        for rows in torch.arange(len(track)).split(WINDOW_ROWS):
            inside = _blocks_of(track, rows)
            scaled = [(b - c) / s for b, c, s in zip(inside, self.centres, self.scales, strict=True)]
            parts.append(_kernel(scaled, self.rows) @ self.weights + self.prior)
        return torch.cat(parts)


def _blocks_of(track: Track, rows: Tensor) -> list[Tensor]:
    """``blocks`` of some rows, which ascend: from windows of the video, with what lies within reach of them."""
    margin = math.ceil(REACH_SECONDS * track.frame_rate) + 1
    parts = []
    for start in range(int(rows[0]), int(rows[-1]) + 1, WINDOW_ROWS):
        first, stop = max(0, start - margin), start + WINDOW_ROWS
        inside = rows[(rows >= start) & (rows < stop)]
        window = blocks(track.cut(first, stop + margin))
        parts.append([block[inside - first] for block in window])
    return [torch.cat(block) for block in zip(*parts, strict=True)]


def _chosen(track: Track, step: int) -> Tensor:
    return torch.arange(0, len(track), max(step, round(SHORTEST_STEP_SECONDS * track.frame_rate), 1))


def _seen_scale(block: Tensor, weight: float) -> Tensor:
    """(B,), by which rows have a squared length of ``weight`` on average; components count by their spread."""
    total = block.var(0, correction=0).sum().sqrt() + 1e-6
    return total.expand(block.shape[1]) / math.sqrt(weight)


def _motion_scale(block: Tensor, weight: float, steady: Tensor) -> Tensor:
    """(B,), by which rows have a squared length of ``weight`` on average if all numbers of motion were quite steady; they count
    as much as they are. steady (N,): of the numbers that the block has in each of several windows in time."""
    deviation = block.std(0, correction=0) + 0.01 * block.std(correction=0) + 1e-6
    share = weight / block.shape[1] * steady.repeat(block.shape[1] // len(steady))
    return deviation / share.sqrt()


def _steadiness(tracks: Sequence[Track]) -> list[Tensor]:
    """How steady each number of motion is, (N,) of ``cells`` and of ``shape``: its correlation with itself a moment later.

    What changes by chance from picture to picture is noise: it would count as much as what tells labels apart.
    """
    found = []
    for numbers in ([cells(t) for t in tracks], [shape(t) for t in tracks]):
        mean, variance = torch.cat(numbers).mean(0), torch.cat(numbers).var(0, correction=0) + 1e-9
        total, pairs = torch.zeros_like(mean), 0
        for moves, track in zip(numbers, tracks, strict=True):
            lag = max(1, round(STEADY_SECONDS * track.frame_rate))
            total += ((moves[:-lag] - mean) * (moves[lag:] - mean)).sum(0)
            pairs += max(0, len(moves) - lag)
        found.append((total / variance / max(pairs, 1)).clamp(LEAST_STEADY, 1.0))
    return found


def _kernel(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """(N, M) of N rows on the left and M on the right."""
    total = torch.zeros(len(left[0]), len(right[0]))
    for a, b in zip(left, right, strict=True):
        product = a @ b.T
        distance = ((a * a).sum(1).unsqueeze(1) + (b * b).sum(1) - 2 * product).clamp(min=0)
        total += LINEAR_SHARE * product + (1 - LINEAR_SHARE) * torch.exp(-GAUSSIAN_RATE * distance)
    return total


def _solve(kernel: Tensor, labels: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, L) and prior (L,). Labels that are taught in the same rows are solved together; one taught nowhere is 0."""
    weights, prior = torch.zeros_like(labels), torch.zeros(labels.shape[1])
    patterns, which = torch.unique(taught, dim=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        rows, columns = patterns[:, number].nonzero()[:, 0], (which == number).nonzero()[:, 0]
        if not len(rows):
            continue
        part, target = kernel[rows][:, rows], labels[rows][:, columns]
        part.diagonal().add_(min(RIDGE * len(rows), MOST_RIDGE))
        mean = target.mean(0)
        weights[rows.unsqueeze(1), columns] = torch.linalg.solve(part, target - mean)
        prior[columns] = mean
    return weights, prior
