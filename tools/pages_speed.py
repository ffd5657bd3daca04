"""Measure the response times of pages for a project of 1,000 tasks and 50 versions: medians, against the limit of 100 ms.

The project is created in its own folder: tasks, annotations and predictions in the database, versions as published by a
training, with held-out scores of every annotated video. Then each page is requested over HTTP from one web process.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from framewise.assembly import Assembly
from framewise.core.intervals import Intervals
from framewise.core.metrics import runs
from framewise.core.regions import write_region
from framewise.demo.backend_server import BackendServer, free_port
from framewise.features.kinds.lite0 import LITE0
from framewise.learning.held_out import HeldOutVideo, write_held_out
from framewise.learning.quality import measure
from framewise.media.video import VideoInfo
from framewise.media.video_notes import VideoFacts
from framewise.settings import Settings
from framewise.store.made import LastPrediction
from framewise.store.media_facts import FileFacts

Array = npt.NDArray[Any]

ALLOWED_MS = 100
LABELS = ("Walk", "Run", "Stand still")
COLOURS = ("#2e9e5b", "#d1495b", "#4464ad")
RATE = 25.0
HTML = {"Accept": "text/html"}


def labeling_config(labels: Sequence[str] = LABELS) -> str:
    """Labeling config with these labels."""
    tags = "".join(f'<Label value="{x}" background="{COLOURS[n % len(COLOURS)]}"/>' for n, x in enumerate(labels))
    return (
        f'<View><TimelineLabels name="timeline" toName="video" model_trainable="true">{tags}</TimelineLabels>'
        f'<Video name="video" value="$video" frameRate="{RATE:g}"/></View>'
    )


def fill(
    assembly: Assembly, key: str, tasks: int, versions: int, frames: int = 3000, annotated: int | None = None, video: str = ""
) -> None:
    """Create a project: half of its tasks annotated, unless a number is given, the others predicted. video: of all tasks."""
    number, random = int(key.split(".")[0]), np.random.default_rng(7)
    count = tasks // 2 if annotated is None else annotated
    assembly.annotations.put_project(key, number, labeling_config(), f"Gait study {number}")
    data = [{"id": n, "data": {"video": video or f"/srv/videos/walk-{n:04}.mp4"}} for n in range(1, tasks + 1)]
    assembly.annotations.put_tasks(key, data)
    facts = _facts(frames / RATE).to_json()
    with assembly.annotations.together():
        for task in data:
            assembly.facts.put(key, FileFacts(int(str(task["id"])), "video", f"walk-{task['id']:04}.mp4", facts, {}))
    truths = [_truth(random, frames) for _ in range(count)]
    with assembly.annotations.together():
        for task, truth in zip(data, truths, strict=False):
            assembly.annotations.put_annotation(key, {"id": task["id"], "result": _regions(truth)}, int(str(task["id"])))
    for version in range(1, versions + 1):
        _publish(assembly, key, version, versions, truths, random)
    made = [
        LastPrediction(
            int(str(task["id"])), "v1", float(random.uniform(0.2, 0.95)), {"timeline": _intervals(_truth(random, frames))}, {}
        )
        for task in data[count:]
    ]
    assembly.made.put(key, made)


def _facts(seconds: float) -> VideoFacts:
    """Facts of a video of 30 pictures per second, which does not match the labeling config's frame rate."""
    container, base = "mov,mp4,m4a,3gp,3g2,mj2", Fraction(1, 15360)
    info = VideoInfo(64, 64, "h264", "yuv420p", container, Fraction(30), base, seconds, 0.0, seconds)
    return VideoFacts(info, round(30 * seconds), 30.0, True, seconds, seconds, (RATE, round(seconds * RATE)))


def _truth(random: np.random.Generator, frames: int) -> Array:
    """Truth 0/1 (T, L): stretches of some seconds."""
    truth = np.zeros((frames, len(LABELS)), dtype=np.uint8)
    at = 0
    while at < frames:
        length = int(random.integers(frames // 40 + 2, frames // 8 + 3))
        truth[at : at + length, random.integers(0, len(LABELS))] = 1
        at += length
    return truth


def _regions(truth: Array) -> list[dict[str, Any]]:
    return [
        write_region([label], start + 1, stop, "timeline", "video", 0.8)
        for label, spans in _intervals(truth).spans.items()
        for start, stop in spans
    ]


def _intervals(truth: Array) -> Intervals:
    spans = {label: [(int(a), int(b)) for a, b in runs(truth[:, column])] for column, label in enumerate(LABELS)}
    return Intervals(len(truth), RATE, spans)


def _publish(assembly: Assembly, key: str, number: int, of: int, truths: list[Array], random: np.random.Generator) -> None:
    learned = truths[: max(1, round(len(truths) * number / of))]
    noise = 0.55 - 0.3 * number / of
    scores = [_scored(random, truth, noise) for truth in learned]
    few = slice(0, 40)  # enough for realistic numbers
    regions = [(float(s), bool(random.random() < s)) for s in random.uniform(0.1, 1, 120)]
    quality = measure(
        learned[few], scores[few], [s >= 0.5 for s in scores[few]], LABELS, "5-fold by video", False,
        [np.ones(t.shape, dtype=bool) for t in learned[few]], regions,
    )  # fmt: skip
    about = {
        "trained_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_795_000_000 + 3600 * number)),
        "videos": len(learned), "labels": list(LABELS), "stage": "validated", "quality": quality.to_json(),
        "backbone": {"name": LITE0},
    }  # fmt: skip
    videos = [
        HeldOutVideo.of(task, RATE, s, t, np.ones(t.shape)) for task, (s, t) in enumerate(zip(scores, learned, strict=True), 1)
    ]

    def write(folder: Path) -> None:
        if number == of:  # the others are not shown
            write_held_out(folder, videos, LABELS)

    assembly.registry.publish(key, "timeline", f"v{number}-20261101T{number:06}Z", about, write)


def _scored(random: np.random.Generator, truth: Array, noise: float) -> Array:
    """Scores (T, L) like a learner's: smooth, mostly right, late at some edges, wrong in some places."""
    kernel = np.hanning(27) / np.hanning(27).sum()
    rough = truth + random.normal(0, noise * 4, truth.shape)
    smooth = np.stack([np.convolve(rough[:, c], kernel, "same") for c in range(truth.shape[1])], axis=1)
    return np.clip(smooth, 0, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=50)
    parser.add_argument("--times", type=int, default=15, help="number of requests of each page")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = Settings(
            port=free_port(), workers=1, model_root=root / "models", cache_dir=root / "cache", data_dir=root / "data",
            model_path=LITE0, keep_versions=chosen.versions,
        )  # fmt: skip
        fill(Assembly(settings), "7.1795200057", chosen.tasks, chosen.versions)
        with BackendServer(settings, root / "log.txt") as server:
            return _measure(server.url, chosen.times)


def _measure(url: str, times: int) -> int:
    project = "/projects/7.1795200057"
    paths = ("/", project, f"{project}/timelines", f"{project}/timelines?page=30", f"{project}/next", f"{project}/tasks/1",
             f"{project}/do/train", "/live.json")  # fmt: skip
    slow = []
    with httpx.Client(base_url=url, headers=HTML, trust_env=False, timeout=60) as client:
        for path in paths:
            taken = []
            for _ in range(times + 2):
                start = time.perf_counter()
                answer = client.get(path)
                taken.append(1000 * (time.perf_counter() - start))
                answer.raise_for_status()
            median = statistics.median(taken[2:])
            slow += [path] if median > ALLOWED_MS else []
            print(f"{path:<42} {median:7.1f} ms  (at most {max(taken[2:]):.1f}), {len(answer.content) / 1000:.0f} KB")
    print(json.dumps({"allowed_ms": ALLOWED_MS, "slower": slow}))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
