"""``model.py``, the backend class of a label-studio-ml 2.x server, and ``_wsgi.py``, which that host runs as a program."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from framewise.demo.backend_server import free_port
from framewise.processes import start_child, stop_child
from tests.integration.service import (
    OUR_VARIABLES,
    START_SECONDS,
    Project,
    descendants,
    is_alive,
    learning_config,
    region,
    wait_for,
)

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

# The server function of the host, for which this stands: the routes that Label Studio calls, answered by objects of the class.
# Written from label_studio_ml/api.py there.
HOST_API = """
import flask

from label_studio_ml.model import LabelStudioMLBase


def init_app(model_class, basic_auth_user=None, basic_auth_pass=None):
    assert issubclass(model_class, LabelStudioMLBase)
    server = flask.Flask("stand-in")

    def number(told):
        return str(told.get("project")).split(".")[0]

    @server.before_request
    def authenticate():
        given = flask.request.authorization
        if basic_auth_user and not (given and (given.username, given.password) == (basic_auth_user, basic_auth_pass)):
            return "unauthorized", 401

    @server.get("/health")
    def health():
        return {"status": "UP", "model_class": model_class.__name__, "debug": server.debug}

    @server.post("/setup")
    def setup():
        told = flask.request.json
        return {"model_version": model_class(project_id=number(told), label_config=told["schema"]).get("model_version")}

    @server.post("/predict")
    def predict():
        told = flask.request.json
        model = model_class(project_id=number(told), label_config=told["label_config"])
        context = told["params"].pop("context")
        return {"results": model.predict(told["tasks"], context=context or {}, **told["params"])}

    @server.post("/webhook")
    def webhook():
        told = flask.request.json
        project = told["project"]
        model = model_class(str(project["id"]), label_config=project["label_config"])
        return {"result": model.fit(told.pop("action"), told), "status": "ok"}, 201

    return server
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
deadline = time.monotonic() + 300
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
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=600, **options)


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
    wait_for(lambda: not any(is_alive(pid) for pid in workers), "the end of the host's worker")


# ``label-studio-ml start FOLDER`` runs ``python FOLDER/_wsgi.py`` with its own arguments, in whatever folder it is called.


@pytest.fixture
def start(environment, tmp_path):
    """Starts what the host starts, with these arguments, and waits until it answers; its address."""
    started, client = [], httpx.Client(timeout=60)

    def run(*arguments, user=None, **settings):
        write_host(tmp_path / "host")
        url = f"http://127.0.0.1:{free_port()}"
        outside = {"PYTHONPATH": str(tmp_path / "host"), **settings}
        command = [sys.executable, str(ROOT / "_wsgi.py"), "--host", "127.0.0.1", "-p", url.rpartition(":")[2], *arguments]
        log = (tmp_path / "host.log").open("wb")
        host = start_child(command, {**environment, **outside}, cwd=tmp_path, log=log)
        started.append((host, log))

        def answers():
            assert host.poll() is None, (tmp_path / "host.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                return client.get(f"{url}/health", auth=user).status_code == 200

        wait_for(answers, "the host's server is up", START_SECONDS)
        return url

    yield run
    client.close()
    for host, log in started:
        stop_child(host)
        log.close()


def test_what_a_host_starts_sets_up_trains_and_predicts(start, make_task):
    url = start()
    project, task = Project(learning_config(model_score_threshold="0")), make_task()
    with httpx.Client(base_url=url, timeout=60) as client:

        def version():
            return client.post("/setup", json=project.setup_body()).json()["model_version"]

        assert client.get("/health").json() == {"status": "UP", "model_class": "NewModel", "debug": False}
        assert version() == "untrained"
        event = project.annotation_event(task, [region("Walk", (1, 24))])
        assert client.post("/webhook", json=event).json()["result"]["status"] == "recorded"
        wait_for(lambda: version() != "untrained", "a version")
        (predicted,) = client.post("/predict", json=project.predict_body([task])).json()["results"]
        assert predicted["model_version"] == version()
        assert [r["value"]["timelinelabels"] for r in predicted["result"]] == [["Walk"], ["Run"]]
        by_number = {**project.predict_body([task]), "project": project.id}
        assert client.post("/predict", json=by_number).json()["results"][0]["model_version"] == version()
        of_none = {**project.predict_body([task]), "project": None}
        assert client.post("/predict", json=of_none).json()["results"] == [[]]


def test_the_arguments_of_a_host_are_taken(start, tmp_path, backbone):
    user = ("label", "studio")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / backbone.name).write_bytes(backbone.read_bytes())
    url = start(
        *("--basic-auth-user", user[0], "--basic-auth-pass", user[1]),
        *("--check", "--with", "project_id=7", "--log-level", "DEBUG", "--model-dir", str(tmp_path / "others")),
        user=user,
        MODEL_ROOT=str(tmp_path / "nothing"),
    )
    assert httpx.get(f"{url}/health").status_code == 401
    answer = httpx.post(f"{url}/setup", json=Project(learning_config()).setup_body(), auth=user, timeout=60)
    assert answer.json() == {"model_version": "untrained"}
    assert "making a NewModel" in (tmp_path / "host.log").read_text()
    assert not (tmp_path / "nothing").exists()


def test_credentials_of_a_host_s_environment_and_its_debug_mode(start):
    user = ("label", "studio")
    url = start("-d", user=user, ML_SERVER_BASIC_AUTH_USER=user[0], ML_SERVER_BASIC_AUTH_PASS=user[1])
    assert httpx.get(f"{url}/health").status_code == 401
    assert httpx.get(f"{url}/health", auth=user).json()["debug"] is True


def test_a_check_that_fails_ends_before_anything_is_served(environment, tmp_path):
    write_host(tmp_path / "host")
    environment["PYTHONPATH"] = str(tmp_path / "host")
    command = [sys.executable, str(ROOT / "_wsgi.py"), "--check", "--kwargs", "label_config=<View/>", "project_id=1"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "label config" in done.stderr.lower() or "labeling config" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_without_label_studio_ml_the_program_says_what_is_missing_in_a_line(environment, tmp_path):
    del environment["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "_wsgi.py")], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("label-studio-ml 2.x is not installed")


@pytest.mark.parametrize("wrong", [["--with", "project_id"], ["--log-level", "LOUD"], ["-p", "many"]])
def test_arguments_that_cannot_be_are_refused(environment, wrong):
    done = subprocess.run(
        [sys.executable, str(ROOT / "_wsgi.py"), *wrong], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2
    assert wrong[0] in done.stderr


def _workers(pid):
    return [child for child, command in descendants(pid).items() if command.endswith("framewise work")]


def write_host(folder, with_response=True):
    package = folder / "label_studio_ml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text(HOST_MODEL)
    (package / "api.py").write_text(HOST_API)
    if with_response:
        (package / "response.py").write_text("class ModelResponse:\n    pass\n")
