"""Authentication: basic auth for Label Studio's calls, a bearer token for its webhooks."""

import pytest

from framewise.server.app import create_app
from framewise.settings import Settings
from tests.integration.service import Project, Service, labeling_config, learning_config, region, wait_for

USER, PASSWORD, TOKEN, API_KEY = "studio", "pass-Tz4kQ", "token-9fWb2", "key-Lm7xR"
BASIC = (USER, PASSWORD)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, backbone, videos):
    """A service with every secret set, that logs as much as it can. Nobody listens at its Label Studio's address."""
    settings = {
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": PASSWORD,
        "WEBHOOK_TOKEN": TOKEN,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": API_KEY,
        "LOG_LEVEL": "DEBUG",
        "PREDICT_WAIT_SECONDS": "5",
    }
    with Service(tmp_path_factory.mktemp("guarded"), backbone, videos, **settings) as running:
        yield running


def requests(project, task):
    """(method, path, body) of every call that is not for everybody, but the webhook."""
    return [
        ("POST", "/setup", project.setup_body()),
        ("POST", "/predict", project.predict_body([task])),
        ("GET", "/versions", None),
        ("POST", "/versions/current", {"project": "4711.1", "version": "v1"}),
        ("GET", "/jobs", None),
        ("GET", "/metrics", None),
        ("GET", "/no/such/path", None),
    ]


WRONG = {
    "nothing": {},
    "wrong password": {"auth": (USER, "wrong")},
    "wrong user": {"auth": ("other", PASSWORD)},
    "no password": {"auth": (USER, "")},
    "the webhook's token": {"headers": {"Authorization": f"Bearer {TOKEN}"}},
    "not base64": {"headers": {"Authorization": "Basic ???"}},
    "letters beyond ASCII": {"auth": (USER, "pässword")},
}


@pytest.mark.parametrize("credentials", WRONG.values(), ids=WRONG.keys())
def test_calls_without_the_right_password_are_refused_in_json(guarded, project, make_task, credentials):
    for method, path, body in requests(project, make_task()):
        answer = guarded.client.request(method, path, json=body, **credentials)
        assert (path, answer.status_code) == (path, 401)
        assert "basic auth" in answer.json()["error"]
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_calls_with_the_password_are_answered(guarded, project, make_task):
    statuses = {
        path: guarded.client.request(method, path, json=body, auth=BASIC).status_code
        for method, path, body in requests(project, make_task())
    }
    nothing_there = {"/versions/current": 404, "/no/such/path": 404}
    assert statuses == {"/setup": 200, "/predict": 200, "/versions": 200, "/jobs": 200, "/metrics": 200, **nothing_there}


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_is_for_everybody(guarded, path):
    assert guarded.client.get(path).status_code == 200


def test_a_webhook_with_the_token_trains(guarded, project, make_task):
    event = project.annotation_event(make_task(), [region("Walk", (1, 24))])
    answer = guarded.post("/webhook", event, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    guarded.wait_idle()
    assert guarded.jobs(project, "train")[0]["state"] == "done"


def test_start_training_comes_with_basic_auth_to_the_same_address(guarded, project):
    answer = guarded.post("/webhook", project.event("START_TRAINING"), auth=BASIC)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"headers": {"Authorization": "Bearer wrong"}},
        {"headers": {"Authorization": TOKEN}},
        {"headers": {"Authorization": "Bearer"}},
        {"headers": {"Authorization": b"Bearer \xff\xfe"}},
        {"auth": (USER, "wrong")},
        {"auth": (USER, TOKEN)},
    ],
    ids=["nothing", "wrong token", "no scheme", "no token", "not ASCII", "wrong password", "token as password"],
)
def test_a_webhook_without_the_right_secret_is_refused_and_not_recorded(guarded, project, make_task, credentials):
    event = project.annotation_event(make_task(), [])
    answer = guarded.post("/webhook", event, **credentials)
    assert answer.status_code == 401
    assert "Authorization: Bearer WEBHOOK_TOKEN" in answer.json()["error"]
    assert guarded.rows("SELECT * FROM events WHERE project = ?", project.key) == []


def test_a_token_alone_guards_webhooks_alone(tmp_path, backbone, project):
    client = app_client(tmp_path, backbone, webhook_token=TOKEN)
    assert client.post("/setup", json=project.setup_body()).status_code == 200
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED")).status_code == 401
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED"), auth=BASIC).status_code == 401
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED"), headers=token).status_code == 200


def test_a_password_alone_guards_webhooks_too(tmp_path, backbone, project):
    client = app_client(tmp_path, backbone, basic_auth_user=USER, basic_auth_pass=PASSWORD)
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED")).status_code == 401
    empty = {"Authorization": "Bearer "}
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED"), headers=empty).status_code == 401
    assert client.post("/webhook", json=project.event("PROJECT_UPDATED"), auth=BASIC).status_code == 200


def app_client(tmp_path, backbone, **settings):
    """A client of the web application in this process."""
    folders = {name: tmp_path / name for name in ("model_root", "cache_dir", "data_dir")}
    folders["model_root"].mkdir()
    (folders["model_root"] / backbone.name).write_bytes(backbone.read_bytes())
    return create_app(Settings(**folders, model_path=backbone.name, **settings)).test_client()


def test_no_secret_is_shown_anywhere(guarded, project, make_task, make_clip):
    """After right and wrong calls, a fetch from Label Studio that fails, refused configs, and a training."""
    secrets = (PASSWORD, TOKEN, API_KEY)
    clip = make_clip()
    upload = make_task("/data/upload/1/video.mp4")
    shown = []
    for body in (project.setup_body(), Project(labeling_config("x", model_foo="1")).setup_body()):
        shown.append(guarded.post("/setup", body, auth=BASIC).text)
    guarded.post("/webhook", project.annotation_event(make_task(clip), [region("Walk", (1, 24))]), auth=BASIC)
    guarded.wait_idle()
    trained = project.with_config(learning_config(model_score_threshold="0"))
    shown.append(guarded.post("/predict", trained.predict_body([make_task(clip), upload]), auth=BASIC).text)
    # Label Studio was to be asked, and is not reached: that is tried again and again.
    wait_for(lambda: "127.0.0.1:9" in guarded.jobs(project, "extract")[0]["detail"], "the job says what it waits for")
    shown += [guarded.client.get(path, auth=BASIC).text for path in ("/jobs", "/versions", "/metrics")]
    text = "\n".join((guarded.log(), *shown, *guarded.children().values()))
    assert "DEBUG" in guarded.log()
    assert [secret for secret in secrets if secret in text] == []
