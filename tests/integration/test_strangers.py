"""Nothing that a stranger sends makes the running service wrong, leak or stop.

After each lie the service answers /health and a prediction that is right. The lies themselves are tried one by one in
tests/unit; here are those that need the server, a worker or a socket.
"""

import gzip
import json
import os
import pickle
import shutil
import socket
import struct
from pathlib import Path

import pytest

from framewise.settings import Settings
from tests.integration.service import Project, frames_of, learning_config, region
from tests.process_tree import cpu_seconds
from tests.videos import colour_pictures, write_video

MEGABYTE = 1024 * 1024
THREADS = Settings.from_env({}).threads


@pytest.fixture(scope="module")
def honest(service, make_task):
    """A project that is trained, a task of it, and its number of frames."""
    project, task = Project(learning_config(model_score_threshold="0")), make_task(num_frames=31)
    service.train(project, (task, [region("Walk", (1, 31))]))
    return project, task, 31


@pytest.fixture(autouse=True)
def still_serving(service, honest):
    """After each test: the same processes, all of them, and right answers."""
    before = service.web_pids()
    yield
    project, task, frames = honest
    assert service.client.get("/health").json()["status"] == "UP"
    assert frames_of(service.predict(project, [task])[0], "Walk") == set(range(1, frames + 1))
    assert service.web_pids() == before, "a web process ended"
    assert "worker ended" not in service.log()


def megabytes_of_web(service):
    """The most memory that a web process has had, in MB."""
    lines = [line for pid in service.web_pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def processor_seconds_of_web(service):
    """Processor time that the web processes have used: other programs beside them do not count."""
    return sum(cpu_seconds(pid) for pid in service.web_pids())


# Bodies.


def raw(service, path, head, *blocks, half_close=True, seconds=60):
    """Sends bytes as they are, and returns all that comes back. ``head`` are header lines."""
    address = ("127.0.0.1", int(service.settings["PORT"]))
    with socket.create_connection(address, timeout=seconds) as connection:
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            "Connection: close",
            *head,
            "",
            "",
        ]
        answer = b""
        try:
            connection.sendall("\r\n".join(lines).encode())
            for block in blocks:
                connection.sendall(block)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server had read enough; its answer is there to be read
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
        return answer.decode(errors="replace")


@pytest.mark.parametrize(("path", "megabytes", "limit"), [("/setup", 100, 8), ("/webhook", 100, 64), ("/predict", 300, 256)])
def test_a_body_that_is_too_large_is_refused_at_once_and_not_read(service, path, megabytes, limit):
    """The rest of the body never comes: a server that waited for it would not answer."""
    before = megabytes_of_web(service)
    answer = raw(service, path, [f"Content-Length: {megabytes * MEGABYTE}"], b'{"project": "', half_close=False)
    assert answer.startswith("HTTP/1.1 413 ")
    assert f"expected a body of at most {limit * MEGABYTE} bytes, found a larger one" in answer
    assert megabytes_of_web(service) - before < 50


def test_a_client_that_sends_100_megabytes_is_told_why_they_are_refused(service, project):
    before = megabytes_of_web(service)
    answer = service.post("/setup", {**project.setup_body(), "schema": "x" * (20 * MEGABYTE)})
    assert answer.status_code == 413
    assert "expected a body of at most 8388608 bytes" in answer.json()["error"]
    assert "at most 8388608 bytes" in answer.reason_phrase
    assert megabytes_of_web(service) - before < 50


def test_a_body_without_a_length_is_read_when_it_is_honest(service, project):
    body = json.dumps(project.setup_body()).encode()

    def blocks():
        yield body[:10]
        yield body[10:]

    answer = service.client.post("/setup", content=blocks(), headers={"content-type": "application/json"})
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert (answer.status_code, answer.json()) == (200, {"model_version": "untrained"})


def test_a_body_without_a_length_and_without_an_end_is_refused_at_the_limit(service):
    before = megabytes_of_web(service)
    block = b"%x\r\n" % MEGABYTE + b" " * MEGABYTE + b"\r\n"
    answer = raw(service, "/setup", ["Transfer-Encoding: chunked"], *([block] * 40), b"0\r\n\r\n")
    assert answer == "" or answer.startswith("HTTP/1.1 413 ")  # what was sent after the answer can destroy it on its way
    assert megabytes_of_web(service) - before < 100


def test_chunks_that_are_none_are_refused(service):
    for blocks in ([b"zz\r\nabc\r\n0\r\n\r\n"], [b"-5\r\nabc\r\n"], [b"ffffffffffffffffff\r\nabc"], [b"5\r\nab"]):
        answer = raw(service, "/setup", ["Transfer-Encoding: chunked"], *blocks)
        assert answer == "" or answer.startswith("HTTP/1.1 400 ")


@pytest.mark.parametrize("length", ["1000", "-1", "ten", "9" * 30, "0x10", "1, 2"])
def test_a_length_that_lies_is_refused(service, length):
    answer = raw(service, "/setup", [f"Content-Length: {length}"], b'{"project": "1.2"}')
    assert answer.splitlines()[0].split()[1] in ("400", "413")


def test_a_length_that_is_too_small_leaves_a_part_that_is_no_request(service, project):
    body = json.dumps(project.setup_body()).encode()
    answer = raw(service, "/setup", ["Content-Length: 10"], body)
    assert answer.startswith("HTTP/1.1 400 ")
    assert "expected a JSON object" in answer


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (
            b"POST /setup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
            b"HTTP/1.1 400 ",
        ),
        (b"POST /setup HTTP/1.1\r\nHos", b""),
    ],
    ids=["in the body", "in the header"],
)
def test_clients_that_stop_in_the_middle_of_a_request_do_not_keep_others_from_being_served(service, sent, answer):
    """More of them than the service has threads."""
    stalled = []
    try:
        for _ in range(2 + THREADS):
            connection = socket.create_connection(("127.0.0.1", int(service.settings["PORT"])), timeout=60)
            connection.sendall(sent)
            stalled.append(connection)
        assert service.client.get("/health", timeout=60).status_code == 200
        assert stalled[0].recv(65536).startswith(answer)
    finally:
        for connection in stalled:
            connection.close()


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(b'{"project": "' + b" " * (300 * MEGABYTE) + b'"}', compresslevel=1)


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_a_compressed_body_is_refused_and_not_unpacked(service, path, bomb):
    before = megabytes_of_web(service)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = service.client.post(path, content=bomb, headers=headers)
    assert answer.status_code == 400
    assert "expected a JSON object" in answer.json()["error"]
    assert megabytes_of_web(service) - before < 50


# JSON.


def send(service, path, text):
    return service.client.post(path, content=text, headers={"content-type": "application/json"})


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_too_deeply_is_refused(service, path, depth, brackets):
    opening, closing = brackets
    for text in (
        f'{{"project": "1.2", "schema": {opening * depth}1{closing * depth}}}',
        f'{{"action": "X", "project": {{"id": 1, "deep": {opening * depth}1{closing * depth}}}}}',
        opening * depth,
    ):
        answer = send(service, path, text)
        assert answer.status_code == 400
        assert "nested too deeply" in answer.json()["error"] or "expected a" in answer.json()["error"]


def test_an_annotation_that_is_nested_deeply_spoils_no_training(service, project, make_task):
    """As deep as is just accepted: what reads it later must not be in greater need of depth."""
    task = make_task()
    accepted = 0
    for depth in (100, 400, 700, 800, 850, 900, 930, 960, 990):
        deep = json.loads("[" * 90 + "]" * 90)
        bad = {**region("Walk", (1, 5)), "id": "DEEP", "value": {"ranges": deep, "timelinelabels": ["Walk"]}}
        event = project.annotation_event({"id": 10_000_000 + depth, "data": dict(task["data"])}, [bad])
        text = json.dumps(event).replace("[" * 89, "[" * (depth - 1)).replace("]" * 89, "]" * (depth - 1))
        accepted += send(service, "/webhook", text).status_code == 200
    assert accepted > 3
    job = service.train(project, (task, [region("Walk", (1, 24))]))
    assert job["state"] == "done", job["error"]
    assert len([warning for warning in job["warnings"] if "left out of the training: region" in warning]) == accepted


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-0.0", "9" * 4000, "9" * 5000])
def test_numbers_that_are_none_harm_nothing(service, make_task, number):
    project, task = Project(learning_config(frame_rate="$rate")), make_task()
    text = json.dumps(project.event("TASKS_CREATED", tasks=[{**task, "data": {**task["data"], "rate": "NUMBER"}}]))
    assert send(service, "/webhook", text.replace('"NUMBER"', number)).status_code in (200, 400)
    predict = json.dumps(project.predict_body([{**task, "data": {**task["data"], "rate": "NUMBER"}}]))
    answer = send(service, "/predict", predict.replace('"NUMBER"', number))
    assert answer.status_code == 400 or answer.json()["results"] == [[]]
    for field in (
        '"id": 1, "created_at": NUMBER',
        '"id": NUMBER',
        '"id": 1, "title": NUMBER',
        '"id": 1, "label_config": NUMBER',
    ):
        body = '{"action": "PROJECT_UPDATED", "project": {' + field.replace("NUMBER", number) + "}}"
        assert send(service, "/webhook", body).status_code in (200, 400)
    assert json.loads(service.client.get("/jobs").text, parse_constant=pytest.fail)


def test_of_a_key_that_comes_twice_the_last_counts(service, project, make_task):
    body = json.dumps(project.setup_body())
    doubled = '{"schema": "<no>", "project": "../../etc", ' + body[1:]
    assert send(service, "/setup", doubled).json() == {"model_version": "untrained"}


WRONG = [None, True, 0, -1, 1.5, "", "x", [], [None], {}, {"id": {}}, [[]], 10**30, "\0", "9" * 1000]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:12])
def test_values_of_wrong_types_in_every_place_are_refused_or_passed_over(service, project, make_task, wrong):
    task = make_task()
    event = project.annotation_event(task, [region("Walk", (1, 5))])
    places = [(event, key) for key in event] + [
        (event[part], key) for part in ("annotation", "task", "project") for key in event[part]
    ]
    for part, key in places:
        kept = part[key]
        part[key] = wrong
        assert send(service, "/webhook", json.dumps(event)).status_code in (200, 400), key
        part[key] = kept
    for body, path in ((project.setup_body(), "/setup"), (project.predict_body([task]), "/predict")):
        for key in body:
            assert send(service, path, json.dumps({**body, key: wrong})).status_code in (200, 400), (path, key)
    # Of a project that learned nothing: by this one a task of id 0, which is one, is predicted once the annotation is learned.
    results = service.predict(
        Project(learning_config()),
        [wrong, {**task, "id": wrong}, {**task, "data": wrong}, {"id": 1, "data": {"video": wrong}}],
    )
    assert results == [[]] * 4


def test_a_message_of_a_stranger_is_shown_in_part(service, project, make_task):
    task = make_task()
    long = "x" * 500_000
    for text in (f"<View>{long}</View>", project.config.replace('value="Walk"', f'value="{long}"').replace("true", "false", 1)):
        answer = service.setup(project.with_config(text))
        assert answer.status_code == 400
        assert len(answer.text) < 10_000
    service.predict(project, [{**task, "data": {"video": f"/nowhere/{long}"}}, {"id": task["id"], "data": long}])
    assert len(service.client.get("/jobs").content) < 3 * MEGABYTE


# Labeling configs.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DTD with entities", '<!DOCTYPE View [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><View>&b;</View>'),
        ("a file", '<!DOCTYPE View [<!ENTITY f SYSTEM "file:///etc/hostname">]><View>&f;</View>'),
        ("an address", '<!DOCTYPE View SYSTEM "http://127.0.0.1:9/x.dtd"><View/>'),
        ("a parameter entity", '<!DOCTYPE View [<!ENTITY % p SYSTEM "file:///etc/hostname">%p;]><View/>'),
        ("deep", "<a>" * 120_000 + "</a>" * 120_000),
        ("deep and not closed", "<a>" * 300_000),
        ("many attributes", "<View " + " ".join(f'a{n}=""' for n in range(80_000)) + "/>"),
        ("a million labels", '<View><TimelineLabels name="t" toName="v">' + '<Label value="a"/>' * 1_000_000),
        ("many labels", learning_config(*(f"l{n}" for n in range(20_000)))),
        ("many controls", "<View>" + learning_config("a")[6:-7] * 3000 + "</View>"),
        ("a NUL", learning_config("a\0b")),
        ("another encoding", '<?xml version="1.0" encoding="utf-7"?><View/>'),
        ("an encoding that is none", '<?xml version="1.0" encoding="x"?><View/>'),
        ("includes", '<View xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/hostname"/></View>'),
        ("a stylesheet", '<?xml-stylesheet href="http://127.0.0.1:9/x"?><View/>'),
        ("a long rate", learning_config(frame_rate="1" * 900_000 + "x")),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_a_labeling_config_that_attacks_is_answered_at_once(service, project, name, text):
    before, begun = megabytes_of_web(service), processor_seconds_of_web(service)
    answer = service.setup(project.with_config(text))
    took = processor_seconds_of_web(service) - begun
    # A rate that is no number is 24 to the editor, and 18 MB are no config at all.
    assert answer.status_code == {"a long rate": 200, "a million labels": 413}.get(name, 400)
    assert took < 3, f"{took:.1f} s"  # what Label Studio waits for
    assert megabytes_of_web(service) - before < 300
    assert "hostname" not in answer.text or "file" not in answer.text


@pytest.mark.parametrize("rate", ["1e308", "1e-308", "0x10", "1e-320", "1e9", "0.0000001", "99999999999", "1_000"])
def test_a_frame_rate_without_measure_gives_no_timeline_without_measure(service, make_task, rate):
    project, task = Project(learning_config(frame_rate=rate)), make_task()
    told = service.post("/webhook", project.annotation_event(task, [region("Walk", (1, 5))]))
    assert told.status_code == 200
    service.wait_idle()
    (result,) = service.predict(project, [task]) if service.setup(project).status_code == 200 else [[]]
    assert result == [] or len(json.dumps(result)) < 1000
    failed = [job["error"] for job in service.jobs(project) if job["state"] == "failed"]
    assert all("frame" in error for error in failed), failed


# Regions.


LIES = {
    "past the end": ({"ranges": [{"start": 900, "end": 1200}]}, "frames 900-1200 are outside a video of 24 frames"),
    "far past the end": ({"ranges": [{"start": 1, "end": 10**18}]}, "are outside a video of 24 frames"),
    "huge": ({"ranges": [{"start": 10**30, "end": 10**31}]}, "are outside a video of 24 frames"),
    "reversed": ({"ranges": [{"start": 9, "end": 3}]}, "starts at frame 9 and ends before it, at frame 3"),
    "before the first": ({"ranges": [{"start": -3, "end": 3}]}, "starts at frame -3, but Label Studio's frames start at 1"),
    "negative": ({"ranges": [{"start": -5, "end": 3}]}, "starts at frame -5"),
    "fractional": ({"ranges": [{"start": 1.5, "end": 3}]}, "start must be a whole frame number, found 1.5"),
    "text": ({"ranges": [{"start": "1", "end": 3}]}, "start must be a whole frame number, found '1'"),
    "no start": ({"ranges": [{}]}, "start must be a whole frame number, found None"),
    "truth": ({"ranges": [{"start": True, "end": 3}]}, "start must be a whole frame number, found True"),
    "ranges of another type": ({"ranges": {"start": 1}}, "expected a list of ranges"),
    "range of another type": ({"ranges": [[1, 2]]}, "expected a range with start and end"),
    "labels of another type": ({"ranges": [], "timelinelabels": "Walk"}, "expected a list of label names"),
    "label of another type": ({"ranges": [], "timelinelabels": [["Walk"]]}, "expected a list of label names"),
    "no value": (None, "expected an object 'value' with ranges and labels"),
}


def test_regions_that_lie_are_named_and_the_other_tasks_are_learned_from(service, project, make_task, make_clip):
    clip = make_clip()
    bad = {}
    for name, (value, _) in LIES.items():
        lie = region("Walk", (1, 5))
        lie["value"] = None if value is None else {**lie["value"], **value}
        bad[name] = (make_task(clip), [region("Walk", (1, 3)), lie])
    other = {"type": "videorectangle", "from_name": "box", "to_name": "clip", "value": {"sequence": "?", "ranges": "?"}}
    elsewhere = {**region("Nobody's", (900, 1)), "from_name": "somebody-else"}
    good = (make_task(clip), [region("Walk", (1, 24)), other, elsewhere, None, 7, "region", []])

    unknown = (make_task(clip), [region("Walk", (1, 24)), region("Fly" * 10_000, (1, 5))])

    job = service.train(project, *bad.values(), good, unknown)

    assert job["state"] == "done", job["error"]
    (told,) = [w for w in job["warnings"] if w.startswith(f"task {unknown[0]['id']}: regions of ['FlyFly")]
    assert len(told) < 500
    for name, (task, _) in bad.items():
        (warning,) = [w for w in job["warnings"] if w.startswith(f"task {task['id']} is left out of the training: ")]
        assert LIES[name][1] in warning, name
    (version,) = [v for v in service.client.get("/versions").json()["details"] if v["project"] == project.key and v["current"]]
    assert version["videos"] == 2  # of a label that is not there, its region alone is left out


# Videos: what they do to the worker. The kinds of lies are in tests/unit/test_lying_videos.


def test_videos_that_lie_leave_the_worker_at_work(service, honest, videos, make_task, make_clip):
    project, _, _ = honest
    secret = make_clip()
    playlist = videos / "playlist.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    bomb = write_video(videos / "bomb.mp4", colour_pictures(10))
    content = bytearray(bomb.read_bytes())
    for box, distance, value in (
        (b"stts", 12, 80_000_000),
        (b"stsz", 8, 1),
        (b"stsz", 12, 80_000_000),
        (b"stsc", 16, 80_000_000),
    ):
        struct.pack_into(">I", content, content.index(box) + distance, value)
    bomb.write_bytes(content)
    codec = write_video(videos / "codec.mp4", colour_pictures(5))
    codec.write_bytes(codec.read_bytes().replace(b"avc1", b"zzzz"))
    header = write_video(videos / "header.mp4", colour_pictures(30))
    header.write_bytes(header.read_bytes()[: header.read_bytes().index(b"mdat") + 4])
    worker = service.worker_pid()

    tasks = [make_task(path) for path in (playlist, bomb, codec, header)]
    assert service.predict(project, tasks) == [[]] * 4
    service.wait_idle()

    errors = {job["task"]: job["error"] for job in service.jobs(project, "extract") if job["state"] == "failed"}
    said = ["not a video that can be read", "declares 80000000 samples", "a codec that FFmpeg does not know", "header.mp4: "]
    for task, text in zip(tasks, said, strict=True):
        assert text in errors[task["id"]]
    assert service.worker_pid() == worker


# Checkpoints.


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


def test_a_checkpoint_in_the_models_folder_cannot_run_code(service, make_task, backbone, tmp_path):
    import torch
    from ultralytics.nn.tasks import ClassificationModel

    witness = tmp_path / "it-ran"
    evaluated = {"nc": 2, "activation": f"open({str(witness)!r}, 'w')", "backbone": [], "head": [[-1, 1, "Classify", [2]]]}
    content = torch.load(backbone, map_location="cpu", weights_only=False)
    for name, payload in (("system", Calls(os.system, f"touch {witness}")), ("class", Calls(ClassificationModel, evaluated))):
        torch.save({**content, "ema": payload}, service.model_root / f"evil-{name}.pt")
    (service.model_root / "evil-pickle.pt").write_bytes(pickle.dumps(Calls(os.system, f"touch {witness}")))
    try:
        for name in ("system", "class", "pickle"):
            project = Project(learning_config(model_path=f"evil-{name}.pt"))
            job = service.train(project, (make_task(), [region("Walk", (1, 24))]))
            assert job["state"] == "failed"
            assert f"backbone 'evil-{name}.pt' cannot be loaded: " in job["error"]
            simple = project.with_config(project.config.replace('model_trainable="true"', ""))
            assert service.setup(simple).status_code == 400
    finally:
        for path in service.model_root.glob("evil-*.pt"):
            path.unlink()
    assert not witness.exists(), "code of the checkpoint ran"


def test_a_checkpoint_under_another_name_is_the_same_backbone(service, make_task, backbone):
    shutil.copy(backbone, service.model_root / "copy.pt")
    project = Project(learning_config(model_path="copy.pt"))
    assert service.train(project, (make_task(), [region("Walk", (1, 24))]))["state"] == "done"
