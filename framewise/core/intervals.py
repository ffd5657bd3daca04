"""Intervals of labels in rows, as pages draw them, whatever the unit of the regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from framewise.core.converter import Segment

Span = tuple[int, int]  # rows [index, stop)


@dataclass(frozen=True)
class Intervals:
    """Intervals of the labels of one file. rows: number of frames of a video, or of steps of a series or sound.
    frame_rate: rows per second. spans: label -> rows [index, stop) in which it is on."""

    rows: int
    frame_rate: float
    spans: Mapping[str, Sequence[Span]]

    @classmethod
    def of(cls, segments: Sequence[Segment], labels: Sequence[str], rows: int, frame_rate: float) -> Self:
        spans = {label: [(s.index, s.stop) for s in segments if s.label_index == n] for n, label in enumerate(labels)}
        return cls(rows, frame_rate, spans)

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "frame_rate": self.frame_rate, "spans": self.spans}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        spans = {label: [(index, stop) for index, stop in found] for label, found in told["spans"].items()}
        return cls(told["rows"], told["frame_rate"], spans)
