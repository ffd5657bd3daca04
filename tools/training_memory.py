"""Measure the peak memory of a training and a prediction on one long and four short videos, by the length of the long one.

    python -m tools.training_memory [--minutes 1,10,60]

Features are random and lie in a file, as in the cache; each length is measured in its own process. Pages of the file in memory
can be reclaimed by the system and are counted separately.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from framewise.core.progress import silent
from framewise.features.motion import MOTION_SIZE, SHAPE_SIZE
from framewise.learning.auto import learn_quickly, learn_thoroughly
from framewise.learning.tracks import LabelledVideo

FRAME_RATE, FEATURES = 25.0, 1280
SHORT_SECONDS = 20.0
LABELS = ["Walk", "Run"]
SAMPLE_SECONDS = 0.02


class FileRows:
    """Rows of a video in a file, read on demand."""

    frame_rate = FRAME_RATE
    counts: npt.NDArray[np.float32] | None = None

    def __init__(self, path: Path):
        self._rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        rows = np.asarray(self._rows[index])
        return rows[:, :FEATURES], rows[:, FEATURES:]


def video(folder: Path, name: str, seconds: float, seed: int) -> LabelledVideo:
    """Video with wandering features, shifted in another direction while a label is on, for some seconds every minute."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(1).normal(size=(len(LABELS), FEATURES)).astype(np.float32)
    rows = round(seconds * FRAME_RATE)
    moments = np.arange(rows) / FRAME_RATE
    labels = np.stack([(moments + 5 * c) % 12 < 3 for c in range(len(LABELS))], axis=1).astype(np.uint8)
    path = folder / f"{name}.npy"
    file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, FEATURES + MOTION_SIZE))
    for start in range(0, rows, 4096):
        part = slice(start, start + 4096)
        waves = (
            np.sin(moments[part, None] * np.linspace(0.5, 5, FEATURES)) + rng.normal(size=(len(moments[part]), FEATURES)) / 4
        )
        file[part, :FEATURES] = waves + labels[part] @ directions
        spans = np.abs(rng.normal(size=(len(moments[part]), 2, MOTION_SIZE // 2))) * 0.01
        spans[:, :, -SHAPE_SIZE:] = [0.01, 0.5, 0.5, 0.2, 0.2, 0.0]
        file[part, FEATURES:] = spans.reshape(len(spans), -1)
    file.flush()
    return LabelledVideo(FileRows(path), labels, np.ones(labels.shape, dtype=bool), name)


def peaks_while_learning(minutes: float, out: "multiprocessing.SimpleQueue[tuple[float, float, float]]") -> None:
    """Measure one length; puts (own peak memory in MiB, the same with pages of the file, seconds) into the queue."""
    peaks, done = [0.0, 0.0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for number, name in enumerate(("RssAnon", "VmRSS")):
                peaks[number] = max(peaks[number], float(status[name].split()[0]) / 1024)

    with tempfile.TemporaryDirectory(prefix="framewise-memory-") as name:
        videos = [video(Path(name), "long", 60 * minutes, 0)]
        videos += [video(Path(name), f"short-{number}", SHORT_SECONDS, number) for number in range(1, 5)]
        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.monotonic()
        learn_quickly(videos, LABELS, None)
        model, *_ = learn_thoroughly(videos, LABELS, silent)
        model.predict(videos[0].rows)
        seconds = time.monotonic() - began
        done.set()
        watcher.join()
    out.put((peaks[0], peaks[1], seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="1,10,60", help="lengths of the long video")
    args = parser.parse_args()
    print("| minutes | peak memory, MiB | with pages of the file | seconds |\n|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for minutes in (float(m) for m in args.minutes.split(",")):
        out: multiprocessing.SimpleQueue[tuple[float, float, float]] = context.SimpleQueue()
        child = context.Process(target=peaks_while_learning, args=(minutes, out))
        child.start()
        child.join()
        own, with_file, seconds = out.get()
        print(f"| {minutes:g} | {own:.0f} | {with_file:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
