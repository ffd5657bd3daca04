"""One module a Label Studio control tag: from a file's features to regions, and from annotations to a trained version."""

from framewise.controls.audio_labels import AudioLabelsModel
from framewise.controls.base import ControlModel, Example, Features, Parts, Predicted, Trained
from framewise.controls.time_series_labels import TimeSeriesLabelsModel
from framewise.controls.timeline_labels import TimelineLabelsModel

CONTROL_MODELS: tuple[type[ControlModel], ...] = (TimelineLabelsModel, TimeSeriesLabelsModel, AudioLabelsModel)

__all__ = [
    "CONTROL_MODELS", "AudioLabelsModel", "ControlModel", "Example", "Features", "Parts", "Predicted", "TimeSeriesLabelsModel",
    "TimelineLabelsModel", "Trained",
]  # fmt: skip
