"""The arithmetic of applied offsets: what each recording is padded or trimmed by, in whole frames, and what that leaves over.

Every result is an interval of the reference's clock; a recording's *head* is how long it starts after that interval's start:
padded where positive, trimmed where negative.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from framewise.core.errors import RequestError
from framewise.core.frame_grid import js_round

MODES = ("union", "intersection", "reference")
# A length that is whole frames but for what float64 leaves must not count as one frame more.
SLACK_FRAMES = 1e-6


@dataclass(frozen=True)
class Span:
    """A recording on the reference's clock: start_seconds is its offset, length_seconds how long it lasts there."""

    start_seconds: float
    length_seconds: float

    @property
    def stop_seconds(self) -> float:
        return self.start_seconds + self.length_seconds


@dataclass(frozen=True)
class Head:
    """seconds: exact, negative for a trim. frames: those rounded. residual_seconds: how much later it should have started than
    whole frames allow, at most half a frame either way."""

    seconds: float
    frames: int
    residual_seconds: float

    def samples(self, frame_rate: Fraction, sample_rate: int) -> int:
        """The same in samples of sound, so that it stays with the picture."""
        return samples_of(self.frames, frame_rate, sample_rate)


@dataclass(frozen=True)
class Plan:
    """heads: one a recording, in their order. frames: of every output. seconds: what that would be without rounding."""

    heads: tuple[Head, ...]
    frames: int
    seconds: float


def interval(spans: Sequence[Span], mode: str, reference: int = 0) -> tuple[float, float]:
    """Start and stop in seconds of the reference's clock: of all that is in any (union), of what is in all (intersection), or
    of the recording number ``reference``. Raises RequestError for an intersection of nothing."""
    if mode == "union":
        return min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans)
    if mode == "reference":
        return spans[reference].start_seconds, spans[reference].stop_seconds
    start, stop = max(s.start_seconds for s in spans), min(s.stop_seconds for s in spans)
    if stop <= start:
        raise RequestError(
            f"intersection: expected a time that all recordings share, found that one ends {start - stop:.3f} s before another "
            "starts; use --mode union"
        )
    return start, stop


def plan(spans: Sequence[Span], mode: str, frame_rate: Fraction, reference: int = 0) -> Plan:
    """Heads and length at a common frame rate. Union keeps every frame; the others have none that a recording lacks but for the
    rounding of its head. Raises RequestError."""
    start, stop = interval(spans, mode, reference)
    heads = tuple(head_of(span.start_seconds - start, frame_rate) for span in spans)
    ends = [head.frames + _lasting(span.length_seconds, frame_rate, mode) for head, span in zip(heads, spans, strict=True)]
    frames = {"union": max(ends), "intersection": min(ends), "reference": ends[reference]}[mode]
    if frames < 1:
        raise RequestError(f"{mode}: expected at least one frame of {float(frame_rate):g} a second, found {stop - start:.6f} s")
    return Plan(heads, frames, stop - start)


def _lasting(seconds: float, frame_rate: Fraction, mode: str) -> int:
    if mode == "union":
        return math.ceil(seconds * frame_rate - SLACK_FRAMES)
    if mode == "intersection":
        return math.floor(seconds * frame_rate + SLACK_FRAMES)
    return js_round(seconds * frame_rate)


def head_of(seconds: float, frame_rate: Fraction) -> Head:
    """A head in whole frames, halves up."""
    frames = js_round(seconds * frame_rate)
    return Head(seconds, frames, seconds - float(frames / frame_rate))


def samples_of(frames: int, frame_rate: Fraction, sample_rate: int) -> int:
    """Samples of sound in so many frames, to the nearest."""
    return math.floor(frames * sample_rate / frame_rate + Fraction(1, 2))
