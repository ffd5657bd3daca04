"""Networks: layers and forward pass. The training loop and files are in other modules.

Shapes: B batch, S rows of a chunk, T rows of a video, D features, L labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from framewise.core.errors import ModelError
from framewise.core.progress import Progress, silent
from framewise.learning import checkpoints, training

PREDICT_CHUNKS = 512  # chunks per forward pass: limits the memory for a long video


class BaseNN(nn.Module):
    """Base class of networks: label names, saving and loading."""

    label_map: dict[str, int]

    def hyperparameters(self) -> dict[str, Any]:
        """Arguments that rebuild this network."""
        raise NotImplementedError

    def set_label_map(self, label_map: Mapping[str, int]) -> None:
        """Set the output columns: label name -> column."""
        self.label_map = dict(label_map)

    def get_label_map(self) -> dict[str, int]:
        return self.label_map

    def save(self, path: str | Path) -> None:
        """Write the network to the folder ``path``: weights in safetensors, the rest in JSON."""
        checkpoints.write(
            Path(path),
            {
                "class": type(self).__name__,
                "hyperparameters": self.hyperparameters(),
                "label_map": self.get_label_map(),
            },
            self.state_dict(),
        )

    @classmethod
    def from_checkpoint(cls, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Load what ``save`` wrote, in eval mode."""
        network = cls(**description["hyperparameters"])
        network.load_state_dict(tensors)
        network.set_label_map(description["label_map"])
        return network.eval()

    @classmethod
    def load(cls, path: str | Path) -> "BaseNN":
        """Load the network in a folder, in eval mode. Raises ModelError if it holds none; no pickle is read."""
        return checkpoints.load(Path(path), NETWORKS)

    @classmethod
    def load_cached_model(cls, path: str | Path) -> "BaseNN | None":
        """``load``, kept in memory until the folder's content changes; None if there is no such folder."""
        return checkpoints.load_cached(Path(path), cls.load)

    def save_and_cache(self, path: str | Path) -> None:
        """``save``; from then on ``load_cached_model`` returns this object, until the folder's content changes."""
        self.save(path)
        checkpoints.keep(Path(path), self)


class MultiLabelLSTM(BaseNN):
    """Linear to ``fc_size``, layer norm, dropout, bidirectional LSTM, linear to labels, on chunks of ``sequence_size`` rows."""

    def __init__(
        self,
        input_size: int,
        output_size: int,
        fc_size: int = 128,
        hidden_size: int = 32,
        num_layers: int = 1,
        sequence_size: int = 16,
        dropout_rate: float = 0.2,
        weight_decay: float = 1e-5,
        learning_rate: float = 1e-3,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.input_size, self.output_size, self.fc_size = input_size, output_size, fc_size
        self.hidden_size, self.num_layers, self.sequence_size = hidden_size, num_layers, sequence_size
        self.dropout_rate, self.weight_decay, self.learning_rate = dropout_rate, weight_decay, learning_rate
        self.label_map = {str(column): column for column in range(output_size)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.SEED)  # training is reproducible, including the initial weights
            self.fc_input = nn.Linear(input_size, fc_size)
            self.layer_norm = nn.LayerNorm(fc_size)
            self.dropout = nn.Dropout(dropout_rate)
            self.lstm = nn.LSTM(fc_size, hidden_size, num_layers, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(2 * hidden_size, output_size)
        if device is not None:
            self.to(device)

    @property
    def device(self) -> torch.device:
        """Device on which the network computes; not saved."""
        return self.fc.weight.device

    def hyperparameters(self) -> dict[str, Any]:
        names = ("input_size", "output_size", "fc_size", "hidden_size", "num_layers", "sequence_size")
        return {n: getattr(self, n) for n in (*names, "dropout_rate", "weight_decay", "learning_rate")}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, S, L) of features (B, S, D)."""
        return self.of_chunks(self.of_rows(x))

    def of_rows(self, x: Tensor) -> Tensor:
        """Embeddings (..., fc_size) of features (..., D), each row separately."""
        return torch.relu(self.layer_norm(self.fc_input(x)))

    def of_chunks(self, x: Tensor) -> Tensor:
        """Logits (B, S, L) of ``of_rows``, (B, S, fc_size)."""
        x, _ = self.lstm(self._dropped(x))
        logits: Tensor = self.fc(self._dropped(x))
        return logits

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout like ``nn.Dropout``, whose random numbers take twice as long."""
        if not self.training or not 0 < self.dropout_rate < 1:
            return self.dropout(x)  # type: ignore[no-any-return]
        kept = torch.rand(x.shape, device=x.device) >= self.dropout_rate
        return x * kept.float().div_(1 - self.dropout_rate)

    def preprocess_sequence(self, sequence: Any, labels: Any = None, overlap: int = 2) -> tuple[Tensor, Tensor | None]:
        """Chunks (B, S, D) of a video's features (T, D), and (B, S, L) of its labels, each starting S / overlap rows after the
        previous one. The last chunk is padded with zeros."""
        rows = training.chunk_rows([len(sequence)], self.sequence_size, overlap)
        return training.gather(as_matrix(sequence), rows), (
            None if labels is None else training.gather(as_matrix(labels), rows)
        )

    def partial_fit(
        self,
        sequence: Any,
        labels: Any,
        batch_size: int = 32,
        epochs: int = 1000,
        f1_threshold: float = 0.95,
        accuracy_threshold: float = 1.0,
    ) -> training.TrainingResult:
        """Continue training on one video, features (T, D) and 0/1 labels (T, L), until a threshold or ``epochs``."""
        return self.fit_videos([(sequence, labels)], batch_size, epochs, f1_threshold, accuracy_threshold)

    def fit_videos(
        self,
        videos: Sequence[tuple[Any, Any]],
        batch_size: int = 32,
        epochs: int = 1000,
        f1_threshold: float = 0.95,
        accuracy_threshold: float = 1.0,
        progress: Progress = silent,
    ) -> training.TrainingResult:
        """``partial_fit`` on several videos at once: (features, labels) of each."""
        features, labels = [as_matrix(x) for x, _ in videos], [as_matrix(y) for _, y in videos]
        for x, y in zip(features, labels, strict=True):
            if x.shape[1] != self.input_size or y.shape != (len(x), self.output_size):
                raise ModelError(
                    f"expected features (T, {self.input_size}) and labels (T, {self.output_size}), "
                    f"found {tuple(x.shape)} and {tuple(y.shape)}"
                )
        rows = training.chunk_rows([len(x) for x in features], self.sequence_size, overlap=2)
        goal = training.Goal(epochs, f1_threshold, accuracy_threshold)
        optimizer = training.Adam(self.parameters(), self.learning_rate, self.weight_decay)
        inputs, targets = torch.cat(features).to(self.device), torch.cat(labels).to(self.device)
        return training.fit(self, inputs, targets, rows.to(self.device), optimizer, goal, batch_size, progress)

    def predict(self, sequence: Any) -> Tensor:
        """Scores (T, L) in [0, 1] of a video's features (T, D), averaged over the overlapping chunks of a row. T may be 0."""
        if len(sequence) == 0:
            return torch.empty(0, self.output_size, device=self.device)
        features = as_matrix(sequence).to(self.device)
        scores = torch.zeros(len(features), self.output_size, device=self.device)
        counts = torch.zeros(len(features), 1, device=self.device)
        rows = training.chunk_rows([len(features)], self.sequence_size, overlap=2).to(self.device)
        self.eval()
        with torch.inference_mode():
            for few in rows.split(PREDICT_CHUNKS):
                inside = few >= 0
                chunk_scores = torch.sigmoid(training.logits_of(self, features, few))
                scores.index_add_(0, few[inside], chunk_scores[inside])
                counts.index_add_(0, few[inside], torch.ones(int(inside.sum()), 1, device=self.device))
        return scores / counts.clamp(min=1)

    def matches(self, other: Self) -> bool:
        """True if training can continue from ``other``: same shape, same labels."""
        return self.hyperparameters() == other.hyperparameters() and self.label_map == other.label_map


def as_matrix(rows: Any) -> Tensor:
    """Convert an array, a tensor or a list of row tensors to a float32 tensor (T, N)."""
    if isinstance(rows, Tensor):
        return rows.float()
    if isinstance(rows, list) and rows and isinstance(rows[0], Tensor):
        return torch.stack(rows).float()
    return torch.from_numpy(np.ascontiguousarray(np.asarray(rows, dtype=np.float32)))


NETWORKS: dict[str, type[BaseNN]] = {"MultiLabelLSTM": MultiLabelLSTM}
