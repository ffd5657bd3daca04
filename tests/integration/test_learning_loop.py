"""From an annotation to the next prediction, through the running service and its worker."""

import json
import shutil

import pytest

from tests.integration.service import (
    LABELS,
    Project,
    endless_config,
    frames_of,
    labeling_config,
    learning_config,
    region,
    start_endless_training,
)

THOROUGH = learning_config(model_classifier_epochs="1000", model_classifier_f1_threshold="0.99")


def halves():
    """Every frame of a clip is one of the two labels."""
    return [region("Walk", (1, 12)), region("Run", (13, 24))]


def test_an_annotation_is_learned_and_the_next_prediction_shows_it(service, project, make_task):
    project, task = project.with_config(THOROUGH), make_task()
    service.train(project, (task, halves()))

    prediction = service.predict(project, [task])[0]

    assert frames_of(prediction, "Walk") >= {1, 2, 3, 4, 5, 6, 7, 8}
    assert frames_of(prediction, "Run") >= {17, 18, 19, 20, 21, 22, 23, 24}
    assert not frames_of(prediction, "Walk") & {17, 18, 19, 20, 21, 22, 23, 24}
    assert 0.5 <= prediction["score"] <= 1


def test_regions_are_as_the_editor_needs_them(service, project, make_task):
    """Threshold 0: every label in every frame of a video of another length."""
    project = project.with_config(learning_config(model_score_threshold="0"))
    service.train(project, (make_task(), halves()))

    regions = service.predict_until_there(project, make_task(num_frames=31))["result"]

    assert {(r["from_name"], r["to_name"], r["type"]) for r in regions} == {("tl", "clip", "timelinelabels")}
    assert [r["value"] for r in regions] == [
        {"ranges": [{"start": 1, "end": 31}], "timelinelabels": ["Walk"]},
        {"ranges": [{"start": 1, "end": 31}], "timelinelabels": ["Run"]},
    ]
    assert {type(r["value"]["ranges"][0][key]) for r in regions for key in ("start", "end")} == {int}
    assert len({r["id"] for r in regions}) == 2


def test_a_clip_labelled_at_another_frame_rate_than_its_own_has_frames_of_the_config(service, project, make_task):
    """24 pictures at 25 per second are 0.96 s: 10 frames at 10 per second, JavaScript's round(9.6)."""
    config = learning_config(model_score_threshold="0", frame_rate="10")
    project = project.with_config(config)
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 10))]))
    assert frames_of(service.predict(project, [task])[0], "Walk") == set(range(1, 11))


def test_a_changed_frame_rate_leaves_annotations_at_the_times_that_their_annotators_saw(service, project, make_task):
    """Frames 1 to 12 at 25 per second are the first half of a clip of 0.96 s; at 50 per second, frames 1 to 24."""
    project, task = project.with_config(THOROUGH), make_task()
    service.train(project, (task, halves()))

    changed = project.with_config(THOROUGH.replace('frameRate="25"', 'frameRate="50"'))
    service.send(changed.event("PROJECT_UPDATED"))
    service.wait_idle()

    prediction = service.predict(changed, [task])[0]
    assert frames_of(prediction, "Walk") >= set(range(1, 17))
    assert frames_of(prediction, "Run") >= set(range(33, 49))
    assert not frames_of(prediction, "Walk") & set(range(33, 49))


def test_an_update_is_learned_and_makes_another_version(service, project, make_task):
    task = make_task()
    created = project.annotation_event(task, [region("Walk", (1, 24))])
    service.send(created)
    service.wait_idle()
    first, before = service.version(project), service.predict(project, [task])[0]

    number = created["annotation"]["id"]
    service.send(project.annotation_event(task, [region("Run", (1, 24))], action="ANNOTATION_UPDATED", annotation=number))
    service.wait_idle()

    second, after = service.version(project), service.predict(project, [task])[0]
    assert len({"untrained", first, second}) == 3
    assert (before["model_version"], after["model_version"]) == (first, second)
    assert len(frames_of(before, "Walk")) > 12 > len(frames_of(before, "Run"))
    assert len(frames_of(after, "Run")) > 12 > len(frames_of(after, "Walk"))


def test_a_late_older_state_of_an_annotation_changes_nothing(service, project, make_task):
    task = make_task()
    older = project.annotation(task, [region("Run", (1, 24))])
    newer = project.annotation(task, [region("Walk", (1, 24))], annotation=older["id"])
    for state in (newer, older):
        service.send(project.event("ANNOTATION_UPDATED", annotation=state, task=task))
    service.wait_idle()
    assert len(frames_of(service.predict(project, [task])[0], "Walk")) > 12


def test_every_range_and_every_label_of_a_region_counts(service, project, make_task):
    """Both labels in two of three ranges of 16: what the first range or the first label alone cannot give."""
    project, task = project.with_config(THOROUGH), make_task(num_frames=48)
    service.train(project, (task, [region(["Walk", "Run"], (1, 16), (33, 48))]))

    prediction = service.predict(project, [task])[0]

    for label in LABELS:
        frames = frames_of(prediction, label)
        assert frames >= set(range(1, 13)) | set(range(37, 49)), label
        assert not frames & set(range(21, 29)), label


def test_regions_of_other_controls_are_left_alone(service, project, make_task):
    choice = {"from_name": "c", "to_name": "clip", "type": "choices", "value": {"choices": ["Good"]}, "id": "x"}
    job = service.train(project, (make_task(), [region("Walk", (1, 24)), choice]))
    assert (job["state"], job["warnings"]) == ("done", [])


def test_regions_of_a_control_that_is_gone_are_told_of_and_teach_nothing(service, project, make_task):
    """With nothing else marked, the task would teach that nothing is on: so it is left out."""
    gone, marked, empty = region("Walk", (1, 24), control="before"), region("Run", (1, 24)), region([], (1, 24))
    both, none, unlabelled = make_task(), make_task(), make_task()
    job = service.train(project, (both, [marked, gone]), (none, [gone, gone]), (unlabelled, [empty]))
    assert job["state"] == "done"
    why = "regions of 'before', a control that the labeling config does not have (it has 'tl'); was it renamed?"
    assert sorted(job["warnings"]) == sorted(
        [
            f"task {both['id']}: left out: {why}",
            f"task {none['id']} is left out of the training: it has nothing but {why}",
            f"task {unlabelled['id']} is left out of the training: "
            "it has nothing but regions of 'tl' without a label of it, which the editor shows as empty",
        ]
    )
    assert learned_from(service, project) == 1


def test_a_control_of_which_nothing_is_marked_does_not_keep_others_from_learning(service, make_task):
    two = (
        '<View><TimelineLabels name="tl" toName="clip" model_trainable="true"><Label value="Walk"/></TimelineLabels>'
        '<TimelineLabels name="new" toName="clip" model_trainable="true"><Label value="Rain"/></TimelineLabels>'
        '<Video name="clip" value="$video" frameRate="25"/></View>'
    )
    project, task = Project(two), make_task()
    job = service.train(project, (task, [region("Walk", (1, 12)), region("Rain", (5, 20), control="old")]))
    assert job["state"] == "done"
    assert f"task {task['id']} is left out of the training: it has nothing but regions of 'old', a" in job["warnings"][1]
    assert [v["control"] for v in service.client.get("/versions").json()["details"] if v["project"] == project.key][0] == "tl"


def test_of_a_control_that_was_added_later_an_annotation_says_nothing(service, project, make_task):
    """Not that none of its labels is on: nobody could have marked them."""
    task = make_task()
    service.train(project, (task, [region("Walk", (1, 24))]))
    added = '<TimelineLabels name="sky" toName="clip" model_trainable="true"><Label value="Rain"/></TimelineLabels><Video '
    two = project.with_config(project.config.replace("<Video ", added))
    assert service.setup(two).status_code == 200
    service.wait_idle()
    job = service.jobs(two, "train")[0]
    why = "it was annotated when the labeling config had no 'sky', and says nothing of it"
    assert (job["state"], job["warnings"]) == ("done", [f"task {task['id']} is left out of the training: {why}"])
    assert service.version(two).endswith("+untrained")


def test_a_region_from_frame_0_is_cut_to_the_first_with_a_word(service, project, make_task):
    task = make_task()
    job = service.train(project, (task, [region("Walk", (0, 12)), region("Run", (0, 0)), region("Run", (13, 24))]))
    assert job["state"] == "done"
    said = "regions that begin before frame 1, the first that Label Studio has, are cut to it"
    assert job["warnings"] == [f"task {task['id']}: {said}"]


@pytest.mark.parametrize("kind", ["timeserieslabels", "labels"])
def test_a_region_of_another_type_is_learned_as_the_editor_draws_it(service, project, make_task, kind):
    task = make_task()
    job = service.train(project, (task, [{**region("Walk", (1, 24)), "type": kind}]))
    assert (job["state"], job["warnings"]) == ("done", [])
    assert len(frames_of(service.predict(project, [task])[0], "Walk")) > 12


def test_an_annotation_without_regions_teaches_that_nothing_happens(service, project, make_task):
    busy, empty = make_task(), make_task()
    job = service.train(project, (busy, [region("Walk", (1, 24))]), (empty, []))
    assert (job["state"], job["warnings"]) == ("done", [])
    assert learned_from(service, project) == 2


def test_a_project_with_empty_annotations_alone_trains_and_predicts_nothing(service, project, make_task):
    task = make_task()
    assert service.train(project, (task, []))["state"] == "done"
    prediction = service.predict(project, [task])[0]
    assert prediction["result"] == []
    assert prediction["model_version"] == service.version(project)


def test_a_skipped_task_is_not_learned(service, project, make_task):
    skipped = make_task()
    service.send(project.annotation_event(make_task(), [region("Walk", (1, 24))]))
    service.send(project.annotation_event(skipped, [], was_cancelled=True))
    service.wait_idle()
    assert learned_from(service, project) == 1


def test_a_project_where_all_is_skipped_stays_untrained(service, project, make_task):
    service.send(project.annotation_event(make_task(), [], was_cancelled=True))
    service.wait_idle()
    assert service.version(project) == "untrained"


def test_two_annotations_of_a_task_are_one_example_and_the_ground_truth_wins(service, project, make_task):
    task = make_task()
    service.send(project.annotation_event(task, [region("Walk", (1, 24))], ground_truth=True))
    service.send(project.annotation_event(task, [region("Run", (1, 24))]))
    service.wait_idle()
    assert learned_from(service, project) == 1
    assert len(frames_of(service.predict(project, [task])[0], "Walk")) > 12


def test_two_projects_do_not_mix(service, make_task):
    config = learning_config()
    walkers, runners = Project(config), Project(config)
    task = make_task()
    service.train(walkers, (task, [region("Walk", (1, 24))]))
    assert service.version(runners) == "untrained"

    service.train(runners, (task, [region("Run", (1, 24))]))

    assert len(frames_of(service.predict(walkers, [task])[0], "Walk")) > 12
    assert len(frames_of(service.predict(runners, [task])[0], "Run")) > 12
    assert not frames_of(service.predict(runners, [task])[0], "Walk")


def test_a_reused_project_id_is_another_project(service, make_task):
    config = learning_config()
    old = Project(config)
    new = Project(config, id=old.id, created=old.created + 60)
    service.train(old, (make_task(), [region("Walk", (1, 24))]))

    assert service.version(new) == "untrained"
    service.train(new, (make_task(), [region("Run", (1, 24))]))

    assert learned_from(service, new) == 1
    assert service.model_folders(old) != service.model_folders(new)


def test_annotations_of_one_task_id_in_two_projects_are_two(service, make_task):
    config = learning_config()
    one, two = Project(config), Project(config)
    task = make_task()
    for project, label in ((one, "Walk"), (two, "Run")):
        service.send(project.annotation_event(task, [region(label, (1, 24))], annotation=77))
    service.wait_idle()
    assert len(frames_of(service.predict(one, [task])[0], "Walk")) > 12
    assert len(frames_of(service.predict(two, [task])[0], "Run")) > 12


def test_every_event_of_label_studio_is_recorded_as_it_came(service, project, make_task):
    task, other = make_task(), make_task()
    annotation = project.annotation(task, [region("Walk", (1, 24))])
    events = [
        project.event("TASKS_CREATED", tasks=[task, other]),
        project.event("ANNOTATION_CREATED", annotation=annotation, task=task),
        project.event("ANNOTATIONS_CREATED", annotation=[project.annotation(other, [])], task=[other]),
        project.event("ANNOTATION_UPDATED", annotation=annotation, task=task),
        project.event("ANNOTATIONS_DELETED", annotations=[{"id": annotation["id"]}]),
        project.event("TASKS_DELETED", tasks=[{"id": other["id"]}]),
        project.event("PROJECT_UPDATED"),
        project.event("START_TRAINING"),
        project.event("SOMETHING_NEW", thing={"of": ["later", 1]}),
    ]

    assert [service.send(event)["status"] for event in events] == ["recorded"] * len(events)

    rows = service.rows("SELECT payload FROM events WHERE project = ? ORDER BY id", project.key)
    assert [json.loads(row["payload"]) for row in rows] == events
    service.wait_idle()


def test_start_training_trains_on_what_is_known(service, project, make_task):
    service.train(project, (make_task(), [region("Walk", (1, 24))]))
    before = service.version(project)
    told = service.send(project.event("START_TRAINING"))
    service.wait_idle()
    assert told["job"] == str(service.jobs(project, "train")[0]["id"])
    assert service.version(project) != before


def test_a_training_waits_for_the_one_before_it_and_its_version_is_the_last(service, make_clip, make_task):
    """The first is slow, the second quick: side by side, the version of the first would be published last and stay."""
    slow = Project(endless_config().replace("100000", "400"))
    start_endless_training(service, slow, make_clip(), make_task)
    quick = slow.with_config(learning_config(model_classifier_epochs="1"))
    service.send(quick.event("PROJECT_UPDATED"))
    service.send(quick.event("START_TRAINING"))
    service.wait_idle()

    second, first = service.jobs(slow, "train")
    assert second["started"] >= first["finished"]
    assert service.version(quick).startswith("v2-")


def test_start_training_before_any_annotation_is_no_failure(service, project):
    service.send(project.event("START_TRAINING"))
    service.wait_idle()
    assert service.jobs(project, "train")[0]["state"] == "done"
    assert service.version(project) == "untrained"


def test_annotations_made_from_predictions_are_learned(service, project, make_task):
    tasks = [make_task(), make_task()]
    annotations = [project.annotation(task, [region("Walk", (1, 24))]) for task in tasks]
    service.send(project.event("ANNOTATIONS_CREATED", annotation=annotations, task=tasks))
    service.wait_idle()
    assert learned_from(service, project) == 2


def test_deleted_annotations_and_tasks_are_not_learned_any_more(service, project, make_task):
    kept, without_annotation, gone = make_task(), make_task(), make_task()
    deleted = project.annotation(without_annotation, [region("Run", (1, 24))])
    service.send(project.annotation_event(kept, [region("Walk", (1, 24))]))
    service.send(project.event("ANNOTATION_CREATED", annotation=deleted, task=without_annotation))
    service.send(project.annotation_event(gone, [region("Run", (1, 24))]))
    service.send(project.event("ANNOTATIONS_DELETED", annotations=[{"id": deleted["id"]}]))
    service.send(project.event("TASKS_DELETED", tasks=[{"id": gone["id"]}]))
    service.send(project.event("START_TRAINING"))
    service.wait_idle()
    assert learned_from(service, project) == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (region("Walk", (20, 200), id="past"), "frames 20-200 are outside a video of 24 frames"),
        (region("Walk", (9, 3), id="back"), "starts at frame 9 and ends before it, at frame 3"),
        (region("Walk", (-4, 3), id="minus"), "starts at frame -4"),
        (region("Walk", (1.5, 3), id="part"), "start must be a whole frame number, found 1.5"),
        (region("Walk", ("1", 3), id="text"), "start must be a whole frame number, found '1'"),
        (region("Walk", (None, 3), id="none"), "start must be a whole frame number, found None"),
        ({**region("Walk", id="ranges"), "value": {"timelinelabels": ["Walk"]}}, "expected a list of ranges"),
        ({**region("Walk", id="value"), "value": None}, "expected an object 'value'"),
    ],
    ids=lambda value: value["id"] if isinstance(value, dict) else "",
)
def test_a_bad_annotation_leaves_its_task_out_with_a_warning(service, project, make_task, bad, said):
    good, spoiled = make_task(), make_task()

    job = service.train(project, (good, [region("Walk", (1, 24))]), (spoiled, [region("Run", (1, 24)), bad]))

    assert job["state"] == "done"
    (warning,) = job["warnings"]
    assert f"task {spoiled['id']} is left out" in warning
    assert f"'{bad['id']}'" in warning
    assert said in warning
    assert learned_from(service, project) == 1
    assert len(frames_of(service.predict(project, [good])[0], "Walk")) > 12


def test_a_label_that_the_config_does_not_have_is_left_out_and_the_rest_of_the_task_is_learned(service, project, make_task):
    task = make_task()
    job = service.train(project, (task, [region("Run", (1, 24)), region("Fly", (1, 3))]))
    assert job["state"] == "done"
    assert job["warnings"] == [f"task {task['id']}: regions of ['Fly'], which the labeling config does not have, are left out"]
    assert learned_from(service, project) == 1
    assert len(frames_of(service.predict(project, [task])[0], "Run")) > 12


def test_numbers_that_no_frame_can_have_leave_the_task_out(service, project, make_task):
    """1e999 is JSON, and infinity to who reads it."""
    good, spoiled = make_task(), make_task()
    service.train(project, (good, [region("Walk", (1, 24))]))
    event = project.annotation_event(spoiled, [region("Walk", (1, 777777))])
    content = json.dumps(event).replace("777777", "1e999")
    answer = service.client.post("/webhook", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    service.wait_idle()

    job = service.jobs(project, "train")[0]
    assert (job["state"], len(job["warnings"])) == ("done", 1), job
    assert f"task {spoiled['id']} is left out" in job["warnings"][0]


def test_a_task_whose_video_cannot_be_read_leaves_only_itself_out(service, project, make_task):
    missing = make_task("/no/such/video.mp4")
    job = service.train(project, (make_task(), [region("Walk", (1, 24))]), (missing, [region("Run", (1, 24))]))
    assert job["state"] == "done"
    assert [f"task {missing['id']} is left out" in w for w in job["warnings"]] == [True]
    assert learned_from(service, project) == 1


def test_a_training_without_one_usable_task_fails_with_the_reason_and_the_server_goes_on(service, project, make_task):
    task = make_task()
    job = service.train(project, (task, [region("Walk", (9, 3))]))
    assert job["state"] == "failed"
    assert f"task {task['id']}" in job["error"]
    assert "ends before it" in job["error"]
    assert service.version(project) == "untrained"

    assert service.train(project, (task, [region("Walk", (1, 24))]))["state"] == "done"
    assert service.version(project) != "untrained"


def test_a_range_that_ends_a_frame_late_is_learned(service, project, make_task):
    """Browser and file may differ by a frame at the end."""
    job = service.train(project, (make_task(), [region("Walk", (1, 25))]))
    assert (job["state"], job["warnings"]) == ("done", [])


def test_removing_the_models_folder_resets_and_the_next_training_takes_all_annotations(service, project, make_task):
    first, second = make_task(), make_task()
    service.train(project, (first, [region("Walk", (1, 24))]))
    before = service.version(project)
    (folder,) = service.model_folders(project)
    shutil.rmtree(folder)

    assert service.version(project) == "untrained"
    assert service.predict(project, [first]) == [[]]

    job = service.train(project, (second, [region("Walk", (1, 24))]))
    assert (job["state"], job["warnings"]) == ("done", [])
    assert learned_from(service, project) == 2
    assert service.version(project) not in ("untrained", before)
    assert len(frames_of(service.predict(project, [first])[0], "Walk")) > 12


@pytest.mark.parametrize(
    ("labels", "parameters", "said"),
    [
        (LABELS, {"model_classifier_hidden_size": "16"}, "hidden_size is 16 and was 32"),
        (LABELS, {"model_classifier_sequence_size": "8"}, "sequence_size is 8 and was 16"),
        (LABELS, {"model_classifier_num_layers": "2"}, "num_layers is 2 and was 1"),
        ((*LABELS, "Sit"), {}, "the labels are ['Walk', 'Run', 'Sit'] and were ['Walk', 'Run']"),
        (LABELS, {"model_crop": "squash"}, "(squash, fast) and was"),
    ],
    ids=["hidden_size", "sequence_size", "num_layers", "labels", "crop"],
)
def test_a_change_of_the_networks_shape_starts_a_new_model_and_says_so(service, project, make_task, labels, parameters, said):
    task = make_task()
    service.train(project, (task, halves()))
    changed = project.with_config(learning_config(*labels, **parameters))

    job = service.train(changed, (make_task(), [region("Walk", (1, 24))]))

    assert job["state"] == "done"
    (warning,) = job["warnings"]
    assert "a new model was started" in warning
    assert said in warning
    assert service.predict(changed, [task])[0]["model_version"] == service.version(changed)


def test_a_change_of_epochs_goes_on_with_the_model(service, project, make_task):
    service.train(project, (make_task(), halves()))
    changed = project.with_config(learning_config(model_classifier_epochs="5"))
    job = service.train(changed, (make_task(), halves()))
    assert (job["state"], job["warnings"]) == ("done", [])


def test_a_new_threshold_is_a_new_version_without_a_training(service, project, make_task):
    """To Label Studio a prediction with other regions must have another version, or it is not asked for again."""
    task = make_task()
    service.train(project, (task, halves()))
    trained = service.version(project)
    changed = project.with_config(learning_config(model_score_threshold="0"))

    assert service.version(changed) not in (trained, "untrained")
    prediction = service.predict(changed, [task])[0]
    assert prediction["model_version"] == service.version(changed)
    assert frames_of(prediction, "Walk") == set(range(1, 25))


def test_a_project_updated_event_is_what_the_next_training_goes_by(service, project, make_task):
    service.train(project, (make_task(), halves()))
    changed = project.with_config(learning_config(model_classifier_hidden_size="8"))
    service.send(changed.event("PROJECT_UPDATED"))
    service.send(changed.event("START_TRAINING"))
    service.wait_idle()
    assert any("hidden_size is 8" in warning for job in service.jobs(project, "train") for warning in job["warnings"])


def test_annotations_under_a_config_that_became_unusable_are_kept_until_it_is_mended(service, project, make_task):
    broken = project.with_config(labeling_config(*LABELS, model_trainable="perhaps"))
    told = service.send(broken.annotation_event(make_task(), [region("Walk", (1, 24))]))
    assert told["status"] == "recorded"
    assert "model_trainable must be" in service.jobs(project)[0]["error"]

    service.send(project.event("START_TRAINING"))
    service.wait_idle()
    assert learned_from(service, project) == 1


def test_two_controls_of_a_project_are_both_learned(service, make_task):
    config = (
        '<View><TimelineLabels name="feet" toName="v" model_trainable="true"><Label value="Walk"/></TimelineLabels>'
        '<TimelineLabels name="hands" toName="v" model_trainable="true"><Label value="Wave"/></TimelineLabels>'
        '<Video name="v" value="$video" frameRate="25"/></View>'
    )
    project, task = Project(config), make_task(num_frames=48)
    drawn = [
        region("Walk", (1, 24), control="feet", video="v"),
        region("Wave", (25, 48), control="hands", video="v"),
    ]
    service.train(project, (task, drawn))

    prediction = service.predict(project, [task])[0]

    assert {(r["from_name"], *r["value"]["timelinelabels"]) for r in prediction["result"]} == {
        ("feet", "Walk"),
        ("hands", "Wave"),
    }
    assert prediction["model_version"] == service.version(project)
    assert len(service.model_folders(project)) == 2


def learned_from(service, project):
    """Number of videos that the version in use learned from."""
    versions = service.client.get("/versions").json()["details"]
    (current,) = [v for v in versions if v["project"] == project.key and v["current"]]
    return current["videos"]
