"""Advice on a video or series before labels are drawn on it: rates that do not match, files no browser plays.

Every advice names the file, what was found, what that means for labels, and a cure that can be pasted into a shell.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from framewise.core.errors import brief
from framewise.core.frame_grid import count_frames, picture_rows
from framewise.core.series_time import SeriesTimes
from framewise.labeling_config import SeriesSettings
from framewise.media.video import VideoInfo

# 29.97 and 30000/1001 differ by 0.0001 %, a tenth of a frame an hour; 23.976 and 24 by 0.1 %, a frame in 42 s.
SAME_RATE = 1e-4
# Steps between pictures that differ by less than this share are one rate: cameras' clocks jitter by a millisecond or two.
JITTER = 0.1
# A camera that drops a picture now and then is of a constant rate; one whose steps change is not.
REGULAR_SHARE = 0.95

# Played by headless Chromium 156 (Debian's) in files that PyAV 18 wrote; not played: MPEG-4 Part 2, MPEG-1, MPEG-2, HEVC,
# Motion JPEG, H.263, Flash video, Windows media, ProRes, FFV1, PNG, GIF.
PLAYED = {"h264", "vp8", "vp9", "av1"}
# H.264 in more than 8 bits or with full colour plays in Chromium; Firefox and Safari have decoders for these formats alone.
PLAYED_EVERYWHERE = {"yuv420p", "yuvj420p", ""}
# What Chromium opens, by FFmpeg's names (ogg by its documentation). Chromium 156 did not open avi, flv, mpegts, mpeg and asf.
OPENED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg"}
# Label Studio 1.23, web/libs/editor/src/components/VideoCanvas/VirtualVideo.tsx, canPlayUrl; seen in Chromium 156.
QUICKTIME_SUFFIXES = {".mov", ".qt"}
NAMES = {"mpeg4": "MPEG-4 Part 2, which OpenCV writes if asked for mp4v", "hevc": "HEVC (H.265)"}

OTHER_SPREAD, OTHER_RATE = 5.0, 1.5  # from so many times, or a fraction, on: of a channel, and of the sampling rate

H264 = "-c:v libx264 -pix_fmt yuv420p -movflags +faststart"


def timing_advice(name: str, info: VideoInfo, pts: npt.NDArray[np.int64], frame_rate: float) -> list[str]:
    """Advice on a video's timing, most important first; nothing of a file that fits.

    name:       of the file, for the text and its ffmpeg lines.
    pts:        (P,) times of all decoded pictures, ascending, in units of info.time_base; P >= 1.
    frame_rate: frames per second of the labeling config, as `parse_frame_rate` has it.
    """
    found = (_playing_advice(name, info), _late_advice(name, info, pts, frame_rate), _rate_advice(name, info, pts, frame_rate))
    return [advice for advice in found if advice]


def picture_rate(pts: npt.NDArray[np.int64], time_base: Fraction) -> tuple[float, bool]:
    """Pictures a second, and whether that is constant. One picture alone has the rate 0.

    The rate is that of the usual step: a median, made finer by all steps about it, since some containers round times to
    milliseconds. So dropped pictures and pauses do not count.
    """
    steps = np.diff(pts)
    if len(steps) == 0:
        return 0.0, True
    median = float(np.median(steps))
    usual = np.abs(steps - median) <= max(1, JITTER * median)
    step = float(np.mean(steps[usual])) if usual.any() else median
    return float(1 / (step * time_base)), float(np.mean(usual)) >= REGULAR_SHARE


def _playing_advice(name: str, info: VideoInfo) -> str | None:
    """A file that some browser does not play."""
    cure = f"Convert it before you annotate: ffmpeg -i {shlex.quote(name)} {H264} {_new_name(name, 'h264')}"
    what = [f"the codec {NAMES.get(info.codec, info.codec)}"] * (info.codec not in PLAYED)
    what += [f"the container {info.container}"] * (info.container not in OPENED)
    if info.codec == "hevc" and len(what) == 1:
        return (
            f"{name}: {what[0]} plays in some browsers only (Safari; Chrome and Edge where the machine has a decoder for it; "
            f"not in Debian's Chromium): where it does not, Label Studio shows no picture and no timeline. {cure}"
        )
    if what:
        return (
            f"{name}: browsers do not play {' nor '.join(what)}: Label Studio shows no picture and no timeline, so nobody can "
            f"annotate it or see predictions. {cure}"
        )
    if info.codec == "h264" and info.pixel_format not in PLAYED_EVERYWHERE:
        return (
            f"{name}: H.264 with the pixel format {info.pixel_format} plays in Chromium and Chrome, but not in Firefox and "
            f"Safari: there Label Studio shows no picture and no timeline. {cure}"
        )
    return _opening_advice(name, info)


def _opening_advice(name: str, info: VideoInfo) -> str | None:
    """A file that browsers play and Label Studio does not."""
    copy = f"ffmpeg -i {shlex.quote(name)} -c copy"
    if info.duration_seconds == 0:
        # Chromium's duration is then Infinity; Label Studio 1.23.2: "RangeError: Invalid time value", and an empty page
        return (
            f"{name}: its header does not say how long it is, as in recordings that a browser made: Label Studio's editor ends "
            "in an error and shows nothing, so nobody can annotate it or see predictions. Have the length written before you "
            f"annotate: {copy} {_new_name(name, 'copy', PurePath(name).suffix)}"
        )
    if PurePath(name).suffix.lower() in QUICKTIME_SUFFIXES:
        return (
            f"{name}: Label Studio asks the browser about video/quicktime, by the file's name, and Chromium says no, though it "
            "would play it: an error is shown in place of the video. Give it a name in .mp4, before you annotate: "
            f"{copy} -movflags +faststart {_new_name(name, 'copy')}"
        )
    return None


def _late_advice(name: str, info: VideoInfo, pts: npt.NDArray[np.int64], frame_rate: float) -> str | None:
    """A file in which nothing begins at 0: the browser's duration then depends on how far it has read."""
    short = count_frames(info.duration_seconds, frame_rate)
    long = count_frames(_longest(info, pts), frame_rate)
    if info.start_seconds <= 0 or info.duration_seconds == 0 or short == long:
        return None
    return (
        f"{name}: it starts at {info.start_seconds:.3f} s, with nothing in the file before: in a browser it is {short} or "
        f"{long} frames long, by chance, and frames before its first picture show that one: regions at both ends are unsure. "
        f"Let it start at 0: ffmpeg -i {shlex.quote(name)} {H264} {_new_name(name, 'from-0')}"
    )


def _rate_advice(name: str, info: VideoInfo, pts: npt.NDArray[np.int64], frame_rate: float) -> str | None:
    """Frames of Label Studio that are not the file's own pictures, one by one."""
    rate, constant = picture_rate(pts, info.time_base)
    if rate == 0:
        return None
    span = float(int(pts[-1] - pts[0]) * info.time_base)
    tolerance = SAME_RATE + float(info.time_base) / span  # what is known of the rate, if times are rounded
    if constant and abs(rate - frame_rate) <= tolerance * frame_rate:
        return None
    text = f"{_plain(rate)} pictures a second" if constant else f"a variable rate (about {_plain(rate)} pictures a second)"
    convert = f"ffmpeg -i {shlex.quote(name)} -vf fps={_plain(frame_rate)} {H264} {_new_name(name, _plain(frame_rate) + 'fps')}"
    cure = f'write frameRate="{_plain(rate)}" into the <Video> tag, or convert the file: ' if constant else "convert the file: "
    return (
        f"{name}: it has {text}, the labeling config's frameRate is {_plain(frame_rate)}: {_effect(info, pts, frame_rate)}. "
        "Regions are right as they are drawn, but no finer, and their frame numbers are not those of other tools. "
        f"Before you annotate, since regions that are there keep their frame numbers: {cure}{convert}"
    )


def _effect(info: VideoInfo, pts: npt.NDArray[np.int64], frame_rate: float) -> str:
    """Number of pictures that are never shown, and of frames that show none of their own."""
    num_frames = max(count_frames(_longest(info, pts), frame_rate), 1)
    seconds = pts.astype(np.float64) * info.time_base.numerator / info.time_base.denominator
    seen = len(np.unique(picture_rows(seconds, frame_rate, num_frames)))
    return (
        f"of its {len(pts)} pictures Label Studio never shows {len(pts) - seen}, and {num_frames - seen} of its {num_frames} "
        "frames show a picture once more"
    )


def _plain(rate: float) -> str:
    """25, 29.97, 23.976: what belongs into a config."""
    return f"{rate:.3f}".rstrip("0").rstrip(".")


def _new_name(name: str, addition: str, suffix: str = ".mp4") -> str:
    return shlex.quote(f"{PurePath(name).stem}-{addition}{suffix}")


def _longest(info: VideoInfo, pts: npt.NDArray[np.int64]) -> float:
    """Seconds that a browser reports once it has read all pictures."""
    return max(info.duration_seconds, float(int(pts[-1]) * info.time_base))


@dataclass(frozen=True)
class Channels:
    """Channels of a series beside those of the annotated series. ranges (C, 2): minimum and maximum of each, NaN for one
    without a number. spreads (C,), sample_rate: see ``features.sensors.SeriesProfile``; usual: of the annotated, if known.
    """

    ranges: npt.NDArray[np.float64]
    spreads: Sequence[float | None]
    sample_rate: float
    usual_spreads: Sequence[float | None] = ()
    usual_rate: float | None = None


def channel_advice(found: Channels, settings: SeriesSettings) -> list[str]:
    """Notes on channels that are not measured, and on units and rates unlike those of the annotated series."""
    said = []
    names = settings.channels
    missing = [name for name, (least, _) in zip(names, found.ranges, strict=True) if np.isnan(least)]
    if missing:
        said.append(
            f"{_channels(missing)} no numbers in this series: predictions for it rely on the other channels; check the column"
        )
    constant = {name: least for name, (least, most) in zip(names, found.ranges, strict=True) if least == most}
    if constant and len(constant) + len(missing) < len(names):
        values = ", ".join(sorted({f"{value:g}" for value in constant.values()}))
        said.append(f"{_channels(list(constant))} one value throughout ({values}), treated as not measured; was the sensor on?")
    for name, own, usual in zip(names, found.spreads, found.usual_spreads, strict=False):
        if own and usual and not 1 / OTHER_SPREAD < own / usual < OTHER_SPREAD:
            said.append(
                f"channel {name!r} spreads {own / usual:.2g} times as far as in the annotated series: is it in another unit?"
            )
    if found.usual_rate and not 1 / OTHER_RATE <= found.sample_rate / found.usual_rate <= OTHER_RATE:
        said.append(
            f"the series has {found.sample_rate:.4g} samples a second, the annotated ones {found.usual_rate:.4g}: what is fast "
            "may be recognised less well"
        )
    return said


def _channels(names: Sequence[str]) -> str:
    return f"channel {names[0]!r} has" if len(names) == 1 else f"channels {brief(list(names))} have"


def series_advice(times: SeriesTimes, settings: SeriesSettings) -> list[str]:
    """Advice on a series before it is annotated."""
    said = []
    if not settings.time_column and times.sample_rate:
        said.append(
            "the series has no timeColumn: Label Studio takes each row as a second, whatever its true rate; name the column of "
            "the times if it is to play together with a video"
        )
    if settings.time_column and not settings.is_date and times.native[0] > 1e11:
        said.append(
            f"the times begin at {times.written(0)}, which looks like milliseconds since 1970; Label Studio takes numbers as "
            'seconds: set timeFormat="%Q"'
        )
    same = int((np.diff(times.native) == 0).sum())
    if same:
        said.append(
            f"{same} of {len(times)} samples have the time of the one before; does the time column tell them apart as finely "
            "as they were taken?"
        )
    return said
