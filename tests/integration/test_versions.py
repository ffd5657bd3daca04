"""Versions of a running service: going back to one, what is kept, what is forgotten; by its API and by the command."""

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service import (
    REPOSITORY,
    Project,
    Service,
    endless_config,
    frames_of,
    learning_config,
    region,
    start_endless_training,
    wait_for,
)
from tests.integration.warm import run_warm

QUICK = {"model_classifier_epochs": "1"}  # where it does not matter what is learned


def command(service, *args, **settings):
    """Run ``framewise`` beside a service, with the same settings."""
    return run_warm(args, {**service.env, **settings}, service.folder, timeout=600)


def command_anew(service, *args):
    """The same with a Python that has imported nothing."""
    run = [sys.executable, "-m", "framewise", *args]
    return subprocess.run(run, env=service.env, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)


def roll_back_by_api(service, project, version):
    answer = service.post("/versions/current", {"project": project, "version": version})
    assert answer.status_code == 200, answer.text
    return answer.json()


def roll_back_by_command(service, project, version):
    done = command_anew(service, "roll-back", project, version)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def unpin_by_api(service, project):
    answer = service.client.delete("/versions/current", params={"project": project})
    assert answer.status_code == 200, answer.text
    return answer.json()


def unpin_by_command(service, project):
    done = command_anew(service, "unpin", project)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def details(service, project):
    """name -> what /versions says of it, newest first."""
    shown = service.client.get("/versions", params={"project": project.key}).json()
    return {v["version"]: v for v in shown["details"]}


def train_again(service, project, task, result):
    """Submit an annotation and wait; the new version's name, whether it is in use or not."""
    before = set(details(service, project))
    assert service.train(project, (task, result))["state"] == "done"
    (new,) = set(details(service, project)) - before
    return new


def annotate_twice(service, project, task):
    """The versions of two trainings: the first learned that all is Walk, the second that all is Run."""
    event = project.annotation_event(task, [region("Walk", (1, 24))])
    service.send(event)
    service.wait_idle()
    first = service.version(project)
    service.send(
        project.annotation_event(task, [region("Run", (1, 24))], "ANNOTATION_UPDATED", annotation=event["annotation"]["id"])
    )
    service.wait_idle()
    return first, service.version(project)


# Rolling back.


@pytest.fixture(scope="module")
def service_of_three(tmp_path_factory, backbone, videos):
    """A service of three web processes."""
    with Service(tmp_path_factory.mktemp("three"), backbone, videos, WORKERS="3") as running:
        yield running


@pytest.mark.parametrize("roll_back", [roll_back_by_api, roll_back_by_command])
def test_a_roll_back_changes_what_label_studio_is_answered_in_every_process(service_of_three, project, make_task, roll_back):
    service, task = service_of_three, make_task()
    first, second = annotate_twice(service, project, task)
    of_first, of_second = [], []
    for answers in (of_second, of_first):
        # A connection of its own each time: any of the processes may answer it.
        setups = [httpx.post(f"{service.url}/setup", json=project.setup_body(), timeout=300).json() for _ in range(12)]
        body = project.predict_body([task])
        answers += [httpx.post(f"{service.url}/predict", json=body, timeout=300).json()["results"][0] for _ in range(12)]
        expected = second if answers is of_second else first
        assert {answer["model_version"] for answer in (*setups, *answers)} == {expected}
        if answers is of_second:
            roll_back(service, project.key, first)
    assert all(len(frames_of(p, "Run")) > 12 > len(frames_of(p, "Walk")) for p in of_second)
    assert all(len(frames_of(p, "Walk")) > 12 > len(frames_of(p, "Run")) for p in of_first)


def test_a_submit_after_a_roll_back_is_learned_and_not_used(service, project, make_task):
    task = make_task()
    first, second = annotate_twice(service, project, task)
    told = roll_back_by_api(service, project.key, first)
    assert told == {"project": project.key, "controls": [{"control": "tl", "version": first, "pinned": True}]}
    before = frames_of(service.predict(project, [task])[0], "Walk")

    third = train_again(service, project, make_task(), [region("Run", (1, 24))])

    assert service.version(project) == first
    assert frames_of(service.predict(project, [task])[0], "Walk") == before
    assert [(v["version"], v["current"], v["pinned"]) for v in details(service, project).values()] == [
        (third, False, False),
        (second, False, False),
        (first, True, True),
    ]
    assert [third in w and "not in use" in w for w in service.jobs(project, "train")[0]["warnings"]] == [True]


def test_start_training_releases_a_version_when_its_own_is_there(service, project, make_task):
    first, _ = annotate_twice(service, project, make_task())
    roll_back_by_api(service, project.key, first)

    service.send(project.event("START_TRAINING"))
    service.wait_idle()

    newest = next(iter(details(service, project).values()))
    assert newest["version"].startswith("v3-")
    assert (newest["current"], newest["pinned"]) == (True, False)
    assert service.version(project) == newest["version"]
    fourth = train_again(service, project, make_task(), [region("Run", (1, 24))])
    assert service.version(project) == fourth


@pytest.mark.parametrize("unpin", [unpin_by_api, unpin_by_command])
def test_unpinned_the_newest_version_is_used_at_once(service, project, make_task, unpin):
    task = make_task()
    first, _ = annotate_twice(service, project, task)
    roll_back_by_api(service, project.key, first)
    third = train_again(service, project, make_task(), [region("Run", (1, 24))])

    unpin(service, project.key)

    assert service.version(project) == third
    assert service.predict(project, [task])[0]["model_version"] == third
    fourth = train_again(service, project, make_task(), [region("Walk", (1, 24))])
    assert service.version(project) == fourth


def test_project_and_version_may_be_named_by_their_numbers(service, project, make_task):
    first, second = annotate_twice(service, project, make_task())
    assert f"project {project.key}, tl: {first} is in use, pinned" in roll_back_by_command(service, str(project.id), "v1")
    assert roll_back_by_api(service, project.id, "v2")["controls"][0]["version"] == second
    assert unpin_by_api(service, str(project.id))["controls"][0] == {"control": "tl", "version": second, "pinned": False}


def test_every_control_that_has_the_version_is_rolled_back_and_the_others_stay(service, make_task):
    def config(*controls):
        tags = "".join(
            f'<TimelineLabels name="{name}" toName="v" model_trainable="true" model_classifier_type="lstm" '
            f'model_classifier_epochs="1">'
            f'<Label value="{label}"/></TimelineLabels>'
            for name, label in controls
        )
        return f'<View>{tags}<Video name="v" value="$video" frameRate="25"/></View>'

    project, task = Project(config(("feet", "Walk"))), make_task()
    result = [region("Walk", (1, 9), control="feet"), region("Wave", (9, 20), control="hands")]
    service.train(project, (task, result[:1]))
    first = service.version(project)
    project = project.with_config(config(("feet", "Walk"), ("hands", "Wave")))
    service.version(project)  # tells the new config
    service.train(project, (task, result))
    second = service.version(project)
    service.train(project, (make_task(), result))
    third = service.version(project)

    assert roll_back_by_api(service, project.key, second)["controls"] == [
        {"control": "feet", "version": second, "pinned": True},
        {"control": "hands", "version": second, "pinned": True},
    ]
    assert service.version(project) == second
    roll_back_by_api(service, project.key, first)
    assert service.version(project) == f"{first}+{second}"
    assert unpin_by_api(service, project.key)["controls"] == [
        {"control": "feet", "version": third, "pinned": False},
        {"control": "hands", "version": third, "pinned": False},
    ]
    assert service.version(project) == third


@pytest.mark.parametrize(
    ("body", "status", "texts"),
    [
        ({"project": "4711.1", "version": "v1"}, 404, ["project '4711.1' is not known here; known are "]),
        ({"project": 4711, "version": "v1"}, 404, ["project '4711' is not known here; known are "]),
        ({"project": None, "version": "v9"}, 404, ["has no version 'v9'; it has v1-"]),
        ({"project": None, "version": "../../x"}, 404, ["has no version '../../x'"]),
        ({"project": None}, 400, ["expected a text in 'version'"]),
        ({"version": "v1"}, 400, ["expected a text in 'project'"]),
        ({"project": ["1"], "version": "v1"}, 400, ["expected a text in 'project'"]),
    ],
    ids=["key", "number", "version", "path", "no version", "no project", "list"],
)
def test_what_is_not_there_is_refused_with_what_is(service, make_task, body, status, texts):
    project = Project(learning_config(**QUICK))
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    body = {name: value or project.key for name, value in body.items()}

    answer = service.post("/versions/current", body)

    assert answer.status_code == status
    assert [text for text in texts if text not in answer.json()["error"]] == []
    if "version" in body and isinstance(body.get("project"), str):
        done = command(service, "roll-back", body["project"], body["version"])
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"framewise: {answer.json()['error']}\n")
    assert service.version(project).startswith("v1-")


def test_a_number_that_two_projects_had_is_refused_with_their_keys(service, make_task):
    old = Project(learning_config(**QUICK))
    new = Project(old.config, id=old.id, created=old.created + 60)
    for project in (old, new):
        service.train(project, (make_task(), [region("Walk", (1, 24))]))
    answer = service.client.delete("/versions/current", params={"project": old.id})
    assert (answer.status_code, answer.json()["error"].endswith(f"choose one of: {old.key}, {new.key}")) == (404, True)


def test_a_version_whose_files_are_broken_is_not_gone_back_to_and_spoils_only_what_needs_it(service, project, make_task):
    task = make_task()
    first, second = annotate_twice(service, project, task)
    (folder,) = service.model_folders(project)
    weights = folder / first / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])

    answer = service.post("/versions/current", {"project": project.key, "version": first})

    assert answer.status_code == 400
    assert f"version {first} of 'tl' cannot be used: " in answer.json()["error"]
    assert service.version(project) == second
    assert service.predict(project, [task])[0]["model_version"] == second
    (folder / first / "version.json").write_text("{")
    assert list(details(service, project)) == [second]
    assert service.client.get("/metrics").status_code == 200


def test_a_version_of_another_backbone_is_not_gone_back_to(service, make_task):
    project, task = Project(learning_config(**QUICK)), make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    first = service.version(project)
    other = project.with_config(learning_config(model_crop="fit", **QUICK))
    service.version(other)
    service.wait_idle()
    second = service.version(other)

    answer = service.post("/versions/current", {"project": project.key, "version": first})

    assert answer.status_code == 400
    assert "(center), but the labeling config now has" in answer.json()["error"]
    assert service.version(other) == second
    assert [v["pinned"] for v in details(service, project).values()] == [False, False]


def test_a_pinned_version_that_a_new_backbone_made_useless_gives_way(service, make_task):
    project, task = Project(learning_config(**QUICK)), make_task()
    first, _ = annotate_twice(service, project, task)
    roll_back_by_api(service, project.key, first)
    other = project.with_config(learning_config(model_crop="fit", **QUICK))

    assert service.version(other) == "untrained"  # and starts a training
    service.wait_idle()

    assert service.version(other).startswith("v3-")
    service.wait_idle()
    assert len(service.jobs(project, "train")) == 3


# What is kept.


def test_versions_of_long_ago_are_removed_and_the_one_in_use_is_not(start_service, make_task):
    service, project = start_service(KEEP_VERSIONS="2"), Project(learning_config(**QUICK))
    task = make_task()
    first, second = annotate_twice(service, project, task)
    roll_back_by_api(service, project.key, first)
    third, fourth = (train_again(service, project, task, [region("Run", (1, 24))]) for _ in range(2))

    assert list(details(service, project)) == [fourth, third, first]
    (folder,) = service.model_folders(project)
    assert {path.name for path in folder.iterdir()} == {fourth, third, first}
    assert service.predict(project, [task])[0]["model_version"] == first
    unpin_by_api(service, project.key)
    fifth = train_again(service, project, task, [region("Run", (1, 24))])
    assert list(details(service, project)) == [fifth, fourth]


def test_who_asks_while_the_version_in_use_is_replaced_and_removed_is_answered_by_one_or_the_other(start_service, make_task):
    service, project, task = start_service(KEEP_VERSIONS="1"), Project(learning_config(**QUICK)), make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    stop, refused, versions = threading.Event(), [], []

    def ask():
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while not stop.is_set():
                for path, body in (("/setup", project.setup_body()), ("/predict", project.predict_body([task] * 5))):
                    answer = client.post(path, json=body)
                    if answer.status_code != 200:
                        refused.append((path, answer.status_code, answer.text[:500]))
                    elif path == "/predict":
                        versions.append({item["model_version"] if item else "nothing" for item in answer.json()["results"]})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        service.train(project, (task, [region("Walk", (1, 24))]))
    stop.set()
    for thread in threads:
        thread.join()

    assert refused == []
    assert {len(of_one_request) for of_one_request in versions} == {1}
    seen = set().union(*versions)
    assert "nothing" not in seen
    assert len(seen) > 1
    assert not service.jobs(project, "predict")
    assert len(details(service, project)) == 1


# The list.


def with_quality(service, project, version, f1, f1_at_50, about=None, **more):
    """Write into a version what a training measured on held-out videos. about: what else its record says."""
    (folder,) = service.model_folders(project)
    path = folder / version / "version.json"
    mean = {"f1": f1, "f1@10": None, "f1@25": 0.5, "f1@50": f1_at_50, "average_precision": 0.9}
    labels = {"Walk": {**mean, "true_segments": 12, "predicted_segments": 14}, "Run": {"f1": None}}
    quality = {"method": "leave one video out", "weak": False, "videos": 6, "mean": mean, "labels": labels, **more}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quality": quality, **(about or {})}))


def test_the_list_says_what_is_in_use_and_offers_the_way_back_from_a_worse_version(service, project, make_task):
    first, second = annotate_twice(service, project, make_task())
    with_quality(service, project, first, 0.81, 0.6)
    fallen = {"version": first, "now": 0.41, "then": 0.6, "videos": 6}
    with_quality(service, project, second, 0.62, 0.655, weak=True, about={"worse_than": fallen})

    done = command(service, "versions", str(project.id))

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["PROJECT", "CONTROL", "VERSION", "TRAINED", "AT", "(UTC)", "VIDEOS", "F1", "F1@50"]
    cells = [line.split() for line in lines[1:3]]
    assert [(c[0], c[1], c[2], c[5:]) for c in cells] == [
        (project.key, "tl", second, ["1", "~0.62", "~0.66", "in", "use"]),
        (project.key, "tl", first, ["1", "0.81", "0.60"]),
    ]
    assert f"{second} is worse than {first}: F1@50 0.41, which was 0.60 on the same 6 videos." in done.stdout
    assert lines[-1] == f"To go back: framewise roll-back {project.key} {first}"
    assert "~: measured on few videos" in done.stdout

    *_, offered = lines[-1].partition("framewise ")
    assert command(service, *offered.split()).returncode == 0
    assert service.version(project) == first
    again = command(service, "versions", project.key).stdout
    assert again.splitlines()[2].endswith("in use, pinned")
    assert "To go back" not in again


def test_nothing_is_offered_where_no_training_found_that_it_fell(service, project, make_task):
    first, second = annotate_twice(service, project, make_task())
    assert "F1 and F1@50" not in command(service, "versions", project.key).stdout
    with_quality(service, project, first, 0.8, None)
    with_quality(service, project, second, 0.6, 0.5)  # other videos: lower, and by that not worse
    shown = command(service, "versions", project.key).stdout
    assert "roll-back" not in shown
    assert "To go back" not in shown


def test_versions_shows_the_quality_and_metrics_those_of_the_version_in_use(service, project, make_task):
    first, second = annotate_twice(service, project, make_task())
    with_quality(service, project, first, 0.81, 0.6)
    with_quality(service, project, second, 0.62, 0.65)

    assert details(service, project)[first]["quality"]["mean"]["f1"] == 0.81
    families = text_string_to_metric_families(service.client.get("/metrics").text)
    samples = [s for family in families for s in family.samples if s.labels.get("project") == project.key]

    assert {s.labels["version"] for s in samples} == {second}
    of_label = {(s.labels["label"], s.labels["measure"]): s.value for s in samples if s.name == "framewise_version_quality"}
    assert of_label == {
        ("Walk", "f1"): 0.62, ("Walk", "f1_25"): 0.5, ("Walk", "f1_50"): 0.65, ("Walk", "average_precision"): 0.9,
    }  # fmt: skip
    mean = {s.labels["measure"]: s.value for s in samples if s.name == "framewise_version_quality_mean"}
    assert mean == {"f1": 0.62, "f1_25": 0.5, "f1_50": 0.65, "average_precision": 0.9}


@pytest.mark.parametrize("quality", [None, [], "good", {"mean": [], "labels": 3}, {"mean": {"f1": "x"}, "labels": {"a": None}}])
def test_a_quality_that_is_none_harms_nothing(service, make_task, quality):
    project = Project(learning_config(**QUICK))
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    (path,) = service.model_folders(project)[0].glob("*/version.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "quality": quality}))
    assert service.client.get("/metrics").status_code == 200
    assert service.client.get("/versions").status_code == 200
    assert command(service, "versions").returncode == 0


@pytest.mark.parametrize(
    "args", [("versions",), ("unpin", "1"), ("roll-back", "1", "v1"), ("forget", "1", "--yes")], ids=" ".join
)
def test_a_command_with_the_settings_of_no_service_says_so_and_makes_nothing(service, tmp_path, args):
    done = command(service, *args, DATA_DIR=str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"framewise: DATA_DIR: {tmp_path / 'nowhere'} holds no framewise.sqlite")
    assert not (tmp_path / "nowhere").exists()


# Forgetting.


def rows_of(service, project):
    """(table, row) of all that holds the project's key."""
    tables = [row["name"] for row in service.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = [(table, tuple(row)) for table in tables for row in service.rows(f"SELECT * FROM {table}")]
    return sorted((table, row) for table, row in found if project.key in row and table != "forgotten_projects")


def test_forgotten_a_project_is_gone_and_the_others_are_as_before(service, make_task):
    gone, stays = Project(learning_config(**QUICK)), Project(learning_config(**QUICK))
    task = make_task()
    for project in (gone, stays):
        annotate_twice(service, project, task)
    predicted = service.predict(stays, [task])  # which is remembered
    before, folders = rows_of(service, stays), service.model_folders(stays)
    cached = sorted(service.cache.rglob("*.npy"))

    done = command(service, "forget", str(gone.id), "--yes")

    assert (done.returncode, done.stderr) == (0, "")
    for text in ("annotations", str(service.model_root / f"timelinelabels-{gone.key}-tl"), "Features of its videos stay"):
        assert text in done.stdout
    assert (rows_of(service, gone), service.model_folders(gone)) == ([], [])
    assert (rows_of(service, stays), service.model_folders(stays)) == (before, folders)
    assert sorted(service.cache.rglob("*.npy")) == cached
    assert [p["result"] and p["model_version"] for p in service.predict(stays, [task])] == [
        p["result"] and p["model_version"] for p in predicted
    ]
    assert gone.key not in service.client.get("/versions").text
    assert command(service, "forget", gone.key, "--yes").stderr.startswith(f"framewise: project '{gone.key}' is not known")

    # Label Studio has it still: it begins anew.
    assert service.version(gone) == "untrained"
    assert service.train(gone, (task, [region("Walk", (1, 24))]))["state"] == "done"
    assert service.version(gone).startswith("v1-")


def test_forgotten_while_it_trains_a_project_stays_forgotten(service, make_clip, make_task):
    project, other = Project(endless_config()), Project(learning_config(**QUICK))
    start_endless_training(service, project, make_clip(), make_task)

    assert command(service, "forget", project.key, "--yes").returncode == 0

    service.wait_idle()
    assert service.train(other, (make_task(), [region("Walk", (1, 24))]))["state"] == "done"
    assert (rows_of(service, project), service.model_folders(project)) == ([], [])
    wait_for(lambda: "its project was forgotten" in service.log(), "the training ends and says why")


def test_nothing_is_forgotten_without_being_asked_for(service, make_task):
    project = Project(learning_config(**QUICK))
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    before = rows_of(service, project)

    done = command(service, "forget", project.key)
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    assert answered_on_a_terminal(service, project, "no\n") == 1
    assert rows_of(service, project) == before
    assert answered_on_a_terminal(service, project, "yes\n") == 0
    assert rows_of(service, project) == []


def answered_on_a_terminal(service, project, answer):
    """Exit code of ``framewise forget`` for who types this."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "framewise", "forget", project.key],
        env=service.env, cwd=Path(__file__).parents[2], stdin=theirs, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.write(ours, answer.encode())
    code = process.wait(timeout=600)
    os.close(ours)
    os.close(theirs)
    return code
