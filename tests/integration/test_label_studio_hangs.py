"""A Label Studio that takes connections and answers nothing, or a byte now and then: what can be done without it is done."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from framewise.jobs import AT_LABEL_STUDIO
from tests.integration.service import Project, learning_config, region, wait_for
from tests.web_server import Page, Server

QUICK = learning_config(model_classifier_epochs="3", model_score_threshold="0")
PROJECTS = 6


class Trickling:
    """A server that sends a byte every five seconds, to every request. most: of them at once."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.most, self._now = 0, 0
        self.server = Server()
        self.server.elsewhere = Page(send=self._send)
        self.url = self.server.url

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        with contextlib.suppress(ConnectionError):
            self._trickle(handler)
        self._now -= 1

    def _trickle(self, handler: BaseHTTPRequestHandler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n":
            if self.end.wait(5):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()


@pytest.fixture
def trickling() -> Iterator[Trickling]:
    studio = Trickling()
    with contextlib.closing(studio.server):
        yield studio
        studio.end.set()


def test_trainings_of_six_projects_go_on_and_one_thread_at_most_waits(start_service, make_task, trickling) -> None:
    service = start_service(
        LABEL_STUDIO_URL=trickling.url, LABEL_STUDIO_API_KEY="0" * 40, NO_PROXY="127.0.0.1", PUSH_QUIET_SECONDS="0.1"
    )
    projects = [Project(QUICK) for _ in range(PROJECTS)]
    for project in projects:
        service.setup(project)  # an import follows
        service.send(project.annotation_event(make_task(), [region("Walk", (1, 24))]))
    most = 0

    def all_trained() -> bool:
        nonlocal most
        jobs = service.overview()["jobs"]
        most = max(most, sum(job["kind"] in AT_LABEL_STUDIO and job["state"] == "running" for job in jobs))
        return all(service.version(project) != "untrained" for project in projects)

    wait_for(all_trained, "a version of each project")
    assert most == 1
    waiting = [job for job in service.overview()["jobs"] if job["kind"] == "import"]
    assert len(waiting) == PROJECTS
    assert not [job for job in waiting if job["state"] in ("done", "failed")]


def test_downloads_that_hang_leave_a_thread_for_trainings(start_service, make_task, trickling) -> None:
    service = start_service(
        LABEL_STUDIO_URL=trickling.url,
        LABEL_STUDIO_API_KEY="0" * 40,
        NO_PROXY="127.0.0.1",
        PUSH_QUIET_SECONDS="0.1",
        PREDICT_WAIT_SECONDS="0",
    )
    there = Project(QUICK)
    service.setup(there)
    for number in range(PROJECTS):
        service.predict(there, [make_task(f"/data/upload/1/{number}.mp4")])
    wait_for(lambda: trickling.most, "a call")
    projects = [Project(QUICK) for _ in range(PROJECTS)]
    for project in projects:
        service.setup(project)
        service.send(project.annotation_event(make_task(), [region("Walk", (1, 24))]))
    wait_for(lambda: all(service.version(project) != "untrained" for project in projects), "a version of each project")
    assert trickling.most == 1
    extractions = [job for job in service.overview()["jobs"] if job["kind"] == "extract" and job["task"]]
    assert len(extractions) >= PROJECTS
    assert not [job for job in extractions if job["state"] in ("done", "failed")]
