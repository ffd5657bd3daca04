"""<Labels> on <Audio> with a real Label Studio: annotations on sound in, predictions that it takes out."""

from label_studio_sdk.label_interface import LabelInterface

from framewise.demo.backend_server import BackendServer
from tests.audio_help import audio_config, sound
from tests.label_studio.api import AnnotatorApi
from tests.label_studio.fixtures import wait_for_version


def test_sound_is_annotated_learned_and_predicted(api: AnnotatorApi, backend: BackendServer, tmp_path) -> None:
    """Uploaded files, which the backend fetches with its own key."""
    project = int(api.create_project("sounds", audio_config())["id"])
    assert api.connect_backend(project, backend.url, "framewise")["readable_state"] == "Connected"
    heard = [sound(seed, 10.0) for seed in (41, 42)]
    api.import_files(project, [s.write(tmp_path / f"{number}.wav") for number, s in enumerate(heard)])
    learned, new = sorted(api.tasks(project), key=lambda task: str(task["data"]["audio"])[-5:])
    api.submit_annotation(learned["id"], heard[0].regions())
    version = wait_for_version(api, project, other_than="untrained")
    api.retrieve_predictions(project, [new["id"]])
    prediction = api.predictions(new["id"])[-1]
    assert prediction["model_version"].split("-")[0] >= version.split("-")[0]
    regions = prediction["result"]
    found = [(r["value"]["labels"][0], r["value"]["start"], r["value"]["end"]) for r in regions]
    assert (heard[1].marked(found) == heard[1].marked(heard[1].truth)).mean() > 0.9
    assert LabelInterface(audio_config()).validate_prediction({"result": regions}, return_errors=True) == []
