"""framewise connected to a real Label Studio, driven through Label Studio's API as its users do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.label_studio_server import LabelStudioServer, LabelStudioStartError
from framewise.demo.run import true_regions
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG, project_key, wait_for_version, wait_until
from tests.process_tree import paused, worker_pids


def _regions_of(prediction: dict[str, Any]) -> list[tuple[str, int, int]]:
    values = [region["value"] for region in prediction["result"]]
    return sorted((v["timelinelabels"][0], v["ranges"][0]["start"], v["ranges"][0]["end"]) for v in values)


def test_submit_and_update_reach_the_next_task(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """Connect, upload, submit, train, next task with the prediction; update, train, next task with the new version's."""
    connected = api.connect_backend(project, backend.url, "framewise")
    assert connected["readable_state"] == "Connected"
    tasks = api.import_files(project, [clip.path for clip in clips])
    annotation = api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    first = wait_for_version(api, project, other_than="untrained")

    shown = api.next_task(project)
    prediction = next(p for p in shown["predictions"] if p["model_version"] == first)
    assert shown["id"] == tasks[1]["id"]
    regions = _regions_of(prediction)
    assert regions
    assert all(1 <= start <= end <= clips[1].num_frames for _, start, end in regions)

    api.update_annotation(annotation["id"], [r for r in true_regions(clips[0]) if "Ball touch" in str(r["value"])])
    second = wait_for_version(api, project, other_than=first)
    shown = api.next_task(project)
    assert shown["predictions"][-1]["model_version"] == second
    asked = httpx.post(
        f"{backend.url}/predict",
        json={"tasks": [shown], "project": project_key(api, project), "label_config": LABEL_CONFIG, "params": {}},
        timeout=300,
        trust_env=False,
    ).json()["results"][0]
    assert _regions_of(shown["predictions"][-1]) == _regions_of(asked)


def test_local_files_and_a_legacy_token(
    api: AnnotatorApi,
    label_studio: LabelStudioServer,
    other_backend: Callable[..., BackendServer],
    clips: list[ClipTruth],
    project: int,
) -> None:
    backend = other_backend(label_studio_api_key=label_studio.legacy_token)
    api.connect_backend(project, backend.url, "framewise")
    api.add_local_storage(project, Path(clips[0].path).parent)
    tasks = {Path(task["data"]["video"]).name: task["id"] for task in api.tasks(project)}
    assert len(tasks) == len(clips)
    api.submit_annotation(tasks[clips[2].path.name], true_regions(clips[2]))
    version = wait_for_version(api, project, other_than="untrained")
    others = [tasks[clip.path.name] for clip in (clips[0], clips[1], clips[3])]
    api.retrieve_predictions(project, others)
    for task in others:
        stored = wait_until(lambda task=task: api.predictions(task), f"the prediction of task {task}")
        assert [p["model_version"] for p in stored] == [version]


def test_prediction_that_came_too_late_is_pushed_once(
    api: AnnotatorApi, other_backend: Callable[..., BackendServer], clips: list[ClipTruth], project: int, tmp_path: Path
) -> None:
    """Nothing waits here, so every new video is answered "not yet" and pushed when its features are there."""
    # Nor is anything extracted ahead, or sent that was not asked for: that may be there earlier than the question.
    ahead = {"min_free_disk_bytes": 10**15, "push_predictions": False}
    backend = other_backend(predict_wait_seconds=0.0, cache_dir=tmp_path / "empty-cache", **ahead)
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clip.path for clip in clips])
    api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    version = wait_for_version(api, project, other_than="untrained")
    unseen = [task["id"] for task in tasks[1:]]
    (worker,) = worker_pids(backend.pid)
    with paused(worker, backend.settings.data_dir):  # so that none is there before the question is answered
        api.retrieve_predictions(project, unseen)
        assert not any(api.predictions(task) for task in unseen)
    for task in unseen:
        wait_until(lambda task=task: api.predictions(task), f"the pushed prediction of task {task}")

    def due() -> list[Any]:  # the extraction ahead stays so
        return [j for j in backend.jobs()["jobs"] if j["state"] in ("pending", "running") and j["kind"] != "warm"]

    wait_until(lambda: not due(), "the end of all other jobs")
    api.retrieve_predictions(project, unseen)
    assert [[p["model_version"] for p in api.predictions(task)] for task in unseen] == [[version]] * len(unseen)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LABEL_CONFIG.replace("model_trainable", "model_trainble"), "did you mean 'model_trainable'"),
        (LABEL_CONFIG.replace(' model_trainable="true"', ""), "none of the labels"),
        (
            '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>',
            "expected TimelineLabels on Video",
        ),
    ],
)
def test_label_studio_shows_why_a_config_is_refused(
    api: AnnotatorApi, backend: BackendServer, config: str, message: str
) -> None:
    project = api.create_project("refused", config)["id"]
    with pytest.raises(LabelStudioStartError) as refused:
        api.connect_backend(project, backend.url, "framewise")
    assert message in str(refused.value).replace("\\'", "'").replace("&lt;", "<")


def test_basic_auth_and_a_webhook_header(
    api: AnnotatorApi, other_backend: Callable[..., BackendServer], clips: list[ClipTruth], project: int
) -> None:
    backend = other_backend(basic_auth_user="annotator", basic_auth_pass="secret", webhook_token="token")
    with pytest.raises(LabelStudioStartError, match=r"authentication|Unauthorized|401"):
        api.connect_backend(project, backend.url, "framewise")
    api.connect_backend_with_password(project, backend.url, "framewise", "annotator", "secret")
    api.set_webhook_headers(project, {"Authorization": "Bearer token"})
    task = api.import_files(project, [clips[1].path])[0]
    api.submit_annotation(task["id"], true_regions(clips[1]))
    assert wait_for_version(api, project, other_than="untrained").startswith("v1-")


def test_start_training_button(api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int) -> None:
    model = api.connect_backend(project, backend.url, "framewise")
    task = api.import_files(project, [clips[3].path])[0]
    api.submit_annotation(task["id"], true_regions(clips[3]))
    first = wait_for_version(api, project, other_than="untrained")
    api.start_training(model["id"])
    assert wait_for_version(api, project, other_than=first).startswith("v2-")


def test_version_survives_a_restart(
    api: AnnotatorApi, other_backend: Callable[..., BackendServer], clips: list[ClipTruth], project: int
) -> None:
    backend = other_backend()
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clips[0].path, clips[1].path])
    api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    version = wait_for_version(api, project, other_than="untrained")
    backend.stop()
    with BackendServer(replace(backend.settings), backend.settings.data_dir / "again.log"):
        assert api.list_backends(project)[0]["model_version"] == version
        assert api.next_task(project)["predictions"][0]["model_version"] == version
