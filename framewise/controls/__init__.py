"""One module a Label Studio control tag: from a video's features to regions, and from annotations to a trained version."""

from framewise.controls.base import ControlModel, Example, Parts, Predicted, Trained
from framewise.controls.timeline_labels import TimelineLabelsModel

CONTROL_MODELS: tuple[type[ControlModel], ...] = (TimelineLabelsModel,)

__all__ = ["CONTROL_MODELS", "ControlModel", "Example", "Parts", "Predicted", "TimelineLabelsModel", "Trained"]
