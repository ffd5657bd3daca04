"""The protocol of ML backends, spoken over HTTP to the running service."""

import html
import json
import re
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import BALL
from tests.integration.service import (
    LABELS,
    Project,
    Service,
    endless_config,
    labeling_config,
    learning_config,
    region,
    start_endless_training,
    wait_for,
)

UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def endless_project():
    return Project(endless_config())


@pytest.fixture(scope="module")
def busy_service(tmp_path_factory, backbone, videos, make_clip, make_task, endless_project):
    """A service whose worker is in the middle of a training."""
    with Service(tmp_path_factory.mktemp("busy"), backbone, videos) as running:
        start_endless_training(running, endless_project, make_clip(), make_task)
        yield running


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_is_a_json_object(service, path):
    answer = service.client.get(path)
    assert answer.status_code == 200
    assert answer.json()["status"] == "UP"


def test_setup_of_an_untrained_project_says_so(service, project):
    answer = service.setup(project)
    assert answer.status_code == 200
    assert answer.json() == {"model_version": "untrained"}


def test_predict_of_an_untrained_project_has_one_empty_item_a_task(service, project, make_task):
    assert service.predict(project, [make_task(), make_task()]) == [[], []]


def test_setup_and_predict_of_every_web_process_name_the_same_version_also_after_a_restart(start_service, project, make_task):
    service = start_service(WORKERS="2")
    task, other = make_task(), make_task()
    assert service.version(project) == "untrained"
    service.train(project, (task, [region("Walk", (1, 24))]))
    version = service.version(project)
    assert version != "untrained"
    assert service.predict(project, [task])[0]["model_version"] == version
    assert service.predict_until_there(project, other)["model_version"] == version

    service.restart()

    wait_for(lambda: len(service.web_pids()) == 3, "two web processes and their master")
    # A connection stays with one process: each of these has its own.
    setups = [httpx.post(f"{service.url}/setup", json=project.setup_body(), timeout=30) for _ in range(12)]
    predictions = [httpx.post(f"{service.url}/predict", json=project.predict_body([task]), timeout=30) for _ in range(12)]
    assert {answer.json()["model_version"] for answer in setups} == {version}
    assert {answer.json()["results"][0]["model_version"] for answer in predictions} == {version}
    assert [v["version"] for v in service.client.get("/versions").json()["details"]] == [version]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("<View><Choices name='c' toName='t'/></View>", "expected TimelineLabels on Video"),
        ("this is not XML", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "DTD"),
        (labeling_config(*LABELS, model_trainable="perhaps"), "model_trainable must be true or false, found 'perhaps'"),
        (learning_config(model_classifier_epochs="many"), "model_classifier_epochs must be a whole number"),
        (labeling_config(*LABELS, model_score_threshold="1.5"), "model_score_threshold must be a number from 0 to 1"),
        (labeling_config(*LABELS, model_treinable="true"), "did you mean 'model_trainable'?"),
        (learning_config(frame_rate="-5"), "frameRate must be a positive number"),
        (labeling_config(model_trainable="true"), "expected at least one Label"),
    ],
)
def test_a_config_that_cannot_work_is_refused_in_body_and_status_line(service, config, message):
    answer = service.setup(Project(config))
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    # Label Studio shows the status line's reason to the user, and nothing of the body.
    assert message in answer.reason_phrase


def test_a_config_without_our_control_is_refused_in_predict_too(service, make_task):
    answer = service.post("/predict", Project("<View/>").predict_body([make_task()]))
    assert answer.status_code == 400
    assert "expected TimelineLabels on Video" in answer.json()["error"]


def test_a_message_in_another_script_cannot_break_the_status_line(service):
    answer = service.setup(Project(labeling_config("Ходьба", "跑")))
    assert answer.status_code == 400
    assert "Ходьба" in answer.json()["error"]
    assert "simple mode, but none of the labels" in answer.reason_phrase
    assert answer.reason_phrase.isascii()
    assert "'&#1061;&#1086;&#1076;&#1100;&#1073;&#1072;'" in answer.reason_phrase  # as HTML, which Label Studio shows it as


def test_no_answer_holds_an_angle_bracket_that_label_studio_would_take_for_a_tag(service, make_task):
    """Labels, names and paths are the user's own: what is quoted of them must not vanish either."""
    broken = Project(labeling_config("&lt;b>bold&lt;/b>", control="&lt;i>", model_trainable="&lt;u>"))
    answers = [
        service.setup(broken),
        service.post("/predict", broken.predict_body([make_task()])),
        service.post("/webhook", {"action": "<b>", "project": {"id": "<b>"}}),
        service.client.get("/projects/<b>"),
        service.client.get("/versions", params={"project": "<b>"}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 404, 404]
    for answer in answers:
        assert not set("<>") & set(answer.json()["error"] + answer.reason_phrase)
    assert "TimelineLabels '‹i›': model_trainable must be true or false, found '‹u›'" in answers[0].json()["error"]


def test_attributes_that_do_nothing_are_told_of_and_refuse_nothing(service):
    """A config after Label Studio's guide, with the learner that framewise has by itself, and another program's attribute."""
    guide = {"model_classifier_epochs": "500", "model_classifier_hidden_size": "64", "model_score_threshold": "0.4"}
    config = labeling_config(*LABELS, model_trainable="true", model_tracker="botsort", **guide)
    answer = service.setup(project := Project(config))
    assert answer.status_code == 200
    notes = [
        "TimelineLabels 'tl': model_tracker is not used: framewise has no such attribute",
        "TimelineLabels 'tl': model_classifier_epochs and model_classifier_hidden_size are not used: this control learns by "
        'model_classifier_type="auto", and only "lstm" has such settings',
    ]
    assert answer.json() == {"model_version": "untrained", "notes": notes}
    page = service.client.get(f"/projects/{project.key}", headers={"Accept": "text/html"}).text
    assert all(html.escape(note).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page for note in notes)
    assert service.setup(Project(labeling_config(*LABELS, model_trainable="true"))).json() == {"model_version": "untrained"}


def test_versions_lists_what_was_trained_newest_first(service, project, make_task):
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    first = service.version(project)
    time.sleep(1.1)  # trainings are ordered by their second
    service.train(project, (task, [region("Run", (1, 24))]))
    second = service.version(project)

    answer = service.client.get("/versions").json()

    own = [v for v in answer["details"] if v["project"] == project.key]
    assert [(v["version"], v["current"]) for v in own] == [(second, True), (first, False)]
    assert own[0]["labels"] == list(LABELS)
    assert {first, second} <= set(answer["versions"])


def test_metrics_are_what_prometheus_reads(service, project, make_task):
    service.train(project, (make_task(), [region("Walk", (1, 24))]))

    answer = service.client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    samples = {s.name: s for family in text_string_to_metric_families(answer.text) for s in family.samples}
    assert {"framewise_jobs", "framewise_known"} <= set(samples)
    learned = [
        s for f in text_string_to_metric_families(answer.text) for s in f.samples if s.name == "framewise_version_videos"
    ]
    assert [s.value for s in learned if s.labels["project"] == project.key] == [1.0]


def test_jobs_shows_what_was_done(service, project, make_task):
    task = make_task()
    job = service.train(project, (task, [region("Walk", (1, 24))]))

    shown = service.overview()
    assert (shown["pending"], shown["running"]) == (0, 0)
    assert (job["kind"], job["project"], job["state"], job["progress"], job["error"]) == (
        "train",
        project.key,
        "done",
        1.0,
        None,
    )
    assert UTC_TIME.fullmatch(job["started"])

    unseen = make_task()
    service.predict_until_there(project, unseen)
    assert service.jobs(project, "extract")[0]["task"] == unseen["id"]


def test_jobs_shows_how_far_a_running_training_is(busy_service, endless_project):
    def running():
        return [j for j in busy_service.jobs(endless_project, "train") if j["state"] == "running" and j["progress"] > 0]

    job = wait_for(running, "a training that tells its progress")[0]

    assert 0 < job["progress"] < 1
    assert "epoch" in job["detail"]
    assert UTC_TIME.fullmatch(job["started"])
    assert busy_service.overview()["running"] == 1


def test_webhook_setup_and_health_are_answered_while_a_training_runs(busy_service, endless_project, project, make_task):
    """It would run for hours: no answer has waited for its end."""
    event = project.event("TASKS_CREATED", tasks=[make_task()])
    for _ in range(7):
        busy_service.send(event)
        busy_service.version(project)
        assert busy_service.client.get("/health").status_code == 200
    training = busy_service.jobs(endless_project, "train")[0]
    assert (training["state"], training["attempts"]) == ("running", 1)


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("body", ["", "not JSON", "[1, 2]", "null", '"text"', '{"a": '])
def test_a_body_that_is_no_json_object_is_refused(service, path, body):
    answer = service.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "expected a JSON object" in answer.json()["error"]


@pytest.mark.parametrize("missing", ["project", "schema"])
def test_setup_without_a_key_names_it(service, project, missing):
    body = project.setup_body()
    del body[missing]
    answer = service.post("/setup", body)
    assert answer.status_code == 400
    assert f"'{missing}'" in answer.json()["error"]


@pytest.mark.parametrize("missing", ["label_config", "tasks"])
def test_predict_without_a_key_names_it(service, project, make_task, missing):
    body = project.predict_body([make_task()])
    del body[missing]
    answer = service.post("/predict", body)
    assert answer.status_code == 400
    assert f"'{missing}'" in answer.json()["error"]


def test_predict_by_a_projects_number_alone_is_answered_by_the_version_of_that_project(service, project, make_task):
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    (expected,) = service.predict(project, [task])
    assert expected["model_version"] == service.version(project)
    answer = service.post("/predict", {**project.predict_body([task]), "project": project.id})
    assert answer.status_code == 200
    (found,) = answer.json()["results"]
    assert (found["model_version"], found["score"]) == (expected["model_version"], expected["score"])
    assert [r["value"] for r in found["result"]] == [r["value"] for r in expected["result"]]


@pytest.mark.parametrize("project_of_it", [{"project": 987_654_321}, {"project": None}, {}, {"project": 0}])
def test_predict_of_no_known_project_is_answered(service, make_task, project_of_it):
    simple = labeling_config(BALL)
    body = {"label_config": simple, **project_of_it}
    tasks = [make_task(), make_task("/no/such.mp4")]
    first, second = service.post("/predict", {**body, "tasks": tasks}).json()["results"]
    assert [r["value"] for r in first["result"]] == [{"ranges": [{"start": 1, "end": 24}], "timelinelabels": [BALL]}]
    assert second == []
    trainable = {**body, "label_config": learning_config()}
    assert service.post("/predict", {**trainable, "tasks": tasks}).json() == {"results": [[], []]}


@pytest.mark.parametrize("project_of_it", [True, 1.5, [42], {"id": 42}, "forty-two", ""])
def test_predict_of_what_names_no_project_is_refused(service, project, make_task, project_of_it):
    answer = service.post("/predict", {**project.predict_body([make_task()]), "project": project_of_it})
    assert answer.status_code == 400
    assert "project" in answer.json()["error"]


@pytest.mark.parametrize(("tasks", "named"), [({"id": 1}, "dict"), (None, "NoneType"), ("all", "str")])
def test_predict_of_tasks_that_are_no_list_is_refused(service, project, tasks, named):
    answer = service.post("/predict", {**project.predict_body([]), "tasks": tasks})
    assert answer.status_code == 400
    assert f"list of tasks in 'tasks', found {named}" in answer.json()["error"]


@pytest.mark.parametrize("key", ["../../etc", "9" * 5000, "²", "-1.0", " ", "7.", "7.1.2", "7.1\nERROR forged"])
def test_a_project_that_is_no_number_is_refused(service, project, key):
    answer = service.post("/setup", {**project.setup_body(), "project": key})
    assert answer.status_code == 400
    assert "'id.time of creation'" in answer.json()["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"action": None},
        {"action": 7},
        {"project": {"id": "one"}},
        {"project": {"id": 5, "created_at": "yesterday"}},
        {"annotation": None},
        {"task": None},
        {"annotation": {"id": "x"}},
        {"annotation": {"id": 10**30, "result": []}},
        {"annotation": {"id": 1, "result": "walking"}},
        {"task": {"id": 10**30, "data": {}}},
        {"task": {"id": 1, "data": "a.mp4"}},
        {"task": []},
        {"project": {"id": 10**30}},
        {"project": {"id": True}},
    ],
)
def test_a_webhook_that_cannot_be_read_is_refused_and_the_next_one_is_not(service, project, make_task, change):
    event = project.annotation_event(make_task(), [])
    refused = service.post("/webhook", {**event, **change})
    assert refused.status_code == 400
    assert "webhook: expected" in refused.json()["error"]
    assert service.send(event)["status"] == "recorded"


def test_300_tasks_in_one_request_are_answered_one_item_a_task_in_order(service, project, make_task, make_clip):
    short, long = make_clip(20), make_clip(30)
    config = learning_config(model_score_threshold="0")
    project = project.with_config(config)
    service.train(project, (make_task(short), [region("Walk", (1, 20))]), (make_task(long), [region("Run", (1, 30))]))
    nothing = "/no/such/file.mp4"
    sources = [(short, long, nothing)[number % 3] for number in range(300)]

    results = service.predict(project, [make_task(source) for source in sources])

    # At threshold 0 a label is on in every frame: the last frame tells the videos apart.
    lengths = [max(r["value"]["ranges"][0]["end"] for r in item["result"]) if item else None for item in results]
    assert lengths == [20, 30, None] * 100


def test_no_task_is_no_item(service, project):
    assert service.predict(project, []) == []


def test_an_unknown_path_is_json_too(service):
    answer = service.client.get("/no/such/path")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_wrong_method_is_json_too(service):
    answer = service.client.get("/setup")
    assert answer.status_code == 405
    assert answer.json()["error"]


def test_half_of_a_surrogate_pair_in_a_text_harms_nothing(service, project):
    r"""JSON can carry what UTF-8 cannot: "\ud800" alone."""
    for body in (project.event("NEW\ud800"), {**project.event("PROJECT_UPDATED"), "project": {"id": 7, "title": "a\ud800"}}):
        assert post_ascii(service, "/webhook", body).status_code == 200
    answer = post_ascii(service, "/setup", {**project.setup_body(), "schema": project.config.replace("Walk", "\ud800")})
    assert answer.status_code == 200


def post_ascii(service, path, body):
    return service.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def test_deleted_and_created_things_without_a_usable_number_are_passed_over(service, project, make_task):
    good = make_task()
    service.send(project.event("TASKS_CREATED", tasks=[{"id": "x", "data": {}}, {"data": {}}, {"id": 10**30}, None, good]))
    service.send(project.event("TASKS_DELETED", tasks=[{"id": 10**30}, {}, None]))
    service.send(project.event("ANNOTATIONS_DELETED", annotations=None))
    assert [row["id"] for row in service.rows("SELECT id FROM tasks WHERE project = ?", project.key)] == [good["id"]]


def test_an_unknown_webhook_action_is_answered_200(service, project):
    assert service.send(project.event("SOMETHING_NEW", thing={"id": 1}))["status"] == "recorded"
    assert service.send({"action": "ORGANIZATION_RENAMED"})["status"] == "ignored"
