"""Notes on videos: frame rates that do not match, files that browsers do not play, damage.

They are made from stored facts whenever somebody looks, so they fit the current labeling config and annotations, even if the
file is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from framewise.core.frame_grid import count_frames, picture_rows
from framewise.media.cures import EVEN_SIZES, converting, copying
from framewise.media.notes import Note
from framewise.media.video import Losses, VideoInfo

# 29.97 and 30000/1001 differ by 0.0001 %, a tenth of a frame per hour; 23.976 and 24 by 0.1 %, a frame in 42 s.
SAME_RATE = 1e-4
# Steps between pictures that differ by less than this share count as equal: cameras' clocks jitter by a millisecond or two.
JITTER = 0.1
# A rate is constant if at least this share of the steps is regular: cameras drop pictures now and then.
REGULAR_SHARE = 0.95

# Played by headless Chromium 156 (Debian's) in files that PyAV 18 wrote; not played: MPEG-4 Part 2, MPEG-1, MPEG-2, HEVC,
# Motion JPEG, H.263, Flash video, Windows media, ProRes, FFV1, PNG, GIF.
PLAYED = {"h264", "vp8", "vp9", "av1"}
# H.264 in more than 8 bits or with full colour plays in Chromium; Firefox and Safari have decoders for these formats alone.
PLAYED_EVERYWHERE = {"yuv420p", "yuvj420p", ""}
# Containers that Chromium opens, by FFmpeg's names (ogg by its documentation). Chromium 156 did not open avi, flv, mpegts,
# mpeg and asf.
OPENED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg"}
# Label Studio 1.23, web/libs/editor/src/components/VideoCanvas/VirtualVideo.tsx, canPlayUrl; seen in Chromium 156.
QUICKTIME_SUFFIXES = {".mov", ".qt"}
NAMES = {"mpeg4": "MPEG-4 Part 2 (which OpenCV writes if asked for mp4v)", "hevc": "HEVC (H.265)"}

# Label Studio's editor reads a frameRate below this as seconds per frame: 0.5 means two per second (core/frame_grid).
LEAST_RATE = 1.0


@dataclass(frozen=True)
class VideoFacts:
    """Facts of a video, from which notes are made.

    pictures:        number of decoded pictures.
    rate, constant:  see ``picture_rate``.
    span_seconds:    from the first picture to the last.
    longest_seconds: duration that a browser reports once it has read all pictures.
    shown:           frame rate of a labeling config, and the number of pictures that Label Studio shows at it.
    without_time, damaged:  see ``Losses``.
    """

    info: VideoInfo
    pictures: int
    rate: float
    constant: bool
    span_seconds: float
    longest_seconds: float
    shown: tuple[float, int]
    without_time: int = 0
    damaged: int = 0

    @classmethod
    def of(cls, info: VideoInfo, pts: npt.NDArray[np.int64], frame_rate: float, losses: Losses | None = None) -> Self:
        """pts: (P,) times of all decoded pictures, ascending, in units of info.time_base; P >= 1."""
        losses = losses or Losses()
        rate, constant = picture_rate(pts, info.time_base)
        longest = max(info.duration_seconds, float(int(pts[-1]) * info.time_base))
        seconds = pts.astype(np.float64) * info.time_base.numerator / info.time_base.denominator
        rows = picture_rows(seconds, frame_rate, max(count_frames(longest, frame_rate), 1))
        span = float(int(pts[-1] - pts[0]) * info.time_base)
        shown = (frame_rate, len(np.unique(rows)))
        return cls(info, len(pts), rate, constant, span, longest, shown, losses.without_time, losses.damaged)

    def to_json(self) -> dict[str, Any]:
        info = {name: str(x) if isinstance(x, Fraction) else x for name, x in asdict(self.info).items()}
        return {**asdict(self), "info": info}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        info = dict(written["info"])
        for name in ("average_rate", "time_base"):
            info[name] = None if info[name] is None else Fraction(info[name])
        own = {field.name: written[field.name] for field in fields(cls) if field.name in written}
        return cls(**{**own, "info": VideoInfo(**info), "shown": tuple(written["shown"])})

    def shown_at(self, frame_rate: float) -> int | None:
        """Number of pictures that Label Studio shows; None if unknown, for a variable rate."""
        if frame_rate == self.shown[0]:
            return self.shown[1]
        return min(self.pictures, max(count_frames(self.longest_seconds, frame_rate), 1)) if self.constant else None


def timing_notes(name: str, facts: VideoFacts, frame_rate: float, annotated: int = 0) -> list[Note]:
    """Notes on a video, most important first; empty for a file without problems.

    name:       of the file, for ffmpeg commands.
    frame_rate: frames per second of the labeling config, from ``parse_frame_rate``.
    annotated:  number of the project's annotations, whose regions a change of frameRate would move.
    """
    found = (
        _playing_note(name, facts.info),
        _damage_note(name, facts),
        _time_note(name, facts),
        _late_note(name, facts, frame_rate),
        _rate_note(name, facts, frame_rate, annotated),
    )
    return [note for note in found if note]


def picture_rate(pts: npt.NDArray[np.int64], time_base: Fraction) -> tuple[float, bool]:
    """Pictures per second, and True if the rate is constant. A single picture has the rate 0.

    The rate follows from the mean of all steps near the median one, because some containers round times to milliseconds.
    Dropped pictures and pauses therefore have no effect.
    """
    steps = np.diff(pts)
    if len(steps) == 0:
        return 0.0, True
    median = float(np.median(steps))
    usual = np.abs(steps - median) <= max(1, JITTER * median)
    step = float(np.mean(steps[usual])) if usual.any() else median
    return float(1 / (step * time_base)), float(np.mean(usual)) >= REGULAR_SHARE


def _playing_note(name: str, info: VideoInfo) -> Note | None:
    """Note on a file that some browser does not play."""
    convert, command = "Convert it before you annotate", _converting(name, info, "h264")
    what = [f"the codec {NAMES.get(info.codec, info.codec)}"] * (info.codec not in PLAYED)
    what += [f"the container {info.container}"] * (info.container not in OPENED)
    if info.codec == "hevc" and len(what) == 1:
        return Note(
            f"{what[0]} plays in some browsers only (Safari; Chrome and Edge where the machine has a decoder for it; not in "
            "Debian's Chromium)",
            "Where it does not, Label Studio shows no picture and no timeline", convert, command=command,
        )  # fmt: skip
    if what:
        return Note(
            f"browsers do not play {' nor '.join(what)}",
            "Label Studio shows no picture and no timeline, so nobody can annotate it or see predictions",
            convert, command=command,
        )  # fmt: skip
    if info.codec == "h264" and info.pixel_format not in PLAYED_EVERYWHERE:
        return Note(
            f"H.264 with the pixel format {info.pixel_format} plays in Chromium and Chrome, but not in Firefox and Safari",
            "There Label Studio shows no picture and no timeline", convert, command=command,
        )  # fmt: skip
    return _opening_note(name, info)


def _opening_note(name: str, info: VideoInfo) -> Note | None:
    """Note on a file that browsers play but Label Studio does not."""
    if info.duration_seconds == 0:
        # Chromium's duration is then Infinity; Label Studio 1.23.2: "RangeError: Invalid time value", and an empty page
        return Note(
            "the header does not say how long it is, as in recordings that a browser made",
            "Label Studio's editor ends in an error and shows nothing, so nobody can annotate it or see predictions",
            "Have the length written before you annotate",
            command=copying(name, PurePath(name).suffix),
        )
    if PurePath(name).suffix.lower() in QUICKTIME_SUFFIXES:
        return Note(
            "Label Studio asks the browser about video/quicktime, by the file's name, and Chromium says no, though it would "
            "play it",
            "An error is shown in place of the video", "Give it a name in .mp4 before you annotate",
            command=copying(name, ".mp4", info.sound),
        )  # fmt: skip
    return None


def _damage_note(name: str, facts: VideoFacts) -> Note | None:
    """Note on a file with parts that could not be decoded."""
    if not facts.damaged:
        return None
    return Note(
        "parts of it are damaged and could not be decoded",
        "The picture before stays there, in predictions too", "Take another copy, or write it anew before you annotate",
        f"{facts.damaged} part{'s' * (facts.damaged != 1)}", _converting(name, facts.info, "anew"),
    )  # fmt: skip


def _time_note(name: str, facts: VideoFacts) -> Note | None:
    """Note on a file with pictures that are never shown, and so have no row."""
    if not facts.without_time:
        return None
    left_out = f"{facts.without_time} picture{'s' * (facts.without_time != 1)}"
    return Note(
        "pictures are left out whose times are not after that of the picture before, as where recordings were joined",
        "The picture before stays there, in predictions too", "Write it anew before you annotate",
        left_out, _converting(name, facts.info, "anew"),
    )  # fmt: skip


def _late_note(name: str, facts: VideoFacts, frame_rate: float) -> Note | None:
    """Note on a file in which no stream begins at 0: the browser's duration then depends on how much it has read."""
    info = facts.info
    short, long = (count_frames(seconds, frame_rate) for seconds in (info.duration_seconds, facts.longest_seconds))
    if info.container not in OPENED or info.start_seconds <= 0 or info.duration_seconds == 0 or short == long:
        return None
    return Note(
        "nothing in the file begins at 0 s, so browsers disagree about its length",
        "Frames before its first picture show that one, and regions at both ends are unsure", "Let it begin at 0",
        f"it begins at {info.start_seconds:.3f} s and is {short} or {long} frames long",
        _converting(name, info, "from-0"),
    )  # fmt: skip


def _rate_note(name: str, facts: VideoFacts, frame_rate: float, annotated: int) -> Note | None:
    """Note on a rate that differs from that of the labeling config, so that frames are not single pictures."""
    rate = facts.rate
    if rate == 0:
        return None
    tolerance = SAME_RATE + float(facts.info.time_base) / facts.span_seconds  # precision of the rate, if times are rounded
    if facts.constant and abs(rate - frame_rate) <= tolerance * frame_rate:
        return None
    pace = f"{_plain(rate)} pictures a second" if rate >= LEAST_RATE else f"a picture each {_plain(1 / rate)} s"
    variable = "" if facts.constant else f"about {pace}; "
    cure = "Before you annotate, convert it"
    if facts.constant and rate >= LEAST_RATE:
        cure = f'Before you annotate, write frameRate="{_plain(rate)}" into the Video tag, or convert the file'
    if annotated:
        cure = (
            f"Convert it. Leave frameRate as it is: another one would move the regions of {annotated} "
            f"annotation{'s' * (annotated != 1)} in Label Studio"
        )
        cure += f", at {_plain(rate)} from 60 s to {60 * frame_rate / rate:.0f} s" * (facts.constant and rate >= LEAST_RATE)
    what = pace if facts.constant else "a variable number of pictures a second"
    return Note(
        f"{what}, but the labeling config's frameRate is {_plain(frame_rate)}",
        "Regions are right as they are drawn, but no finer, and their frame numbers are not those of other tools", cure,
        variable + _effect(facts, frame_rate),
        _converting(name, facts.info, f"{_plain(frame_rate)}fps", [f"fps={_plain(frame_rate)}"]),
    )  # fmt: skip


def _effect(facts: VideoFacts, frame_rate: float) -> str:
    """Sentence on the numbers of pictures that are never shown, and of frames that repeat a picture."""
    num_frames, seen = max(count_frames(facts.longest_seconds, frame_rate), 1), facts.shown_at(frame_rate)
    if seen is None:
        return f"{facts.pictures} pictures, {num_frames} frames"
    never = f"of its {facts.pictures} pictures Label Studio never shows {facts.pictures - seen}"
    return f"{never}, and {num_frames - seen} of its {num_frames} frames show a picture once more"


def _plain(rate: float) -> str:
    """A rate as written in a config: 25, 29.97, 23.976."""
    return f"{rate:.3f}".rstrip("0").rstrip(".")


def _converting(name: str, info: VideoInfo, addition: str, filters: Sequence[str] = ()) -> str:
    """Command that converts a file, with options that its pictures need."""
    # FFmpeg delays pictures whose times it has to guess.
    needed = ["setpts=PTS-STARTPTS"] * (not info.own_times) + [*filters]
    return converting(name, addition, needed + [EVEN_SIZES] * bool(info.width % 2 or info.height % 2))
