"""Pairs of recordings with a known offset, cut out of one: with other codecs, levels, rooms and noise, not just shifted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from framewise.core.errors import MediaError
from framewise.media.video import opened
from framewise.sync import ffmpeg
from framewise.sync.sources import RecordedFile, probe

MIN_OVERLAP_SECONDS = 3.0
CUT_SHARE = 0.1  # cut off the end of the second recording: two cameras do not stop at the same time
TIME_BASE = "1:10000"  # of pictures, so that they keep times between frames; MPEG-4 allows none finer than 1/65535


@dataclass(frozen=True)
class Treatment:
    """Changes made to the second recording. noise_db: level of the sound above added white noise. sound, pictures: FFmpeg
    filters."""

    name: str
    suffix: str
    encoding: tuple[str, ...]
    noise_db: float | None = None
    sound: str = "anull"
    pictures: str = "null"


X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "6", "-pix_fmt", "yuv420p")
REFERENCE = Treatment("reference", ".mp4", (*X264, "-c:a", "aac", "-b:a", "128k"))
TREATMENTS = (
    Treatment("encoded anew", ".mp4", (*X264, "-c:a", "aac", "-b:a", "96k")),
    Treatment("quiet, MPEG-4 and MP3", ".mkv", (*MPEG4, "-c:a", "libmp3lame", "-b:a", "96k"), sound="volume=-14dB"),
    Treatment("noise 10 dB below, grain", ".mp4", (*X264, "-c:a", "aac"), 10.0, pictures="noise=alls=14:allf=t:all_seed=5"),
    Treatment(
        "noise as loud, half the size", ".mkv", (*X264, "-c:a", "libopus", "-b:a", "48k"), 0.0,
        pictures="scale=trunc(iw/4)*2:trunc(ih/4)*2,eq=brightness=0.08:contrast=0.8",
    ),
    Treatment(
        "echo, 22 kHz, clipped", ".mkv", (*MPEG4, "-c:a", "pcm_s16le"),
        sound="aecho=0.8:0.6:47|91:0.5|0.3,volume=9dB,aresample=22050",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Two files cut out of one; the second starts ``offset`` seconds after the first."""

    original: str
    offset: float
    treatment: str
    paths: tuple[Path, Path]


def make_cases(original: Path, offsets: Sequence[float], seconds: float, folder: Path) -> tuple[list[Case], list[str]]:
    """(cases of one original, notes on cases that cannot be made). The offsets use the treatments in turn.

    seconds: maximum length of a case's files. Raises MediaError, StorageFull.
    """
    source = probe(original)
    level = _level(original) if source.sample_rate else 0.0
    cases, notes = list[Case](), list[str]()
    for number, offset in enumerate(offsets):
        first, second = max(-offset, 0.0), max(offset, 0.0)  # where both start in the original
        stop = min(source.seconds, max(first, second) + seconds)
        end = stop - CUT_SHARE * (stop - second)
        if end - max(first, second) < MIN_OVERLAP_SECONDS:
            notes.append(f"{original.name}: too short for an offset of {offset:+g} s, {source.seconds:.1f} s")
            continue
        treatment = TREATMENTS[number % len(TREATMENTS)]
        stem = f"{len(list(folder.iterdir()))}"
        paths = (folder / f"{stem}-a{REFERENCE.suffix}", folder / f"{stem}-b{treatment.suffix}")
        _cut(source, level, first, stop, REFERENCE, paths[0])
        _cut(source, level, second, end, treatment, paths[1])
        cases.append(Case(original.name, offset, treatment.name, paths))
    return cases, notes


def _cut(source: RecordedFile, level: float, start: float, stop: float, treatment: Treatment, path: Path) -> None:
    """Write the part of a source from ``start`` to ``stop`` seconds, with a treatment. Times between frames are kept."""
    graph, mapped = list[str](), list[str]()
    if source.pictures:
        steps = f"trim={start}:{stop},settb=1/10000,setpts=PTS-{start}/TB,{treatment.pictures}"
        graph.append(f"[0:v:0]{steps},pad=ceil(iw/2)*2:ceil(ih/2)*2[v]")
        mapped += ["-map", "[v]", "-fps_mode", "passthrough", "-enc_time_base", TIME_BASE]
    if source.sample_rate:
        steps = f"aresample=async=1:first_pts=0,atrim={start}:{stop},asetpts=PTS-{start}/TB,aformat=channel_layouts=mono"
        if treatment.noise_db is None:
            graph.append(f"[0:a:0]{steps},{treatment.sound}[a]")
        else:
            amplitude = min(level * 10 ** (-treatment.noise_db / 20) * 3**0.5, 1.0)  # of uniform noise
            noise = f"anoisesrc=r={source.sample_rate}:color=white:seed=7:amplitude={amplitude:.6f}"
            graph.append(f"[0:a:0]{steps}[s];{noise}[n];[s][n]amix=duration=first:normalize=0,{treatment.sound}[a]")
        mapped += ["-map", "[a]"]
    written = ["-filter_complex", ";".join(graph), *mapped, *treatment.encoding, "-map_chapters", "-1", ffmpeg.writing(path)]
    ffmpeg.run(["-copyts", *ffmpeg.reading(source.path), *written], source.path.name, stop - start)


def _level(path: Path) -> float:
    """Root mean square of a file's sound, 1 at full scale."""
    total, count = 0.0, 0
    try:
        with opened(path) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    values = part.to_ndarray().astype(np.float64)
                    total, count = total + float((values**2).sum()), count + values.size
    except av.FFmpegError as error:
        raise MediaError(f"{path.name}: its sound cannot be read ({error})") from None
    return float(np.sqrt(total / count)) if count else 0.0
