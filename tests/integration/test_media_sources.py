"""Videos in every place, through the whole service: fetched once, not kept, and nothing asked that may not be asked."""

import json
from pathlib import Path

import pytest

from tests.integration.service import Project, frames_of, labeling_config
from tests.media_help import LEGACY_KEY, presign_path
from tests.web_server import Page, Server

BALL = "soccer_ball"
EVERY_FRAME = labeling_config(BALL, model_score_threshold="0.0")
S3 = "s3://bucket/clip.mp4"
INNER = ("http://169.254.169.254/latest/meta-data/", "http://10.0.0.7/clip.mp4", "http://[::ffff:169.254.169.254]/clip.mp4")


@pytest.fixture
def servers():
    """Label Studio, a storage, and a web server that nobody may ask."""
    started = [Server() for _ in range(3)]
    yield started
    for server in started:
        server.close()


@pytest.fixture
def service(start_service, servers):
    label_studio, storage, _ = servers
    return start_service(
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=LEGACY_KEY,
        MEDIA_HOSTS="*, 127.0.0.1",
        MEDIA_MAX_BYTES="2000000",
        PREDICT_WAIT_SECONDS="30",
        NO_PROXY="127.0.0.1",
    )


def test_videos_of_every_source_are_predicted_and_their_bytes_are_not_kept(service, servers, make_task, make_clip):
    label_studio, storage, _ = servers
    bodies = [make_clip(24 + number).read_bytes() for number in range(4)]
    label_studio.pages |= {
        "/data/upload/1/clip.mp4": Page(bodies[0]),
        "/data/local-files/?d=clip.mp4": Page(bodies[1], headers={"etag": '"local"'}),
    }
    storage.pages |= {
        "/clip.mp4": Page(bodies[2], headers={"etag": '"web"'}),
        "/signed?Signature=s3cret": Page(bodies[3], headers={"etag": '"cloud"'}),
    }
    sources = ["/data/upload/1/clip.mp4", "/data/local-files/?d=clip.mp4", storage.url + "/clip.mp4", S3]
    tasks = [make_task(source) for source in sources]
    signed = Page(status=303, headers={"location": storage.url + "/signed?Signature=s3cret"})
    label_studio.pages[presign_path(S3, tasks[3]["id"])] = signed
    project = Project(EVERY_FRAME)

    predicted = service.predict(project, tasks)

    assert [len(frames_of(prediction, BALL)) for prediction in predicted] == [24, 25, 26, 27]
    assert [len(frames_of(prediction, BALL)) for prediction in service.predict(project, tasks)] == [24, 25, 26, 27]
    service.wait_idle()
    left = {path.name for path in Path(service.data, "downloads").rglob("*") if path.is_file()}
    assert left == {"record.json", "use.lock", "fetch.lock"}
    assert (label_studio.bodies, storage.bodies) == (2, 2)
    assert LEGACY_KEY not in json.dumps(storage.requests)
    assert "s3cret" not in service.log()


def test_what_may_not_be_asked_is_an_error_of_its_task_alone(service, servers, make_task, make_clip):
    label_studio, storage, forbidden = servers
    label_studio.pages |= {"/data/upload/1/clip.mp4": Page(make_clip(24).read_bytes())}
    storage.pages |= {f"/to/{n}": Page(status=302, headers={"location": url}) for n, url in enumerate(INNER)}
    storage.pages |= {"/large.mp4": Page(b"x" * 2_000_001), "/empty.mp4": Page(b"")}
    bad = {
        **dict.fromkeys([*INNER, *(f"{storage.url}/to/{n}" for n in range(len(INNER)))], "an address that is not public"),
        f"http://[::1]:{forbidden.port}/clip.mp4": "an address that is not public",
        "/data/upload/../../api/users": "not the address of a media file",
        label_studio.url + "/api/projects": "not the address of a media file",
        storage.url + "/large.mp4": "MEDIA_MAX_BYTES",
        storage.url + "/empty.mp4": "the file is empty",
        "s3://another/clip.mp4": "a storage for this bucket",
    }
    good, tasks = make_task("/data/upload/1/clip.mp4"), [make_task(source) for source in bad]
    project = Project(EVERY_FRAME)

    first, *others = service.predict(project, [good, *tasks])

    assert len(frames_of(first, BALL)) == 24
    assert others == [[]] * len(bad)
    service.wait_idle()
    errors = {job["task"]: job["error"] or "" for job in service.jobs(project) if job["state"] == "failed"}
    assert {
        s: errors.get(t["id"]) for t, (s, said) in zip(tasks, bad.items(), strict=True) if said not in errors.get(t["id"], "")
    } == {}
    assert forbidden.requests == []
    assert not [path for path in label_studio.paths if "/api/" in path]
