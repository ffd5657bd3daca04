"""Label Studio's grid of frames on a video's timeline, and the decoded picture on screen at each frame.

The editor does not know a file's own frames. It numbers frames N = 1..length, computes the length from the duration that
the browser reports and the labeling config's frameRate, and shows a frame by seeking to a time. Everything here therefore
reproduces the editor's float64 arithmetic, in its order of operations.

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

# Unambiguous, so that matching takes linear time.
_JS_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# Eleven hours at 25 frames per second. The header of a file of a few KB may claim a duration of years.
MAX_FRAMES = 1_000_000


def js_round(x: float) -> int:
    """JavaScript's Math.round: halves go up, in float64."""
    return math.floor(x + 0.5)


def parse_frame_rate(text: str | float | int | None) -> float:
    """Frames per second as the editor reads a ``frameRate`` attribute: JavaScript's ``Number(text)``.

    A missing, empty, zero or non-numeric value means 24; a value below 1 is seconds per frame (0.04 is 25 frames per second).
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
    """Length of the editor's timeline in frames, given the duration that the browser reports."""
    return js_round(duration_seconds * frame_rate)


def seek_times(frames: npt.ArrayLike, frame_rate: float) -> npt.NDArray[np.float64]:
    """Times in seconds to which the editor seeks to show ``frames`` (1-based); same shape."""
    zero_based = np.asarray(frames, dtype=np.float64) - 1
    return np.floor(zero_based / frame_rate / SEEK_STEP_SECONDS + 0.5) * SEEK_STEP_SECONDS + SEEK_STEP_SECONDS


def picture_rows(
    picture_seconds: Sequence[float] | npt.NDArray[np.float64], frame_rate: float, num_frames: int
) -> npt.NDArray[np.int64]:
    """Row of the decoded picture on screen at the seek time of each frame N = 1..num_frames, shape (num_frames,).

    picture_seconds: presentation time of each decoded picture, ascending, seconds on the file's timeline.
    Before the first picture the first one is shown, after the last the last. Raises ValueError if there is no picture.

    Chromium counts in whole microseconds: a picture's time is rounded to the nearest (media/ffmpeg/ffmpeg_common.cc,
    ConvertFromTimeBase), a seek's is truncated (base/time/time.h, base::Seconds of a double). So a seek to 64.46 s, in float64
    64459999.99 microseconds, shows the picture before the one at 64.46 s. Compared with Chromium 156 at 700 frames whose seek
    time is within 2 microseconds of a picture's: equal except where that picture is a key frame, see tests/browser.
    """
    times = np.floor(np.asarray(picture_seconds, dtype=np.float64) * 1e6 + 0.5)
    if len(times) == 0:
        raise ValueError("a video needs at least one picture, got none")
    sought = np.trunc(seek_times(np.arange(1, num_frames + 1), frame_rate) * 1e6)
    shown = np.searchsorted(times, sought, side="right") - 1
    return np.clip(shown, 0, len(times) - 1).astype(np.int64)
