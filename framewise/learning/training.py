"""Training loop over chunks of videos, and its stopping rule."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.adam import adam

from framewise.core.progress import Progress

PAD = -1
SEED = 20  # training is reproducible: the same videos in the same order give the same network
MAX_BATCHES = 24  # per epoch: with many videos, larger batches keep an epoch short


@dataclass(frozen=True)
class Goal:
    """Maximum number of epochs, and the scores on the training rows at which training stops earlier."""

    epochs: int
    f1_threshold: float
    accuracy_threshold: float


@dataclass(frozen=True)
class TrainingResult(Mapping[str, float]):
    """Scores on the training rows in the last epoch. They measure the fit, not the quality on other videos.

    Also a mapping with the keys of Label Studio's guide: "f1_score", "accuracy", "loss", "epoch".
    """

    epochs: int
    loss: float
    f1: float
    accuracy: float

    def __getitem__(self, name: str) -> float:
        return {"f1_score": self.f1, "accuracy": self.accuracy, "loss": self.loss, "epoch": self.epochs}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("f1_score", "accuracy", "loss", "epoch"))

    def __len__(self) -> int:
        return len(tuple(self))


def chunk_rows(lengths: Sequence[int], size: int, overlap: int) -> Tensor:
    """Row indices of each chunk, (B, size) int64, into the concatenated videos of ``lengths`` rows; PAD past a video's end.

    A chunk starts size / overlap rows after the previous one and never spans two videos.
    """
    step, first, chunks = max(size // overlap, 1), 0, []
    for length in lengths:
        # No chunk is made that would only repeat the end of the previous one.
        starts = range(0, max(length - (size - step), 1), step) if length else range(0)
        for start in starts:
            rows = torch.arange(start, start + size)
            chunks.append(torch.where(rows < length, rows + first, PAD))
        first += length
    return torch.stack(chunks) if chunks else torch.empty(0, size, dtype=torch.int64)


def gather(values: Tensor, rows: Tensor) -> Tensor:
    """Gather values (T, N) at rows (B, S) as (B, S, N), with zeros where a row is PAD. rows (U,) give (U, N)."""
    flat = rows.flatten()
    picked = values.index_select(0, flat.clamp(min=0)).index_fill_(0, (flat == PAD).nonzero()[:, 0], 0)
    return picked.view(*rows.shape, -1)


class Optimizer(Protocol):
    """The two steps of ``torch.optim.Optimizer`` that training takes."""

    def zero_grad(self) -> None: ...

    def step(self) -> None: ...


class Adam:
    """``torch.optim.Adam(fused=True)``, bit for bit, but for its base class, whose first use in a process
    imports PyTorch's compiler: that takes longer than many a training."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float):
        self._parameters: list[Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self._parameters]

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, which all of them must have."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        adam(
            self._parameters,
            gradients,
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            lr=self._learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self._weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


@runtime_checkable
class ByRows(Protocol):
    """Network that first processes each row separately, and then chunks of the results."""

    def of_rows(self, x: Tensor) -> Tensor:
        """Embeddings (U, E) of features (U, D)."""
        ...

    def of_chunks(self, x: Tensor) -> Tensor:
        """Logits (B, S, L) of embeddings by ``of_rows``, (B, S, E)."""
        ...


def logits_of(network: nn.Module, features: Tensor, rows: Tensor) -> Tensor:
    """Logits (B, S, L) of chunks ``rows`` (B, S) of features (T, D).

    Chunks overlap. The per-row part of a network, which is most of its work, is computed once per row.
    """
    if not isinstance(network, ByRows):
        logits: Tensor = network(gather(features, rows))
        return logits
    used, place = torch.unique(rows, return_inverse=True)
    of_rows = network.of_rows(gather(features, used))
    return network.of_chunks(of_rows.index_select(0, place.flatten()).view(*rows.shape, -1))


def fit(
    network: nn.Module,
    features: Tensor,
    labels: Tensor,
    rows: Tensor,
    optimizer: Optimizer,
    goal: Goal,
    batch_size: int,
    progress: Progress,
) -> TrainingResult:
    """Train on features (T, D) and labels (T, L) by chunks ``rows`` (B, S) until the goal; padded rows are ignored."""
    batch_size = max(batch_size, math.ceil(len(rows) / MAX_BATCHES))
    result = TrainingResult(0, math.nan, math.nan, math.nan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network.train()
        targets = gather(labels, rows)
        for epoch in range(1, goal.epochs + 1):
            result = _epoch(network, features, targets, rows, optimizer, batch_size, epoch)
            progress(epoch / goal.epochs, f"epoch {epoch} of at most {goal.epochs}, F1 on the training videos {result.f1:.2f}")
            if _reached(result, goal):
                break
    network.eval()
    return result


def _reached(result: TrainingResult, goal: Goal) -> bool:
    # F1 is NaN if no label occurs; it compares false, so that only the accuracy can end the training.
    return result.f1 >= goal.f1_threshold or result.accuracy >= goal.accuracy_threshold


def _epoch(
    network: nn.Module,
    features: Tensor,
    targets: Tensor,
    rows: Tensor,
    optimizer: Optimizer,
    batch_size: int,
    epoch: int,
) -> TrainingResult:
    order = torch.randperm(len(rows)).to(rows.device)
    rows, targets, real = rows[order], targets[order], (rows[order] != PAD).unsqueeze(2)
    found, losses = [], torch.zeros((), device=rows.device)
    for part in torch.arange(len(rows)).split(batch_size):
        batch = slice(int(part[0]), int(part[-1]) + 1)
        logits = logits_of(network, features, rows[batch])
        # Padded rows have weight 0. Removing them would take longer than computing them.
        loss = binary_cross_entropy_with_logits(logits, targets[batch], real[batch].float(), reduction="sum")
        cells = real[batch].sum() * targets.shape[2]
        optimizer.zero_grad()
        (loss / cells).backward()
        optimizer.step()
        losses += loss.detach()
        found.append(logits.detach())
    return _result(epoch, losses, torch.cat(found)[real[:, :, 0]] >= 0, targets[real[:, :, 0]] >= 0.5)


def _result(epoch: int, losses: Tensor, found: Tensor, true: Tensor) -> TrainingResult:
    """Result of an epoch. losses: sum over its cells. found, true: of its rows, (N, L). F1 is the mean over the labels that
    occur, NaN if none does."""
    occurs = true.any(0)
    f1 = 2 * (found & true).sum(0) / (found.sum(0) + true.sum(0))
    return TrainingResult(
        epoch, float(losses) / max(true.numel(), 1), float(f1[occurs].mean()), float((found == true).float().mean())
    )
