"""A roll back as a real Label Studio sees it."""

import httpx

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.run import true_regions
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import project_key, wait_for_version, wait_until


def test_label_studio_follows_a_roll_back_and_its_end(
    api: AnnotatorApi, backend: BackendServer, clips: list[ClipTruth], project: int
) -> None:
    """The label stream shows the predictions of the version that was gone back to, under its own name and once."""
    api.connect_backend(project, backend.url, "framewise")
    tasks = api.import_files(project, [clip.path for clip in clips])
    annotation = api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    first = wait_for_version(api, project, other_than="untrained")
    assert shown_to_the_user(api, project, first) == 1
    api.update_annotation(annotation["id"], [r for r in true_regions(clips[0]) if "Ball touch" in str(r["value"])])
    second = wait_for_version(api, project, other_than=first)
    assert shown_to_the_user(api, project, second) == 1

    current = f"{backend.url}/versions/current"
    body = {"project": project_key(api, project), "version": first}
    assert httpx.post(current, json=body, timeout=60, trust_env=False).status_code == 200

    assert api.list_backends(project)[0]["model_version"] == first
    assert shown_to_the_user(api, project, first) == 1
    api.submit_annotation(tasks[2]["id"], true_regions(clips[2]))
    wait_until(lambda: not (backend.jobs()["pending"] or backend.jobs()["running"]), "the end of all jobs")
    assert api.list_backends(project)[0]["model_version"] == first

    assert httpx.delete(current, params={"project": project}, timeout=60, trust_env=False).status_code == 200
    third = wait_for_version(api, project, other_than=first)
    assert third != second
    assert shown_to_the_user(api, project, third) == 1


def shown_to_the_user(api: AnnotatorApi, project: int, version: str) -> int:
    """Number of predictions of a version in the label stream's next task; asked for twice, as users do."""
    api.next_task(project)
    return [p["model_version"] for p in api.next_task(project)["predictions"]].count(version)
