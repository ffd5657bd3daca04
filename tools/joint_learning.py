"""Compare one model of a sync group with separate models of each medium: the experiment of docs/decisions/0022.

    python -m tools.joint_learning
    python -m tools.joint_learning --annotated 3,10 --seeds 2 --stage quick

Recordings are rendered: a video in which a red ball passes now and then (and a green one, which is not a label), a sensor that
is shaken now and then, and sound with occasional whistles, each at its own times. So each label shows in one medium only, and
the two others are changing noise for it; in a second experiment they are pure noise.
Everything goes through the readers and the cache of the service. Scores: frame F1 / F1@50 on recordings that were not learned.
"""

import argparse
import itertools
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from framewise.core.metrics import f1_of_counts, mean_frame_f1, segment_counts
from framewise.core.progress import silent
from framewise.core.tables import table_lines
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.features.kinds.lite0 import LITE0
from framewise.features.sensors import SeriesReader
from framewise.features.sound import SoundReader
from framewise.labeling_config import SeriesSettings
from framewise.learning.auto import AutoClassifier, learn_quickly, learn_thoroughly
from framewise.learning.joint import JointRows
from framewise.learning.tracks import LabelledVideo, Rows
from framewise.media.library import MediaFile

Array = npt.NDArray[Any]
FRAME_RATE, SAMPLE_RATE, SOUND_RATE, SIDE = 25, 50, 16_000, 160
MEDIA = ("video", "sensors", "sound")
LABELS = ("Ball", "Shake", "Whistle")  # in the order of the media
SERIES = SeriesSettings("t", "", False, ",", False, ("x", "y", "z"))


@dataclass(frozen=True)
class Recording:
    """Rows of each medium, and 0/1 labels (T, 3)."""

    rows: dict[str, Rows]
    truth: Array

    def seen_by(self, media: Sequence[str], noise: "Recording | None" = None) -> Rows:
        """Input of a model of these media. noise: replaces all media except the first."""
        given = [self.rows[m] if noise is None or n == 0 else noise.rows[m] for n, m in enumerate(media)]
        if len(media) == 1:
            return given[0]
        moving = media.index("video") if "video" in media else None
        return JointRows(given, min(len(r) for r in given), FRAME_RATE, moving)

    def without(self, missing: str) -> Rows:
        parts = [None if m == missing else self.rows[m] for m in MEDIA]
        return JointRows(parts, len(self.truth), FRAME_RATE, 0)


def events(random: np.random.Generator, seconds: float) -> list[tuple[float, float]]:
    """Random (start, stop) of events in seconds."""
    found, start = [], float(random.uniform(0.5, 3))
    while (end := start + float(random.uniform(0.8, 2.2))) < seconds - 0.5:
        found.append((start, end))
        start = end + float(random.uniform(1, 3.5))
    return found


def on(moments: Array, when: Sequence[tuple[float, float]]) -> Array:
    marked: Array = np.zeros(len(moments), dtype=bool)
    for start, end in when:
        marked |= (moments >= start) & (moments < end)
    return marked


def write_video(path: Path, random: np.random.Generator, seconds: float, red: Any, green: Any) -> None:
    moments = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
    scene = random.integers(40, 200, (8, 8, 3)).repeat(SIDE // 8, 0).repeat(SIDE // 8, 1).astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE]
    balls = [(on(moments, red), (220, 30, 30)), (on(moments, green), (30, 200, 60))]
    paths = [random.uniform(0.2, 0.8, (2, 2)) * SIDE for _ in balls]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20", "preset": "veryfast"}
        for index, moment in enumerate(moments):
            picture = scene + random.normal(0, 6, scene.shape)
            for (there, colour), (a, b) in zip(balls, paths, strict=True):
                middle = a + (b - a) * (0.5 + 0.5 * np.sin(1.7 * moment))
                if there[index]:
                    picture[(y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 18**2] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")))
        container.mux(stream.encode(None))


def write_sensors(path: Path, random: np.random.Generator, seconds: float, when: Any, noise: bool) -> None:
    moments = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    values = random.normal(0, 0.08, (len(moments), 3)) + np.cumsum(random.normal(0, 0.01, (len(moments), 3)), 0) + [0, 0, 1]
    if noise:
        values += random.normal(0, 0.5, values.shape)
    else:
        values[:, 0] += on(moments, when) * 0.4 * np.sin(2 * np.pi * 4 * moments)
    text = "".join(f"{t:.3f},{x:.4f},{y:.4f},{z:.4f}\n" for t, (x, y, z) in zip(moments, values, strict=True))
    path.write_text("t,x,y,z\n" + text)


def write_sound(path: Path, random: np.random.Generator, seconds: float, when: Any, noise: bool) -> None:
    moments = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    samples = random.normal(0, 0.03, len(moments)) * (1 + 0.5 * np.sin(0.7 * moments))
    if noise:
        samples += (
            random.normal(0, 0.1, len(moments)) * (random.random(len(moments) // 800 + 1) < 0.3).repeat(800)[: len(moments)]
        )
    else:
        samples += on(moments, when) * 0.05 * np.sin(2 * np.pi * 2000 * moments)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


class Studio:
    """Renderer of recordings, which are read as in the service."""

    def __init__(self, folder: Path, threads: int):
        cache = FeatureCache(folder / "cache")
        self._folder, self._numbers = folder, itertools.count()
        self._backbones = Backbones(folder / "models", folder / "data")
        self._extractor = Extractor(cache, compute=Compute("torch", "auto", threads))
        self._series, self._sound = SeriesReader(cache), SoundReader(cache)

    def record(self, seed: int, seconds: float, noise: bool = False) -> Recording:
        random = np.random.default_rng(seed)
        red, green, shaken, whistled = (events(random, seconds) for _ in range(4))
        name = self._folder / str(next(self._numbers))
        video, sensors, sound = (name.with_suffix(s) for s in (".mp4", ".csv", ".wav"))
        write_video(video, random, seconds, [] if noise else red, green)
        write_sensors(sensors, random, seconds, shaken, noise)
        write_sound(sound, random, seconds, whistled, noise)
        backbone = self._backbones.find(LITE0)
        load = lambda: self._backbones.load(backbone)  # noqa: E731
        seen = self._extractor.extract(MediaFile.of(video), backbone.content, load, "center", silent)
        rows: dict[str, Rows] = {
            "video": seen.rows_on_grid(FRAME_RATE),
            "sensors": self._series.read(MediaFile.of(sensors), SERIES).rows(FRAME_RATE),
            "sound": self._sound.read(MediaFile.of(sound)).rows(FRAME_RATE),
        }
        length = min(len(r) for r in rows.values())
        middles = (np.arange(length) + 0.5) / FRAME_RATE
        return Recording(rows, np.stack([on(middles, when) for when in (red, shaken, whistled)], axis=1).astype(np.uint8))


Pairs = tuple[list[Recording], list[Recording]]


def learn(videos: Sequence[LabelledVideo], labels: list[str], stage: str) -> AutoClassifier:
    if stage == "quick":
        return learn_quickly(videos, labels, None)
    return learn_thoroughly(videos, labels, silent)[0]


def labelled(recordings: Sequence[Recording], rows: Sequence[Rows], labels: Sequence[int]) -> list[LabelledVideo]:
    pairs = [(recording.truth[: len(r), list(labels)], r) for recording, r in zip(recordings, rows, strict=True)]
    return [LabelledVideo(r, truth, np.ones(truth.shape, dtype=bool), n) for n, (truth, r) in enumerate(pairs)]


def score(truth: Sequence[Array], found: Sequence[Array]) -> tuple[float, float]:
    """Frame F1 and F1@50 of one label over all recordings."""
    length = [min(len(t), len(f)) for t, f in zip(truth, found, strict=True)]
    pairs = [(t[:n].astype(bool), f[:n] >= 0.5) for t, f, n in zip(truth, found, length, strict=True)]
    frames = mean_frame_f1(np.concatenate([t for t, _ in pairs])[:, None], np.concatenate([f for _, f in pairs])[:, None])
    counts = np.array([[*c.tp, *c.fp, *c.fn] for c in (segment_counts(t, f, [0.5]) for t, f in pairs)]).sum(axis=0)
    return frames, float(f1_of_counts(*counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotated", default="3,6,10", help="numbers of annotated recordings")
    parser.add_argument("--test", type=int, default=10, help="recordings that are scored")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--stage", choices=("quick", "thorough"), default="thorough")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    numbers = [int(n) for n in options.annotated.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Path(folder), options.threads)
        most = max(numbers) * options.seeds
        seeds = range(most + options.test)
        recordings = [studio.record(seed, options.seconds) for seed in tqdm(seeds, desc="rendering and reading")]
        noise = [studio.record(1000 + seed, options.seconds, noise=True) for seed in tqdm(seeds, desc="noise")]
        pool, test = (recordings[:most], noise[:most]), (recordings[most:], noise[most:])
        for number in numbers:
            report(number, options, pool, test)


def report(number: int, options: argparse.Namespace, pool: Pairs, test: Pairs) -> None:
    """Print scores for a number of annotated recordings: means over the seeds, each with other recordings."""
    scores: dict[str, list[list[tuple[float, float]]]] = {}
    for seed in range(options.seeds):
        own = slice(seed * number, (seed + 1) * number)
        for name, row in one_round((pool[0][own], pool[1][own]), test, options.stage).items():
            scores.setdefault(name, []).append(row)
    lines = [(f"{number} ANNOTATED", *(f"{label} ({medium})" for label, medium in zip(LABELS, MEDIA, strict=True)))]
    for name, rounds in scores.items():
        means = np.nanmean(np.array(rounds), axis=0)
        lines.append((name, *(f"{frame:.2f} / {segment:.2f}" for frame, segment in means)))
    print("\n".join(table_lines(lines)) + "\n", flush=True)


def one_round(learned: Pairs, others: Pairs, stage: str) -> dict[str, list[tuple[float, float]]]:
    """Row of scores, one per label, for each model. learned, others: recordings and noise, for learning and for scoring."""
    (train, noise), (test, test_noise) = learned, others
    every = range(len(LABELS))
    truth = [r.truth for r in test]

    def scored(model: AutoClassifier, rows: Sequence[Rows], labels: Sequence[int]) -> list[tuple[float, float]]:
        found = [model.predict(r) for r in rows]
        return [score([t[:, c] for t in truth], [f[:, n] for f in found]) for n, c in enumerate(labels)]

    rows = {}
    for medium in MEDIA:
        model = learn(labelled(train, [r.rows[medium] for r in train], every), list(LABELS), stage)
        rows[f"{medium} alone"] = scored(model, [r.rows[medium] for r in test], every)
    joint = learn(labelled(train, [r.seen_by(MEDIA) for r in train], every), list(LABELS), stage)
    rows["all together"] = scored(joint, [r.seen_by(MEDIA) for r in test], every)
    for missing in MEDIA:
        rows[f"  without {missing} to predict from"] = scored(joint, [r.without(missing) for r in test], every)
    beside_noise = []
    for label, medium in enumerate(MEDIA):
        media = [medium, *(m for m in MEDIA if m != medium)]
        given = [r.seen_by(media, n) for r, n in zip(train, noise, strict=True)]
        model = learn(labelled(train, given, [label]), [LABELS[label]], stage)
        beside_noise += scored(model, [r.seen_by(media, n) for r, n in zip(test, test_noise, strict=True)], [label])
    rows["its medium, beside two of noise"] = beside_noise
    return rows


if __name__ == "__main__":
    main()
