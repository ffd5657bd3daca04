"""One module a Label Studio control tag: from a file's features to regions, and from annotations to a trained version."""

from framewise.controls.audio_labels import AudioLabelsModel
from framewise.controls.base import (
    ControlModel,
    Example,
    Features,
    Medium,
    Parts,
    Predicted,
    Trained,
    learners,
    sources_of,
)
from framewise.controls.sync_group import SyncGroupModel, grouped
from framewise.controls.time_series_labels import TimeSeriesLabelsModel
from framewise.controls.timeline_labels import TimelineLabelsModel

CONTROL_MODELS: tuple[type[ControlModel], ...] = (TimelineLabelsModel, TimeSeriesLabelsModel, AudioLabelsModel)

__all__ = [
    "CONTROL_MODELS", "AudioLabelsModel", "ControlModel", "Example", "Features", "Medium", "Parts", "Predicted",
    "SyncGroupModel", "TimeSeriesLabelsModel", "TimelineLabelsModel", "Trained", "grouped", "learners", "sources_of",
]  # fmt: skip
