"""<TimeSeriesLabels> on <TimeSeries> through the running service: from annotations to predictions in the series' own units."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration.service import Project
from tests.integration.test_offline import Workplace, annotation
from tests.series_help import Recording, record, series_config, task

_numbers = itertools.count(90_001)


def make_task(recording, folder, kind, inline=False):
    number = next(_numbers)
    source = recording.to_json(kind) if inline else str(recording.write_csv(folder / f"series-{number}.csv", kind))
    return task(number, source)


@pytest.mark.parametrize(("kind", "inline"), [("date", False), ("number", False), ("index", False), ("number", True)])
def test_a_series_is_learned_and_the_next_one_predicted(service, videos, kind, inline):
    project = Project(series_config(kind, inline))
    assert service.setup(project).status_code == 200
    assert service.version(project) == "untrained"
    learned = [record(seed) for seed in (1, 2)]
    new = record(3)

    job = service.train(project, *((make_task(r, videos, kind, inline), r.regions(kind)) for r in learned))

    assert job["state"] == "done", job
    assert not [w for w in job["warnings"] if "left out" in w]
    assert service.jobs(project, "refine")[0]["state"] == "done"
    prediction = service.predict_until_there(project, make_task(new, videos, kind, inline))
    assert prediction["model_version"] == service.version(project)
    assert 0 < prediction["score"] <= 1
    assert {(r["from_name"], r["to_name"], r["type"]) for r in prediction["result"]} == {
        ("moves", "sensor", "timeserieslabels")
    }
    found = new.predicted(prediction, kind)
    assert len(found) < 2 * len(new.truth)
    right = new.marked(found) == new.marked(new.truth)
    assert right.mean(axis=0) == pytest.approx([1, 1], abs=0.1)


def test_what_the_user_should_know_of_a_series_is_told(service, videos):
    project, number = Project(series_config("index")), next(_numbers)
    recording = record(4)
    path = recording.write_csv(videos / f"series-{number}.csv", "number")
    service.train(project, (task(number, str(path)), recording.regions("index")))
    assert "Label Studio takes each row as a second" in service.page(project)


@pytest.mark.parametrize("inline", [False, True])
def test_what_the_editor_does_not_show_of_a_series_is_told(service, videos, inline):
    project, number = Project(series_config("number", inline)), next(_numbers)
    recording, path = record(7), videos / f"quoted-{number}.csv"
    names, *rows = recording.write_csv(path, "number").read_text().splitlines()
    path.write_text("\n".join([",".join(f'"{name}"' for name in names.split(",")), *rows]))
    source = json.dumps(recording.to_json("number")) if inline else str(path)
    job = service.train(project, (task(number, source), recording.regions("number")))
    assert job["state"] == "done"
    said = "it is JSON as text, which the editor does not read" if inline else "it takes quotes for a part of names"
    shown = service.page(project)
    assert "Label Studio's editor cannot show this series as it is" in shown
    assert said in shown


def test_a_task_that_cannot_be_learned_leaves_the_others_alone(service, videos):
    project = Project(series_config("number"))
    good, bad = record(5), record(6)
    broken = task(next(_numbers), str(bad.write_csv(videos / "no-such-column.csv", "number")))
    text = (videos / "no-such-column.csv").read_text()
    (videos / "no-such-column.csv").write_text(text.replace("Time,X,Y,Z", "Time,A,B,C"))
    outside = make_task(good, videos, "number")
    late = {**good.regions("number")[0], "value": {"start": 900, "end": 901, "instant": False, "timeserieslabels": ["Turn"]}}

    job = service.train(
        project,
        (make_task(good, videos, "number"), good.regions("number")),
        (broken, bad.regions("number")),
        (outside, [late]),
    )

    told = "\n".join(job["warnings"])
    assert job["state"] == "done"
    assert f"task {broken['id']} is left out of the training: the series has none of the columns ['x', 'y', 'z']" in told
    assert f"task {outside['id']} is left out of the training: region '{late['id']}': 900 to 901 is outside a series" in told


def test_a_series_of_half_the_rate_and_without_a_channel_is_predicted_and_told_of(service, videos):
    """On the grid of those that were learned from: 25 steps a second, of 50 samples."""
    project = Project(series_config("number"))
    learned, new = [record(seed) for seed in (11, 12)], record(13)
    service.train(project, *((make_task(r, videos, "number"), r.regions("number")) for r in learned))
    half = Recording(new.seconds[::2], new.values[::2], [(label, (a + 1) // 2, b // 2) for label, a, b in new.truth])
    other = make_task(half, videos, "number")
    path = Path(other["data"]["series"])
    path.write_text(path.read_text().replace("Time,X,Y,Z", "Time,X,Y,W"))

    prediction = service.predict_until_there(project, other)

    right = half.marked(half.predicted(prediction, "number")) == half.marked(half.truth)
    assert right.mean(axis=0) == pytest.approx([1, 1], abs=0.1)
    told = "\n".join(warning for job in service.jobs(project) for warning in job["warnings"])
    assert "channel 'z' has no numbers in this series" in told
    assert "another sampling rate than the annotated series, which have 50 samples a second (25 samples a second)" in told


def test_a_renamed_label_keeps_its_regions(service, videos):
    project, recording = Project(series_config("number")), record(7)
    service.train(project, (make_task(recording, videos, "number"), recording.regions("number")))
    renamed = project.with_config(project.config.replace('"Turn"', '"Rotate"'))
    assert service.setup(renamed).status_code == 200
    service.wait_idle()
    prediction = service.predict_until_there(renamed, make_task(recording, videos, "number"))
    assert {r["value"]["timeserieslabels"][0] for r in prediction["result"]} == {"Shake", "Rotate"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            series_config(model_trainable="false"),
            "TimeSeriesLabels 'moves': simple mode is of pictures, and a TimeSeries has none; add model_trainable=",
        ),
        (series_config(model_classifier_type="lstm"), "model_classifier_type must be auto on a TimeSeries"),
    ],
)
def test_what_a_series_cannot_do_is_refused(service, config, message):
    answer = service.setup(Project(config))
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("attribute", ["model_path", "model_crop"])
def test_what_is_of_pictures_is_told_of_and_does_nothing(service, attribute):
    answer = service.setup(Project(series_config(**{attribute: "fit"})))
    assert answer.status_code == 200
    assert answer.json()["notes"] == [f"TimeSeriesLabels 'moves': {attribute} is not used: there are no pictures to look at"]


def test_video_and_series_that_do_not_play_in_sync_are_learned_each_by_itself(service, videos, make_clip):
    series = series_config("number")
    timeline = (
        '<TimelineLabels name="tl" toName="clip" model_trainable="true"><Label value="Walk"/></TimelineLabels>'
        '<Video name="clip" value="$video" frameRate="25"/></View>'
    )
    project = Project(series.replace("</View>", timeline))
    recording = record(8)
    both = make_task(recording, videos, "number")
    both["data"]["video"] = str(make_clip(48))
    walk = {
        "id": "w", "from_name": "tl", "to_name": "clip", "type": "timelinelabels", "origin": "manual",
        "value": {"ranges": [{"start": 1, "end": 48}], "timelinelabels": ["Walk"]},
    }  # fmt: skip
    service.train(project, (both, [*recording.regions("number"), walk]))
    regions = service.predict_until_there(project, both)["result"]
    assert {r["from_name"] for r in regions} == {"moves", "tl"}
    found = recording.predicted({"result": [r for r in regions if r["from_name"] == "moves"]}, "number")
    assert np.mean(recording.marked(found) == recording.marked(recording.truth)) > 0.9


def test_series_of_an_export_are_learned_and_predicted_on_the_command_line(tmp_path, backbone, videos):
    workplace = Workplace(tmp_path / "workplace", backbone, videos)
    config, learned, new = workplace.file("config.xml", series_config("date")), record(31), record(32)
    annotated = make_task(learned, videos, "date") | {"annotations": [annotation(1, *learned.regions("date"))]}
    export = workplace.file("export.json", [annotated])
    tasks = workplace.file("tasks.json", [make_task(new, videos, "date")])
    trained = workplace.run("train", export, "--config", config)
    assert trained.returncode == 0, trained.stderr
    project = next(word for word in trained.stdout.split() if word.startswith("0.")).rstrip(",")
    done = workplace.run("predict", tasks, "--project", project, "--output", tmp_path / "predicted.json")
    assert done.returncode == 0, done.stderr
    (predicted,) = json.loads((tmp_path / "predicted.json").read_text())
    found = new.predicted(predicted["predictions"][0], "date")
    assert (new.marked(found) == new.marked(new.truth)).mean() > 0.9


def test_two_series_of_one_group_that_begin_apart_are_told_of(service, videos):
    """The first two seconds of the second one are missing."""
    config = series_config("number").replace('name="sensor" value', 'name="sensor" sync="all" value')
    other = config.removeprefix("<View>").removesuffix("</View>").replace("moves", "others").replace("sensor", "second")
    project = Project(config.replace("</View>", other.replace("$series", "$other") + "</View>"))
    recording = record(9)
    both = make_task(recording, videos, "number")
    lines = (videos / f"series-{both['id']}.csv").read_text().splitlines(keepends=True)
    both["data"]["other"] = str(videos / f"late-{both['id']}.csv")
    (videos / f"late-{both['id']}.csv").write_text("".join([lines[0], *lines[101:]]))
    service.train(project, (both, recording.regions("number")))
    shown = service.page(project)
    assert "series 'second' begins after series 'sensor' of the same sync group" in shown
    assert "2.000 s later" in shown


def test_instants_of_a_series_come_back_as_instants(service, videos):
    """Knocks on a sensor that lies still, each marked at the one sample where it is strongest."""
    project = Project(series_config("number"))

    def knocked(seed):
        random = np.random.default_rng(seed)
        seconds = np.arange(1000) / 50
        values = random.normal(0, 0.05, (1000, 3)) + [0, 0, 1]
        knocks = np.cumsum(random.integers(110, 160, 7))
        for knock in knocks:
            values[knock - 1 : knock + 2] += np.array([1, 2, 1])[:, None] * [1.0, 1.5, 0.5]
        return Recording(seconds, values, [("Shake", int(k), int(k)) for k in knocks])

    learned = [knocked(seed) for seed in (1, 2, 3)]
    marked = [[{**r, "value": {**r["value"], "instant": True}} for r in recording.regions("number")] for recording in learned]
    tasks = [make_task(recording, videos, "number") for recording in learned]
    service.train(project, *zip(tasks, marked, strict=True))
    new = knocked(4)
    prediction = service.predict_until_there(project, make_task(new, videos, "number"))
    assert all(r["value"]["instant"] is True and r["value"]["start"] == r["value"]["end"] for r in prediction["result"])
    found = [first for _, first, _ in new.predicted(prediction, "number")]
    assert found == pytest.approx([first for _, first, _ in new.truth], abs=5)
