"""Compare the default learner on time series with Label Studio's example backend `timeseries_segmenter`.

    python -m tools.series_benchmark
    python -m tools.series_benchmark --annotated 1,3 --seeds 1 --data rendered
    python -m tools.series_benchmark --unlike --annotated 1,3 --seeds 4 --test 6

That backend (label-studio-ml-backend, examples/timeseries_segmenter) is reimplemented here from its description: a
bidirectional LSTM of two layers on half-overlapping windows of 50 samples; raw values; at most one label per sample; trained
until the score on the training data is high enough, or for a number of epochs. Both get the same recordings, and are scored on
the samples of unseen recordings: frame F1 / F1@50, means over the labels.

rendered: an accelerometer lies still, is shaken, or is turned. worn: worn sensors while walking, running and falling, each
time with another orientation, gain and pace, with drift and gaps in the file. motions: walking, running and jumping with an
accelerometer and a gyroscope, with the pace and strength of different people; the slow ones have 10 samples per second.

--unlike: only ours, the first version after a submit, on recordings unlike those learned from: in rate, zero, unit or
channels.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from framewise.core.metrics import f1_of_counts, mean_frame_f1, segment_counts
from framewise.core.progress import silent
from framewise.core.series_time import SeriesTimes
from framewise.features.cache import FeatureCache
from framewise.features.sensors import SeriesFeatures, SeriesProfile, SeriesReader
from framewise.labeling_config import SeriesSettings
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.tracks import LabelledVideo
from framewise.media.library import MediaFile

Array = npt.NDArray[Any]
SAMPLE_RATE, SLOW_RATE = 50, 10
SERIES = SeriesSettings("t", "", False, ",", False, ())
WINDOW, HIDDEN, LAYERS, LEARNING_RATE, BATCH, EPOCHS, GOOD_ENOUGH = 50, 64, 2, 1e-3, 32, 60, 0.95  # the example's


@dataclass(frozen=True)
class Recording:
    """values (N, C) and truth 0/1 (N, L) of a recording. series: as read by the service from its file."""

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
    """Simulate walking (two steps per second), running (three, harder), a fall (a jerk, then lying)."""
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


def motions(random: np.random.Generator, moments: Array, when: Sequence[tuple[int, float, float]]) -> Array:
    """Simulate walking, running and jumping; acceleration in m/s², rotation in rad/s."""
    values: Array = np.zeros((len(moments), 6)) + [0, 0, 9.81, 0, 0, 0]
    tempo, strength = random.uniform(0.85, 1.15), random.uniform(0.75, 1.3)
    phases = random.uniform(0, 2 * np.pi, 9)
    for label, start, end in when:
        inside = (moments >= start) & (moments < end)
        hz, push, turn = [(1.8, 2.5, 1.0), (2.7, 7.0, 2.5), (2.1, 8.0, 0.5)][label]
        swings = 2 * np.pi * hz * tempo * (moments[inside] - start)[:, None] * [1, 1, 0.5, 0.5, 1, 0.5, 2, 1.5, 2]
        a, b, c, d, e, f, g, h, i = np.sin(swings + phases).T
        if label == 2:
            swing = [0.15 * b, 0.15 * c, 2.2 * np.maximum(a, 0) ** 3 - 0.7, 0.3 * d, 0.6 * e, 0.2 * f]
        else:
            swing = [0.5 * b + 0.2 * g, 0.4 * c + 0.1 * h, 0.8 * a + 0.35 * i, 0.8 * d, 0.5 * e, 0.7 * f]
        values[inside] += strength * np.stack(swing, axis=1) * ([push] * 3 + [turn] * 3)
    tilt = np.linalg.qr(np.eye(3) + random.normal(0, 0.12, (3, 3)))[0]
    tilt *= np.sign(np.diag(tilt))
    noise = random.normal(0, 1, values.shape) * ([0.3] * 3 + [0.1] * 3)
    turned: Array = np.concatenate([values[:, :3] @ tilt, values[:, 3:] @ tilt], axis=1) + noise
    return turned


KINDS: dict[str, tuple[Callable[..., Array], list[str]]] = {
    "rendered": (rendered, ["Shake", "Turn"]),
    "worn": (worn, ["Walk", "Run", "Fall"]),
    "motions": (motions, ["Walk", "Run", "Jump"]),
    "slow-motions": (motions, ["Walk", "Run", "Jump"]),
}


def rate_of(kind: str) -> int:
    return SLOW_RATE if kind == "slow-motions" else SAMPLE_RATE


def record(kind: str, seed: int, seconds: float, folder: Path, reader: SeriesReader) -> Recording:
    make, labels = KINDS[kind]
    random = np.random.default_rng(seed)
    moments = np.arange(round(seconds * rate_of(kind))) / rate_of(kind)
    when = events(random, seconds, len(labels))
    values = make(random, moments, when).round(4)
    truth = np.zeros((len(moments), len(labels)), np.uint8)
    for label, start, end in when:
        truth[(moments >= start) & (moments < end), label] = 1
    kept = np.ones(len(moments), bool)
    if kind == "worn":  # one or two lost packets
        for start in random.integers(0, len(moments), 2):
            kept[start : start + int(random.integers(5, 25))] = False
    path = folder / f"{kind}-{seed}.csv"
    names = tuple("xyzuvw"[: values.shape[1]])
    rows = np.column_stack([moments, values])[kept].tolist()
    path.write_text(f"t,{','.join(names)}\n" + "".join(f"{t:.2f},{','.join(map(str, row))}\n" for t, *row in rows))
    return Recording(values[kept], truth[kept], reader.read(MediaFile.of(path), replace(SERIES, channels=names)))


# Ours: predictions for each sample.


def ours(train: Sequence[Recording], test: Sequence[Recording], labels: list[str]) -> list[Array]:
    profile = SeriesProfile.of([r.series for r in train])
    classifier = learn_thoroughly(_videos(train, profile), labels, silent)[0]
    return _found(classifier, test, profile)


def _videos(train: Sequence[Recording], profile: SeriesProfile) -> list[LabelledVideo]:
    rate, sample_rate = profile.grid.rate, profile.grid.sample_rate
    rows = [(r.series.rows(rate, sample_rate=sample_rate), _steps(r, rate)) for r in train]
    return [LabelledVideo(own, steps, np.ones(steps.shape, bool), n) for n, (own, steps) in enumerate(rows)]


def _found(classifier: AutoClassifier, test: Sequence[Recording], profile: SeriesProfile) -> list[Array]:
    rate, sample_rate = profile.grid.rate, profile.grid.sample_rate
    scores = [classifier.predict(r.series.rows(rate, sample_rate=sample_rate)) for r in test]
    return [own[r.series.times.frames(rate) - 1] >= 0.5 for own, r in zip(scores, test, strict=True)]


def _steps(recording: Recording, rate: float) -> Array:
    steps = np.zeros((recording.series.num_steps(rate), recording.truth.shape[1]), np.uint8)
    np.maximum.at(steps, recording.series.times.frames(rate) - 1, recording.truth)
    return steps


# Recordings unlike those learned from.


@dataclass(frozen=True)
class Unlike:
    """A change to recordings, which are rendered with twice as many samples as usual. every: step of the samples that are kept.
    zero (in standard deviations), unit, missing: of one channel."""

    every: int = 2
    zero: float = 0.0
    unit: float = 1.0
    missing: bool = False

    def record(self, kind: str, seed: int, seconds: float) -> Recording:
        make, labels = KINDS[kind]
        random, rate = np.random.default_rng(seed), 2 * rate_of(kind)
        moments = np.arange(round(seconds * rate)) / rate
        when = events(random, seconds, len(labels))
        values = make(random, moments, when)
        truth = np.zeros((len(moments), len(labels)), np.uint8)
        for label, start, end in when:
            truth[(moments >= start) & (moments < end), label] = 1
        values[:, 0] = values[:, 0] * self.unit + self.zero * values[:, 0].std()
        if self.missing:
            values[:, 1] = np.nan
        values, times = values[:: self.every], SeriesTimes(moments[:: self.every])
        return Recording(values, truth[:: self.every], SeriesFeatures(times, values.astype(np.float32)))


UNLIKE = {
    "its own rate": Unlike(),
    "double": Unlike(every=1),
    "two thirds": Unlike(every=3),
    "half": Unlike(every=4),
    "a quarter": Unlike(every=8),
    "another zero": Unlike(zero=3.0),
    "another unit": Unlike(unit=10.0),
    "one missing": Unlike(missing=True),
}


def report_unlike(kind: str, numbers: Sequence[int], options: argparse.Namespace) -> None:
    labels = KINDS[kind][1]
    print(f"{kind.upper():14} " + " ".join(f"{name:13}" for name in UNLIKE), flush=True)
    for number in numbers:
        scores: dict[str, list[tuple[float, float]]] = {name: [] for name in UNLIKE}
        for seed in range(options.seeds):
            train = [Unlike().record(kind, 1000 * seed + n, options.seconds) for n in range(number)]
            profile = SeriesProfile.of([r.series for r in train])
            classifier = learn_quickly(_videos(train, profile), labels, None)
            for name, unlike in UNLIKE.items():
                test = [unlike.record(kind, 1000 * seed + 500 + n, options.seconds) for n in range(options.test)]
                truth = [r.truth.astype(bool) for r in test]
                scores[name].append(score(truth, _found(classifier, test, profile)))
        means = [np.mean(own, axis=0) for own in scores.values()]
        print(f"{number:<14} " + " ".join(f"{frames:.2f} / {segments:.2f}  " for frames, segments in means), flush=True)


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
    network = Segmenter(train[0].values.shape[1], len(labels))
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
    """Windows (n, WINDOW, ...), each half a window after the one before; the last ends with the recording."""
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
    """Frame F1 and F1@50, means over the labels, pooled over all recordings."""
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
    parser.add_argument("--unlike", action="store_true", help="score recordings that are unlike those learned from")
    options = parser.parse_args()
    numbers = [int(n) for n in options.annotated.split(",")]
    for kind in KINDS if options.data == "all" else [options.data]:
        (report_unlike if options.unlike else report)(kind, numbers, options)


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
