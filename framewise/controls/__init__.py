"""Controls, one module per medium, and the learners over them: predictions of regions, and training from annotations."""

from framewise.controls.audio import AudioControl
from framewise.controls.control import AnyControl, Control, Parts
from framewise.controls.examples import Example, Medium
from framewise.controls.learner import Learner, Predicted, SimpleMode, Source, sources_of
from framewise.controls.series import SeriesControl
from framewise.controls.trained import Trained, TrainedModel, learners_of
from framewise.controls.video import VideoControl

CONTROLS: dict[str, type[AnyControl]] = {c.kind.control: c for c in (VideoControl, SeriesControl, AudioControl)}

__all__ = [
    "CONTROLS", "AnyControl", "AudioControl", "Control", "Example", "Learner", "Medium", "Parts", "Predicted", "SeriesControl",
    "SimpleMode", "Source", "Trained", "TrainedModel", "VideoControl", "learners_of", "sources_of",
]  # fmt: skip
