"""Measure what it costs to verify checksums, once in a process: of the features of an hour of video, and of a version.

    python -m tools.verification_speed [--minutes 60] [--rounds 7]

Random features as a cache stores them, and a version learned from them. In each round both are loaded twice by parts that have
loaded nothing before: the first load verifies, the second does not. Prints processor time, which a busy machine changes least.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from framewise.core.tables import table_lines
from framewise.features.cache import CHUNK_PICTURES, FeatureCache, Key
from framewise.learning.auto import learn_quickly
from framewise.learning.models import load_model
from framewise.store.database import Database
from framewise.store.registry import Registry, check_version
from tools.training_memory import FRAME_RATE, LABELS, video

KEY: Key = ("a content", "a backbone", "center")
PROJECT = "1.1"
ROW_FLOATS = 352  # of a picture, with the shipped backbone
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the video")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewise-verification-") as name:
        folder = Path(name)
        chunks = round(args.minutes * 60 * FRAME_RATE / CHUNK_PICTURES)
        store_features(folder / "cache", chunks)
        version = store_version(folder)
        rows = [("", "MIB", "VERIFIED, MS", "NOT VERIFIED, MS", "RATIO")]
        rows.append(("features", *measured(lambda: features_loads(folder / "cache", chunks), folder / "cache", args.rounds)))
        rows.append(("a version", *measured(lambda: version_loads(version), version, args.rounds)))
    print(f"{chunks * CHUNK_PICTURES:,} pictures; medians of {args.rounds} rounds\n")
    print("\n".join(table_lines(rows)))


Load = Callable[[], object]


def store_features(folder: Path, chunks: int) -> None:
    cache, rng = FeatureCache(folder), np.random.default_rng(0)
    for chunk in range(chunks):
        cache.chunk(KEY, chunk, lambda: rng.normal(size=(CHUNK_PICTURES, ROW_FLOATS)).astype(np.float32))


def store_version(folder: Path) -> Path:
    """Learn a version and store it; returns its folder."""
    videos = [video(folder, f"video-{number}", 60.0, number) for number in range(5)]
    registry = Registry(folder / "models", Database(folder / "data.sqlite"), keep=1)
    return registry.publish(PROJECT, "timeline", "v1", {}, lambda to: learn_quickly(videos, LABELS, None).save(to)).folder


def features_loads(folder: Path, chunks: int) -> tuple[Load, Load]:
    """Two loads of all features, by a cache that has read nothing before."""
    cache = FeatureCache(folder)

    def load() -> None:
        for chunk in range(chunks):
            assert cache.has_chunk(KEY, chunk)
            np.array(cache.chunk(KEY, chunk, lambda: np.empty(0)))

    return load, load


def version_loads(folder: Path) -> tuple[Load, Load]:
    """Two loads of a version: as a process does it first, and without a look at the checksums."""

    def verified() -> None:
        check_version(folder)
        load_model(folder)

    return verified, lambda: load_model(folder)


def measured(loads: Callable[[], tuple[Load, Load]], folder: Path, rounds: int) -> tuple[str, str, str, str]:
    """Size, medians of both loads, and their ratio, as text."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + rounds):  # the first is not counted
        for load, found in zip(loads(), times, strict=True):
            began = time.process_time()
            load()
            found.append(1000 * (time.process_time() - began))
    first, second = (statistics.median(found[1:]) for found in times)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / MIB:.0f}", f"{first:.1f}", f"{second:.1f}", f"{first / second:.2f}"


if __name__ == "__main__":
    main()
