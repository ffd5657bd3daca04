"""Suggestions for a recording that is being annotated: further intervals of a label that was just drawn."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from framewise.controls.control import AnyControl
from framewise.controls.examples import Medium
from framewise.controls.learner import Learner
from framewise.core.converter import Segment, scores_to_segments
from framewise.core.intervals import Span
from framewise.core.known import Mask
from framewise.core.regions import TimelineRegion
from framewise.learning.draft import agreement, marked_cells
from framewise.store.suggestions import Suggested

UNTOUCHED = "prediction"  # origin of a region that came from a model and was not changed since
# A version whose intervals agree less than this with what is drawn, in frame F1, is not used for this label.
AGREES = 0.5


@dataclass(frozen=True)
class Draft:
    """Regions of a task that is annotated. result: as the editor sent them, complete for the label. others: of any label, from
    the task's stored drafts, which may be a few seconds old."""

    task: int
    result: Sequence[Any]
    others: Sequence[Any] = ()


class DraftedRecording:
    """A task's media as a learner sees them, with the scores of its version in use, which are computed once for all labels."""

    def __init__(self, learner: Learner, media: Sequence[Medium], task_data: Mapping[str, Any]):
        """Raises MediaError, RequestError."""
        self.learner, self.task_data = learner, task_data
        self.features = {medium.control.to_name: medium.features for medium in media}
        self.grid = learner.on_grid(media, task_data, learner.profiles)

    def regions_in(self, control: AnyControl, result: Sequence[Any]) -> list[tuple[TimelineRegion, Span]]:
        """Regions of a control that have rows, and these rows. Raises RegionError."""
        regions = control.frames_of(result, self.features[control.to_name], self.grid.rate, self.task_data)
        return [(region, span) for region in regions if (span := _span(region, len(self.grid.rows)))]

    def scores_of(self, label: str) -> npt.NDArray[Any] | None:
        """Scores (T,) of a label; None if no version in use knows it. Raises ModelError."""
        labels, scores = self._scores
        return scores[:, labels.index(label)] if label in labels else None

    @cached_property
    def _scores(self) -> tuple[list[str], npt.NDArray[Any]]:
        return self.learner.scores(self.grid) if self.learner.version() else ([], np.empty((len(self.grid.rows), 0)))


def suggest(
    recording: DraftedRecording, control: AnyControl, label: str, draft: Draft, before: Suggested
) -> tuple[list[dict[str, Any]], Suggested]:
    """Regions of a label to add or to move, and the suggestions that the editor has then. before: those that it was sent.

    Nothing is suggested over a region of the label, or of another label of the control, and nothing over a suggestion that the
    annotator deleted. Regions that the annotator drew or changed are never among the answer. Raises RegionError, ModelError.
    """
    there = {region.id: span for region, span in recording.regions_in(control, draft.result) if label in region.labels}
    untouched = {item["id"] for item in draft.result if item.get("origin") == UNTOUCHED and item.get("id") in before.sent}
    own = {name: span for name, span in there.items() if name in untouched}
    drawn = [span for name, span in there.items() if name not in untouched]
    deleted = [*before.deleted, *(span for name, span in before.sent.items() if name not in there)]
    others = [span for region, span in recording.regions_in(control, draft.others) if label not in region.labels]
    taken = [*drawn, *deleted, *others]
    segments = [
        segment
        for segment in _segments(recording, control, label, drawn, deleted)
        if not any(_overlap((segment.index, segment.stop), span) for span in taken)
    ]
    regions, sent = [], dict(own)
    features, project = recording.features[control.to_name], recording.learner.project
    for segment in segments:
        span = (segment.index, segment.stop)
        replaced = [name for name, place in own.items() if _overlap(place, span)]
        if len(replaced) > 1 or (replaced and own[replaced[0]] == span):
            continue
        name = replaced[0] if replaced else _new_id(project, draft.task, control, label, {*sent, *there, *before.sent})
        for region in control.regions_of([segment], [label], features, recording.grid.rate, recording.task_data):
            regions.append({**region, "id": name})
            sent[name] = span
    return regions, Suggested(sent, deleted)


def _segments(
    recording: DraftedRecording, control: AnyControl, label: str, drawn: Sequence[Span], deleted: Sequence[Span]
) -> list[Segment]:
    """Intervals of a label in the recording: from the version in use, or, if that does not know the label or contradicts what
    is drawn, learned from what is drawn."""
    threshold, grid = control.settings.parameters["model_score_threshold"], recording.grid
    on, known = marked_cells(drawn, deleted, len(grid.rows), grid.rows.frame_rate)
    scores = recording.scores_of(label)
    if scores is None or (on.any() and agreement(_on(scores, threshold), on, known) < AGREES):
        learned = recording.learner.draft_scores(grid, on, known)
        scores = scores if learned is None else learned
    return [] if scores is None else scores_to_segments(scores[:, None], threshold)


def _on(scores: npt.NDArray[Any], threshold: float) -> Mask:
    found: Mask = scores >= threshold
    return found


def _span(region: TimelineRegion, rows: int) -> Span | None:
    """Rows from the first to the last of a region; None if it has none."""
    ends = [(start - 1, rows if end is None else min(end, rows)) for start, end in region.ranges if start <= rows]
    return (min(index for index, _ in ends), max(stop for _, stop in ends)) if ends else None


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _new_id(project: str, task: int, control: AnyControl, label: str, taken: set[str]) -> str:
    """First id of a suggestion of this label that is free: always the same ones, so that an answer that comes twice adds
    nothing."""
    for number in range(len(taken) + 1):
        text = "\0".join((project, str(task), control.settings.from_name, label, str(number)))
        name = hashlib.sha256(text.encode()).hexdigest()[:10]
        if name not in taken:
            return name
    raise AssertionError("there are more numbers than taken ids")
