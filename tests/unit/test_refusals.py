"""Requests that are refused, and tasks that fail, as many as anybody likes: they cost little, and hide nothing."""

import json
import logging
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from framewise.assembly import Assembly
from framewise.store.database import DATABASE_NAME, Database
from tests.messages import Project, labeling_config, region, task_of

SECRETS = {"basic_auth_user": "ann", "basic_auth_pass": "secret", "webhook_token": "token"}
AUTH = ("ann", "secret")


def refusals(client: FlaskClient) -> list[str]:
    return [job["error"] for job in client.get("/jobs", auth=AUTH).get_json()["jobs"] if job["kind"] == "request"]


def rows_ever(assembly: Assembly) -> int:
    """Number of rows that were ever written to the table of jobs."""
    database = Database(assembly.settings.data_dir / DATABASE_NAME)
    found = database.read("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")
    return int(found[0]["seq"]) if found else 0


def test_refused_requests_to_any_paths_write_no_rows_and_one_log_line(
    made: Callable[..., tuple[FlaskClient, Assembly]], caplog: pytest.LogCaptureFixture
) -> None:
    client, assembly = made(**SECRETS)
    with caplog.at_level(logging.WARNING):
        for number in range(300):
            assert client.get(f"/admin-{number}.php").status_code == 401
    assert rows_ever(assembly) == 0
    assert len([record for record in caplog.records if "refused" in record.message]) == 1
    metrics = client.get("/metrics", auth=AUTH).text
    assert 'framewise_refused_requests_total{process="' in metrics
    assert metrics.count('reason="password"} 300.0') == 1


def test_a_webhook_without_its_token_is_shown_once_until_one_has_it(
    made: Callable[..., tuple[FlaskClient, Assembly]],
) -> None:
    client, assembly = made(**SECRETS)
    event = Project(labeling_config("Walk")).event("PROJECT_UPDATED")
    for _ in range(50):
        assert client.post("/webhook", json=event).status_code == 401
    assert refusals(client) == ["refused: /webhook: expected the webhook's header Authorization: Bearer WEBHOOK_TOKEN"]
    assert rows_ever(assembly) == 1
    answer = client.post("/webhook", json=event, headers={"Authorization": "Bearer token"})
    assert answer.status_code == 200
    assert refusals(client) == []


def test_a_name_that_is_not_allowed_is_shown_with_its_cure(made: Callable[..., tuple[FlaskClient, Assembly]]) -> None:
    client, _ = made()
    assert client.post("/webhook", json={}, headers={"Host": "gpu-box:9090"}).status_code == 403
    (told,) = refusals(client)
    assert told.startswith("refused: /webhook: framewise does not answer to the host name 'gpu-box' without a password")


def test_many_bad_tasks_of_a_request_are_answered_and_the_first_are_shown(
    made: Callable[..., tuple[FlaskClient, Assembly]],
) -> None:
    client, assembly = made()
    project = Project(labeling_config("Walk", model_trainable="true"))
    tasks = [task_of(number, "") for number in range(1, 501)]
    for _ in range(2):
        results = client.post("/predict", json=project.predict_body(tasks)).get_json()["results"]
        assert results == [[]] * 500
    failed = [job["task"] for job in assembly.jobs.states.overview(1000)["jobs"] if job["kind"] == "predict"]
    assert sorted(failed) == list(range(1, 101))


@pytest.mark.parametrize("small", [b"[],", b"{},", b'{"a":1},', b"[[[]]],"])
def test_a_body_of_nothing_but_lists_or_objects_is_refused_before_it_takes_memory(
    made: Callable[..., tuple[FlaskClient, Assembly]], small: bytes
) -> None:
    client, _ = made()
    body = b'{"a": [' + small * (3_000_000 // len(small)) + b"0]}"
    answer = client.post("/webhook", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert f"expected at most 200000 lists and objects in {len(body)} bytes, found more" in answer.get_json()["error"]


def test_a_region_of_very_many_ranges_is_no_such_body(made: Callable[..., tuple[FlaskClient, Assembly]]) -> None:
    client, _ = made()
    project = Project(labeling_config("Walk", model_trainable="true"))
    drawn = region("Walk", *((frame, frame) for frame in range(1, 200_001)))
    event = project.annotation_event(task_of(1, "/x.mp4"), [drawn])
    body = json.dumps(event, separators=(",", ":"))
    assert client.post("/webhook", data=body, headers={"Content-Type": "application/json"}).status_code == 200


def test_failures_outside_of_jobs_have_a_limit_and_push_no_job_out(
    made: Callable[..., tuple[FlaskClient, Assembly]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framewise.store.job_state.KEPT_FAILURES", 20)
    monkeypatch.setattr("framewise.store.job_state.KEPT_JOBS", 5)
    _, assembly = made()
    states = assembly.jobs.states
    done = states.begin("train", "7.1", "all", "me")
    states.finish(done.id, "me")
    for first in range(0, 100, 10):
        states.record_failures("predict", "7.1", [(number, "no video") for number in range(first, first + 10)])
    again = states.begin("train", "7.1", "all", "me")
    states.finish(again.id, "me")
    shown = states.overview(1000)["jobs"]
    assert [job["task"] for job in shown if job["kind"] == "predict"] == list(range(99, 79, -1))
    assert {job["id"] for job in shown if job["kind"] == "train"} == {done.id, again.id}
