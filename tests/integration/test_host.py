"""``model.py``: the backend class of a label-studio-ml 2.x server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service import OUR_VARIABLES, Project, descendants, is_alive, learning_config, region, wait_for

ROOT = Path(__file__).parents[2]

# label-studio-ml 2.x is somebody else's package and not on the package index, so it cannot be a dependency of a test. This
# stands for what our class uses of it: its base class calls ``setup``, keeps texts by project with ``get`` and ``set``, has
# the labeling config as a property, and is made anew for every request, with the project's number alone. Written from
# github.com/HumanSignal/label-studio-ml-backend, label_studio_ml/model.py.
HOST_MODEL = """
KEPT = {}


class LabelStudioMLBase:
    INITIAL_MODEL_VERSION = "0.0.1"

    def __init__(self, project_id=None, label_config=None):
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.get("model_version"):
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self):
        raise NotImplementedError

    def get(self, key):
        return KEPT.get((self.project_id, key))

    def set(self, key, value):
        KEPT[self.project_id, key] = value

    @property
    def label_config(self):
        return self.get("label_config")
"""

# What the host's server does for /setup, /webhook and /predict (label_studio_ml/api.py there).
HOST_SESSION = """
import json, sys, time
from model import NewModel

told = json.loads(sys.stdin.read())
made = lambda: NewModel(project_id=told["project"], label_config=told["config"])
version = lambda: made().get("model_version")

seen = {"before": version(), "untrained": made().predict(told["tasks"], context=None)}
seen["fit"] = made().fit(told["event"]["action"], told["event"])
deadline = time.monotonic() + 90
while version() == seen["before"] and time.monotonic() < deadline:
    time.sleep(0.2)
seen["after"] = version()
seen["predictions"] = made().predict(told["tasks"], context={"result": []}, extra_parameter=1)
print(json.dumps(seen), flush=True)
"""


@pytest.fixture
def environment(tmp_path, backbone, videos):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / backbone.name).write_bytes(backbone.read_bytes())
    outside = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
    return {
        **outside,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MODEL_ROOT": str(tmp_path / "models"),
        "CACHE_DIR": str(tmp_path / "cache"),
        "DATA_DIR": str(tmp_path / "data"),
        "MODEL_PATH": backbone.name,
        "LOCAL_FILES_ROOTS": str(videos),
    }


def run_python(code, environment, cwd, **options):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=150, **options)


def test_model_py_is_imported_without_label_studio_ml_and_does_nothing(environment, tmp_path):
    code = "import model, importlib.util as u; assert u.find_spec('label_studio_ml') is None; print(model.NewModel.__name__)"
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_python(code, environment, empty)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "NewModel", "")
    assert list(empty.iterdir()) == []
    assert not (tmp_path / "data").exists()


def test_making_the_class_without_label_studio_ml_says_what_is_missing(environment, tmp_path):
    done = run_python("import model; model.NewModel(project_id='1')", environment, tmp_path)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    for text in ("FramewiseError", "label-studio-ml 2.x is not installed", "pip install", "framewise serve"):
        assert text in said


def test_the_old_label_studio_ml_counts_as_missing(environment, tmp_path):
    """1.x, which is on the package index, has the base class and not the protocol."""
    write_host(tmp_path / "host", with_response=False)
    environment["PYTHONPATH"] = f"{tmp_path / 'host'}{os.pathsep}{ROOT}"
    done = run_python("import model; model.NewModel(project_id='1')", environment, tmp_path)
    assert "label-studio-ml 2.x is not installed" in done.stderr


def test_a_host_sets_up_trains_and_predicts(environment, tmp_path, make_task):
    write_host(tmp_path / "host")
    environment["PYTHONPATH"] = f"{tmp_path / 'host'}{os.pathsep}{ROOT}"
    project = Project(learning_config(model_score_threshold="0"))
    task = make_task()
    event = project.annotation_event(task, [region("Walk", (1, 24))])
    told = {"project": str(project.id), "config": project.config, "tasks": [task, make_task("/no/such.mp4")], "event": event}

    done = run_python(HOST_SESSION, environment, tmp_path, input=json.dumps(told))

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["before"], seen["untrained"]) == ("untrained", [[], []])
    assert seen["fit"]["status"] == "recorded"
    assert seen["after"] not in ("untrained", "0.0.1")
    first, second = seen["predictions"]
    assert second == []
    assert first["model_version"] == seen["after"]
    assert [r["value"] for r in first["result"]] == [
        {"ranges": [{"start": 1, "end": 24}], "timelinelabels": [label]} for label in ("Walk", "Run")
    ]


def test_the_hosts_worker_ends_with_the_host(environment, tmp_path):
    write_host(tmp_path / "host")
    environment["PYTHONPATH"] = f"{tmp_path / 'host'}{os.pathsep}{ROOT}"
    code = (
        "import model, time, os, sys\n"
        f"model.NewModel(project_id='1', label_config={learning_config()!r})\n"
        "print('made', flush=True); time.sleep(100)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        workers = wait_for(lambda: _workers(host.pid), "the host's worker")
    finally:
        host.kill()
        host.communicate()
    wait_for(lambda: not any(is_alive(pid) for pid in workers), "the end of the host's worker", 30)


def _workers(pid):
    return [child for child, command in descendants(pid).items() if command.endswith("framewise work")]


def write_host(folder, with_response=True):
    package = folder / "label_studio_ml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text(HOST_MODEL)
    if with_response:
        (package / "response.py").write_text("class ModelResponse:\n    pass\n")
