"""Measure the peak memory of extracting videos of different lengths, which should not depend on the length.

    python -m tools.extraction_memory [--minutes 1,10,60] [--backbone efficientnet-lite0] [--models models]

Extracts videos of 1920x1080 at 30 pictures per second, each in its own process, and prints peaks in MiB and pictures per
second. An hour takes about ten minutes on two processors.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from framewise.core.progress import silent
from framewise.features.backbone import Backbones
from framewise.features.cache import FeatureCache
from framewise.features.engines import Compute
from framewise.features.extraction import Extractor
from framewise.features.kinds.lite0 import LITE0
from framewise.media.library import MediaFile

SIZE, RATE, LOOP_PICTURES = (1920, 1080), 30, 300


def write_long_video(path: Path, minutes: float) -> Path:
    """Write a loop of ten seconds, encoded once and copied as often as needed."""
    loop = path.with_suffix(".loop.mp4")
    rng = np.random.default_rng(0)
    width, height = SIZE
    ground = rng.integers(40, 200, (height // 8, width // 4 + 2 * LOOP_PICTURES, 3)).repeat(8, 0).repeat(4, 1)
    with av.open(str(loop), "w") as out:
        stream: Any = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "26", "x264-params": "keyint=60"}
        for number in range(LOOP_PICTURES):
            picture = np.ascontiguousarray(ground[:, 2 * number : 2 * number + width]).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(loop)) as source:
        packets = [(p.pts, p.dts, p.is_keyframe, bytes(p)) for p in source.demux(video=0) if p.dts is not None]
        base = source.streams.video[0].time_base
        assert base is not None
        length = round(LOOP_PICTURES / RATE / base)
        with av.open(str(path), "w") as out:
            copied = out.add_stream_from_template(source.streams.video[0])
            for turn in range(round(minutes * 60 * RATE / LOOP_PICTURES)):
                for pts, dts, is_key, content in packets:
                    packet = av.Packet(content)
                    packet.stream, packet.time_base, packet.is_keyframe = copied, base, is_key
                    packet.pts, packet.dts = (pts or 0) + turn * length, dts + turn * length
                    out.mux(packet)
    return path


def extract(
    path: Path, backbone: str, models: Path, engine: str, out: "multiprocessing.SimpleQueue[tuple[float, int, float]]"
) -> None:
    """Extract a video; puts (peak memory of this process in MiB, number of pictures, seconds) into the queue."""
    with tempfile.TemporaryDirectory(prefix="framewise-extraction-") as name:
        backbones = Backbones(models, Path(name) / "data")
        file = backbones.find(backbone)
        extractor, began = (
            Extractor(FeatureCache(Path(name) / "cache"), compute=Compute(engine), samples=True),
            time.monotonic(),
        )
        features = extractor.extract(MediaFile(path, path.name), file.content, lambda: backbones.load(file), "center", silent)
        seconds = time.monotonic() - began
    out.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(features.timeline.pts), seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="1,10,60", help="lengths of the videos")
    parser.add_argument("--backbone", default=LITE0, help="a file in --models, or efficientnet-lite0")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--engine", default="auto", choices=("auto", "torch", "openvino"))
    args = parser.parse_args()
    print("| minutes of 1080p | peak memory, MiB | pictures | a second |\n|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for minutes in (float(m) for m in args.minutes.split(",")):
        with tempfile.TemporaryDirectory(prefix="framewise-long-") as name:
            path = write_long_video(Path(name) / "long.mp4", minutes)
            out: multiprocessing.SimpleQueue[tuple[float, int, float]] = context.SimpleQueue()
            child = context.Process(target=extract, args=(path, args.backbone, args.models, args.engine, out))
            child.start()
            child.join()
            peak, pictures, seconds = out.get()
            print(f"| {minutes:g} | {peak:.0f} | {pictures} | {pictures / seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
