"""Arithmetic of applying offsets: padding or trimming of each recording in whole frames, and the residual.

Every result is an interval on the reference's clock. A recording's *head* is its start minus the start of that interval:
padding if positive, trimming if negative.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from framewise.core.errors import RequestError
from framewise.core.frame_grid import js_round

# A length of whole frames must not gain a frame by the rounding of float64.
SLACK_FRAMES = 1e-6


@dataclass(frozen=True)
class Span:
    """A recording on the reference's clock: start_seconds is its offset, length_seconds its length there."""

    start_seconds: float
    length_seconds: float

    @property
    def stop_seconds(self) -> float:
        return self.start_seconds + self.length_seconds


@dataclass(frozen=True)
class Head:
    """Start of a recording in the result. seconds: exact, negative for a trim. frames: seconds rounded to whole frames.
    residual_seconds: seconds minus frames, at most half a frame either way."""

    seconds: float
    frames: int
    residual_seconds: float

    def samples(self, frame_rate: Fraction, sample_rate: int) -> int:
        """Head in samples of sound, so that it stays with the picture."""
        return samples_of(self.frames, frame_rate, sample_rate)


@dataclass(frozen=True)
class Plan:
    """heads: one per recording, in their order. frames: of every output. seconds: its length without rounding."""

    heads: tuple[Head, ...]
    frames: int
    seconds: float


def interval(spans: Sequence[Span], mode: str, reference: int = 0) -> tuple[float, float]:
    """(start, stop) in seconds on the reference's clock: of the time covered by any recording (union), by all (intersection),
    or by recording number ``reference``. Raises RequestError for an empty intersection."""
    if mode == "union":
        return min(s.start_seconds for s in spans), max(s.stop_seconds for s in spans)
    if mode == "reference":
        return spans[reference].start_seconds, spans[reference].stop_seconds
    start, stop = max(s.start_seconds for s in spans), min(s.stop_seconds for s in spans)
    if stop <= start:
        raise RequestError(
            f"intersection: expected a time that all recordings share, but one ends {start - stop:.3f} s before another "
            "starts; use --mode union"
        )
    return start, stop


def plan(spans: Sequence[Span], mode: str, frame_rate: Fraction, reference: int = 0) -> Plan:
    """Heads and length at a common frame rate. Union keeps every frame. The other modes have no frame that a recording lacks,
    apart from rounding of its head. Raises RequestError."""
    start, stop = interval(spans, mode, reference)
    heads = tuple(head_of(span.start_seconds - start, frame_rate) for span in spans)
    ends = [head.frames + _lasting(span.length_seconds, frame_rate, mode) for head, span in zip(heads, spans, strict=True)]
    frames = {"union": max(ends), "intersection": min(ends), "reference": ends[reference]}[mode]
    if frames < 1:
        raise RequestError(f"{mode}: expected at least one frame of 1/{float(frame_rate):g} s, found {stop - start:.6f} s")
    return Plan(heads, frames, stop - start)


def _lasting(seconds: float, frame_rate: Fraction, mode: str) -> int:
    if mode == "union":
        return math.ceil(seconds * frame_rate - SLACK_FRAMES)
    if mode == "intersection":
        return math.floor(seconds * frame_rate + SLACK_FRAMES)
    return js_round(seconds * frame_rate)


def head_of(seconds: float, frame_rate: Fraction) -> Head:
    """Head in whole frames, halves rounded up."""
    frames = js_round(seconds * frame_rate)
    return Head(seconds, frames, seconds - float(frames / frame_rate))


def samples_of(frames: int, frame_rate: Fraction, sample_rate: int) -> int:
    """Number of samples of sound in this many frames, rounded."""
    return math.floor(frames * sample_rate / frame_rate + Fraction(1, 2))
