"""A cache of features with videos that nobody extracted, and what processes of their own do with it."""

import os
import sys
import time
from fractions import Fraction
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from framewise.features import extraction
from framewise.features.cache import FeatureCache, Key
from framewise.features.extraction import Extractor, Timeline, VideoFeatures, preprocessing_key
from framewise.features.housekeeping import Housekeeper
from framewise.features.motion import MOTION_SIZE
from framewise.features.rows import pack, unpack

WEIGHTS = "w" * 64
SIZE = 60  # numbers of a picture
CHUNK = 8


def key_of(content: str, weights: str = WEIGHTS) -> Key:
    return content, weights, preprocessing_key("fast", "center")


def rows_of(content: str, pictures: int) -> Any:
    """Features that tell of which video they are, and of which picture."""
    numbers = sum(map(ord, content)) + np.arange(pictures, dtype=np.float32)
    return pack(np.arange(pictures), numbers[:, None].repeat(SIZE, 1), np.zeros((pictures, MOTION_SIZE), np.float32))


def put(folder: Path, content: str, pictures: int = CHUNK, weights: str = WEIGHTS) -> None:
    """Write a video's features as an extraction does: it holds them meanwhile."""
    cache, key, rows = FeatureCache(folder), key_of(content, weights), rows_of(content, pictures)
    hold = cache.hold(key)
    for number, start in enumerate(range(0, pictures, CHUNK)):
        cache.chunk(key, number, lambda part=rows[start : start + CHUNK]: part)  # type: ignore[misc]
    cache.times(content, Timeline(np.arange(pictures), Fraction(1, 25), pictures / 25).to_array)
    hold.release()


def get(folder: Path, content: str, weights: str = WEIGHTS) -> VideoFeatures | None:
    return Extractor(FeatureCache(folder)).cached(content, weights, "center")


def is_right(features: VideoFeatures, content: str) -> bool:
    pictures = len(features.timeline.pts)
    return bool(np.array_equal(np.hstack(features.read(np.arange(pictures))), np.hstack(unpack(rows_of(content, pictures)))))


def used(folder: Path, content: str, hours_ago: float, weights: str = WEIGHTS) -> None:
    """Have a video's last use be so long ago."""
    moment = time.time() - 3600 * hours_ago
    os.utime(FeatureCache(folder).use_file(key_of(content, weights)), (moment, moment))


def start(function: Any, *args: Any) -> BaseProcess:
    """A process that calls a function of this module, with chunks of CHUNK pictures."""
    process = get_context("spawn").Process(target=_call, args=(function, *args), daemon=True)
    process.start()
    return process


def _call(function: Any, *args: Any) -> None:
    extraction.CHUNK_PICTURES = CHUNK  # type: ignore[attr-defined]
    function(*args)


# What processes do. Each makes a file when it is ready.


def hold_open(folder: Path, content: str, ready: Path) -> None:
    features = get(folder, content)
    assert features
    ready.touch()
    time.sleep(600)
    assert is_right(features, content)


def shrink(folder: Path, max_bytes: int, ready: Path, go: Path) -> None:
    housekeeper = Housekeeper(FeatureCache(folder))
    ready.touch()
    while not go.exists():
        time.sleep(0.001)
    housekeeper.shrink(max_bytes)


def read_and_write(folder: Path, contents: list[str], pictures: int, times: int) -> None:
    """Ask for videos, look at all of what is there, and write what is not, until each was so often the case. Ends with 1 at
    the first that is wrong, and with 2 if that takes four minutes."""
    extractor, end, there, gone = Extractor(FeatureCache(folder)), time.monotonic() + 240, 0, 0
    while there < times or gone < times:
        for content in [content for content in contents for _ in range(4)]:
            features = extractor.cached(content, WEIGHTS, "center")
            if features is None:
                put(folder, content, pictures)
            elif not is_right(features, content):
                sys.exit(1)
            there, gone = there + (features is not None), gone + (features is None)
        if time.monotonic() > end:
            sys.exit(2)


def shrink_again_and_again(folder: Path, max_bytes: int, stop: Path) -> None:
    housekeeper = Housekeeper(FeatureCache(folder))
    while not stop.exists():
        housekeeper.shrink(max_bytes)
        time.sleep(0.05)
