"""Weights of the kinds of evidence for each label, chosen by their predictions of left-out videos.

Falls are recognised by movement, exercises by appearance: no fixed weights suit both. Each candidate gives some blocks of the
kernel their full share and the others little. The shares are averaged over the candidates, weighted by how well each predicts:
for the project as a whole, and then for each label, shrunk towards the project's. With few videos all candidates count nearly
alike. Source of averaging by exponential weights: Vovk 1990, "Aggregating Strategies".
"""

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from framewise.learning.folds import Fold
from framewise.learning.kernel import Sample, solve
from framewise.learning.tracks import Layout

# Default shares of the blocks of context.blocks, used without left-out videos: of appearance, and of motion if it is steady.
# They learn best from one or two videos, on four kinds of video, see docs/decisions/0012.
SEEN_SHARES, MOTION_SHARES = (0.5, 0.5), (0.8, 3.0)
MUTED = 0.1  # share of a block that counts little
# Penalty of a candidate per squared error of a whole video, relative to the label's variance; one video does not count.
# Measured on four kinds of video, see docs/decisions/0012.
SHARPNESS, FREE_VIDEOS = 20.0, 1
SUPPOSED_WEIGHT = 1.0  # prior weight of the default shares among the candidates: as much as all others together
LABEL_SHARE = 0.5  # weight of a label's own error relative to the project's
MAX_SUBSETS = 4  # up to this many blocks, all combinations are tried
CHOOSING_ROWS = 1200  # maximum number of rows on which candidates are tried: each needs an inverse of that size
# If nothing can be left out, pieces of each recording are compared: their number, the exponent of alignment, the minimum share.
PIECES, SHARPNESS_OF_ALIGNMENT, MIN_ALIGNED = 4, 3, 0.01
TELLING = 1.5  # a block is named if its share is at least this many times the mean


def supposed_shares(sample: Sample) -> Tensor:
    """Default shares without left-out videos, (L, K): the same for all labels, except that those of media in a sync group
    depend on their alignment with each label."""
    media = (len(sample.blocks) - 2) // 2
    of_media = (sample.layout.shares if sample.layout else ()) or (1.0,) * media
    shares = torch.tensor([medium * share for medium in of_media for share in SEEN_SHARES] + list(MOTION_SHARES))
    shares[-2:] *= sample.steady[-2:]
    if sample.layout and not sample.layout.complete:
        for blocks in _media(sample.layout, len(sample.blocks)):
            own = list(blocks)
            shares[own] /= shares[own].sum()
        return shares * _aligned(sample)
    return shares.repeat(sample.labels.shape[1], 1)


def _aligned(sample: Sample) -> Tensor:
    """Kernel-target alignment (L, K): agreement of labels between rows alike in a block, across pieces of recordings.

    A medium without information on a label would only add noise. Source: Cristianini, Shawe-Taylor, Elisseeff and Kandola 2001,
    "On Kernel-Target Alignment".
    """
    rows = slice(0, sample.originals)
    track = sample.tracks[rows]
    last = torch.zeros(int(track.max()) + 1, dtype=torch.long).scatter_reduce_(0, track, sample.rows[rows], "amax")
    pieces = PIECES * track + (PIECES * sample.rows[rows]) // (last[track] + 1)
    elsewhere = (pieces.unsqueeze(1) != pieces).float()
    told = sample.known[rows].float()
    labels = sample.labels[rows] * told
    target = labels - labels.sum(0) / told.sum(0).clamp(min=1) * told
    size = ((target**2).T @ elsewhere @ target**2).diagonal().clamp(min=1e-12).sqrt()
    found = []
    for kernel in sample.kernels:
        own = kernel[rows, rows]
        centred = (own - own.mean(0) - own.mean(1, keepdim=True) + own.mean()) * elsewhere
        found.append((target * (centred @ target)).sum(0) / (size * centred.norm().clamp(min=1e-12)))
    alike = torch.stack(found, 1).clamp(min=0)
    best = alike.amax(1, keepdim=True)
    shares: Tensor = torch.where(best > 0, (alike / best.clamp(min=1e-12)) ** SHARPNESS_OF_ALIGNMENT, 1.0)
    return shares.clamp(min=MIN_ALIGNED)


class Choice(NamedTuple):
    """shares: (L, K), the largest of a label is 1. explained: (L, K), share of a label's variance in left-out videos that each
    block explains alone, at most 1, negative if it misleads; NaN if not tried."""

    shares: Tensor
    explained: Tensor


def choose(sample: Sample, folds: Sequence[Fold], groups: Sequence[Hashable]) -> Choice:
    """Choose the shares of the blocks for each label, by folds over whole videos.

    groups: of each track; tracks of the same group are one video.
    """
    supposed = supposed_shares(sample)
    candidates = torch.cat([_candidates(sample.active, len(sample.blocks), sample.layout), supposed.mean(0, keepdim=True)])
    prior = torch.zeros(len(candidates))
    prior[-1] = math.log(SUPPOSED_WEIGHT * (len(candidates) - 1))
    explained = torch.full_like(supposed, torch.nan)
    if len(sample.active) < 2:
        return Choice(supposed, explained)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    video = torch.tensor([numbers[group] for group in groups])[sample.tracks]
    left_out, tested = [~sample.inside(fold.train) for fold in folds], [sample.inside(fold.test) for fold in folds]
    losses = torch.stack([_loss(sample, candidate, left_out, tested, video) for candidate in candidates])  # (C, L, V)
    told = ~losses[0].isnan()
    mean = losses.nansum(2) / told.sum(1).clamp(min=1)
    occurring = told.any(1) & ((sample.labels * sample.known).sum(0) > 0)
    for block in sample.active:
        alone = _loss(sample, torch.eye(len(sample.blocks))[block], left_out, tested, video)
        explained[occurring, block] = 1 - (alone.nansum(1) / told.sum(1).clamp(min=1))[occurring]
    if not occurring.any():
        return Choice(supposed, explained)
    logs = torch.log(candidates)
    project = prior - SHARPNESS * _worth(len(numbers)) * mean[:, occurring].mean(1)
    shares = []
    for label in range(len(told)):
        own = 0.0 if not occurring[label] else LABEL_SHARE * SHARPNESS * _worth(int(_videos_with(sample, video, label)))
        probability = torch.softmax(project - own * mean[:, label].nan_to_num(), 0)
        shares.append(torch.exp(probability @ logs))
    found = torch.stack(shares)
    return Choice(found / found.amax(1, keepdim=True), explained)


def in_words(shares: Sequence[float], names: Sequence[str]) -> str:
    """Name the blocks that count most for a label: "what is seen and how much moves"."""
    total = sum(shares)
    told = [name for share, name in zip(shares, names, strict=True) if share * len(names) >= TELLING * total]
    return " and ".join(told) if told else "everything alike"


def _worth(videos: int) -> float:
    return max(videos - FREE_VIDEOS, 0)


def _videos_with(sample: Sample, video: Tensor, label: int) -> int:
    on = (sample.labels[:, label] > 0) & sample.known[:, label]
    return len(torch.unique(video[on]))


def _candidates(active: Sequence[int], blocks: int, layout: Layout | None) -> Tensor:
    """Shares (C, K): all combinations of blocks at full share; of many blocks, each alone, all but each, and each medium."""
    chosen: list[tuple[int, ...]] = [tuple(active)]
    if len(active) <= MAX_SUBSETS:
        chosen = [s for size in range(1, len(active) + 1) for s in itertools.combinations(active, size)]
    else:
        parts = [*((block,) for block in active), *_media(layout, blocks)]
        chosen += [*parts, *(tuple(b for b in active if b not in part) for part in parts)]
    shares = torch.full((len(chosen), blocks), MUTED)
    for row, subset in zip(shares, chosen, strict=True):
        row[list(subset)] = 1.0
    return shares


def _media(layout: Layout | None, blocks: int) -> list[tuple[int, ...]]:
    """Blocks of each medium."""
    if layout is None:
        return []
    motion = (blocks - 2, blocks - 1)
    return [(2 * m, 2 * m + 1, *(motion if layout.moving == m else ())) for m in range(len(layout.widths))]


def _loss(sample: Sample, shares: Tensor, left_out: Sequence[Tensor], tested: Sequence[Tensor], video: Tensor) -> Tensor:
    """Mean squared error of each label in each left-out video, relative to the label's variance, (L, V); NaN if it is unknown
    there. left_out, tested: for each fold, masks (N,) of rows not learned from and of rows to score."""
    every = max(1, -(-len(sample) // CHOOSING_ROWS))
    labels = sample.labels.shape[1]
    weights = sample.weights(shares)
    _, parts = solve(sample, weights.expand(labels, -1), left_out, every)
    used = torch.arange(0, len(sample), every)
    errors = torch.zeros(len(used), labels)
    kernel = torch.zeros(len(used), len(used))
    for block, weight in zip(sample.kernels, weights.tolist(), strict=True):
        kernel.add_(block[::every, ::every], alpha=weight)
    for rows, part in zip(tested, parts, strict=True):
        own = rows[used].nonzero()[:, 0]
        errors[own] = (part.prior + kernel[own] @ part.counts[used] - sample.labels[used][own]) ** 2
    known = sample.known[used] & torch.stack(list(tested)).any(0)[used, None]
    on = (sample.labels * sample.known).sum(0) / sample.known.sum(0).clamp(min=1)
    variance = (on * (1 - on)).clamp(min=1e-4)
    videos = int(video.max()) + 1
    sums, counts = torch.zeros(videos, labels), torch.zeros(videos, labels)
    sums.index_add_(0, video[used], errors * known)
    counts.index_add_(0, video[used], known.float())
    loss: Tensor = (sums / counts / variance).T  # 0 / 0 is NaN
    return loss
