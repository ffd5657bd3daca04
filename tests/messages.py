"""Messages of Label Studio about a project: bodies of /setup and /predict, and the events of its webhooks."""

import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

_project_ids = itertools.count(1001)
_annotation_ids = itertools.count(50001)


@dataclass(frozen=True)
class Project:
    """A project of Label Studio, and the messages that it sends about it."""

    config: str
    id: int = field(default_factory=lambda: next(_project_ids))
    created: int = 1_795_200_057

    @property
    def key(self) -> str:
        return f"{self.id}.{self.created}"

    def with_config(self, config: str) -> "Project":
        """The same project after its labeling config was edited."""
        return replace(self, config=config)

    def setup_body(self) -> Json:
        return {
            "project": self.key,
            "schema": self.config,
            "hostname": "http://localhost:8080",
            "access_token": "",
            "extra_params": None,
        }

    def predict_body(self, tasks: Sequence[Any]) -> Json:
        params = {"login": None, "password": None, "context": None}
        return {"tasks": list(tasks), "project": self.key, "label_config": self.config, "params": params}

    def event(self, action: str, **rest: Any) -> Json:
        created = datetime.datetime.fromtimestamp(self.created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        project = {"id": self.id, "title": "A project", "label_config": self.config, "created_at": created}
        return {"action": action, "project": project, **rest}

    def annotation_event(
        self, task: Json, result: Sequence[Json], action: str = "ANNOTATION_CREATED", annotation: int | None = None, **more: Any
    ) -> Json:
        return self.event(action, annotation=self.annotation(task, result, annotation, **more), task=task)

    def annotation(self, task: Json, result: Sequence[Json], annotation: int | None = None, **more: Any) -> Json:
        return {
            "id": annotation or next(_annotation_ids),
            "result": list(result),
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": _now(),
            "updated_at": _now(),
            "lead_time": 3.2,
            "result_count": len(result),
            "task": task["id"],
            "project": self.id,
            **more,
        }


def task_of(number: int, video: str) -> Json:
    """A task that shows the video at this path or address."""
    return {"id": number, "data": {"video": video}, "meta": {}, "annotations": [], "predictions": []}


def labeling_config(*labels: str, video: str = "clip", control: str = "tl", frame_rate: str = "25", **parameters: str) -> str:
    """A labeling config with TimelineLabels on a Video that is not called "video". A label may be XML of its own."""
    attributes = "".join(f' {name}="{value}"' for name, value in parameters.items())
    tags = "".join(label if label.startswith("<") else f'<Label value="{label}"/>' for label in labels)
    return (
        f'<View><TimelineLabels name="{control}" toName="{video}"{attributes}>{tags}</TimelineLabels>'
        f'<Video name="{video}" value="$video" frameRate="{frame_rate}"/></View>'
    )


def region(
    label: str | Sequence[str], *ranges: tuple[Any, Any], control: str = "tl", video: str = "clip", id: str = ""
) -> Json:
    """A region as the editor saves it; ranges are (first frame, last frame)."""
    labels = [label] if isinstance(label, str) else list(label)
    return {
        "id": id or f"r-{next(_annotation_ids)}",
        "from_name": control,
        "to_name": video,
        "type": "timelinelabels",
        "origin": "manual",
        "value": {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": labels},
    }


def frames_of(prediction: Mapping[str, Any], label: str) -> set[int]:
    """Frames of a label in a prediction."""
    return {
        frame
        for item in prediction["result"]
        if label in item["value"]["timelinelabels"]
        for span in item["value"]["ranges"]
        for frame in range(span["start"], span["end"] + 1)
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
