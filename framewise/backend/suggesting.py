"""Answers to Label Studio's interactive requests: suggestions for a recording that somebody is annotating."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewise.backend.identifiers import is_id, mappings, task_data
from framewise.backend.predictions import Predictions
from framewise.backend.projects import model_version
from framewise.controls import Learner
from framewise.controls.control import AnyControl
from framewise.controls.suggesting import Draft, DraftedRecording, suggest
from framewise.core.errors import RequestError
from framewise.store.suggestions import Suggestions

# Word in a text area of the same object that asks for suggestions of all labels. The editor sends nothing when an interval is
# drawn on a video, but it does when a text is entered.
MORE = "more"


class Suggesting:
    """Suggestions, remembered so that a later answer moves them and does not repeat what was deleted."""

    def __init__(self, predictions: Predictions, suggestions: Suggestions):
        self._predictions = predictions
        self._suggestions = suggestions

    def answer(
        self, project: str, learners: Sequence[Learner], task: Mapping[str, Any], context: Mapping[str, Any], deadline: float
    ) -> dict[str, Any]:
        """Prediction with the regions to add or to move. context: what the editor sent, the regions of one label.

        Raises FramewiseError for a task that cannot be predicted; the features of its media are extracted first, if needed.
        """
        result = context.get("result")
        if not isinstance(result, list):
            raise RequestError(f"/predict: expected a list of regions in params.context.result, found {type(result).__name__}")
        number = task.get("id") if isinstance(task, Mapping) else None
        if not is_id(number):
            raise RequestError("/predict: expected the number of the task that is annotated, found none")
        data, drawn = task_data(task), mappings(result)
        draft = Draft(number, drawn, [r for d in mappings(task.get("drafts")) for r in mappings(d.get("result"))])
        regions: list[dict[str, Any]] = []
        for learner in learners:
            asked = [(control, label) for control in learner.controls for label in _asked(control, drawn)]
            if not asked:
                continue
            media = self._predictions.media_of(project, learner, task, deadline)
            if not media:
                continue
            recording = DraftedRecording(learner, media, data)
            for control, label in asked:
                if control.to_name not in recording.features:
                    continue
                name = control.settings.from_name
                before = self._suggestions.of(project, number, name, label)
                found, now = suggest(recording, control, label, draft, before)
                if now != before:
                    self._suggestions.put(project, number, name, label, now)
                regions += found
        return {"result": regions, "score": 0.0, "model_version": model_version(learners)}


def _asked(control: AnyControl, drawn: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of a control that suggestions are wanted for: those of the regions in the context, or all, on request."""
    labels, kind, settings = control.settings.label_names, control.kind.region, control.settings
    if not settings.parameters["model_suggestions"]:
        return []
    if any(_says_more(item) for item in drawn if item.get("to_name") == settings.to_name):
        return labels
    values = [item.get("value") for item in drawn if item.get("from_name") == settings.from_name]
    told = [value.get(kind) for value in values if isinstance(value, Mapping)]
    return [label for label in labels if any(isinstance(names, list) and label in names for names in told)]


def _says_more(item: Mapping[str, Any]) -> bool:
    """True for a text area whose last line is MORE."""
    value = item.get("value")
    text = value.get("text") if isinstance(value, Mapping) and item.get("type") == "textarea" else None
    lines = [text] if isinstance(text, str) else text
    return isinstance(lines, list) and bool(lines) and isinstance(lines[-1], str) and lines[-1].strip().lower() == MORE
