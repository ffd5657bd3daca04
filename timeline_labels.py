"""Control model of Label Studio's guide to TimelineLabels, for programmers.

It has the guide's methods, implemented by the control and the learner of the service. The service does not use this class.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from framewise.controls import Medium, Parts, SimpleMode, TrainedModel, VideoControl
from framewise.core.media_kinds import VIDEO
from framewise.labeling_config import ControlSettings

__all__ = ["TimelineLabelsModel"]

LEARNED_FROM = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class TimelineLabelsModel:
    """A <TimelineLabels> on a <Video> of one project, on its own even if the project's media play in sync.

    Paths of videos must be files that framewise may read, see LOCAL_FILES_ROOTS.
    """

    type = VIDEO.control

    def __init__(self, control: ControlSettings, project: str, parts: Parts):
        self.control = control
        self.project = project
        self._parts = parts
        self._video = VideoControl(control, project, parts)

    @classmethod
    def is_control_matched(cls, control: Any) -> bool:
        """True if this class handles a control tag, from framewise's settings or from Label Studio's SDK."""
        objects = getattr(control, "objects", None)
        return control.tag == cls.type and (not objects or objects[0].tag == VIDEO.object)

    @classmethod
    def create(cls, control: ControlSettings, project: str, parts: Parts) -> Self:
        """Create and check a model. Raises ConfigError or BackboneError if it cannot work."""
        model = cls(control, project, parts)
        model._video.check()
        return model

    @property
    def trainable(self) -> bool:
        return self.control.trainable

    @property
    def label_map(self) -> dict[str, int]:
        """Label name -> column, in the order of the labeling config."""
        return {label: column for column, label in enumerate(self.control.label_names)}

    def predict_regions(self, video_path: str) -> list[dict[str, Any]]:
        """Regions of a video in the mode of the control. Raises ModelError if it is not trained yet."""
        return self.create_timelines_trainable(video_path) if self.trainable else self.create_timelines_simple(video_path)

    def create_timelines_simple(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the backbone's own classes, regardless of the mode of the control."""
        return self._regions(SimpleMode(self._video), video_path)

    def create_timelines_trainable(self, video_path: str) -> list[dict[str, Any]]:
        """Regions by the trained model. Raises ModelError if it is not trained yet."""
        return self._regions(TrainedModel([self._video]), video_path)

    def fit(self, event: str, data: Mapping[str, Any], **_: Any) -> bool:
        """Learn immediately from the single annotation of an event; False for other kinds of events.

        data: an event's ``task`` and ``annotation``. The service itself trains in a worker, on all annotations.
        """
        if event not in LEARNED_FROM:
            return False
        task, task_data, model = data["task"], data["task"]["data"], TrainedModel([self._video])
        media = [self._read(source.address, task.get("id")) for source in model.sources(task_data)]
        example = model.task_example(media, task_data, data["annotation"]["result"], None)
        model.train([example], time.strftime("fit-%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{time.monotonic_ns()}", _quiet)
        return True

    def get_classifier_path(self, project_id: str | None = None) -> Path:
        """Folder of the trained version in use; if there is none yet, the folder for versions."""
        registry, project = self._parts.registry, self.project if project_id is None else str(project_id)
        return registry.current(project, self.control.from_name) or registry.folder(project, self.control.from_name)

    def _regions(self, learner: SimpleMode | TrainedModel, video_path: str) -> list[dict[str, Any]]:
        # There is no task at hand: the frame rate is the default one where the labeling config takes it from a task.
        return learner.task_prediction([self._read(video_path)], {}).regions

    def _read(self, source: str, task: int | None = None) -> Medium:
        with self._video.opened(source, task, _quiet) as file:
            return Medium(self._video, self._video.features(file, _quiet), file.content)


def _quiet(share: float, detail: str) -> None:
    """Ignore progress."""
