"""Annotations that a real Label Studio never told of, and what it allows to be done to labels that are in use."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.label_studio_server import LabelStudioServer, LabelStudioStartError
from framewise.demo.run import true_regions
from framewise.label_studio import LabelStudioClient
from framewise.settings import Settings
from framewise.store.annotations import AnnotatedTask, Annotations
from framewise.store.database import DATABASE_NAME, Database
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG, project_key, wait_for_version, wait_until

QUICK = LABEL_CONFIG.replace('model_trainable="true"', 'model_trainable="true" model_classifier_epochs="5"')


@pytest.fixture
def project(api: AnnotatorApi) -> int:
    return int(api.create_project("labelled before", QUICK)["id"])


def learned(backend: BackendServer, api: AnnotatorApi, project: int) -> list[AnnotatedTask]:
    store = Annotations(Database(backend.settings.data_dir / DATABASE_NAME))
    return store.training_set(project_key(api, project))


def drawn(items: list[AnnotatedTask]) -> list[set[str]]:
    return [{name for region in item.result for name in region["value"]["timelinelabels"]} for item in items]


def jobs(backend: BackendServer, api: AnnotatorApi, project: int, kind: str) -> list[dict[str, Any]]:
    key = project_key(api, project)
    return [job for job in backend.jobs()["jobs"] if (job["project"], job["kind"]) == (key, kind)]


def wait_idle(backend: BackendServer) -> None:
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")


def current_videos(backend: BackendServer, api: AnnotatorApi, project: int) -> int:
    found = httpx.get(f"{backend.url}/versions", timeout=10, trust_env=False).json()["details"]
    key = project_key(api, project)
    return next(int(v["videos"]) for v in found if v["project"] == key and v["current"])


def test_pages_of_all_annotations_ask_no_backend_for_predictions(
    api: AnnotatorApi,
    label_studio: LabelStudioServer,
    base_settings: Settings,
    backend: BackendServer,
    clips: list[ClipTruth],
    project: int,
) -> None:
    tasks = api.import_tasks(project, [{"video": f"http://nowhere.invalid/{n}.mp4"} for n in range(12)])
    numbers = [api.submit_annotation(task["id"], true_regions(clips[0]))["id"] for task in tasks[:11]]
    api.connect_backend(project, backend.url, "framewise")
    wait_idle(backend)
    client = LabelStudioClient(base_settings.label_studio_url, base_settings.label_studio_api_key)

    pages = list(client.task_pages(project, page_size=5))

    assert [(total, len(page)) for total, page in pages] == [(12, 5), (12, 5), (12, 2)]
    listed = [task for _, page in pages for task in page]
    assert [task["id"] for task in listed] == [task["id"] for task in tasks]
    assert [task["data"] for task in listed] == [task["data"] for task in tasks]
    assert [a["id"] for task in listed for a in task["annotations"]] == numbers
    assert listed[0]["annotations"][0]["result"] == api.tasks(project)[0]["annotations"][0]["result"]
    assert {"updated_at", "was_cancelled", "ground_truth"} <= listed[0]["annotations"][0].keys()
    assert [api.predictions(task["id"]) for task in tasks] == [[]] * 12
    assert jobs(backend, api, project, "extract") == []
    api.task(tasks[0]["id"])
    assert jobs(backend, api, project, "extract"), "a task's own address does ask, so the line before the last says something"


def test_a_page_begins_after_the_last_task_also_when_tasks_are_deleted_meanwhile(
    api: AnnotatorApi, base_settings: Settings, project: int
) -> None:
    tasks = api.import_tasks(project, [{"video": f"http://nowhere.invalid/{n}.mp4"} for n in range(6)])
    pages = LabelStudioClient(base_settings.label_studio_url, base_settings.label_studio_api_key).task_pages(project, 2)
    seen = [task["id"] for task in next(pages)[1]]
    api.request("DELETE", f"/api/tasks/{tasks[0]['id']}/")
    seen += [task["id"] for _, page in pages for task in page]
    assert seen == [task["id"] for task in tasks]


def test_a_project_that_was_labelled_before_it_was_connected_is_learned(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    tasks = api.import_files(project, [clip.path for clip in clips])
    for task, clip in zip(tasks[:3], clips, strict=False):
        api.submit_annotation(task["id"], true_regions(clip))
    api.connect_backend(project, backend.url, "framewise")
    wait_for_version(api, project, other_than="untrained")
    wait_idle(backend)
    assert [item.task for item in learned(backend, api, project)] == [task["id"] for task in tasks[:3]]
    assert current_videos(backend, api, project) == 3
    (imported,) = jobs(backend, api, project, "import")
    assert imported["detail"] == "4 of 4 tasks"
    assert len(jobs(backend, api, project, "train")) == 1
    overview = httpx.get(backend.url, headers={"Accept": "text/html"}).text
    assert f">{api.project(project)['title']}</a>" in overview, "the setup request has no title: it was asked for"


def press_start_training(api: AnnotatorApi, backend: BackendServer, project: int, model: int) -> None:
    """Label Studio's button."""
    api.start_training(model)


def press_train_now(api: AnnotatorApi, backend: BackendServer, project: int, model: int) -> None:
    """The button on framewise's own page."""
    address = f"/projects/{project_key(api, project)}/do/train"
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=backend.url, headers=headers, trust_env=False) as browser:
        token = browser.get(address).text.partition('name="token" value="')[2].partition('"')[0]
        assert browser.post(address, data={"token": token}).status_code == 303


@pytest.mark.parametrize("press", [press_start_training, press_train_now])
def test_start_training_brings_what_is_known_up_to_what_label_studio_has(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int, press: Callable[..., None]
) -> None:
    """Without its webhook, Label Studio tells of nothing."""
    model = api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clip.path for clip in clips])
    annotations = [api.submit_annotation(t["id"], true_regions(c)) for t, c in zip(tasks[:3], clips, strict=False)]
    wait_idle(backend)
    first = wait_for_version(api, project, other_than="untrained")
    for webhook in api.webhooks(project):
        api.request("DELETE", f"/api/webhooks/{webhook['id']}/")
    api.delete_annotation(annotations[0]["id"])
    api.request("DELETE", f"/api/tasks/{tasks[1]['id']}/")
    api.update_annotation(annotations[2]["id"], [])
    added = api.submit_annotation(tasks[3]["id"], true_regions(clips[3]))

    press(api, backend, project, model["id"])
    wait_for_version(api, project, other_than=first)
    wait_idle(backend)

    found = learned(backend, api, project)
    assert [(item.task, item.annotation) for item in found] == [
        (tasks[2]["id"], annotations[2]["id"]),
        (tasks[3]["id"], added["id"]),
    ]
    assert found[0].result == []
    assert current_videos(backend, api, project) == 2


def test_a_task_that_was_imported_with_its_annotation_is_learned(
    api: AnnotatorApi, label_studio: LabelStudioServer, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    api.connect_backend(project, backend.url, "framewise")
    source = api.import_files(project, [clips[0].path])[0]["data"]["video"]
    task = {"data": {"video": source}, "annotations": [{"result": true_regions(clips[0])}]}
    (imported,) = api.import_tasks(project, [task])
    wait_for_version(api, project, other_than="untrained")
    assert [item.task for item in learned(backend, api, project)] == [imported["id"]]


def test_a_key_of_another_label_studio_or_project_fetches_nothing(
    api: AnnotatorApi, backend: BackendServer, project: int
) -> None:
    """A project of the same number, made at another time."""
    told = {"project": f"{project}.1000000000", "schema": QUICK, "hostname": "", "access_token": "", "extra_params": None}
    httpx.post(f"{backend.url}/setup", json=told, timeout=60, trust_env=False).raise_for_status()
    wait_idle(backend)
    (job,) = [j for j in backend.jobs()["jobs"] if j["project"] == told["project"]]
    assert (job["kind"], job["state"]) == ("import", "failed")
    assert "does LABEL_STUDIO_URL point to the Label Studio in which this backend is connected?" in job["error"]


def test_label_studio_lets_a_label_in_use_be_renamed_and_removed_and_nothing_is_lost(
    api: AnnotatorApi, other_backend: Callable[..., BackendServer], clips: list[ClipTruth], project: int
) -> None:
    """It refuses only to take away a control that annotations use."""
    backend = other_backend()
    api.connect_backend(project, backend.url, "framewise")
    task = api.import_files(project, [clips[0].path])[0]
    api.submit_annotation(task["id"], true_regions(clips[0]))
    first = wait_for_version(api, project, other_than="untrained")
    labels = drawn(learned(backend, api, project))[0]
    old = sorted(labels)[0]

    def change(config: str) -> None:
        api.request("PATCH", f"/api/projects/{project}/", json={"label_config": config})

    change(QUICK.replace(f'"{old}"', '"Another name"'))
    second = wait_for_version(api, project, other_than=first)
    assert drawn(learned(backend, api, project)) == [labels - {old} | {"Another name"}]

    change(QUICK)
    wait_for_version(api, project, other_than=second)
    assert drawn(learned(backend, api, project)) == [labels]

    change(QUICK.replace(f'<Label value="{old}"', '<Label value="Another name"/><Label value="A third"'))
    wait_idle(backend)
    assert drawn(learned(backend, api, project)) == [labels]

    with pytest.raises(LabelStudioStartError, match="incompatible with provided labeling schema"):
        change(QUICK.replace('<TimelineLabels name="', '<TimelineLabels name="another-'))
