"""Events of Label Studio into the store, through the real use cases and without a server: in any order, more than once."""

import itertools
import json
import random

import pytest

from framewise.assembly import Assembly
from framewise.settings import Settings
from tests.integration.service import learning_config
from tests.messages import Project, region, task_of

SHUFFLES = 20


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    root = tmp_path_factory.mktemp("assembly")
    return Assembly(Settings(model_root=root / "models", cache_dir=root / "cache", data_dir=root / "data"))


@pytest.fixture
def told(assembly):
    return assembly.backend.on_event


def jobs(assembly, project, kind):
    found = assembly.jobs.states.overview(10_000)["jobs"]
    return [job for job in found if job["project"] == project.key and job["kind"] == kind]


def learned(assembly, project):
    return assembly.annotations.training_set(project.key)


def label_of(item):
    """The labels that are drawn in an example, by name."""
    return [name for drawn in item.result for name in drawn["value"]["timelinelabels"]]


class Story:
    """A project's events, by Label Studio's clock: every second something else."""

    def __init__(self, project):
        self.project, self.events = project, []
        self._clock = itertools.count()
        self._ids = itertools.count(1)
        self.saved_at = self._now()

    def _now(self):
        second = next(self._clock)
        return f"2026-01-01T10:{second // 60:02}:{second % 60:02}.{'' if second % 5 else '5'}00000Z"

    def tell(self, action, **more):
        event = self.project.event(action, **more)
        event["project"]["updated_at"] = self.saved_at
        self.events.append(json.loads(json.dumps(event)))

    def task(self):
        task = {**task_of(next(self._ids), "/no/such.mp4"), "updated_at": self._now()}
        self.tell("TASKS_CREATED", tasks=[task])
        return task

    def annotate(self, task, *result, number=None, **more):
        task["updated_at"] = now = self._now()
        annotation = self.project.annotation(task, result, number or next(self._ids), updated_at=now, **more)
        self.tell("ANNOTATION_UPDATED" if number else "ANNOTATION_CREATED", annotation=annotation, task=task)
        return annotation["id"]

    def change(self, *labels, **parameters):
        self.project, self.saved_at = self.project.with_config(learning_config(*labels, **parameters)), self._now()
        self.tell("PROJECT_UPDATED")


def day(created):
    """Six tasks, two annotators, and everything that Label Studio tells of."""
    story = Story(Project(learning_config("Walk", "Run"), created=created))
    tasks = [story.task() for _ in range(6)]
    first = [story.annotate(task, region("Walk", (1, 5), id="a")) for task in tasks[:4]]
    story.annotate(tasks[0], region("Run", (1, 5), id="b"), number=first[0])
    story.annotate(tasks[1], region("Run", (2, 3), id="c"), ground_truth=True)
    story.annotate(tasks[1], region("Walk", (7, 9), id="d"))
    story.annotate(tasks[2], number=first[2], was_cancelled=True)
    story.annotate(tasks[3], number=first[3])
    story.change("Stroll", "Run")
    skipped = story.annotate(tasks[4], was_cancelled=True)
    story.annotate(tasks[4], region("Stroll", (4, 6), id="e"), number=skipped)
    story.annotate(tasks[0], region("Walk", (1, 4), id="f"), number=first[0])
    story.change("Stroll", "Run", "Walk")
    gone = story.annotate(tasks[0], region("Walk", (1, 2), id="g"))
    last = story.annotate(tasks[5], region("Walk", (8, 9), id="h"))
    story.tell("ANNOTATIONS_DELETED", annotations=[{"id": gone}])
    story.annotate(tasks[5], region("Run", (8, 9), id="i"), number=last)
    story.change("Walk", "Run", model_classifier_epochs="3")
    story.tell("TASKS_DELETED", tasks=[{"id": tasks[5]["id"]}])
    return story


def test_events_in_any_order_and_more_than_once_lead_to_the_same(assembly, told):
    in_order = day(1_000_000_000)
    for event in in_order.events:
        told(event)
    expected = learned(assembly, in_order.project)
    assert [(item.task, label_of(item)) for item in expected] == [
        (1, ["Stroll"]), (2, ["Run"]), (4, []), (5, ["Stroll"]),
    ]  # fmt: skip
    assert [item.labels for item in expected] == [
        {"tl": ["Stroll", "Run"]}, {"tl": ["Stroll", "Run"]}, {"tl": ["Stroll", "Run"]}, {"tl": ["Stroll", "Run"]},
    ]  # fmt: skip
    for seed in range(SHUFFLES):
        shuffled = day(1_000_000_001 + seed)
        dice = random.Random(seed)
        events = shuffled.events + dice.sample(shuffled.events, 12)
        dice.shuffle(events)
        for event in events:
            told(event)
        assert learned(assembly, shuffled.project) == expected, f"seed {seed}"
        known = assembly.annotations.project(shuffled.project.key)
        assert known.label_config == shuffled.project.config


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_states_of_one_time_the_same_stays_whichever_comes_first(assembly, told, first):
    project = Project(learning_config(), created=1_100_000_000 + first)
    states = [
        project.annotation(task_of(1, "a.mp4"), [region(label, (1, 2), id="a")], 7, updated_at="2026-01-01T10:00:00Z")
        for label in ("Walk", "Run")
    ]
    for state in (states[first], states[1 - first], states[first]):
        told(project.event("ANNOTATION_UPDATED", annotation=state, task=task_of(1, "a.mp4")))
    assert [label_of(item) for item in learned(assembly, project)] == [["Walk"]]


def test_a_training_follows_what_changes_what_is_learned_and_nothing_else(assembly, told):
    project, task = Project(learning_config()), task_of(1, "a.mp4")
    created = project.annotation_event(task, [region("Walk", (1, 2))])
    skipped = project.annotation_event(task, [], was_cancelled=True)

    def follows(event):
        return "job" in told(event)

    number = created["annotation"]["id"]
    assert not follows(skipped)
    assert follows(created)
    assert not follows(created)
    assert follows(project.annotation_event(task, [], action="ANNOTATION_UPDATED", annotation=number))
    assert follows(project.annotation_event(task, [], action="ANNOTATION_UPDATED", annotation=number, was_cancelled=True))
    assert not follows(project.event("ANNOTATIONS_DELETED", annotations=[{"id": number}, {"id": 4711}]))
    again = project.annotation_event(task, [])
    assert follows(again)
    assert follows(project.event("ANNOTATIONS_DELETED", annotations=[{"id": again["annotation"]["id"]}]))
    assert not follows(project.event("ANNOTATIONS_DELETED", annotations=[{"id": again["annotation"]["id"]}]))
    assert follows(project.annotation_event(task, []))
    assert follows(project.event("TASKS_DELETED", tasks=[{"id": 1}]))
    assert not follows(project.event("TASKS_DELETED", tasks=[{"id": 1}]))
    assert not follows(project.event("PROJECT_UPDATED"))


@pytest.mark.parametrize(
    ("labels", "parameters", "follows"),
    [
        (("Walk", "Run", "Sit"), {}, True),
        (("Walk",), {}, True),
        (("Stroll", "Run"), {}, True),
        (("Walk", "Run"), {"model_crop": "squash"}, True),
        (("Walk", "Run"), {"frame_rate": "10"}, True),
        (("Walk", "Run"), {"model_score_threshold": "0.7"}, False),
        (("Walk", "Run"), {"model_classifier_epochs": "9"}, False),
        (("Walk", "Run"), {"model_trainable": "false"}, False),
        (("Walk", "Run"), {"model_trainable": "perhaps"}, False),
    ],
)
@pytest.mark.parametrize("annotated", [True, False])
def test_a_training_follows_a_changed_config_where_it_changes_what_is_learned(
    assembly, told, labels, parameters, follows, annotated
):
    project = Project(learning_config())
    told(project.annotation_event(task_of(1, "a.mp4"), [], was_cancelled=not annotated))
    changed = project.with_config(learning_config(*labels, **parameters))
    assert ("job" in told(changed.event("PROJECT_UPDATED"))) == (follows and annotated)


@pytest.mark.parametrize(
    ("labels", "parameters"),
    [
        ((), {"model_unmarked": "after_last"}),
        ((), {"model_marks": "points"}),
        ((), {"model_group": "$person"}),
        (("Walk", "Run", '<Label value="Skipped" model_role="unreviewed"/>'), {}),
    ],
)
def test_a_training_follows_a_change_of_how_annotations_are_taken(assembly, told, labels, parameters):
    auto = {"model_classifier_type": "auto"}
    project = Project(learning_config(**auto))
    told(project.annotation_event(task_of(1, "a.mp4"), []))
    assert "job" not in told(project.event("PROJECT_UPDATED"))
    assert "job" in told(project.with_config(learning_config(*labels, **auto, **parameters)).event("PROJECT_UPDATED"))


def test_an_added_label_is_not_among_those_of_earlier_annotations(assembly, told):
    project = Project(learning_config("Walk", "Run"))
    told(project.annotation_event(task_of(1, "a.mp4"), []))
    told(project.with_config(learning_config("Walk", "Run", "Sit")).annotation_event(task_of(2, "b.mp4"), []))
    assert [item.labels for item in learned(assembly, project)] == [{"tl": ["Walk", "Run"]}, {"tl": ["Walk", "Run", "Sit"]}]


def test_a_removed_label_that_comes_back_knows_its_regions(assembly, told):
    project = Project(learning_config("Walk", "Run"))
    told(project.annotation_event(task_of(1, "a.mp4"), [region("Walk", (1, 2))]))
    told(project.with_config(learning_config("Run")).event("PROJECT_UPDATED"))
    told(project.event("PROJECT_UPDATED"))
    (item,) = learned(assembly, project)
    assert (label_of(item), item.labels) == (["Walk"], {"tl": ["Walk", "Run"]})
    assert assembly.annotations.renames(project.key) == {}


def test_a_renamed_label_keeps_its_regions_and_the_rename_is_shown(assembly, told):
    project = Project(learning_config("Walk", "Run"))
    told(project.annotation_event(task_of(1, "a.mp4"), [region(["Walk", "Run"], (1, 2))]))
    told(project.with_config(learning_config("Stroll", "Run")).event("PROJECT_UPDATED"))
    (item,) = learned(assembly, project)
    assert (label_of(item), item.labels) == (["Stroll", "Run"], {"tl": ["Stroll", "Run"]})
    assert assembly.annotations.renames(project.key) == {"tl": {"Walk": "Stroll"}}

    told(project.event("PROJECT_UPDATED"))
    assert label_of(learned(assembly, project)[0]) == ["Walk", "Run"]
    assert assembly.annotations.renames(project.key) == {"tl": {"Stroll": "Walk"}}


def test_without_a_key_it_is_said_once_that_there_is_more_than_was_told(assembly, told):
    project = Project(learning_config())
    counters = {"total_annotations_number": 57, "skipped_annotations_number": 2}
    for number in range(3):
        event = project.annotation_event(task_of(number, "a.mp4"), [])
        event["project"].update(counters)
        told(event)
    told(project.event("TASKS_CREATED", tasks=[{**task_of(9, "a.mp4"), "total_annotations": 1}]))
    (note,) = jobs(assembly, project, "import")
    assert "set LABEL_STUDIO_URL" in note["warnings"][0]
    assert "press Start training" in note["warnings"][0]
    assert note["state"] == "done"


def test_five_thousand_tasks_in_one_event_are_one_job(assembly, told):
    project = Project(learning_config())
    tasks = [task_of(number, f"/data/upload/1/{number}.mp4") for number in range(1, 5001)]
    told(project.event("TASKS_CREATED", tasks=tasks))
    told(project.event("TASKS_CREATED", tasks=tasks))
    assert len(jobs(assembly, project, "warm")) == 1
    assert assembly.annotations.next_cold(project.key, 2)[2] == 5000


def test_tasks_of_a_project_whose_config_cannot_be_read_are_only_remembered(assembly, told):
    project = Project("<View/>")
    told(project.event("TASKS_CREATED", tasks=[task_of(1, "a.mp4")]))
    assert jobs(assembly, project, "warm") == []
    assert assembly.annotations.task_data(project.key, 1) == {"video": "a.mp4"}
