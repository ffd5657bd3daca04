"""How good the default learner is on time series, beside the example backend `timeseries_segmenter` of Label Studio.

    python tools/series_benchmark.py
    python tools/series_benchmark.py --annotated 1,3 --seeds 1 --data rendered

That backend (label-studio-ml-backend, examples/timeseries_segmenter) is written anew here by its description: a bidirectional
LSTM of two layers on windows of 50 samples, half overlapping; raw values; one label or none a sample; trained until the score
of the training data itself is high enough, or for so many epochs. Both get the same recordings, and are scored on the samples
of recordings that neither has seen: frame F1 / F1@50, means over the labels.

rendered: an accelerometer lies still, is shaken, or is turned. worn: as people wear sensors, walking, running and falling, each
time in another orientation, with another gain, at another pace, with drift and gaps in the file.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from framewise.core.metrics import f1_of_counts, mean_frame_f1, segment_counts
from framewise.features.cache import FeatureCache
from framewise.features.sensors import SeriesFeatures, SeriesReader
from framewise.labeling_config import SeriesSettings
from framewise.learning.auto import learn_thoroughly
from framewise.learning.tracks import LabelledVideo
from framewise.media.library import MediaFile

Array = npt.NDArray[Any]
SAMPLE_RATE = 50
SERIES = SeriesSettings("t", "", False, ",", False, ("x", "y", "z"))
WINDOW, HIDDEN, LAYERS, LEARNING_RATE, BATCH, EPOCHS, GOOD_ENOUGH = 50, 64, 2, 1e-3, 32, 60, 0.95  # the example's


@dataclass(frozen=True)
class Recording:
    """values (N, 3) and truth 0/1 (N, L) of a recording; series: as the service reads its file."""

    values: Array
    truth: Array
    series: SeriesFeatures


def events(random: np.random.Generator, seconds: float, labels: int) -> list[tuple[int, float, float]]:
    found, start = [], float(random.uniform(1, 4))
    while (end := start + float(random.uniform(1.2, 4))) < seconds - 1:
        found.append((int(random.integers(labels)), start, end))
        start = end + float(random.uniform(0.5, 4))
    return found


def rendered(random: np.random.Generator, moments: Array, when: Sequence[tuple[int, float, float]]) -> Array:
    values: Array = random.normal(0, 0.05, (len(moments), 3)) + [0, 0, 1]
    for label, start, end in when:
        inside = (moments >= start) & (moments < end)
        values[inside] += [0, 1, -1] if label else 1.5 * np.sin(2 * np.pi * 4 * moments[inside])[:, None] * [1, 0, 0]
    return values


def worn(random: np.random.Generator, moments: Array, when: Sequence[tuple[int, float, float]]) -> Array:
    """Walking (two steps a second), running (three, harder), a fall (a jerk, then lying)."""
    values: Array = np.zeros((len(moments), 3)) + [0, 0, 1]
    pace, shaky = float(random.uniform(0.85, 1.15)), float(random.uniform(0.7, 1.4))
    for label, start, end in when:
        inside = (moments >= start) & (moments < end)
        t = moments[inside] - start
        if label < 2:
            rate, strength = (1.9, 0.35) if label == 0 else (2.9, 0.9)
            step = np.sin(2 * np.pi * rate * pace * t)
            swing = np.sin(np.pi * rate * pace * t + 1)
            values[inside] += shaky * strength * np.stack([0.5 * swing, 0.3 * step**2, step + 0.4 * step**3], axis=1)
        else:
            values[inside] = np.array([1, 0, 0]) + 3 * np.exp(-t / 0.15)[:, None] * random.normal(0, 1, 3)
    rotation = np.linalg.qr(random.normal(0, 1, (3, 3)))[0]
    drift = np.cumsum(random.normal(0, 0.004, values.shape), axis=0)
    result: Array = (values @ rotation) * random.uniform(0.7, 1.4) * 9.81 + drift + random.normal(0, 0.4, values.shape)
    return result


KINDS: dict[str, tuple[Callable[..., Array], list[str]]] = {
    "rendered": (rendered, ["Shake", "Turn"]),
    "worn": (worn, ["Walk", "Run", "Fall"]),
}


def record(kind: str, seed: int, seconds: float, folder: Path, reader: SeriesReader) -> Recording:
    make, labels = KINDS[kind]
    random = np.random.default_rng(seed)
    moments = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    when = events(random, seconds, len(labels))
    values = make(random, moments, when).round(4)
    truth = np.zeros((len(moments), len(labels)), np.uint8)
    for label, start, end in when:
        truth[(moments >= start) & (moments < end), label] = 1
    kept = np.ones(len(moments), bool)
    if kind == "worn":  # a packet or two that never came
        for start in random.integers(0, len(moments), 2):
            kept[start : start + int(random.integers(5, 25))] = False
    path = folder / f"{kind}-{seed}.csv"
    rows = np.column_stack([moments, values])[kept].tolist()
    path.write_text("t,x,y,z\n" + "".join(f"{t:.2f},{x},{y},{z}\n" for t, x, y, z in rows))
    return Recording(values[kept], truth[kept], reader.read(MediaFile.of(path), SERIES))


# Ours: what it finds in each sample.


def ours(train: Sequence[Recording], test: Sequence[Recording], labels: list[str]) -> list[Array]:
    videos = [
        LabelledVideo(r.series.rows(rate), steps := _steps(r, rate), np.ones(steps.shape, bool), n)
        for n, r, rate in _rated(train)
    ]
    classifier = learn_thoroughly(videos, labels, lambda share, detail: None)[0]
    found = []
    for _, r, rate in _rated(test):
        scores = classifier.predict(r.series.rows(rate))
        found.append(scores[r.series.times.frames(rate) - 1] >= 0.5)
    return found


def _rated(recordings: Sequence[Recording]) -> list[tuple[int, Recording, float]]:
    return [(number, recording, recording.series.own_rate()) for number, recording in enumerate(recordings)]


def _steps(recording: Recording, rate: float) -> Array:
    steps = np.zeros((recording.series.num_steps(rate), recording.truth.shape[1]), np.uint8)
    np.maximum.at(steps, recording.series.times.frames(rate) - 1, recording.truth)
    return steps


# The example.


class Segmenter(nn.Module):
    """Logits (B, T, L + 1) of windows (B, T, C); class 0 is none of the labels."""

    def __init__(self, channels: int, labels: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, HIDDEN, LAYERS, batch_first=True, bidirectional=True, dropout=0.5)
        self.last = nn.Linear(2 * HIDDEN, labels + 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.lstm(x)[0])
        return logits


def example(train: Sequence[Recording], test: Sequence[Recording], labels: list[str]) -> list[Array]:
    torch.manual_seed(0)
    network = Segmenter(3, len(labels))
    x = torch.cat([_windows(torch.from_numpy(r.values).float()) for r in train])
    y = torch.cat([_windows(_classes(r.truth).unsqueeze(1))[:, :, 0] for r in train])
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    for _ in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[rows]).flatten(0, 1), y[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            told = network(x).argmax(2).flatten().numpy()
        if mean_frame_f1(_one_hot(y.flatten().numpy(), len(labels)), _one_hot(told, len(labels))) >= GOOD_ENOUGH:
            break
    return [_one_hot(_predicted(network, r.values), len(labels)) for r in test]


def _windows(x: Tensor) -> Tensor:
    """(n, WINDOW, ...) each half a window after the one before; the last one ends with the recording."""
    starts = [*range(0, len(x) - WINDOW, WINDOW // 2), len(x) - WINDOW]
    return torch.stack([x[start : start + WINDOW] for start in starts])


def _classes(truth: Array) -> Tensor:
    return torch.from_numpy(np.where(truth.any(axis=1), truth.argmax(axis=1) + 1, 0))


def _one_hot(classes: Array, labels: int) -> Array:
    hot: Array = classes[:, None] == np.arange(1, labels + 1)
    return hot


def _predicted(network: Segmenter, values: Array) -> Array:
    x = torch.from_numpy(values).float()
    starts = [*range(0, len(x) - WINDOW, WINDOW // 2), len(x) - WINDOW]
    with torch.inference_mode():
        scores = network(_windows(x)).softmax(2)
    total = torch.zeros(len(x), scores.shape[2])
    for start, window in zip(starts, scores, strict=True):
        total[start : start + WINDOW] += window
    found: Array = total.argmax(1).numpy()
    return found


def score(truth: Sequence[Array], found: Sequence[Array]) -> tuple[float, float]:
    """Frame F1 and F1@50, means over the labels, of all recordings together."""
    frames = mean_frame_f1(np.concatenate(truth), np.concatenate(found))
    segments = []
    for label in range(truth[0].shape[1]):
        pairs = [segment_counts(t[:, label], f[:, label], [0.5]) for t, f in zip(truth, found, strict=True)]
        segments.append(f1_of_counts(*np.array([[*c.tp, *c.fp, *c.fn] for c in pairs]).sum(axis=0)))
    return frames, float(np.mean(segments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotated", default="1,2,3,5,10", help="numbers of annotated files")
    parser.add_argument("--test", type=int, default=10, help="files that are scored")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", choices=(*KINDS, "all"), default="all")
    options = parser.parse_args()
    numbers = [int(n) for n in options.annotated.split(",")]
    for kind in KINDS if options.data == "all" else [options.data]:
        report(kind, numbers, options)


def report(kind: str, numbers: Sequence[int], options: argparse.Namespace) -> None:
    labels, most = KINDS[kind][1], max(numbers) * options.seeds
    with tempfile.TemporaryDirectory() as folder:
        reader = SeriesReader(FeatureCache(Path(folder) / "cache"))
        recordings = [record(kind, n, options.seconds, Path(folder), reader) for n in range(most + options.test)]
        test, truth = recordings[most:], [r.truth.astype(bool) for r in recordings[most:]]
        print(f"{kind.upper():10} {'EXAMPLE':14} {'OURS':14} SECONDS TO LEARN AND PREDICT", flush=True)
        for number in numbers:
            scores, took = [], []
            for seed in range(options.seeds):
                train = recordings[seed * number : (seed + 1) * number]
                for learn in (example, ours):
                    began = time.monotonic()
                    scores.append(score(truth, learn(train, test, labels)))
                    took.append(time.monotonic() - began)
            by_learner = [np.mean(scores[n::2], axis=0) for n in (0, 1)]
            shown = [f"{frames:.2f} / {segments:.2f}" for frames, segments in by_learner]
            seconds = " and ".join(f"{np.mean(took[n::2]):.0f}" for n in (0, 1))
            print(f"{number:<10} {shown[0]:14} {shown[1]:14} {seconds}", flush=True)


if __name__ == "__main__":
    main()
