"""Check that this code can use the files of an earlier commit's service: annotations, versions and cached features.

    python -m tools.upgrade COMMIT

A ``git worktree`` of the commit trains an automatic model, an LSTM and a model of a time series, and predicts. Then this
code takes over the same folders. It must have the same versions in use, return the same predictions without extracting
anything, learn one more annotation, and roll back to the earlier commit's version. Exits with 1 if something differs.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from framewise.demo.clips import ClipTruth, render_clips
from framewise.features.kinds.ultralytics import prepare_ultralytics
from tests.integration.service import REPOSITORY, Service
from tests.messages import Project, labeling_config, region, task_of

LABELS = ("Ball in frame", "Ball touch")
LEARNED, CLIPS, SERIES_SECONDS = 4, 7, 40.0
TAKEN = {"PREDICT_WAIT_SECONDS": "60", "PUSH_PREDICTIONS": "false"}

Json = dict[str, Any]


class Samples:
    """Projects, their tasks and annotations."""

    def __init__(self, folder: Path):
        clips = render_clips(folder, CLIPS, 7)
        video = [(task_of(number, str(clip.path)), _marks(clip)) for number, clip in enumerate(clips, 1)]
        series = [_series_task(number) for number in range(101, 101 + CLIPS)]
        trainable = {"model_trainable": "true"}
        self.projects = {
            "auto": (Project(labeling_config(*LABELS, **trainable), id=901), video),
            "lstm": (
                Project(
                    labeling_config(*LABELS, **trainable, model_classifier_type="lstm", model_classifier_epochs="60"), id=902
                ),
                video,
            ),
            "series": (Project(SERIES_CONFIG, id=903), series),
        }


SERIES_CONFIG = (
    '<View><TimeSeriesLabels name="ts" toName="series" model_trainable="true"><Label value="Turn"/></TimeSeriesLabels>'
    '<TimeSeries name="series" value="$series" valueType="json" timeColumn="t"><Channel column="x"/></TimeSeries></View>'
)


def _marks(clip: ClipTruth) -> list[Json]:
    return [region(label, *spans) for label, spans in clip.intervals.items() if spans]


def _series_task(number: int) -> tuple[Json, list[Json]]:
    """Series at 20 Hz that oscillates for a third of its time."""
    random = np.random.default_rng(number)
    seconds = np.arange(round(SERIES_SECONDS * 20)) / 20
    start = float(random.uniform(5, 20))
    on = (seconds >= start) & (seconds < start + 12)
    values = random.normal(0, 0.1, len(seconds)) + on * np.sin(2 * np.pi * 1.5 * seconds)
    data = {"series": {"t": seconds.round(3).tolist(), "x": values.round(4).tolist()}}
    value = {"start": start, "end": start + 12, "instant": False, "timeserieslabels": ["Turn"]}
    mark = {"id": f"s{number}", "from_name": "ts", "to_name": "series", "type": "timeserieslabels", "value": value}
    return {"id": number, "data": data, "meta": {}, "annotations": [], "predictions": []}, [mark]


def compare(commit: str, folder: Path) -> list[str]:
    """Differences between the answers of the commit's service and of this code on the same folders."""
    samples, place = Samples(folder / "videos"), folder / "service"
    with worktree(commit, folder / "before") as before, _service(place, folder, before) as service:
        for project, tasks in samples.projects.values():
            for task, marks in tasks[:LEARNED]:
                service.send(project.annotation_event(task, marks))
            service.wait_idle(300)
        told = {name: _told(service, project, tasks) for name, (project, tasks) in samples.projects.items()}
        service.wait_idle(300)
    stored = _stored(place)
    found = []
    with _service(place, folder, REPOSITORY) as service:
        before_it = {job["id"] for job in service.jobs()}
        for name, (project, tasks) in samples.projects.items():
            found += _differences(name, told[name], _told(service, project, tasks))
        if more := [job["task"] for job in service.jobs(kind="extract") if job["id"] not in before_it]:
            found.append(f"extracted again: {more}")
        found += [f"{path} changed" for path, size in _stored(place).items() if stored.get(path, size) != size]
        for name, (project, tasks) in samples.projects.items():
            found += _goes_on(name, service, project, tasks, told[name])
    return found


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Context with a separate checkout of a commit."""
    subprocess.run(["git", "worktree", "add", "--detach", str(folder), commit], cwd=REPOSITORY, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=REPOSITORY, check=True)


def _service(place: Path, folder: Path, code: Path) -> Service:
    return Service(place, _backbone(folder), folder / "videos", code=code, **TAKEN)


def _backbone(folder: Path) -> Path:
    """A checkpoint of random weights, which any commit can read."""
    path = folder / "upgrade-cls.pt"
    if not path.exists():
        prepare_ultralytics(folder / "ultralytics")
        import torch
        from ultralytics import YOLO

        torch.manual_seed(0)
        network = YOLO("yolov8n-cls.yaml", task="classify")
        network.ckpt = {"train_args": {"imgsz": 224, "task": "classify"}}
        network.save(path)
    return path


def _told(service: Service, project: Project, tasks: list[tuple[Json, list[Json]]]) -> Json:
    """Version of a project, and its predictions of all tasks except the last."""
    version = service.version(project)
    asked = [task for task, _ in tasks[:-1]]
    return {"version": version, "predictions": [service.predict_until_there(project, task) for task in asked]}


def _differences(name: str, before: Json, now: Json) -> list[str]:
    found = [] if before["version"] == now["version"] else [f"{name}: {before['version']} became {now['version']}"]
    regions = 0
    for number, (was, is_) in enumerate(zip(before["predictions"], now["predictions"], strict=True), 1):
        regions += len(was["result"])
        if _shown(was) != _shown(is_):
            found.append(f"{name}, task {number}: {_shown(was)} became {_shown(is_)}")
    if not regions:
        found.append(f"{name}: nothing was predicted, so nothing was compared")
    print(f"{name}: {before['version']}, {regions} regions in {len(before['predictions'])} predictions")
    return found


def _shown(prediction: Json) -> list[Any]:
    """Prediction without the ids of regions."""
    regions = [{**item, "id": ""} for item in prediction["result"]]
    return [prediction["model_version"], prediction["score"], regions]


def _goes_on(name: str, service: Service, project: Project, tasks: list[tuple[Json, list[Json]]], before: Json) -> list[str]:
    """Learn one more annotation with this code, and roll back to the previous version."""
    task, marks = tasks[-1]
    job = service.train(project, (task, marks))
    if job["state"] != "done" or service.version(project) == before["version"]:
        return [f"{name}: one more annotation was not learned: {job['state']}, {job['error']}"]
    chosen = service.post("/versions/current", {"project": project.key, "version": before["version"]})
    if chosen.status_code != 200:
        return [f"{name}: cannot go back to {before['version']}: {chosen.text}"]
    return [f"after going back, {text}" for text in _differences(name, before, _told(service, project, tasks))]


def _stored(place: Path) -> dict[str, int]:
    """Files of versions and features, with their modification times."""
    folders = [*(place / "models").glob("timelinelabels-*"), place / "cache"]
    files = [p for folder in folders for p in folder.rglob("*") if p.suffix in (".npy", ".safetensors", ".json")]
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in files}


def main() -> int:
    """Run; returns 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="an earlier commit of this repository")
    with tempfile.TemporaryDirectory() as folder:
        found = compare(parser.parse_args().commit, Path(folder))
    for text in found:
        print(f"DIFFERS: {text}")
    print("Nothing differs." if not found else f"{len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
