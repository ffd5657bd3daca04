"""Compare the speed of MultiLabelLSTM on one video with the plain way of Label Studio's example backend.

    python -m tools.lstm_speed [--threads 1,2] [--frames 500] [--labels 2] [--epochs 20] [--rounds 9]

The plain way: chunks are cut out and padded in advance and go through a shuffled DataLoader; the whole network sees each chunk;
Adam with defaults; and after each epoch all chunks pass once more, for precision, recall, F1 and accuracy. Both learn the same
features and labels with the same architecture, batch size and number of torch threads, in one process, taking turns of a fixed
number of epochs without early stopping. Prints medians, quartiles, and the ratio of each pair of turns; then the breakdown of
an epoch's time for both, by torch.profiler on one thread: an operation's own time with that of its backward.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from framewise.learning.networks import MultiLabelLSTM

FEATURES, BATCH, CHUNK = 1280, 32, 16
UNREACHABLE = 2.0
# Parts of an epoch, by their operations; the first match counts.
PARTS = {
    "linear layers": ("addmm", "aten::mm", "aten::linear"),
    "LSTM": ("rnn",),
    "dropout": ("bernoulli", "dropout", "uniform", "random_", "aten::ge", "aten::rand"),
    "Adam": ("adam", "sqrt", "addcdiv", "addcmul", "lerp", "zero_grad"),
    "rows and chunks picked": ("index", "stack", "aten::cat", "unique", "gather", "dataloader"),
    "layer norm, loss": ("layer_norm", "log_sigmoid", "cross_entropy", "threshold", "relu"),
}


class PlainLSTM(nn.Module):
    """Logits (B, S, L) of features (B, S, D)."""

    def __init__(self, labels: int):
        super().__init__()
        self.project = nn.Linear(FEATURES, 128)
        self.norm, self.dropout = nn.LayerNorm(128), nn.Dropout(0.2)
        self.over_time = nn.LSTM(128, 32, batch_first=True, bidirectional=True)
        self.decide = nn.Linear(64, labels)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, weight_decay=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        seen, _ = self.over_time(self.dropout(torch.relu(self.norm(self.project(x)))))
        logits: Tensor = self.decide(self.dropout(seen))
        return logits

    def learn(self, features: Tensor, labels: Tensor, epochs: int) -> float:
        """F1 after the last epoch."""
        chunks = TensorDataset(_chunks(features), _chunks(labels))
        loader = DataLoader(chunks, BATCH, shuffle=True)
        entropy, f1 = nn.BCEWithLogitsLoss(), 0.0
        for _ in range(epochs):
            self.train()
            for x, y in loader:
                self.optimizer.zero_grad()
                loss = entropy(self(x), y)
                loss.backward()
                self.optimizer.step()
                loss.item()
            f1 = self.scores(loader)[2]
        return f1

    def scores(self, loader: "DataLoader[tuple[Tensor, ...]]") -> list[float]:
        """Precision, recall, F1 and accuracy, means over the labels, in a separate pass over all chunks."""
        self.eval()
        with torch.no_grad():
            pairs = [(torch.sigmoid(self(x)), y) for x, y in loader]
        found = torch.cat([s.flatten(0, 1) for s, _ in pairs]) > 0.5
        true = torch.cat([y.flatten(0, 1) for _, y in pairs]) > 0.5
        hits, agree = (found & true).sum(0), (found == true).float().mean(0)
        precision, recall = hits / found.sum(0), hits / true.sum(0)
        f1 = 2 * hits / (found.sum(0) + true.sum(0))
        return [float(score.nan_to_num(1.0).mean()) for score in (precision, recall, f1, agree)]


def _chunks(rows: Tensor) -> Tensor:
    return pad_sequence([rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK // 2)], batch_first=True)


def made_up_video(frames: int, labels: int) -> tuple[Tensor, Tensor]:
    """Random features, shifted in one direction while a label is on."""
    rng = np.random.default_rng(0)
    on = np.stack([(np.arange(frames) + 20 * c) % 60 < 25 for c in range(labels)], axis=1).astype(np.float32)
    features = rng.normal(size=(frames, FEATURES)) + 0.1 * on @ rng.normal(size=(labels, FEATURES))
    return torch.from_numpy(np.abs(features).astype(np.float32)), torch.from_numpy(on)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(learners: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each turn of each learner. The first round is a warm-up."""
    found: list[list[float]] = [[] for _ in learners]
    for number in tqdm(range(rounds + 1), desc="rounds", leave=False):
        for seconds, learn in zip(found, learners, strict=True):
            taken = seconds_of(learn)
            if number:
                seconds.append(taken)
    return found


def parts_of(learn: Callable[[], object]) -> dict[str, float]:
    """Seconds of each of PARTS, and of the rest."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        learn()
    found = dict.fromkeys([*PARTS, "the rest"], 0.0)
    for event in profiled.key_averages():
        name = event.key.lower()
        part = next((p for p, words in PARTS.items() if any(word in name for word in words)), "the rest")
        found[part] += event.self_cpu_time_total / 1e6
    return found


def _quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="numbers of torch threads")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--labels", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20, help="of a turn")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    features, labels = made_up_video(args.frames, args.labels)
    plain, ours = PlainLSTM(args.labels), MultiLabelLSTM(FEATURES, args.labels)
    learners = [
        lambda: plain.learn(features, labels, args.epochs),
        lambda: ours.partial_fit(features, labels, BATCH, args.epochs, UNREACHABLE, UNREACHABLE),
    ]
    print(f"{args.frames} frames, {args.labels} labels; epochs a second\n")
    print("| torch threads | plain | framewise | ratio |\n|---|---|---|---|")
    for threads in (int(number) for number in args.threads.split(",")):
        torch.set_num_threads(threads)
        turns = in_turns(learners, args.rounds)
        rates = [_quartiles([args.epochs / seconds for seconds in side]) for side in turns]
        ratios = [slow / fast for slow, fast in zip(*turns, strict=True)]
        print(f"| {threads} | {' | '.join(rates)} | {_quartiles(ratios)} |", flush=True)
    torch.set_num_threads(1)
    sides = [parts_of(learn) for learn in learners]
    print("\n| milliseconds of an epoch, one thread | plain | framewise |\n|---|---|---|")
    for part in sides[0]:
        print(f"| {part} | " + " | ".join(f"{1000 * side[part] / args.epochs:.1f}" for side in sides) + " |")


if __name__ == "__main__":
    main()
