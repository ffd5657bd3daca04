"""Predictions that are sent to Label Studio after a training, and what must not happen then. A stand-in takes them, since a
real one cannot be made to answer late or in between; tests/label_studio/test_arriving.py has a real one."""

import datetime
import functools
import itertools
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.service import Project, Service, learning_config, region, wait_for
from tests.media_help import LEGACY_KEY

CONFIG = learning_config(model_classifier_epochs="2")


class LabelStudioStandIn(ThreadingHTTPServer):
    """Projects, tasks, annotations and predictions, as far as they are asked for.

    ``before(method, path)`` is called before a request is answered; what it returns, if anything, is the status instead.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Api)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.numbers = itertools.count(1)
        self.forget()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def forget(self):
        """Begin anew, for another test."""
        self.created = {}
        self.tasks = {}
        self.annotations = []
        self.predictions = []
        self.requests = []
        self.before: Callable[[str, str], int | None] = lambda method, path: None

    def add(self, project, *tasks):
        """Tasks of a project."""
        self.created[project.id] = project.created
        self.tasks |= {task["id"]: {**task, "project": project.id} for task in tasks}

    def predict(self, task, version):
        """A prediction that somebody else stored."""
        self.predictions.append(
            {"id": next(self.numbers), "task": task["id"], "model_version": version, "result": [], "score": 0.5}
        )

    def annotate(self, project, task):
        """An annotation of a task; what Label Studio tells of it."""
        event = project.annotation_event(task, [region("Walk", (1, 12))], parent_prediction=None)
        self.annotations.append(event["annotation"])
        return event

    def versions(self, task):
        return [p["model_version"] for p in self.predictions if p["task"] == task["id"]]

    def posted(self):
        return sum(request == ("POST", "/api/predictions/") for request in self.requests)

    def find(self, path, query):
        """Status and content of an address."""
        if path == "/api/tasks/":
            return 200, self._listed(int(query["project"][0]), json.loads(query["query"][0]))
        if path == "/api/predictions/":
            return 200, [p for p in self.predictions if p["task"] == int(query["task"][0])]
        if found := re.fullmatch(r"/api/tasks/(\d+)/annotations/", path):
            return 200, [a for a in self.annotations if a["task"] == int(found[1])]
        if (found := re.fullmatch(r"/api/projects/(\d+)/", path)) and int(found[1]) in self.created:
            created = datetime.datetime.fromtimestamp(self.created[int(found[1])], datetime.UTC)
            return 200, {"id": int(found[1]), "created_at": created.isoformat(), "model_version": ""}
        return 404, {}

    def _listed(self, project, query):
        filters = {f["filter"].split(":")[-1]: f["value"] for f in query.get("filters", {}).get("items", [])}
        included = query.get("selectedItems", {}).get("included", self.tasks)
        found = []
        for task in (t for t in self.tasks.values() if t["project"] == project and t["id"] in included):
            annotations = [a for a in self.annotations if a["task"] == task["id"]]
            versions = set(filters.get("predictions_model_versions", self.versions(task) or [""]))
            fits = task["id"] > filters.get("id", 0) and versions & set(self.versions(task) or [""])
            if fits and not ("total_annotations" in filters and annotations):
                found.append({"id": task["id"], "data": task["data"], "annotations": annotations})
        return {"tasks": found, "total": len(found), "total_annotations": 0, "total_predictions": 0}


class _Api(BaseHTTPRequestHandler):
    def _answer(self, answer):
        url = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.server.requests.append((self.command, url.path))
        status = self.server.before(self.command, url.path)
        if self.headers["Authorization"] != f"Token {LEGACY_KEY}":
            status = 401
        status, found = (status, {}) if status else answer(url, body)
        content = b"" if status == 204 else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self._answer(lambda url, body: self.server.find(url.path, parse_qs(url.query)))

    def do_POST(self):
        def store(url, body):
            prediction = {**body, "id": next(self.server.numbers), "project": self.server.tasks[body["task"]]["project"]}
            self.server.predictions.append(prediction)
            return 201, prediction

        self._answer(store)

    def do_PATCH(self):
        def change(url, body):
            (prediction,) = self._named(url)
            prediction.update(body)
            return 200, prediction

        self._answer(change)

    def do_DELETE(self):
        def remove(url, body):
            for prediction in self._named(url):
                self.server.predictions.remove(prediction)
            return 204, None

        self._answer(remove)

    def _named(self, url):
        number = int(re.fullmatch(r"/api/predictions/(\d+)/", url.path)[1])
        return [p for p in self.server.predictions if p["id"] == number]

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(scope="module")
def running_studio():
    started = LabelStudioStandIn()
    yield started
    started.shutdown()
    started.server_close()


@pytest.fixture
def studio(running_studio):
    running_studio.forget()
    return running_studio


def connected(studio, **settings):
    """Settings of a service that knows the stand-in, and waits for hardly any newer version."""
    known = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": LEGACY_KEY, "NO_PROXY": "127.0.0.1"}
    return {**known, "PUSH_QUIET_SECONDS": "0.2", **settings}


@pytest.fixture
def start(start_service, studio):
    """Starts a service of this test alone, with settings of its own."""

    def start(**settings):
        return start_service(**connected(studio, **settings))

    return start


@pytest.fixture(scope="module")
def shared(running_studio, tmp_path_factory, backbone, videos):
    with Service(tmp_path_factory.mktemp("shared"), backbone, videos, **connected(running_studio)) as running:
        yield running


@pytest.fixture(scope="module")
def shared_frugal(running_studio, tmp_path_factory, backbone, videos):
    settings = connected(running_studio, PUSH_MAX_TASKS="3")
    with Service(tmp_path_factory.mktemp("frugal"), backbone, videos, **settings) as running:
        yield running


@pytest.fixture
def service(shared, studio):
    """The service that tests share, each with a project of its own; nothing is left to be done when one ends."""
    yield shared
    wait_until_quiet(shared)


@pytest.fixture
def frugal(shared_frugal, studio):
    """As ``service``; it sends predictions of three tasks a round at most."""
    yield shared_frugal
    wait_until_quiet(shared_frugal)


@pytest.fixture
def project():
    return Project(CONFIG)


def extract(service, project, tasks):
    """Have the features of tasks cached."""
    service.predict(project, tasks)
    service.wait_idle()


def is_busy(service):
    shown = service.overview()
    return shown["pending"] or shown["running"] or shown["scheduled"]


def wait_until_quiet(service):
    wait_for(lambda: not is_busy(service), "nothing is to be done")


def wait_until_sent(service, project, rounds=1):
    """Until so many rounds are at their end, and nothing is to come; the jobs, newest first."""

    def ended():
        busy = is_busy(service)  # first: a job that is read after that is at its end
        jobs = service.jobs(project, "refresh")
        return jobs if len(jobs) >= rounds and not busy else None

    return wait_for(ended, "the round's end")


def submit(service, project, studio, task):
    """The annotation of a task."""
    service.send(studio.annotate(project, task))


def test_as_many_tasks_as_allowed_get_predictions_and_no_other_is_touched(frugal, studio, project, make_task):
    tasks, stranger = [make_task() for _ in range(7)], make_task()
    studio.add(project, *tasks)
    studio.add(Project(CONFIG), stranger)
    extract(frugal, project, tasks)
    submit(frugal, project, studio, tasks[0])
    (job,) = wait_until_sent(frugal, project)
    version = frugal.version(project)
    assert sorted(studio.versions(task) for task in tasks[1:]) == [[]] * 3 + [[version]] * 3
    assert studio.versions(tasks[0]) == studio.versions(stranger) == []
    assert (job["state"], job["progress"], job["detail"].split(",")[0]) == ("done", 1.0, f"sent 3 of {version}")


def test_tasks_that_were_never_heard_of_are_extracted_as_far_as_there_is_room(frugal, studio, project, make_task):
    known, *unknown = [make_task() for _ in range(7)]
    studio.add(project, known, *unknown)
    submit(frugal, project, studio, known)
    wait_until_sent(frugal, project)
    wait_for(lambda: len(studio.predictions) == 3, "three predictions")
    frugal.wait_idle()
    assert sorted(len(studio.versions(task)) for task in unknown) == [0, 0, 0, 1, 1, 1]
    assert len(frugal.jobs(project, "extract")) == 3


def test_a_video_that_is_extracted_for_somebody_else_during_a_round_has_its_prediction_too(service, studio, project, make_task):
    """The round found it without features; when it comes to have it extracted, they are there."""
    annotated, cached, cold = (make_task() for _ in range(3))
    studio.add(project, annotated, cached, cold)
    extract(service, project, [cached])
    extracted = threading.Event()

    def hold(method, path):
        if method == "POST" and not extracted.is_set():
            extracted.wait(300)

    studio.before = hold
    submit(service, project, studio, annotated)
    wait_for(studio.posted, "the first prediction is on its way")
    service.send(project.event("TASKS_CREATED", tasks=[cold]))
    wait_for(lambda: [job["state"] for job in service.jobs(project, "warm")] == ["done"], "the other video is extracted")
    extracted.set()
    wait_until_sent(service, project)
    assert [studio.versions(task) for task in (cached, cold)] == [[service.version(project)]] * 2


def test_a_round_stops_as_soon_as_there_is_a_newer_version(service, studio, project, make_task):
    tasks = [make_task() for _ in range(6)]
    studio.add(project, *tasks)
    extract(service, project, tasks)
    trained = threading.Event()

    def hold(method, path):
        if method == "POST" and not trained.is_set():
            trained.wait(300)

    studio.before = hold
    submit(service, project, studio, tasks[0])
    wait_for(studio.posted, "the first prediction is on its way")
    first = service.version(project)
    submit(service, project, studio, tasks[1])
    second = wait_for(lambda: (v := service.version(project)) != first and v, "a newer version")
    trained.set()
    newer, older = wait_until_sent(service, project, rounds=2)
    assert f"there is a newer version than {first}" in older["detail"]
    assert [studio.versions(task) for task in tasks[2:]] == [[second]] * 4
    assert studio.posted() <= 5  # one of the older round, and of the newer one at most the others


def test_what_was_evicted_from_the_cache_is_answered_empty_extracted_again_and_pushed(start, studio, project, make_task):
    service = start(CACHE_MAX_BYTES="1kB", PREDICT_WAIT_SECONDS="0", PUSH_QUIET_SECONDS="3600")
    asked, other = make_task(), make_task()
    studio.add(project, asked, other)
    service.train(project, (make_task(), [region("Walk", (1, 12))]))
    for task in (asked, other):  # the second takes the place of the first
        extract(service, project, [task])
        wait_for(functools.partial(studio.versions, task), "it was pushed")  # later, it would extract the first again
        service.wait_idle()
    studio.predictions.clear()

    assert service.predict(project, [asked]) == [[]]
    wait_for(lambda: studio.versions(asked), "it is pushed again")
    assert studio.versions(asked) == [service.version(project)]
    assert [job["state"] for job in service.jobs(project, "extract") if job["task"] == asked["id"]] == ["done", "done"]


def test_a_version_that_is_kept_and_not_used_is_not_sent(service, studio, project, make_task):
    tasks = [make_task() for _ in range(3)]
    studio.add(project, *tasks)
    extract(service, project, tasks)
    submit(service, project, studio, tasks[0])
    wait_until_sent(service, project)
    pinned = service.version(project)
    assert service.post("/versions/current", {"project": project.key, "version": pinned}).status_code == 200
    wait_until_sent(service, project, rounds=2)
    submit(service, project, studio, tasks[1])
    service.wait_idle()
    assert service.jobs(project, "train")[0]["id"] > service.jobs(project, "refresh")[0]["id"]
    assert len(service.jobs(project, "refresh")) == 2
    assert studio.versions(tasks[2]) == [service.version(project)] == [pinned]


def test_without_a_key_nothing_is_tried_and_it_is_said_once(start, studio, project, make_task):
    service = start(LABEL_STUDIO_API_KEY="")
    task = make_task()
    for _ in range(2):
        service.train(project, (task, [region("Walk", (1, 12))]))
    (said,) = service.jobs(project, "refresh")
    assert (said["state"], said["error"]) == ("done", None)
    assert "LABEL_STUDIO_API_KEY" in said["detail"]
    assert studio.requests == []


def test_another_project_of_the_same_number_is_left_alone(service, studio, project, make_task):
    tasks = [make_task(), make_task()]
    studio.add(project, *tasks)
    studio.created[project.id] += 1
    extract(service, project, tasks)
    submit(service, project, studio, tasks[0])
    (job,) = wait_until_sent(service, project)
    assert (job["state"], studio.predictions) == ("failed", [])
    assert "so it is another project" in job["error"]


def test_what_is_wrong_with_one_task_is_said_and_the_others_get_predictions(service, studio, project, make_task):
    tasks = [make_task() for _ in range(3)]
    broken = {**make_task("/nowhere/clip.mp4"), "data": {"text": "no video"}}
    studio.add(project, *tasks, broken)
    extract(service, project, tasks)
    submit(service, project, studio, tasks[0])
    (job,) = wait_until_sent(service, project)
    assert job["state"] == "done"
    assert [warning.split(":")[0] for warning in job["warnings"]] == [f"task {broken['id']} gets no prediction"]
    assert all(studio.versions(task) for task in tasks[1:])


def test_a_round_that_is_tried_again_sends_nothing_twice(service, studio, project, make_task):
    tasks = [make_task() for _ in range(4)]
    studio.add(project, *tasks)
    extract(service, project, tasks)
    studio.before = lambda method, path: 503 if method == "POST" and studio.posted() == 2 else None
    submit(service, project, studio, tasks[0])
    (job,) = wait_until_sent(service, project)
    assert job["state"] == "done"
    assert [len(studio.versions(task)) for task in tasks[1:]] == [1, 1, 1]
    assert studio.posted() == 4


def test_of_two_of_one_version_that_of_label_studio_itself_stays(service, studio, project, make_task):
    """It asked for the prediction and stored it while ours was on its way: somebody may have it open."""
    tasks = [make_task(), make_task()]
    studio.add(project, *tasks)
    extract(service, project, tasks)

    def store(method, path):
        if method == "POST" and path == "/api/predictions/" and not studio.predictions:
            studio.predict(tasks[1], service.version(project))

    studio.before = store
    submit(service, project, studio, tasks[0])
    wait_until_sent(service, project)
    (left,) = studio.predictions
    assert (left["task"], left["result"], studio.posted()) == (tasks[1]["id"], [], 1)


def test_a_task_that_is_annotated_meanwhile_gets_none(service, studio, project, make_task):
    tasks = [make_task() for _ in range(3)]
    studio.add(project, *tasks)
    extract(service, project, tasks)

    def annotate(method, path):
        if path.endswith("/annotations/") and len(studio.annotations) == 1:
            studio.annotate(project, tasks[1])

    studio.before = annotate
    submit(service, project, studio, tasks[0])
    wait_until_sent(service, project)
    assert studio.versions(tasks[1]) == []


def test_earlier_versions_stay_where_that_is_asked_for(start, studio, project, make_task):
    service = start(PUSH_KEEP_SUPERSEDED="true")
    tasks = [make_task() for _ in range(3)]
    studio.add(project, *tasks)
    extract(service, project, tasks)
    submit(service, project, studio, tasks[0])
    wait_until_sent(service, project)
    first = service.version(project)
    submit(service, project, studio, tasks[1])
    wait_until_sent(service, project, rounds=2)
    assert studio.versions(tasks[2]) == [first, service.version(project)]
