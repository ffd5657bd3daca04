"""<TimeSeriesLabels> with a real Label Studio: annotations on a series in, predictions that it takes out."""

import httpx
import pytest
from label_studio_sdk.label_interface import LabelInterface

from framewise.demo.backend_server import BackendServer
from framewise.demo.label_studio_server import LabelStudioServer
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import project_key, wait_until
from tests.series_help import record, series_config


@pytest.mark.parametrize(("kind", "inline"), [("date", False), ("index", True)])
def test_a_series_is_annotated_learned_and_predicted(
    api: AnnotatorApi, label_studio: LabelStudioServer, backend: BackendServer, kind: str, inline: bool
) -> None:
    """CSV files in a storage (one that is uploaded becomes a task a row), or inside the tasks."""
    config = series_config(kind, inline)
    project = int(api.create_project("sensors", config)["id"])
    assert api.connect_backend(project, backend.url, "framewise")["readable_state"] == "Connected"
    recordings = [record(seed) for seed in (11, 12, 13)]
    if inline:
        tasks = api.import_tasks(project, [{"series": recording.to_json(kind)} for recording in recordings])
    else:
        folder = label_studio.document_root / "recordings"
        folder.mkdir(parents=True)
        for number, recording in enumerate(recordings):
            recording.write_csv(folder / f"{number}.csv", kind)
        api.add_local_storage(project, folder)
        tasks = sorted(api.tasks(project), key=lambda task: str(task["data"]["series"]))

    for task, recording in zip(tasks[:2], recordings, strict=False):
        api.submit_annotation(task["id"], recording.regions(kind))

    def learned_from_both() -> str | None:
        # What was fetched when the project was connected may be learned together with the first event, and the second after it.
        jobs = backend.jobs()
        if jobs["pending"] or jobs["running"]:
            return None
        asked = httpx.get(f"{backend.url}/versions", params={"project": project_key(api, project)}, trust_env=False)
        details = asked.json().get("details") or [{}]
        return str(details[0]["version"]) if details[0].get("videos") == 2 and details[0].get("stage") == "validated" else None

    version = wait_until(learned_from_both, "a version that learned from both")
    assert api.list_backends(project)[0]["model_version"] == version
    shown = api.next_task(project)
    assert shown["id"] == tasks[2]["id"]
    prediction = shown["predictions"][-1]
    assert prediction["model_version"] == version
    new = recordings[2]
    found = new.predicted(prediction, kind)
    assert (new.marked(found) == new.marked(new.truth)).mean() > 0.9
    wrong = LabelInterface(config).validate_prediction({"result": prediction["result"]}, return_errors=True)
    assert wrong == []


def test_label_studio_shows_why_a_series_is_refused(api: AnnotatorApi, backend: BackendServer) -> None:
    project = api.create_project("refused", series_config().replace('model_trainable="true"', ""))["id"]
    with pytest.raises(Exception, match="simple mode is of pictures, and a TimeSeries has none"):
        api.connect_backend(int(project), backend.url, "framewise")
