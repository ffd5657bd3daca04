"""The queue on a real Redis: workers that share it, one that is killed, and a Redis that is away for a while."""

import contextlib
import os
import shutil
import signal
import socket

import pytest

from framewise.demo.backend_server import free_port
from framewise.processes import start_child, stop_child
from tests.integration.service import Project, Service, is_alive, learning_config, wait_for

PASSWORD = "s3cret-3f9"
LONG = 1500  # pictures, so that several extractions run at once for a while


class Redis:
    """A server of its own that keeps nothing on disk."""

    def __init__(self):
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._server = None

    def start(self):
        own = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
            "--requirepass",
            PASSWORD,
        ]
        self._server = start_child([shutil.which("redis-server"), *own], os.environ)
        wait_for(self.answers, "Redis answers")

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"AUTH %s\r\nPING\r\n" % PASSWORD.encode())
            return b"+OK" in connection.recv(100)
        return False

    def stop(self):
        stop_child(self._server)


@pytest.fixture(scope="module")
def redis():
    if os.environ.get("SKIP_REDIS") == "1":
        pytest.skip("SKIP_REDIS=1")
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server; on Debian: apt-get install redis-server")
    server = Redis()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(redis, tmp_path_factory, backbone, videos):
    """As for several machines: the queue on Redis, and a database that needs no memory that its users share."""
    settings = {"QUEUE_URL": redis.url, "DATABASE_JOURNAL": "delete", "PREDICT_WAIT_SECONDS": "0"}
    with Service(tmp_path_factory.mktemp("service"), backbone, videos, **settings) as running:
        yield running


def test_workers_share_the_jobs_and_those_of_a_killed_one_are_done_by_the_other(service, make_task):
    project = Project(learning_config())
    service.start_worker()
    own = service.worker_pid()

    def owners():
        rows = service.rows("SELECT id, owner FROM jobs WHERE state = 'running' AND kind = 'extract'")
        found = {}
        for row in rows:
            found.setdefault(int(row["owner"].split("-")[-2]), set()).add(row["id"])
        return found if len(found) == 2 else None

    service.predict(project, [make_task(num_frames=LONG) for _ in range(6)])
    shared = wait_for(owners, "extractions run in both workers")
    (other,) = shared.keys() - {own}
    os.kill(other, signal.SIGKILL)
    wait_for(lambda: not is_alive(other), "the worker is dead")
    service.wait_idle()

    jobs = {job["id"]: job for job in service.jobs(project, "extract")}
    assert {job["state"] for job in jobs.values()} == {"done"}
    assert len(jobs) == 6
    assert all(jobs[number]["attempts"] == 2 for number in shared[other])
    ended_by = service.rows("SELECT DISTINCT owner FROM jobs WHERE attempts = 2")
    assert {int(row["owner"].split("-")[-2]) for row in ended_by} == {own}
    assert not (service.data / "queue.sqlite").exists()
    assert not (service.data / "framewise.sqlite-wal").exists()
    assert PASSWORD not in service.log()


def test_what_is_recorded_while_redis_is_away_is_done_when_it_is_there(service, redis, make_task):
    project = Project(learning_config())
    redis.stop()
    try:
        service.send(project.event("TASKS_CREATED", tasks=[make_task()]))
        service.predict(project, [make_task()])
        wait_for(lambda: "Redis cannot be reached" in service.log(), "the worker says so")
        assert {job["state"] for job in service.jobs(project)} == {"pending"}
    finally:
        redis.start()
    service.wait_idle()
    assert {job["state"] for job in service.jobs(project)} == {"done"}
    assert PASSWORD not in service.log()
