"""Answers by the state of videos: cold, cached, replaced, bad; simple mode."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from tests.index_clips import make_index_clip
from tests.integration.conftest import BALL
from tests.integration.service import Project, Service, frames_of, labeling_config, learning_config, region, wait_for
from tests.process_tree import paused
from tests.videos import cut, write_sound, write_timed

EVERY_FRAME = learning_config(model_score_threshold="0")  # a trained network predicts each label in all frames


@pytest.fixture
def trained(service, make_task):
    """A project whose predictions tell how long a video is."""
    project = Project(EVERY_FRAME)
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    return project


@pytest.fixture(scope="module")
def hasty_service(tmp_path_factory, backbone, videos):
    """A service that waits for no video, with a cache of its own."""
    with Service(tmp_path_factory.mktemp("hasty"), backbone, videos, PREDICT_WAIT_SECONDS="0") as running:
        yield running


@pytest.fixture(scope="module")
def set_service(tmp_path_factory, backbone, videos):
    """A service whose settings say what labeling configs leave open, and what they may not say."""
    settings = {"MODEL_SCORE_THRESHOLD": "0", "ALLOW_CUSTOM_MODEL_PATH": "false"}
    with Service(tmp_path_factory.mktemp("set"), backbone, videos, **settings) as running:
        yield running


def length_of(prediction):
    """Frames that a prediction of EVERY_FRAME spans."""
    return max(frames_of(prediction, "Walk"))


def test_a_cold_video_is_waited_for_and_predicted(service, trained, make_task):
    task = make_task(num_frames=29)
    prediction = service.predict(trained, [task])[0]
    assert length_of(prediction) == 29
    (job,) = service.jobs(trained, "extract")[:1]
    assert (job["task"], job["state"]) == (task["id"], "done")


def test_without_waiting_a_cold_video_is_answered_empty_and_predicted_when_it_is_extracted(hasty_service, make_task):
    project, task = Project(EVERY_FRAME), make_task(num_frames=29)
    hasty_service.train(project, (make_task(), [region("Walk", (1, 24))]))

    assert hasty_service.predict(project, [task]) == [[]]

    hasty_service.wait_idle()
    assert length_of(hasty_service.predict(project, [task])[0]) == 29


def test_an_untrained_project_has_its_videos_extracted_in_advance(service, project, make_task):
    task = make_task()
    assert service.predict(project, [task]) == [[]]
    service.wait_idle()
    assert [(j["task"], j["state"]) for j in service.jobs(project, "extract")] == [(task["id"], "done")]


def test_asking_again_while_a_video_is_extracted_adds_no_job(hasty_service, make_task):
    project, task = Project(EVERY_FRAME), make_task(num_frames=600)
    for _ in range(5):
        hasty_service.predict(project, [task])
    hasty_service.wait_idle()
    assert len(hasty_service.jobs(project, "extract")) == 1


@pytest.fixture
def bad_sources(videos, make_clip, tmp_path):
    """Name -> (video that cannot be read, what is said of it)."""
    (videos / "empty.mp4").touch()
    (videos / "notes.mp4").write_text("This is a text, whatever its name says.\n" * 100)
    shutil.copy(make_clip(250), videos / "cut.mp4")
    cut(videos / "cut.mp4", 0.5)
    write_sound(videos / "sound.mp4")
    shutil.copy(make_clip(), tmp_path / "outside.mp4")
    (videos / "link.mp4").unlink(missing_ok=True)
    (videos / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    return {
        "missing": (videos / "missing.mp4", "no such file"),
        "empty": (videos / "empty.mp4", "not a video that can be read"),
        "text": (videos / "notes.mp4", "not a video that can be read"),
        "truncated": (videos / "cut.mp4", "truncated or damaged"),
        "sound": (videos / "sound.mp4", "expected a video stream, found audio"),
        "folder": (videos, "no such file"),
        "outside": (tmp_path / "outside.mp4", "not below any folder of LOCAL_FILES_ROOTS"),
        "link": (videos / "link.mp4", "not below any folder of LOCAL_FILES_ROOTS"),
        "dots": (f"{videos}/../../../../../../etc/hostname", "not below any folder of LOCAL_FILES_ROOTS"),
        "host": ("http://127.0.0.1:9/video.mp4", "add it to MEDIA_HOSTS"),
        "scheme": ("file:///etc/hostname", "addresses of scheme 'file' are not read"),
        "upload": ("/data/upload/1/video.mp4", "LABEL_STUDIO_URL"),
    }


def test_bad_videos_among_good_ones_are_empty_items_with_the_reason_under_jobs(service, trained, make_task, bad_sources):
    good, other = make_task(num_frames=26), make_task(num_frames=28)
    bad = {name: make_task(source) for name, (source, _) in bad_sources.items()}

    first, *middle, last = service.predict(trained, [good, *bad.values(), other])

    assert (length_of(first), length_of(last)) == (26, 28)
    assert middle == [[]] * len(bad)
    service.wait_idle()
    errors = {job["task"]: job["error"] for job in service.jobs(trained) if job["state"] == "failed"}
    unexplained = {
        n: errors.get(bad[n]["id"]) for n, (_, said) in bad_sources.items() if said not in errors.get(bad[n]["id"], "")
    }
    assert unexplained == {}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": 900001, "data": {"image": "x.png"}},
        {"id": 900002, "data": {"video": None}},
        {"id": 900003, "data": {"video": ["a.mp4"]}},
        {"id": 900004, "data": {"video": ""}},
        {"id": 900005, "data": None},
        {"id": 900006},
        {"id": "900007", "data": {"video": "x.mp4"}},
        {"id": 10**30, "data": {"video": "x.mp4"}},
        {"id": True, "data": {"video": "x.mp4"}},
        {"data": {"video": "x.mp4"}},
        "a task",
        None,
        [],
        7,
    ],
    ids=repr,
)
def test_a_task_that_is_none_spoils_no_other(service, trained, make_task, bad):
    good = make_task(num_frames=26)
    first, middle, last = service.predict(trained, [good, bad, good])
    assert (length_of(first), middle, length_of(last)) == (26, [], 26)
    reason = service.jobs(trained, "predict")[0]
    assert reason["state"] == "failed"
    assert reason["error"].startswith(("expected a task", "task data: expected the video's address in 'video'"))


@pytest.mark.parametrize(
    "source", ["/a\x00b.mp4", "/\ud800.mp4", os.fsdecode(b"/\x80.mp4"), "/" + "a" * 300, "http://[::1/x.mp4"], ids=ascii
)
def test_a_strange_address_spoils_no_other(service, trained, make_task, source):
    good = make_task(num_frames=26)
    content = json.dumps(trained.predict_body([make_task(source), good]))
    answer = service.client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["results"]
    assert (first, length_of(second)) == ([], 26)
    service.wait_idle()


def test_a_failed_video_is_tried_again_when_it_was_replaced(service, trained, videos, make_task, make_clip):
    path = videos / "arrives-late.mp4"
    path.write_bytes(b"")
    task = make_task(path)
    assert service.predict(trained, [task]) == [[]]
    make_clip(27, name=path.name)
    assert length_of(service.predict_until_there(trained, task)) == 27


def test_a_file_that_was_replaced_under_its_path_is_predicted_anew(service, trained, make_clip, make_task):
    path = make_clip(26)
    task = make_task(path)
    assert length_of(service.predict_until_there(trained, task)) == 26

    make_clip(33, name=path.name)

    assert length_of(service.predict_until_there(trained, task)) == 33


def test_one_content_under_two_names_is_extracted_once(hasty_service, videos, make_clip, make_task):
    project = Project(EVERY_FRAME)
    original = make_clip(40)
    hasty_service.predict(project, [make_task(original)])
    hasty_service.wait_idle()
    before = cached_arrays(hasty_service)

    copy = shutil.copy(original, videos / "the-same-under-another-name.mp4")
    other = shutil.copy(original, videos / "and-another.mp4")
    hasty_service.predict(project, [make_task(copy), make_task(other)])
    hasty_service.wait_idle()

    assert [j["state"] for j in hasty_service.jobs(project, "extract")] == ["done"] * 3
    assert cached_arrays(hasty_service) == before

    hasty_service.predict(project, [make_task(make_clip(40))])
    hasty_service.wait_idle()
    assert len(cached_arrays(hasty_service)) == len(before) + 2  # one chunk of features, and the pictures' times


def cached_arrays(service):
    """Array files of the cache and when they were written."""
    return {path: path.stat().st_mtime_ns for path in service.cache.rglob("*.npy")}


def test_an_emptied_cache_is_filled_again(hasty_service, make_task):
    service, project, task = hasty_service, Project(EVERY_FRAME), make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    shutil.rmtree(service.cache)
    assert length_of(service.predict_until_there(project, task)) == 24


def test_predictions_that_wait_leave_threads_for_health_and_webhooks(start_service, make_task):
    """One web process with three threads, and more predictions that wait for cold videos than it has threads. The worker is
    stopped meanwhile: what is answered did not wait for a video."""
    service = start_service(THREADS="3", WORKERS="1", PREDICT_WAIT_SECONDS="90")
    project = Project(EVERY_FRAME)
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    cold, worker = [make_task(num_frames=29) for _ in range(6)], service.worker_pid()

    with ThreadPoolExecutor(len(cold)) as pool:
        with paused(worker, service.data):
            answers = [pool.submit(service.predict, project, [task]) for task in cold]
            # At most one of the three threads may wait: the other requests are answered at once.
            wait_for(lambda: sum(answer.done() for answer in answers) >= len(cold) - 1, "all predictions but one are answered")
            for _ in range(5):
                assert service.client.get("/health").status_code == 200
                assert service.send(project.event("TASKS_CREATED", tasks=[]))["status"] == "recorded"
            assert sum(answer.done() for answer in answers) == len(cold) - 1
        results = [answer.result() for answer in answers]

    assert sum(result == [[]] for result in results) == len(cold) - 1
    service.wait_idle()
    assert [length_of(service.predict(project, [task])[0]) for task in cold] == [29] * len(cold)


# Simple mode: the checkpoint takes every picture for a ball.


def ball_label(name="Ball", classes=BALL):
    return f'<Label value="{name}" predicted_values="{classes}"/>'


def test_simple_mode_predicts_labels_by_the_backbones_classes(service, make_task):
    config = labeling_config(ball_label(classes="boot, Soccer Ball"), ball_label("Grass", "grass,goal"))
    project, task = Project(config), make_task(num_frames=30)

    prediction = service.predict_until_there(project, task)

    assert [(r["value"], r["from_name"], r["to_name"]) for r in prediction["result"]] == [
        ({"ranges": [{"start": 1, "end": 30}], "timelinelabels": ["Ball"]}, "tl", "clip")
    ]
    assert prediction["result"][0]["score"] == pytest.approx(1)
    assert prediction["model_version"] == service.version(project)
    assert prediction["model_version"].startswith("simple-")


def test_the_default_backbones_classes_are_read_before_the_first_setup_asks(start_service):
    """Loading the network for them takes about as long as Label Studio waits for /setup."""
    service = start_service()
    wait_for(lambda: len(list((service.data / "backbones").glob("*.json"))) == 1, "the classes are written down")
    assert "Traceback" not in service.log()


def test_simple_mode_needs_no_annotation_and_learns_from_none(service, make_task):
    project, task = Project(labeling_config(ball_label())), make_task()
    before = service.version(project)
    told = service.send(project.annotation_event(task, [region("Ball", (1, 2))]))
    service.wait_idle()
    assert "job" not in told
    assert service.version(project) == before
    assert frames_of(service.predict_until_there(project, task), "Ball") == set(range(1, 25))


def test_a_label_named_as_a_class_needs_no_predicted_values(service, make_task):
    project = Project(labeling_config("Soccer_ball", "Something else"))
    assert frames_of(service.predict_until_there(project, make_task()), "Soccer_ball") == set(range(1, 25))


@pytest.mark.parametrize(("threshold", "frames"), [("0", 24), ("0.5", 0), ("1", 0)])
def test_the_score_threshold_decides_which_frames_are_labelled(service, make_task, threshold, frames):
    """Grass has a probability of almost nothing: at 0 it is enough."""
    config = labeling_config(ball_label("Grass", "grass"), model_score_threshold=threshold)
    prediction = service.predict_until_there(Project(config), make_task())
    assert len(frames_of(prediction, "Grass")) == frames


def test_a_trained_network_is_never_sure_enough_for_a_threshold_of_one(service, make_task):
    project, task = Project(learning_config(model_score_threshold="1")), make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    assert service.predict(project, [task])[0]["result"] == []


def test_the_score_threshold_of_the_settings_holds_where_the_config_has_none(set_service, make_task):
    service, task = set_service, make_task()
    by_setting = Project(labeling_config(ball_label("Grass", "grass")))
    by_config = Project(labeling_config(ball_label("Grass", "grass"), model_score_threshold="0.5"))
    assert len(frames_of(service.predict_until_there(by_setting, task), "Grass")) == 24
    assert service.predict_until_there(by_config, task)["result"] == []


def test_simple_mode_without_a_matching_class_is_refused_with_near_names(service):
    answer = service.setup(Project(labeling_config(ball_label(classes="soccer_bal"), "Unheard of")))
    assert answer.status_code == 400
    for text in (answer.json()["error"], answer.reason_phrase):
        assert "none of the labels ['Ball', 'Unheard of'] is a class of the backbone" in text
        assert "soccer ball" in text
        assert "predicted_values" in text


@pytest.mark.parametrize(
    "model_path", ["../../x.pt", "/etc/passwd", "http://x/y.pt", "sub/x.pt", ".hidden.pt", "x.txt", "..", "a\\..\\b.pt"]
)
def test_a_model_path_outside_the_models_folder_is_refused(service, model_path):
    answer = service.setup(Project(learning_config(model_path=model_path)))
    assert answer.status_code == 400
    assert repr(model_path) in answer.json()["error"]
    assert "model_path" in answer.reason_phrase or "backbone" in answer.reason_phrase
    assert "models folder" in answer.reason_phrase


def test_a_model_path_without_a_file_says_which_files_there_are(service, backbone):
    answer = service.setup(Project(learning_config(model_path="mine.pt")))
    assert answer.status_code == 400
    assert "no such file in the models folder" in answer.json()["error"]
    assert backbone.name in answer.reason_phrase


def test_a_link_out_of_the_models_folder_is_refused(service, backbone):
    link = service.model_root / "link.pt"
    link.symlink_to(backbone)
    answer = service.setup(Project(learning_config(model_path="link.pt")))
    assert answer.status_code == 400
    assert "leads outside the models folder" in answer.json()["error"]


def test_a_checkpoint_of_another_task_is_refused_where_it_is_used(service, make_task):
    """Not a network at all: found when it is loaded, by the job."""
    (service.model_root / "broken.pt").write_bytes(b"no weights")
    project = Project(learning_config(model_path="broken.pt"))
    job = service.train(project, (make_task(), [region("Walk", (1, 24))]))
    assert job["state"] == "failed"
    assert "backbone 'broken.pt' cannot be loaded" in job["error"]


def test_a_model_path_is_refused_where_only_the_administrators_is_allowed(set_service, backbone):
    service = set_service
    shutil.copy(backbone, service.model_root / "other.pt")
    answer = service.setup(Project(learning_config(model_path="other.pt")))
    assert answer.status_code == 400
    assert "ALLOW_CUSTOM_MODEL_PATH" in answer.reason_phrase
    assert service.version(Project(learning_config(model_path=backbone.name))) == "untrained"
    assert service.version(Project(learning_config())) == "untrained"


def test_without_internet_efficientnet_stands_in_for_the_default_and_for_no_other(start_service, make_task):
    """A proxy's address at which nobody listens stands for a machine without internet. An empty MODEL_PATH is none."""
    nowhere = "http://127.0.0.1:9"
    service = start_service(MODEL_PATH="", HTTPS_PROXY=nowhere, https_proxy=nowhere)
    assert "backbone 'yolov8n-cls.pt' is not in the models folder and could not be fetched" in service.log()
    assert "'efficientnet-lite0' is used" in service.log()

    project, task = Project(learning_config()), make_task()
    assert service.train(project, (task, [region("Walk", (1, 24))]))["state"] == "done"
    (version,) = service.client.get("/versions").json()["details"]
    assert version["backbone"]["name"] == "efficientnet-lite0"

    chosen = Project(learning_config(model_path="yolov8s-cls.pt"))
    job = service.train(chosen, (task, [region("Walk", (1, 24))]))
    assert job["state"] == "failed"
    assert "backbone 'yolov8s-cls.pt' is not in the models folder and could not be fetched" in job["error"]
    assert service.version(chosen) == "untrained"


def test_the_user_is_told_of_a_video_that_does_not_fit_and_how_to_cure_it(service, trained, make_task, videos):
    """MPEG-4 Part 2 is what OpenCV writes; the labeling config has frameRate 25."""
    path = make_index_clip(videos / "from opencv.mp4", 30, 30, (64, 64), codec_name="mpeg4")
    assert length_of(service.predict(trained, [make_task(path)])[0]) == 25
    codec, rate = service.jobs(trained, "extract")[0]["warnings"]
    assert "from opencv.mp4: browsers do not play the codec MPEG-4 Part 2" in codec
    assert "ffmpeg -i 'from opencv.mp4' -c:v libx264" in codec
    assert "30 pictures a second, but the labeling config's frameRate is 25" in rate
    assert "Leave frameRate as it is: another one would move the regions of" in rate
    assert "browsers do not play" in service.log()


def test_a_last_picture_that_stays_is_predicted_to_its_end(service, trained, make_task, videos):
    """A time-lapse: a picture each 2 s, and so a rate that no frameRate can be."""
    path = write_timed(videos / "lapse.mp4", range(0, 20, 2), 2)
    assert length_of(service.predict(trained, [make_task(path)])[0]) == 500
    (rate,) = service.jobs(trained, "extract")[0]["warnings"]
    assert "lapse.mp4: a picture each 2 s, but the labeling config's frameRate is 25" in rate
    assert "frameRate=" not in rate
    assert ": ffmpeg -i lapse.mp4 -vf fps=25 " in rate


def test_the_user_is_told_how_many_pictures_of_a_video_are_left_out(service, trained, make_task, videos):
    """Recordings that were joined byte by byte: each begins its clock anew."""
    times = [Fraction(number, 25) for number in range(50)]
    parts = [
        write_timed(videos / f"{start}.ts", [time + start for time in times], Fraction(1, 25)).read_bytes() for start in (4, 0)
    ]
    path = videos / "joined.ts"
    path.write_bytes(b"".join(parts))
    service.predict(trained, [make_task(path)])
    service.wait_idle()
    playing, losses, *_ = service.jobs(trained, "extract")[0]["warnings"]
    assert "browsers do not play the container mpegts" in playing
    assert "joined.ts: pictures are left out whose times are not after that of the picture before" in losses
    assert "(50 pictures)" in losses
