"""``framewise train``, ``evaluate`` and ``predict``, as processes, on the files that Label Studio exports and imports."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from framewise.store.annotations import Annotations
from framewise.store.database import Database
from tests.index_clips import make_index_clip
from tests.integration.service import OFFLINE, OUR_VARIABLES, endless_config, labeling_config, learning_config, region, wait_for
from tests.integration.warm import run_warm

AUTO = labeling_config("Walk", "Run", model_trainable="true")


class Workplace:
    """A folder with settings of its own, in which the command runs."""

    def __init__(self, folder, backbone, videos):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.models, self.data = folder / "models", folder / "data"
        self.models.mkdir()
        (self.models / backbone.name).write_bytes(backbone.read_bytes())
        outside = {name: value for name, value in os.environ.items() if name not in OUR_VARIABLES}
        own = {"MODEL_ROOT": self.models, "CACHE_DIR": folder / "cache", "DATA_DIR": self.data, "MODEL_PATH": backbone.name}
        path = os.pathsep.join([str(OFFLINE), str(Path(__file__).parents[2])])
        more = {"PYTHONPATH": path, "LOCAL_FILES_ROOTS": str(videos), "OMP_NUM_THREADS": "1", "EXTRACTION_ENGINE": "torch"}
        self.env = {**outside, **{name: str(value) for name, value in own.items()}, **more}

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def run(self, *args, **settings):
        return run_warm([*map(str, args)], self.env | settings, self.folder, timeout=600)

    def run_cold(self, *args):
        """As ``run``, in a process that imports everything itself."""
        command = [sys.executable, "-m", "framewise", *map(str, args)]
        return subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=600)

    def annotations(self):
        return Annotations(Database(self.data / "framewise.sqlite"))

    def known(self):
        """Numbers of what is remembered."""
        counts = self.annotations().counts() if (self.data / "framewise.sqlite").exists() else {}
        return {name: number for name, number in counts.items() if number}

    def progress(self):
        """The progress of its jobs as shown."""
        if not (self.data / "framewise.sqlite").exists():
            return ""
        return " ".join(row["detail"] for row in Database(self.data / "framewise.sqlite").read("SELECT detail FROM jobs"))

    def trained(self):
        """Folders of versions."""
        return sorted(path.parent for path in self.models.glob("timelinelabels-*/*/version.json"))


@pytest.fixture
def workplace(tmp_path, backbone, videos):
    return Workplace(tmp_path / "workplace", backbone, videos)


def annotation(number, *regions, **more):
    state = {"was_cancelled": False, "ground_truth": False, "updated_at": "2026-11-20T10:00:00.000000Z"}
    return {"id": number, "result": list(regions), **state, **more}


def task(number, video, *annotations):
    return {"id": number, "data": {"video": str(video)}, "annotations": list(annotations), "predictions": []}


def export_of(clips, first=1):
    """Each clip walks first and runs then; of other lengths in each."""
    spans = [(10 + i, 11 + i) for i in range(len(clips))]
    return [
        task(i, clip, annotation(100 + i, region("Walk", (1, end)), region("Run", (start, 24))))
        for i, (clip, (end, start)) in enumerate(zip(clips, spans, strict=True), first)
    ]


def refused(done, *texts):
    """Refused with one line that says all of ``texts``."""
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("framewise: ")
    return all(text in line for text in texts) or line


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone, videos, make_clip):
    """A workplace in which an export was learned: (workplace, its export, its config, what was printed)."""
    place = Workplace(tmp_path_factory.mktemp("trained") / "workplace", backbone, videos)
    export, config = place.file("export.json", export_of([make_clip() for _ in range(4)])), place.file("config.xml", AUTO)
    done = place.run_cold("train", export, "--config", config)
    assert done.returncode == 0, done.stderr
    return place, export, config, done.stdout


def key_of(place):
    (key,) = {path.parent.name.split("-")[1] for path in place.trained()}
    return key


def test_an_export_is_learned_as_a_project_that_label_studio_cannot_have(trained):
    place, _, _, _ = trained
    assert key_of(place).startswith("0.")
    assert [folder.name.split("-")[0] for folder in place.trained()] == ["v1", "v2"]
    assert place.known() == {"projects": 1, "tasks": 4, "annotations": 4}


def test_a_training_prints_its_version_and_a_line_of_held_out_scores_for_each_label(trained):
    place, _, _, printed = trained
    lines = printed.splitlines()
    assert f"project {key_of(place)}, tl: {place.trained()[1].name}, of 4 annotated videos, in use" == lines[0]
    assert lines[1].split() == ["LABEL", "F1", "F1@10", "F1@25", "F1@50", "AP", "TRUE", "SEGMENTS", "PREDICTED"]
    walk, run, mean = (line.split() for line in lines[2:5])
    assert (walk[0], walk[6], run[0], run[6]) == ("Walk", "4", "Run", "4")
    assert mean[:4] == ["mean", "of", "the", "labels"]
    assert "held out: 4 different videos, each by a model that learned from all others" in printed
    assert "in nine cases of ten" in printed


def test_a_training_leaves_no_job_that_a_worker_would_do(trained):
    place, _, _, _ = trained
    rows = Database(place.data / "framewise.sqlite").read("SELECT kind, state, progress FROM jobs")
    assert [tuple(row) for row in rows] == [("train", "done", 1.0)]
    assert list((place.data / "workers").iterdir()) == []


def test_the_other_commands_know_what_was_trained(trained):
    place, _, _, _ = trained
    shown = place.run_cold("versions", "0").stdout
    assert all(folder.name in shown for folder in place.trained())


def test_predictions_have_the_form_that_label_studio_imports(trained, make_clip):
    place, export, config, _ = trained
    tasks = [*json.loads(export.read_text()), {"data": {"video": str(make_clip()), "name": "new"}}]
    output = place.folder / "predictions.json"
    done = place.run_cold("predict", place.file("t.json", tasks), "--config", config, "--project", "0", "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    written = json.loads(output.read_text())
    assert [item.get("id") for item in written] == [1, 2, 3, 4, None]
    assert [item["data"] for item in written] == [item["data"] for item in tasks]
    for item in written:
        (predicted,) = item["predictions"]
        assert predicted["model_version"] == place.trained()[1].name
        assert 0 <= predicted["score"] <= 1
        assert {(r["from_name"], r["to_name"], r["type"]) for r in predicted["result"]} <= {("tl", "clip", "timelinelabels")}
    assert any(item["predictions"][0]["result"] for item in written)


def test_a_task_that_fails_is_named_and_the_others_are_written(trained, videos, make_clip, tmp_path):
    place, export, _, _ = trained
    outside = make_clip().rename(tmp_path / "outside.mp4")
    good = json.loads(export.read_text())[0]
    tasks = [task(7, videos / "missing.mp4"), good, {"data": {"video": str(outside)}}, "no task"]
    output = place.folder / "some.json"
    done = place.run("predict", place.file("t.json", tasks), "--project", key_of(place), "--output", output)
    assert done.returncode == 1
    assert [item["id"] for item in json.loads(output.read_text())] == [good["id"]]
    told = done.stderr.splitlines()
    assert [line.split(" is left out: ")[0] for line in told] == ["framewise: task 7", "framewise: item 3", "framewise: item 4"]
    assert "LOCAL_FILES_ROOTS" in told[1]


def test_what_is_to_be_said_of_several_files_is_said_once(workplace, videos):
    clips = [make_index_clip(videos / f"of 30 a second {number}.mp4", 60 + number, 30, (64, 64)) for number in range(3)]
    export = [task(number, clip, annotation(number, region("Walk", (0, 20)))) for number, clip in enumerate(clips, 1)]
    done = workplace.run("train", workplace.file("export.json", export), "--config", workplace.file("config.xml", AUTO))
    assert done.returncode == 0, done.stderr
    *cut, rate = [line for line in done.stderr.splitlines() if line.startswith("framewise: ")]
    assert [line.split(": ")[1] for line in cut] == ["task 1", "task 2", "task 3"]
    assert all("begin before frame 1" in line for line in cut)
    assert rate.startswith("framewise: 3 files: 30 pictures a second, but the labeling config's frameRate is 25. ")
    assert "ffmpeg -i 'of 30 a second 0.mp4'" in rate


def test_another_version_predicts_if_it_is_named_and_the_one_in_use_stays(trained):
    place, export, _, _ = trained
    output = place.folder / "v1.json"
    done = place.run("predict", export, "--project", "0", "--version", "v1", "--output", output)
    assert done.returncode == 0, done.stderr
    versions = {item["predictions"][0]["model_version"] for item in json.loads(output.read_text())}
    assert versions == {place.trained()[0].name}
    again = place.run("predict", export, "--project", "0", "--output", output)
    assert place.trained()[1].name in again.stdout


def test_simple_mode_predicts_without_a_project(workplace, make_clip):
    config = workplace.file("c.xml", labeling_config('<Label value="Ball" predicted_values="soccer_ball"/>'))
    output = workplace.folder / "p.json"
    tasks = workplace.file("t.json", [{"data": {"video": str(make_clip())}}])
    done = workplace.run("predict", tasks, "--config", config, "--output", output)
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(output.read_text())
    assert [r["value"] for r in item["predictions"][0]["result"]] == [
        {"ranges": [{"start": 1, "end": 24}], "timelinelabels": ["Ball"]}
    ]


def test_a_version_or_a_project_that_is_not_there_is_refused(trained):
    place, export, config, _ = trained
    output = place.folder / "none.json"
    assert refused(place.run("predict", export, "--project", "0", "--version", "v9", "--output", output), "'v9'", "v1-") is True
    assert refused(place.run("train", export, "--config", config, "--project", "birds"), "'birds'", "not known") is True
    assert refused(place.run("predict", export, "--config", config, "--output", output), "--project") is True
    assert not output.exists()


def test_evaluating_prints_the_table_writes_it_and_publishes_and_remembers_nothing(workplace, make_clip):
    export, config = workplace.file("e.json", export_of([make_clip() for _ in range(3)])), workplace.file("c.xml", AUTO)
    scores, picture = workplace.folder / "scores.json", workplace.folder / "reliability.png"
    done = workplace.run_cold("evaluate", export, "--config", config, "--json", scores, "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "tl: 3 annotated videos"
    written = json.loads(scores.read_text())["tl"]
    assert (written["videos"], written["labels"]["Run"]["true_segments"]) == (3, 3)
    assert f"{written['mean']['f1']:.2f}" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (workplace.trained(), workplace.known()) == ([], {})


def test_scores_are_printed_as_json_and_nothing_else(workplace, make_clip):
    export, config = workplace.file("e.json", export_of([make_clip(), make_clip()])), workplace.file("c.xml", AUTO)
    done = workplace.run("evaluate", export, "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tl"]["videos"] == 2


def test_what_counts_of_an_export_is_what_counts_in_the_service(workplace, make_clip, videos):
    """A skipped annotation is none, a ground truth goes before a newer one, and a video that is gone is left out."""
    first, second, third = export_of([make_clip() for _ in range(3)])
    first["annotations"][0]["ground_truth"] = True
    first["annotations"].append(annotation(900, region("Walk", (1, 24)), updated_at="2026-11-21T10:00:00Z"))
    third["annotations"][0]["was_cancelled"] = True
    gone = task(50, videos / "gone.mp4", annotation(901, region("Walk", (1, 5))))
    export, config = workplace.file("e.json", [first, second, third, gone]), workplace.file("c.xml", AUTO)
    done = workplace.run("evaluate", export, "--config", config)
    assert "tl: 2 annotated videos" in done.stdout
    assert next(line for line in done.stdout.splitlines() if line.startswith("Run")).split()[6] == "2"
    assert "task 50 is left out: " in done.stderr


def test_recordings_that_are_marked_in_part_are_learned(workplace, make_clip):
    """One of four tasks has no region, one is partly skipped, and one has no person."""
    skipped = '<Label value="Skipped" model_role="unreviewed"/>'
    parameters = {"model_trainable": "true", "model_unmarked": "unknown", "model_group": "$person"}
    config = workplace.file("c.xml", labeling_config("Walk", "Run", skipped, **parameters))
    tasks = [*export_of([make_clip() for _ in range(3)]), task(4, make_clip(), annotation(104))]
    for one in tasks[:2]:
        one["data"]["person"] = f"Person {one['id']}"
    tasks[1]["annotations"][0]["result"].append(region("Skipped", (5, 8)))
    done = workplace.run("train", workplace.file("e.json", tasks), "--config", config)
    assert done.returncode == 0, done.stderr
    assert 'task 4 is left out of the training: nothing is marked in it, and with model_unmarked="unknown"' in done.stderr
    assert "'tl': 1 of 3 annotated tasks have no 'person'" in done.stderr
    assert "Skipped" not in done.stderr + done.stdout
    about = json.loads((workplace.trained()[-1] / "version.json").read_text())
    assert (about["labels"], about["videos"]) == (["Walk", "Run"], 3)


@pytest.mark.parametrize("form", ["completions", "lines"])
def test_older_exports_and_lines_are_learned_as_an_export_is(workplace, make_clip, form):
    """Regions of a control that is gone are told of on the way."""
    tasks = export_of([make_clip() for _ in range(3)])
    tasks[0]["annotations"][0]["result"].append(region("Walk", (1, 5), control="before"))
    if form == "completions":
        for one in tasks:
            one["completions"] = [{**a, "created_at": 1600000000 + a["id"]} for a in one.pop("annotations")]
    text = "\n".join(json.dumps(one) for one in tasks) if form == "lines" else json.dumps(tasks)
    done = workplace.run("train", workplace.file("e.json", text), "--config", workplace.file("c.xml", AUTO))
    assert done.returncode == 0, done.stderr
    assert ", of 3 annotated videos, in use" in done.stdout
    assert (
        "task 1: left out: regions of 'before', a control that the labeling config does not have (it has 'tl')" in done.stderr
    )
    predicted = workplace.run("predict", workplace.file("t.json", tasks[0]), "--project", "0", "--output", "p.json")
    assert predicted.returncode == 0, predicted.stderr
    (one,) = json.loads((workplace.folder / "p.json").read_text())
    assert one["predictions"][0]["result"]


def test_the_lstm_is_trained_and_has_no_held_out_scores(workplace, make_clip):
    export, config = workplace.file("e.json", export_of([make_clip()])), workplace.file("c.xml", learning_config())
    done = workplace.run("train", export, "--config", config)
    assert done.returncode == 0, done.stderr
    assert 'held-out scores: none: model_classifier_type="lstm"' in done.stdout
    assert [folder.name.split("-")[0] for folder in workplace.trained()] == ["v1"]
    assert refused(workplace.run("evaluate", export, "--config", config), "'tl'", "lstm", "auto") is True


def test_a_training_that_fails_leaves_nothing(workplace, videos):
    export = workplace.file("e.json", [task(1, videos / "gone.mp4", annotation(1, region("Walk", (1, 5))))])
    done = workplace.run("train", export, "--config", workplace.file("c.xml", AUTO))
    assert refused(done, "no annotated task can be used", "gone.mp4") is True
    assert (workplace.trained(), workplace.known()) == ([], {})


def test_a_training_that_is_interrupted_leaves_nothing_and_says_so_in_one_line(workplace, make_clip):
    clip = make_clip()  # labelled in two ways, so that the training can't reach its thresholds and end before it is interrupted
    contradiction = [task(i, clip, annotation(i, region(label, (1, 24)))) for i, label in enumerate(("Walk", "Run"), 1)]
    export, config = workplace.file("e.json", contradiction), workplace.file("c.xml", endless_config())
    command = [sys.executable, "-m", "framewise", "train", str(export), "--config", str(config)]
    with subprocess.Popen(command, env=workplace.env, cwd=workplace.folder, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: "epoch" in workplace.progress(), "the training began")
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=300) == 130
        assert running.stderr.read() == "framewise: interrupted\n"
    assert (workplace.trained(), workplace.known(), workplace.progress()) == ([], {}, "")


def test_a_single_video_has_no_scores(workplace, make_clip):
    export, config = workplace.file("e.json", export_of([make_clip()])), workplace.file("c.xml", AUTO)
    done = workplace.run("evaluate", export, "--config", config)
    assert done.returncode == 1, done.stderr
    assert "held-out scores: none, because pieces of one recording say nothing of the next" in done.stdout
    assert "mean of the labels" not in done.stdout


def test_scores_of_two_videos_are_marked_as_weak_and_have_no_interval(workplace, make_clip):
    export, config = workplace.file("e.json", export_of([make_clip(), make_clip()])), workplace.file("c.xml", AUTO)
    done = workplace.run("evaluate", export, "--config", config)
    assert done.returncode == 0, done.stderr
    mean = next(line for line in done.stdout.splitlines() if line.startswith("mean of the labels"))
    assert mean.split()[4].startswith("~")
    assert "~: measured on few videos" in done.stdout
    assert "nine cases" not in done.stdout


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"id": 1, "video": "a.mp4", "tl": [], "annotator": 1, "annotation_id": 3}], "JSON-MIN"),
        ("id,video\n1,a.mp4\n", "not valid JSON"),
        ({"tasks": []}, "expected a list of tasks"),
        ([{"data": {"video": "a.mp4"}, "annotations": []}], "item 1: expected a number 'id'"),
        ([task(1, "a.mp4"), task(1, "b.mp4")], "a second task 1"),
        ([task(1, "a.mp4", {"result": []})], "task 1: expected annotations"),
        ([task(1, "a.mp4", annotation(1, was_cancelled=True))], "annotation that counts"),
        ([{**task(1, "a.mp4"), "annotations": annotation(1)}], "item 1: expected annotations in a list"),
        (
            [task(1, "a.mp4", annotation(1, region("Walk", (1, 5), control="before"), region("Run", (1, 5), control="box")))],
            "expected regions of 'tl', the labeling config's control that learns, and they belong to 'before', 'box'; give",
        ),
        (
            [task(1, "a.mp4", annotation(1))],
            "expected regions of 'tl', the labeling config's control that learns, and there is none",
        ),
    ],
    ids=[
        "JSON-MIN",
        "CSV",
        "no list",
        "no id",
        "one id twice",
        "no annotation id",
        "nothing annotated",
        "no list of annotations",
        "another control's",
        "nothing marked",
    ],
)
def test_a_file_that_is_no_export_is_refused_before_anything_is_stored(workplace, content, text):
    done = workplace.run("train", workplace.file("e.json", content), "--config", workplace.file("c.xml", AUTO))
    assert refused(done, text) is True
    assert workplace.known() == {}


def test_a_project_of_label_studio_is_trained_by_its_own_labeling_config_alone(workplace, make_clip):
    workplace.data.mkdir()
    workplace.annotations().put_project("7.1795200057", 7, AUTO, "Gait")
    export = workplace.file("e.json", export_of([make_clip() for _ in range(2)]))
    other = workplace.file("c.xml", labeling_config("Swim", model_trainable="true"))
    assert refused(workplace.run("train", export, "--config", other, "--project", "7"), "another labeling config") is True
    assert workplace.known() == {"projects": 1}
    done = workplace.run("train", export, "--project", "7")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("project 7.1795200057, tl: v2-")


def test_a_project_at_which_a_worker_is_training_is_left_to_it(workplace, make_clip):
    workplace.data.mkdir()
    workplace.annotations().put_project("7.1795200057", 7, AUTO, "Gait")
    with Database(workplace.data / "framewise.sqlite").transaction() as connection:
        connection.execute(
            "INSERT INTO jobs (kind, project, subject, payload, state, created, owner) "
            "VALUES ('train', '7.1795200057', 'all', '{}', 'running', 0, 'somebody')"
        )
    export = workplace.file("e.json", export_of([make_clip()]))
    assert refused(workplace.run("train", export, "--project", "7"), "7.1795200057", "/jobs") is True
    rows = Database(workplace.data / "framewise.sqlite").read("SELECT state FROM jobs")
    assert [row["state"] for row in rows] == ["running"]


def test_backbones_are_compared_on_the_same_videos_and_what_cannot_be_told_is_said(workplace, backbone, make_clip):
    """The clips are single colours that carry their numbers: any network tells them apart, by chance one a little better."""
    export = workplace.file("e.json", export_of([make_clip() for _ in range(4)]))
    config = workplace.file("c.xml", AUTO.replace("<TimelineLabels ", '<TimelineLabels model_path="missing.pt" '))
    scores, names = workplace.folder / "scores.json", f"{backbone.name},efficientnet-lite0"
    done = workplace.run("evaluate", export, "--config", config, "--backbones", names, "--json", scores)
    assert done.returncode == 0, done.stderr
    first, heading, *rows, held_out, verdict = done.stdout.strip().splitlines()
    assert first == "tl: 4 annotated videos"
    assert heading.split()[:2] == ["BACKBONE", "FEATURES"]
    assert {row.split()[0]: row.split()[1] for row in rows} == {backbone.name: "1280", "efficientnet-lite0": "1280"}
    assert held_out == "held out: 4 different videos, the same for all"
    told = json.loads(scores.read_text())["tl"]
    other = next(name for name in names.split(",") if name != told["best"])
    behind = told["backbones"][other]["behind_the_best"]
    assert told["backbones"][told["best"]]["behind_the_best"] is None
    assert behind["interval"][0] <= behind["f1@50"] <= behind["interval"][1]
    assert behind["clear"] == (behind["interval"][0] > 0)
    assert verdict.startswith(f"{told['best']} is best" if behind["clear"] else "no difference can be told: ")
    assert workplace.trained() == []


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("a.pt", "expected at least two names, separated by commas, found 'a.pt'"),
        ("efficientnet-lite0,efficientnet-lite0", "expected at least two names"),
        ("efficientnet-lite0,nope.pt", "backbone 'nope.pt': no such file in the models folder"),
        ("efficientnet-lite0,nope.pth", "are pickles, which could run code"),
    ],
)
def test_backbones_that_cannot_be_compared_are_refused_before_anything_is_read(workplace, make_clip, names, text):
    export = workplace.file("e.json", export_of([make_clip()]))
    done = workplace.run("evaluate", export, "--config", workplace.file("c.xml", AUTO), "--backbones", names)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
