"""The grid of frames on which Label Studio draws a video's timeline, and the picture that is on screen at each frame.

The editor knows nothing of a file's own frames. It shows frames N = 1..length, where length follows from the duration
that the browser reports and from the labeling config's frameRate, and it seeks to a time to show a frame. So everything
here reproduces the editor's float64 arithmetic, in its order of operations.

Source: Label Studio 1.23, web/libs/editor/src: tags/object/Video/Video.js (frame rate), components/VideoCanvas
(length, seek time), compared with a running editor.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

DEFAULT_FRAME_RATE = 24.0
# The editor rounds seek times to this grid and then adds one step, so that a seek lands inside a picture, not on its edge.
SEEK_STEP_SECONDS = 0.002

# Written so that no text can be split between its parts in two ways: then a long one takes no longer than it must.
_JS_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# Eleven hours at 25 a second. Features of a picture take 1.4 KB, and a file of a few KB may say that it lasts for years.
MAX_FRAMES = 1_000_000


def js_round(x: float) -> int:
    """JavaScript's Math.round: halves go up, in float64."""
    return math.floor(x + 0.5)


def parse_frame_rate(text: str | float | int | None) -> float:
    """Frames per second as the editor reads a ``frameRate`` attribute: JavaScript's ``Number(text)``.

    Missing, empty, zero and not a number are 24; below 1 it is seconds a frame (0.04 is 25 frames per second).
    Raises ValueError for a negative or infinite rate, with which the editor shows no timeline.
    """
    if text is None:
        return DEFAULT_FRAME_RATE
    stripped = str(text).strip()
    if stripped in ("Infinity", "+Infinity", "-Infinity"):
        raise ValueError(f"frameRate must be a finite number, got {text!r}")
    rate = float(stripped) if _JS_NUMBER.fullmatch(stripped) else 0.0
    if rate < 0 or math.isinf(rate):
        raise ValueError(f"frameRate must be a positive number, got {text!r}")
    if rate == 0:
        return DEFAULT_FRAME_RATE
    if rate < 1:
        rate = 1 / rate
        if math.isinf(rate):
            raise ValueError(f"frameRate must be a finite number of seconds a frame, got {text!r}")
    return rate


def count_frames(duration_seconds: float, frame_rate: float) -> int:
    """Length of the editor's timeline in frames, for the duration that the browser reports."""
    return js_round(duration_seconds * frame_rate)


def seek_times(frames: npt.ArrayLike, frame_rate: float) -> npt.NDArray[np.float64]:
    """Seconds to which the editor seeks the video to show each frame (1-based), shape as ``frames``."""
    zero_based = np.asarray(frames, dtype=np.float64) - 1
    return np.floor(zero_based / frame_rate / SEEK_STEP_SECONDS + 0.5) * SEEK_STEP_SECONDS + SEEK_STEP_SECONDS


def picture_rows(
    picture_seconds: Sequence[float] | npt.NDArray[np.float64], frame_rate: float, num_frames: int
) -> npt.NDArray[np.int64]:
    """For each frame N = 1..num_frames the row of the decoded picture on screen at its seek time, shape (num_frames,).

    picture_seconds: presentation time of each decoded picture, ascending, seconds on the file's timeline.
    Before the first picture it is the first, after the last the last. Raises ValueError if there is no picture.

    Chromium counts in whole microseconds: a picture's time is rounded to the nearest (media/ffmpeg/ffmpeg_common.cc,
    ConvertFromTimeBase), a seek's is cut (base/time/time.h, base::Seconds of a double). So a seek to 64.46 s, in float64
    64459999.99 microseconds, shows the picture before the one at 64.46 s. Compared in Chromium 156 at 700 frames whose seek is
    within 2 microseconds of a picture's time: the same but where that picture is a key frame, see tests/browser.
    """
    times = np.floor(np.asarray(picture_seconds, dtype=np.float64) * 1e6 + 0.5)
    if len(times) == 0:
        raise ValueError("a video needs at least one picture, got none")
    sought = np.trunc(seek_times(np.arange(1, num_frames + 1), frame_rate) * 1e6)
    shown = np.searchsorted(times, sought, side="right") - 1
    return np.clip(shown, 0, len(times) - 1).astype(np.int64)
