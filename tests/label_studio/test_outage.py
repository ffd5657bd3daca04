"""Label Studio is down for a while: what was to be fetched from it and sent to it waits, and goes on by itself."""

from collections.abc import Callable
from pathlib import Path

import httpx

from framewise.demo.backend_server import BackendServer
from framewise.demo.clips import ClipTruth
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.demo.run import true_regions
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import LABEL_CONFIG, project_key, wait_for_version, wait_until


def test_fetches_and_pushes_resume(
    api: AnnotatorApi,
    label_studio: LabelStudioServer,
    other_backend: Callable[..., BackendServer],
    clips: list[ClipTruth],
    project: int,
    tmp_path: Path,
) -> None:
    """One task's video has to be fetched from Label Studio; another's is on this disk, so that only its push has to wait."""
    backend = other_backend(
        predict_wait_seconds=0.0,
        local_files_roots=(Path(clips[0].path).parent,),
        cache_dir=tmp_path / "empty-cache",
        push_predictions=False,  # these predictions are asked for
    )
    tasks = api.import_files(project, [clips[0].path, clips[1].path])
    tasks += api.import_tasks(project, [{"video": str(clips[2].path)}])
    api.connect_backend(project, backend.url, "framewise")  # not before: it would extract the videos of new tasks at once
    api.submit_annotation(tasks[0]["id"], true_regions(clips[0]))
    version = wait_for_version(api, project, other_than="untrained")
    key = project_key(api, project)

    label_studio.stop()
    try:
        asked = {"tasks": tasks[1:], "project": key, "label_config": LABEL_CONFIG}
        answer = httpx.post(f"{backend.url}/predict", json=asked, timeout=60, trust_env=False).json()
        assert answer == {"results": [[], []]}

        def both_wait() -> bool:
            waiting = {(j["kind"], j["state"]): j["detail"] for j in backend.jobs()["jobs"]}
            expected = [("extract", "pending"), ("push", "scheduled")]
            return all(label_studio.url in waiting.get(one, "") for one in expected)

        wait_until(both_wait, "a fetch and a push that say what they wait for")
    finally:
        label_studio.start()

    for task in tasks[1:]:
        pushed = wait_until(lambda task=task: api.predictions(task["id"]), f"the prediction of task {task['id']}")
        assert [p["model_version"] for p in pushed] == [version]
    wait_until(lambda: all(job["state"] == "done" for job in backend.jobs()["jobs"]), "every job is done")
