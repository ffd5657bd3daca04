"""A real Label Studio for the whole test session, and a real backend connected to it.

LABEL_STUDIO is the path of the label-studio program; ``make test`` installs one into an environment of its own. Where it is
missing the tests fail, unless SKIP_LABEL_STUDIO=1 asks for them to be skipped.
"""

import datetime
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from framewise.core.storage import locked
from framewise.demo.backend_server import BackendServer, free_port
from framewise.demo.clips import ClipTruth, render_clips
from framewise.demo.label_studio_server import LabelStudioServer
from framewise.demo.run import LABEL_CONFIG as DEMO_CONFIG
from framewise.settings import Settings
from tests.label_studio.api import AnnotatorApi

NUM_CLIPS = 4
PATIENCE_SECONDS = 900.0

# With the LSTM a training makes one version; the demo's own, with two, is what test_demo is about.
LABEL_CONFIG = DEMO_CONFIG.replace('model_trainable="true"', 'model_trainable="true" model_classifier_type="lstm"')


@pytest.fixture(scope="session")
def label_studio_program() -> str:
    if os.environ.get("SKIP_LABEL_STUDIO") == "1":
        pytest.skip("SKIP_LABEL_STUDIO=1")
    program = os.environ.get("LABEL_STUDIO", "")
    if not Path(program).is_file():
        pytest.fail(f"LABEL_STUDIO={program!r} is no program: run the tests with `make test`, which installs Label Studio")
    return program


@pytest.fixture(scope="session")
def label_studio_data(label_studio_program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of a Label Studio that was started once and holds an account: to be copied.

    Making its database takes half a minute, a start with one that is there a few seconds. All processes of a run share it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / "label-studio-data", shared / "label-studio-data.done"
    with locked(shared / "label-studio-data.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            with LabelStudioServer(label_studio_program, folder, start_seconds=PATIENCE_SECONDS):
                pass
            done.touch()
    return folder


@pytest.fixture(scope="session")
def label_studio(
    label_studio_program: str, label_studio_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    # It waits a second for /health and three for /setup: too short where two of it and two browsers share two processors.
    patient = {"ML_TIMEOUT_HEALTH": "10", "ML_TIMEOUT_SETUP": "30"}
    folder = shutil.copytree(label_studio_data, tmp_path_factory.mktemp("label-studio"), dirs_exist_ok=True)
    with LabelStudioServer(label_studio_program, folder, environment=patient, start_seconds=PATIENCE_SECONDS) as server:
        yield server


@pytest.fixture(scope="session")
def api(label_studio: LabelStudioServer) -> Iterator[AnnotatorApi]:
    with AnnotatorApi(label_studio.url, label_studio.legacy_token) as api:
        yield api


@pytest.fixture(scope="session")
def base_settings(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A backend that knows Label Studio by a personal access token and uses the backbone that ships with framewise."""
    root = tmp_path_factory.mktemp("backend")
    return Settings(
        port=free_port(),
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.personal_access_token(),
        model_root=root / "models",
        cache_dir=root / "cache_dir",
        data_dir=root / "data",
        model_path="efficientnet-lite0",
        extraction_engine="torch",  # OpenVINO takes seconds to begin
        predict_wait_seconds=60.0,
    )


@pytest.fixture(scope="session")
def backend(base_settings: Settings) -> Iterator[BackendServer]:
    with BackendServer(base_settings, base_settings.data_dir.with_name("framewise.log")) as server:
        yield server


@pytest.fixture(scope="session")
def quick_settings(base_settings: Settings, tiny_checkpoint: Path) -> Settings:
    """The same with a small network of random weights: for tests that ask when predictions come, and not how good they are."""
    return replace(base_settings, model_root=tiny_checkpoint.parent, model_path=tiny_checkpoint.name)


def in_folder(settings: Settings, folder: Path) -> Settings:
    """The same with data and models of its own, its backbone among them; on a port of its own."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copy(settings.model_root / settings.model_path, models)
    return replace(settings, port=free_port(), model_root=models, data_dir=folder / "data")


@pytest.fixture
def other_backend(quick_settings: Settings, tmp_path: Path) -> Iterator[Callable[..., BackendServer]]:
    """Starts a backend of its own with some settings changed."""
    started: list[BackendServer] = []

    def start(**changes: Any) -> BackendServer:
        settings = replace(in_folder(quick_settings, tmp_path), **changes)
        server = BackendServer(settings, tmp_path / "framewise.log")
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def clips(label_studio: LabelStudioServer) -> list[ClipTruth]:
    """Clips in a folder that Label Studio may serve as local files, and that can be uploaded as well."""
    return render_clips(label_studio.document_root / "clips", NUM_CLIPS, seed=11)


@pytest.fixture
def project(api: AnnotatorApi) -> int:
    return int(api.create_project("football", LABEL_CONFIG)["id"])


def project_key(api: AnnotatorApi, project: int) -> str:
    """Label Studio's name of a project for its backends."""
    created = datetime.datetime.fromisoformat(api.project(project)["created_at"])
    return f"{project}.{int(created.timestamp())}"


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer of ``condition``. Fails after PATIENCE_SECONDS, which no passing run comes near."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.3)
    pytest.fail(f"waited {PATIENCE_SECONDS:g} s for {what}")


def wait_for_version(api: AnnotatorApi, project: int, other_than: str) -> str:
    """The model version that Label Studio is told of, once it is another one."""

    def version() -> str | None:
        backends = api.list_backends(project)
        now = backends[0]["model_version"]
        return now if now not in (other_than, "untrained", None) else None

    return str(wait_until(version, f"a version other than {other_than!r}"))
