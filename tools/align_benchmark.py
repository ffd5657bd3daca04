"""Measure how well ``framewise series align`` aligns a GoPro's own sensors with its video, and refuses unrelated ones.

    python -m tools.align_benchmark gopro_karma.mp4 [--cuts 20]

The file has both on one clock, so the truth is known. Video and sensor are cut at points up to 6 s apart, with at least 5 s of
overlap; the video part is encoded again, the sensor part written as CSV on its own clock. The search range is +-20 s. Compared
with each: the sensor of another part of the film without overlap, the reversed sensor, noise, and noise as slow as movement.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from framewise.commands.series_align import MINIMUM_CONFIDENCE
from framewise.core.tables import table_lines
from framewise.labeling_config import SeriesSettings
from framewise.sync.offsets.signals import Signal
from framewise.sync.series.aligning import Alignment, compare, measure, read_sensor

SEARCH, OVERLAP, APART, RIGHT = 20.0, 5.0, 6.0, 0.1
Floats = npt.NDArray[np.float64]
Part = tuple[float, int, Floats]  # time of its first sample, number of samples before it, values
SENSORS = {"GYRO": "gyroscope", "ACCL": "accelerometer"}


@dataclass(frozen=True)
class Track:
    """seconds (N,): on the video's clock. values (N, 3): in the unit given by the file."""

    seconds: Floats
    values: Floats

    def part(self, start: float, end: float) -> "Track":
        inside = (self.seconds >= start) & (self.seconds < end)
        return Track(self.seconds[inside], self.values[inside])


def read_gpmf(path: Path) -> dict[str, Track]:
    """Read a GoPro's sensors. Payloads have packet times and sample counts; a line through both gives the clock."""
    counted: dict[str, list[Part]] = {name: [] for name in SENSORS}
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if "MET" in s.metadata.get("handler_name", ""))
        for packet in container.demux(stream):
            at = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
            for name, total, values in _sensors(bytes(packet)):
                counted[name].append((at, total - len(values), values))
    return {name: _on_clock(parts) for name, parts in counted.items() if parts}


def _on_clock(parts: list[Part]) -> Track:
    values = np.concatenate([v for _, _, v in parts])
    full = parts[:-1] if len(parts) > 2 else parts  # the last is cut short
    step, start = np.polyfit([first for _, first, _ in full], [at for at, _, _ in full], 1)
    return Track(start + step * np.arange(len(values)), values)


def _sensors(payload: bytes) -> Iterator[tuple[str, int, Floats]]:
    """Yield (name, samples so far, values (n, 3)) of a payload: DEVC > STRM > TSMP, SCAL, data."""
    for device, _, streams in _items(payload):
        if device != "DEVC":
            continue
        for _, _, data in (item for item in _items(streams) if item[0] == "STRM"):
            items = {name: (kind, content) for name, kind, content in _items(data)}
            for name in SENSORS.keys() & items.keys():
                scale = np.frombuffer(items["SCAL"][1], ">i2").astype(float)
                values = np.frombuffer(items[name][1], ">i2").reshape(-1, 3) / scale
                yield name, int.from_bytes(items["TSMP"][1], "big"), values


def _items(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, type, content) of GPMF items: a name of 4 bytes, type, size, count; each padded to a multiple of 4."""
    place = 0
    while place + 8 <= len(data):
        size = data[place + 5] * int.from_bytes(data[place + 6 : place + 8], "big")
        yield data[place : place + 4].decode("latin-1"), chr(data[place + 4]), data[place + 8 : place + 8 + size]
        place += 8 + -(-size // 4) * 4


@dataclass(frozen=True)
class Cut:
    video: tuple[float, float]
    sensor: tuple[float, float]


def cuts(count: int, end: float, rng: np.random.Generator) -> Iterator[Cut]:
    """Yield parts that start up to APART seconds apart, in either order, and overlap by at least OVERLAP seconds."""
    while count:
        starts, ends = rng.uniform(0, APART, 2), rng.uniform(OVERLAP, end, 2)
        if ends.min() - starts.max() >= OVERLAP:
            count -= 1
            yield Cut((starts[0], ends[0]), (starts[1], ends[1]))


def write_video(source: Path, target: Path, start: float, end: float) -> None:
    quiet = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        "-ss",
        f"{start:.6f}",
        "-i",
        str(source),
        "-t",
        f"{end - start:.6f}",
    ]
    coded = ["-map", "0:v", "-map", "0:a", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-c:a", "aac", str(target)]
    subprocess.run([*quiet, *coded], check=True)


def answer(video: dict[str, tuple[Signal, ...]], track: Track, folder: Path) -> Alignment:
    file, clock = folder / "sensor.csv", 1_700_000_000.0
    table = np.column_stack([track.seconds - track.seconds[0] + clock, track.values])
    np.savetxt(file, table, fmt="%.6f", delimiter=",", header="time,a,b,c", comments="")
    return compare(video, read_sensor(file, SeriesSettings("time", "", False, ",", False, ("a", "b", "c"))), SEARCH)


def unrelated(track: Track, cut: Cut, rng: np.random.Generator) -> Iterator[tuple[str, Track]]:
    own = track.part(*cut.sensor)
    yield "backwards", Track(own.seconds, own.values[::-1])
    noise = rng.normal(size=own.values.shape)
    yield "noise", Track(own.seconds, noise)
    yield "slow noise", Track(own.seconds, np.cumsum(noise, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, tracks = np.random.default_rng(args.seed), read_gpmf(args.video)
    end = min(float(track.seconds[-1]) for track in tracks.values())
    found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for cut in cuts(args.cuts, end, rng):
            write_video(args.video, folder / "part.mp4", *cut.video)
            video = measure(folder / "part.mp4")
            for code, track in tracks.items():
                own = track.part(*cut.sensor)
                pairs = [("the same clock", own), *unrelated(track, cut, rng)]
                for kind, other in pairs:
                    made = answer(video, other, folder)
                    error = made.offset - (float(own.seconds[0]) - cut.video[0])
                    found.setdefault((SENSORS[code], kind), []).append((made.confidence, error, made.best.method))
        for middle in rng.uniform(OVERLAP, end - OVERLAP, args.cuts):
            for early in (True, False):
                mine, others = ((0.0, middle), (middle, end)) if early else ((middle, end), (0.0, middle))
                write_video(args.video, folder / "part.mp4", *mine)
                video = measure(folder / "part.mp4")
                for code, track in tracks.items():
                    made = answer(video, track.part(*others), folder)
                    found.setdefault((SENSORS[code], "another part"), []).append((made.confidence, np.nan, made.best.method))
    show(found)


def show(found: dict[tuple[str, str], list[tuple[float, float, str]]]) -> None:
    rows = [("sensor", "pair", "pairs", "answered", "right", "median error", "largest", "least sure", "most sure", "by")]
    for (sensor, kind), answers in sorted(found.items()):
        sure = np.array([confidence for confidence, _, _ in answers])
        given = [error for confidence, error, _ in answers if confidence >= MINIMUM_CONFIDENCE]
        related = kind == "the same clock"
        errors = 1000 * np.abs(given) if related and given else np.array([np.nan])
        right = f"{sum(abs(error) <= RIGHT for error in given)}" if related else "-"
        sizes = (f"{np.median(errors):.0f} ms", f"{errors.max():.0f} ms") if related else ("-", "-")
        rows.append(
            (
                sensor,
                kind,
                f"{len(answers)}",
                f"{len(given)}",
                right,
                *sizes,
                f"{sure.min():.2f}",
                f"{sure.max():.2f}",
                answers[int(sure.argmax())][2],
            )
        )
    print("\n".join(table_lines(rows)))


if __name__ == "__main__":
    main()
