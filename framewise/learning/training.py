"""The training loop over chunks of videos, and when it stops."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

PAD = -1
SEED = 20  # training is repeatable: the same videos in the same order give the same network
MAX_BATCHES = 24  # of an epoch: with many videos, larger batches keep an epoch short

Progress = Callable[[float, str], None]


def silent(share: float, detail: str) -> None:
    """A progress callback that tells nobody."""


@dataclass(frozen=True)
class Goal:
    """Most epochs, and the scores on the training rows at which training stops before."""

    epochs: int
    f1_threshold: float
    accuracy_threshold: float


@dataclass(frozen=True)
class TrainingResult:
    """Scores on the training rows themselves, in the last epoch: they say that it fits, not how good it is elsewhere."""

    epochs: int
    loss: float
    f1: float
    accuracy: float


def chunk_rows(lengths: Sequence[int], size: int, overlap: int) -> Tensor:
    """Rows of each chunk, (B, size) int64, into videos of ``lengths`` rows laid end to end; PAD after a video's end.

    A chunk starts size / overlap rows after the one before it and never spans two videos.
    """
    step, first, chunks = max(size // overlap, 1), 0, []
    for length in lengths:
        # A chunk that would only repeat the end of the one before it is not made.
        starts = range(0, max(length - (size - step), 1), step) if length else range(0)
        for start in starts:
            rows = torch.arange(start, start + size)
            chunks.append(torch.where(rows < length, rows + first, PAD))
        first += length
    return torch.stack(chunks) if chunks else torch.empty(0, size, dtype=torch.int64)


def gather(values: Tensor, rows: Tensor) -> Tensor:
    """values (T, N) at rows (B, S) as (B, S, N); zeros where a row is PAD."""
    return values[rows.clamp(min=0)] * (rows >= 0).unsqueeze(-1)


def fit(
    network: nn.Module,
    features: Tensor,
    labels: Tensor,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    goal: Goal,
    batch_size: int,
    progress: Progress,
) -> TrainingResult:
    """Train on features (T, D) and labels (T, L) by chunks ``rows`` (B, S) until the goal; padded rows count nowhere."""
    batch_size = max(batch_size, math.ceil(len(rows) / MAX_BATCHES))
    result = TrainingResult(0, math.nan, math.nan, math.nan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network.train()
        for epoch in range(1, goal.epochs + 1):
            result = _epoch(network, features, labels, rows, optimizer, batch_size, epoch)
            progress(epoch / goal.epochs, f"epoch {epoch} of at most {goal.epochs}, F1 on the training videos {result.f1:.2f}")
            if _reached(result, goal):
                break
    network.eval()
    return result


def _reached(result: TrainingResult, goal: Goal) -> bool:
    # NaN, where no label occurs at all, compares false: then only the accuracy can end the training.
    return result.f1 >= goal.f1_threshold or result.accuracy >= goal.accuracy_threshold


def _epoch(
    network: nn.Module,
    features: Tensor,
    labels: Tensor,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    epoch: int,
) -> TrainingResult:
    counts, loss_sum, cells = _Counts(labels.shape[1]), 0.0, 0
    for batch in rows[torch.randperm(len(rows))].split(batch_size):
        mask = batch >= 0
        logits, target = network(gather(features, batch))[mask], gather(labels, batch)[mask]
        loss = binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * target.numel()
        cells += target.numel()
        counts.add(logits.detach() >= 0, target >= 0.5)
    return TrainingResult(epoch, loss_sum / max(cells, 1), counts.f1(), counts.accuracy())


class _Counts:
    """True positives, false ones and misses of each label over the batches of an epoch."""

    def __init__(self, num_labels: int):
        self._hits, self._found, self._true = (torch.zeros(num_labels) for _ in range(3))
        self._agree, self._cells = 0, 0

    def add(self, found: Tensor, true: Tensor) -> None:
        self._hits += (found & true).sum(0)
        self._found += found.sum(0)
        self._true += true.sum(0)
        self._agree += int((found == true).sum())
        self._cells += true.numel()

    def f1(self) -> float:
        """Mean over the labels that occur; a label that does not says nothing. NaN if none does."""
        occurs = self._true > 0
        return float((2 * self._hits[occurs] / (self._found[occurs] + self._true[occurs])).mean())

    def accuracy(self) -> float:
        return self._agree / max(self._cells, 1)
