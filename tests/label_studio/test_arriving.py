"""Predictions arrive in a real Label Studio after a training, without anybody asking for them."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.demo.run import true_regions
from framewise.settings import Settings
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG, in_folder, project_key, wait_for_version, wait_until
from tests.process_tree import worker_pids

QUIET_SECONDS = 0.5
# As good a model as it can be is not what is tested here.
CONFIG = LABEL_CONFIG.replace('model_trainable="true"', 'model_trainable="true" model_classifier_epochs="5"')

Start = Callable[..., BackendServer]


@pytest.fixture
def project(api: AnnotatorApi) -> int:
    assert CONFIG != LABEL_CONFIG
    return int(api.create_project("arriving", CONFIG)["id"])


@pytest.fixture
def start(other_backend: Start, clips: list[ClipTruth]) -> Start:
    """Starts a backend of a test alone, with settings of its own."""
    return lambda **changes: other_backend(**{**settings_for(clips), **changes})


@pytest.fixture(scope="module")
def backend(
    quick_settings: Settings, clips: list[ClipTruth], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendServer]:
    """One for the tests that need no settings of their own; each has a project of its own, and ends when nothing is to do."""
    folder = tmp_path_factory.mktemp("arriving")
    settings = replace(in_folder(quick_settings, folder), **settings_for(clips))
    with BackendServer(settings, folder / "framewise.log") as server:
        yield server


def settings_for(clips: list[ClipTruth]) -> dict[str, Any]:
    """The clips are read where they are, and predictions are sent soon."""
    return {"push_quiet_seconds": QUIET_SECONDS, "local_files_roots": (Path(clips[0].path).parent,)}


def import_clips(api: AnnotatorApi, project: int, clips: list[ClipTruth], times: int = 1) -> list[int]:
    """Tasks of the clips, each as often as is said: their ids."""
    return [task["id"] for task in api.import_tasks(project, [{"video": str(clip.path)} for clip in clips] * times)]


def wait_until_idle(backend: BackendServer) -> None:
    """Until no job waits, runs or is to come, seen twice: a promised prediction's job follows that of its video."""
    seen = [True]

    def idle() -> bool:
        jobs = backend.jobs()
        seen.append(bool(jobs["pending"] or jobs["running"] or jobs["scheduled"]))
        return not any(seen[-2:])

    wait_until(idle, "no job waits, runs or is to come")


def train(api: AnnotatorApi, backend: BackendServer, project: int, task: int, clip: ClipTruth) -> str:
    """Submit a task's annotation, and wait until all that follows from it is done; the version."""
    before = str(api.list_backends(project)[0]["model_version"])
    api.submit_annotation(task, true_regions(clip))
    version = wait_for_version(api, project, other_than=before)
    wait_until_idle(backend)
    return version


def versions_of(api: AnnotatorApi, tasks: list[int]) -> list[list[str]]:
    return [[p["model_version"] for p in api.predictions(task)] for task in tasks]


def ask(api: AnnotatorApi, backend: BackendServer, project: int) -> dict[int, Any]:
    """The backend's own predictions of all tasks, by task."""
    tasks = api.tasks(project)
    asked = {"tasks": tasks, "project": project_key(api, project), "label_config": CONFIG}
    answer = httpx.post(f"{backend.url}/predict", json=asked, timeout=90, trust_env=False).json()
    return {task["id"]: prediction for task, prediction in zip(tasks, answer["results"], strict=True)}


def ordered_by_score(api: AnnotatorApi, project: int) -> list[tuple[int, float | None]]:
    """(task, score) as the Data Manager shows them."""
    query = json.dumps({"ordering": ["tasks:predictions_score"]})
    answer = api.request("GET", "/api/tasks/", params={"project": project, "query": query})
    return [(task["id"], task.get("predictions_score")) for task in answer["tasks"]]


def test_each_task_without_annotation_has_one_prediction_of_the_newest_version(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    api.connect_backend(project, backend.url, "framewise")
    annotated, again, *others = import_clips(api, project, clips)
    first = train(api, backend, project, annotated, clips[0])
    assert versions_of(api, [again, *others]) == [[first]] * 3
    assert versions_of(api, [annotated]) == [[]]
    numbers = [api.predictions(task)[0]["id"] for task in others]

    second = train(api, backend, project, again, clips[1])
    assert second != first
    assert versions_of(api, others) == [[second]] * 2
    # An editor that was opened before can still submit: the number that it sends is there.
    assert [api.predictions(task)[0]["id"] for task in others] == numbers
    assert versions_of(api, [again]) == [[first]]
    assert api.task(others[0])["predictions"][0]["model_version"] == second


def test_predictions_of_others_and_parents_of_annotations_stay(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """Annotations came from two predictions; one of them says that the task was skipped, which leaves it without annotation."""
    api.connect_backend(project, backend.url, "framewise")
    annotated, again, skipped, other = import_clips(api, project, clips)
    imported = api.create_prediction(other, true_regions(clips[3]), "imported", 0.9)
    first = train(api, backend, project, annotated, clips[0])
    assert sorted(versions_of(api, [other])[0]) == sorted(["imported", first])
    parents = {task: api.predictions(task)[0] for task in (again, skipped)}
    for task, parent in parents.items():
        body = {"result": true_regions(clips[1]), "parent_prediction": parent["id"], "was_cancelled": task == skipped}
        api.request("POST", f"/api/tasks/{task}/annotations/", json=body)

    wait_for_version(api, project, other_than=first)
    wait_until_idle(backend)
    last = str(api.list_backends(project)[0]["model_version"])
    for task, parent in parents.items():
        assert {**api.predictions(task)[0], "created_ago": parent["created_ago"]} == parent
    children = {a["parent_prediction"] for task in api.tasks(project) for a in task["annotations"]}
    assert children >= {parent["id"] for parent in parents.values()}
    assert versions_of(api, [again, skipped]) == [[first], [first, last]]
    assert sorted(versions_of(api, [other])[0]) == sorted(["imported", last])
    stays = next(p for p in api.predictions(other) if p["id"] == imported["id"])
    assert (stays["result"], stays["score"]) == (imported["result"], imported["score"])


def test_no_more_tasks_than_allowed_and_what_fell_out_of_the_round_is_removed(
    api: AnnotatorApi, start: Start, clips: list[ClipTruth], project: int
) -> None:
    """Those with the lowest score are kept; a task with a draft keeps what its editor may show."""
    backend = start(push_max_tasks=3)
    api.connect_backend(project, backend.url, "framewise")
    annotated, again, *others = import_clips(api, project, clips, times=3)
    ask(api, backend, project)
    wait_until_idle(backend)  # all videos are extracted
    first = train(api, backend, project, annotated, clips[0])
    with_first = [task for task in [again, *others] if versions_of(api, [task]) == [[first]]]
    assert len(with_first) == 3
    # As if they were of the round before: more than three tasks have a prediction of the first version now.
    for task in [t for t in others if t not in with_first]:
        api.create_prediction(task, [], first, 0.5)
    in_work = others[-1]
    api.request("POST", f"/api/tasks/{in_work}/drafts", json={"result": [], "lead_time": 1})

    second = train(api, backend, project, again, clips[1])
    found = dict(zip(others, versions_of(api, others), strict=True))
    assert sum(versions == [second] for versions in found.values()) == 3
    assert found.pop(in_work) in ([first], [second])
    assert {tuple(versions) for versions in found.values()} <= {(second,), ()}

    scores = {task: prediction["score"] for task, prediction in ask(api, backend, project).items()}
    sent = [task for task in others if versions_of(api, [task]) == [[second]]]
    assert max(scores[task] for task in sent) <= min(scores[task] for task in others if task not in sent)


def test_the_version_that_is_chosen_to_prelabel_moves_along(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """With it Label Studio's uncertainty sampling, and ordering by prediction score, go by the scores of the version in use."""
    api.connect_backend(project, backend.url, "framewise")
    annotated, again, *others = import_clips(api, project, clips)
    first = train(api, backend, project, annotated, clips[0])
    assert api.project(project)["model_version"] == "framewise"  # the model's name: then Label Studio shows no score
    assert [score for _, score in ordered_by_score(api, project)] == [None] * 4
    api.request("PATCH", f"/api/projects/{project}/", json={"model_version": first, "sampling": "Uncertainty sampling"})

    second = train(api, backend, project, again, clips[1])
    assert api.project(project)["model_version"] == second
    scores = {task: api.predictions(task)[0]["score"] for task in others}
    by_score = sorted(scores.values())
    assert [score for task, score in ordered_by_score(api, project) if task in others] == pytest.approx(by_score)
    shown = api.next_task(project)
    assert [p["model_version"] for p in shown["predictions"]] == [second]
    assert scores[shown["id"]] == by_score[0]


def test_a_project_that_is_left_alone(api: AnnotatorApi, start: Start, clips: list[ClipTruth], project: int) -> None:
    backend = start(push_predictions=False)
    api.connect_backend(project, backend.url, "framewise")
    annotated, *others = import_clips(api, project, clips)
    train(api, backend, project, annotated, clips[0])
    assert versions_of(api, others) == [[]] * 3
    assert not {job["kind"] for job in backend.jobs()["jobs"]} & {"refresh", "push"}


def test_tasks_from_before_the_project_was_connected(
    api: AnnotatorApi, start: Start, clips: list[ClipTruth], project: int, tmp_path: Path
) -> None:
    """Their videos are extracted first: only then are they asked for."""
    tasks = import_clips(api, project, clips)
    backend = start(cache_dir=tmp_path / "empty-cache")
    api.connect_backend(project, backend.url, "framewise")
    version = train(api, backend, project, tasks[0], clips[0])
    for task in tasks[1:]:
        wait_until(lambda task=task: api.predictions(task), f"a prediction of task {task}")
    wait_until_idle(backend)
    assert versions_of(api, tasks[1:]) == [[version]] * 3


def test_label_studio_is_away_meanwhile(
    api: AnnotatorApi, label_studio: LabelStudioServer, start: Start, clips: list[ClipTruth], project: int
) -> None:
    backend = start(push_quiet_seconds=3.0)
    api.connect_backend(project, backend.url, "framewise")
    annotated, *others = import_clips(api, project, clips)
    api.submit_annotation(annotated, true_regions(clips[0]))
    wait_until(lambda: backend.jobs()["scheduled"], "a round is to come")
    label_studio.stop()
    try:

        def waits() -> bool:
            jobs = [job for job in backend.jobs()["jobs"] if job["kind"] == "refresh"]
            return jobs[0]["state"] == "scheduled" and label_studio.url in jobs[0]["detail"]

        wait_until(waits, "a round that says what it waits for")
    finally:
        label_studio.start()
    version = wait_for_version(api, project, other_than="untrained")
    wait_until_idle(backend)
    assert versions_of(api, others) == [[version]] * 3


def test_a_worker_is_killed_in_the_middle_of_a_round(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    api.connect_backend(project, backend.url, "framewise")
    annotated, *others = import_clips(api, project, clips, times=4)
    api.submit_annotation(annotated, true_regions(clips[0]))
    wait_until(lambda: any(versions_of(api, others)), "the first prediction")
    os.kill(worker_pids(backend.pid)[0], signal.SIGKILL)
    assert not all(versions_of(api, others)), "all were sent before the kill"
    version = wait_for_version(api, project, other_than="untrained")
    wait_until_idle(backend)
    assert versions_of(api, others) == [[version]] * len(others)
    mine = [job for job in backend.jobs()["jobs"] if job["project"] == project_key(api, project)]
    assert [job["state"] for job in mine if job["kind"] == "refresh"] == ["done"]
