"""Compare learners and their parts on unseen annotated videos: the experiments of docs/decisions/0012.

    python -m tools.learners --data labels.json --backbone yolov8n-cls.pt --steps 3,10 --seeds 2
    python -m tools.learners ... --what honesty      # its own held-out scores compared with those on new videos
    python -m tools.learners ... --what score --profile exact    # only the default learner, on other features
    python -m tools.learners ... --what retention    # whether learned videos are retained while more are learned

labels.json: {"labels": [..], "frame_rate": 30, "videos": {path: {"segments": {label: [[start, end], ..]}}},
"pool": [path, ..], "test": [path, ..]}; frames count from 1, both ends included; paths are relative to the file. For each seed
the pool is shuffled, its first k videos are learned, and all of "test" is scored: frame F1 / F1@50, means over the labels.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framewise.core.metrics import f1_of_counts, mean_frame_f1, segment_counts
from framewise.core.progress import silent
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor, GridRows
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.networks import MultiLabelLSTM
from framewise.learning.tracks import LabelledVideo, Rows, appearance_of
from framewise.media.library import MediaFile

Array = npt.NDArray[Any]
Read = tuple[Array, Array | None]  # appearance and motion of rows


@dataclass(frozen=True)
class Data:
    """Annotated videos: rows and 0/1 labels (T, L) of each."""

    labels: list[str]
    rows: dict[str, Rows]
    truth: dict[str, Array]
    pool: list[str]
    test: list[str]

    def videos(self, names: Sequence[str], seen: Callable[[Rows], Rows]) -> list[LabelledVideo]:
        return [LabelledVideo(seen(self.rows[v]), self.truth[v], np.ones(self.truth[v].shape, dtype=bool), v) for v in names]


class Changed:
    """Rows of a video for a variant: ``change`` receives their appearance and motion."""

    def __init__(self, rows: Rows, change: Callable[[Read], Read], first: int = 0, stop: int | None = None):
        self.frame_rate, self.counts = rows.frame_rate, rows.counts
        self._rows, self._change, self._first = rows, change, first
        self._stop = len(rows) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._first

    def read(self, index: Array) -> Read:
        return self._change(self._rows.read(index + self._first))


def as_it_is(rows: Rows) -> Rows:
    return rows


def without_motion(rows: Rows) -> Rows:
    return Changed(rows, lambda read: (read[0], None))


def motion_alone(rows: Rows) -> Rows:
    def blind(read: Read) -> Read:
        noise = np.random.default_rng(0).normal(size=read[0].shape) * 1e-3
        return noise.astype(np.float32), read[1]

    return Changed(rows, blind)


def shuffled(data: Data) -> Callable[[Rows], Rows]:
    """Replace a video's rows by those of any videos, so that they are unrelated to the labels."""
    random_numbers = np.random.default_rng(2)
    read = [rows.read(np.arange(0, len(rows), 10)) for rows in data.rows.values()]
    appearance, motion = np.concatenate([a for a, _ in read]), np.concatenate([m for _, m in read if m is not None])

    def lost(rows: Rows) -> Rows:
        own = random_numbers.integers(0, len(appearance), len(rows))
        return _Whole((appearance[own], motion[own]), rows)

    return lost


class _Whole:
    """Rows in memory."""

    def __init__(self, features: tuple[Array, Array], like: Rows):
        self.frame_rate, self.counts = like.frame_rate, like.counts
        self._appearance, self._motion = features

    def __len__(self) -> int:
        return len(self._appearance)

    def read(self, index: Array) -> Read:
        return self._appearance[index], self._motion[index]


def score(data: Data, found: dict[str, Array], cut: dict[str, tuple[int, int]] | None = None) -> tuple[float, float]:
    """(frame F1, F1@50) of found labels (T, L), over the labels that occur in the test videos."""
    frames, segments = [], []
    for column in range(len(data.labels)):
        pairs = [
            (data.truth[v][slice(*cut[v]) if cut else slice(None), column].astype(bool), f[:, column]) for v, f in found.items()
        ]
        if any(true.any() for true, _ in pairs):
            on = np.array([[(t & f).sum(), (~t & f).sum(), (t & ~f).sum()] for t, f in pairs]).sum(axis=0)
            counts = [segment_counts(t, f, [0.5]) for t, f in pairs]
            frames.append(float(f1_of_counts(*on)))
            totals = [int(sum(getattr(c, name)[0] for c in counts)) for name in ("tp", "fp", "fn")]
            segments.append(float(f1_of_counts(*totals)))
    return float(np.mean(frames)), float(np.mean(segments))


def scores_of(data: Data, model: AutoClassifier, seen: Callable[[Rows], Rows]) -> tuple[float, float]:
    return score(data, {v: model.predict(seen(data.rows[v])) >= 0.5 for v in data.test})


def variants(data: Data, chosen: list[str], with_lstm: bool) -> Iterator[tuple[str, tuple[float, float]]]:
    """(name, score) of each learner on the chosen videos."""
    videos = data.videos(chosen, as_it_is)
    yield "closed form, defaults (the quick version)", scores_of(data, learn_quickly(videos, data.labels, None), as_it_is)
    model, quality, *_ = learn_thoroughly(videos, data.labels, silent)
    yield "auto", scores_of(data, model, as_it_is)
    plain = replace(model, decisions=learn_quickly(videos, data.labels, None).decisions)
    yield "auto, with default decisions", scores_of(data, plain, as_it_is)
    yield from _cut_scores(data, model)
    if quality:
        yield "(what auto says of itself, held out)", (quality.mean["f1"], quality.mean["f1@50"])
    for name, seen in (("auto without motion", without_motion), ("auto on motion alone", motion_alone)):
        other, *_ = learn_thoroughly(data.videos(chosen, seen), data.labels, silent)
        yield name, scores_of(data, other, seen)
    anything = shuffled(data)
    lost, *_ = learn_thoroughly(data.videos(chosen, anything), data.labels, silent)
    yield "auto on shuffled rows", scores_of(data, lost, anything)
    total = np.concatenate([data.truth[v] for v in chosen])
    prior = total.mean(axis=0) > 0.5
    yield "label prior", score(data, {v: np.tile(prior, (len(data.truth[v]), 1)) for v in data.test})
    if with_lstm:
        yield "lstm", _lstm_score(data, chosen)


def honesty(data: Data, orders: dict[int, list[list[str]]]) -> None:
    """Print the held-out scores of a version, the scores on new videos, and how often its interval contains the latter."""
    print("| videos | says of itself | true | interval holds the true F1 / F1@50 |\n|---|---|---|---|")
    for step, chosen in orders.items():
        said, true, held = [], [], []
        for order in tqdm(chosen, desc=f"{step} videos", unit="order"):
            model, quality, *_ = learn_thoroughly(data.videos(order, as_it_is), data.labels, silent)
            if quality is None or quality.weak:
                continue
            true.append(scores_of(data, model, as_it_is))
            said.append((quality.mean["f1"], quality.mean["f1@50"]))
            ends = [quality.interval[name] for name in ("f1", "f1@50")]
            held.append([low <= value <= high for value, (low, high) in zip(true[-1], ends, strict=True)])
        if said:
            means = ["{:.3f} / {:.3f}".format(*np.mean(rows, axis=0)) for rows in (said, true)]
            print(f"| {step} | {' | '.join(means)} | {' / '.join(f'{n} of {len(held)}' for n in np.sum(held, axis=0))} |")


def retention(data: Data, orders: list[list[str]]) -> None:
    """Print the loss in score of a learned video from right after its own submit to after the last one: the largest
    fall and the mean change, in points of frame F1, mean of the labels that occur in it."""
    print("| order | submits | score when learned | at the end | largest fall, points |\n|---|---|---|---|---|")
    for number, order in enumerate(orders):
        first: dict[str, float] = {}
        model: AutoClassifier | None = None
        for submits in tqdm(range(1, len(order) + 1), desc=f"order {number}", unit="submit"):
            model = learn_quickly(data.videos(order[:submits], as_it_is), data.labels, model)
            video = order[submits - 1]
            first[video] = mean_frame_f1(data.truth[video], model.predict(data.rows[video]) >= 0.5)
        assert model is not None
        last = {v: mean_frame_f1(data.truth[v], model.predict(data.rows[v]) >= 0.5) for v in order}
        fall = max(first[v] - last[v] for v in order)
        means = [float(np.mean(list(scores.values()))) for scores in (first, last)]
        print(f"| {number} | {len(order)} | {means[0]:.4f} | {means[1]:.4f} | {100 * fall:.2f} |")


def _cut_scores(data: Data, model: AutoClassifier) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield scores of the same rows with up to a quarter of each test video cut at either end, and without cuts."""
    random_numbers = np.random.default_rng(1)
    cut = {}
    for video in data.test:
        length = len(data.truth[video])
        cut[video] = (int(length * random_numbers.uniform(0, 0.25)), int(length * random_numbers.uniform(0.75, 1)))
    alone = {v: model.predict(Changed(data.rows[v], lambda f: f, *cut[v])) >= 0.5 for v in data.test}
    yield "auto, heads and tails of test videos cut", score(data, alone, cut)
    within = {v: (model.predict(data.rows[v]) >= 0.5)[slice(*cut[v])] for v in data.test}
    yield "auto, the same rows of whole test videos", score(data, within, cut)


def _lstm_score(data: Data, chosen: list[str]) -> tuple[float, float]:
    def appearance(video: str) -> Array:
        return appearance_of(data.rows[video])

    network = MultiLabelLSTM(appearance(chosen[0]).shape[1], len(data.labels))
    network.fit_videos([(appearance(v), data.truth[v]) for v in chosen])
    return score(data, {v: network.predict(appearance(v)).numpy() >= 0.5 for v in data.test})


def read_data(path: Path, backbone: str, models: Path, cache: Path, profile: str, precision: str) -> Data:
    """Read the data, extracting videos that are not cached."""
    described = json.loads(path.read_text())
    labels = list(described["labels"])
    rows: dict[str, Rows] = {}
    truth: dict[str, Array] = {}
    backbones = Backbones(models, Path(tempfile.gettempdir()) / "framewise-learners")
    file, extractor = backbones.find(backbone), Extractor(FeatureCache(cache), profile, Compute(precision=precision))
    for name, about in tqdm(described["videos"].items(), desc="features", unit="video"):
        media = MediaFile.of(path.parent / name)
        features = extractor.extract(media, file.content, lambda: backbones.load(file), "center", silent)
        rows[name] = GridRows(features, float(described["frame_rate"]))
        truth[name] = np.zeros((len(rows[name]), len(labels)), dtype=np.uint8)
        for column, label in enumerate(labels):
            for start, end in about["segments"].get(label, []):
                truth[name][start - 1 : end, column] = 1
    return Data(labels, rows, truth, described["pool"], described["test"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", required=True, help="a file in --models, or efficientnet-lite0")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--cache", type=Path, default=Path("cache_dir"))
    parser.add_argument("--profile", choices=("fast", "exact"), default="fast")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--steps", default="1,3,5,10,20", help="numbers of annotated videos")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--what", choices=("parts", "score", "honesty", "retention"), default="parts")
    parser.add_argument("--lstm", action="store_true", help="also the LSTM, which takes long")
    args = parser.parse_args()
    data = read_data(args.data, args.backbone, args.models, args.cache, args.profile, args.precision)
    shuffled_pools = []
    for seed in range(args.seeds):
        shuffled_pools.append(data.pool[:])
        random.Random(seed).shuffle(shuffled_pools[-1])
    steps = [int(step) for step in args.steps.split(",")]
    orders = {step: [pool[:step] for pool in shuffled_pools] for step in steps}
    if args.what == "honesty":
        honesty(data, orders)
    elif args.what == "score":
        auto_alone(data, orders)
    elif args.what == "retention":
        retention(data, orders[max(steps)])
    else:
        parts(data, orders, args.lstm)


def auto_alone(data: Data, orders: dict[int, list[list[str]]]) -> None:
    """Print the default learner's scores on the test videos, order by order."""
    print("| videos | frame F1 / F1@50 | of each order |\n|---|---|---|")
    for step, chosen in orders.items():
        found = []
        for order in tqdm(chosen, desc=f"{step} videos", unit="order"):
            model, *_ = learn_thoroughly(data.videos(order, as_it_is), data.labels, silent)
            found.append(scores_of(data, model, as_it_is))
        cells = ["{:.3f} / {:.3f}".format(*pair) for pair in (np.mean(found, axis=0), *found)]
        print(f"| {step} | {cells[0]} | {', '.join(cells[1:])} |", flush=True)


def parts(data: Data, orders: dict[int, list[list[str]]], with_lstm: bool) -> None:
    """Print the table of learners and their parts."""
    table: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for step, chosen in orders.items():
        for order in tqdm(chosen, desc=f"{step} videos", unit="order"):
            for name, value in variants(data, order, with_lstm):
                table.setdefault(name, {}).setdefault(step, []).append(value)
    print("| learner | " + " | ".join(f"{step}" for step in orders) + " |\n|---" + "|---" * len(orders) + "|")
    for name, row in table.items():
        cells = ["{:.2f} / {:.2f}".format(*np.nanmean(row[step], axis=0)) if step in row else "" for step in orders]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
