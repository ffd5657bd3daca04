"""Properties that hold for any input: round trips are exact, and whatever cannot be used is refused by an error of our own."""

import itertools
import json
import math
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from framewise.assembly import Assembly
from framewise.core.converter import regions_to_frame_labels, scores_to_segments, segments_to_regions
from framewise.core.errors import MAX_MESSAGE_CHARS, ConfigError, FramewiseError, RegionError, RequestError
from framewise.core.frame_grid import count_frames, parse_frame_rate, picture_rows
from framewise.core.regions import TimelineRegion, read_regions, write_region
from framewise.labeling_config import MAX_CONTROLS, MAX_LABELS, PARAMETERS, read_labeling_config
from framewise.settings import Settings

settings.register_profile("ours", max_examples=200, deadline=None, derandomize=True, database=None)
settings.load_profile("ours")

LABELS = ["Walk", "Run", "Jump"]

numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(), max_size=8) | st.sampled_from(LABELS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def mostly(strategy, share=10):
    """Values of a strategy, and one in ``share`` of anything else."""
    return st.integers(1, share).flatmap(lambda number: anything if number == share else strategy)


@st.composite
def shaped(draw, **fields):
    """Objects with these fields, of which now and then one or two are missing or something else."""
    built = {name: draw(field) for name, field in fields.items()}
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        name = draw(st.sampled_from(sorted(fields)))
        built.pop(name, None)
        if draw(st.booleans()):
            built[name] = draw(anything)
    return built


frames = mostly(st.integers(1, 60), 20) | mostly(st.integers(1, 60).map(float), 5)


def _span(start, end):
    ordered = sorted((start, end)) if all(isinstance(frame, int | float) for frame in (start, end)) else (start, end)
    return dict(zip(("start", "end"), ordered, strict=True))


regions = shaped(
    id=st.text(max_size=5),
    type=st.just("timelinelabels"),
    from_name=st.sampled_from(["tl", "other"]),
    to_name=st.just("clip"),
    value=shaped(
        ranges=st.lists(mostly(st.builds(_span, frames, frames), 30), max_size=3),
        timelinelabels=st.lists(mostly(st.sampled_from(LABELS), 30), max_size=3),
    ),
)


# Regions.


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=st.integers(0, 1)))
def test_frames_to_regions_and_back_changes_nothing(frame_labels):
    num_frames, num_labels = frame_labels.shape
    labels = LABELS[:num_labels]
    segments = scores_to_segments(frame_labels.astype(np.float64), 0.5)
    written = json.loads(json.dumps(segments_to_regions(segments, labels, "tl", "clip")))
    ranges = [span for region in written for span in region["value"]["ranges"]]
    assert all(type(span["start"]) is int and type(span["end"]) is int for span in ranges)
    assert all(1 <= span["start"] <= span["end"] <= num_frames for span in ranges)
    assert len({region["id"] for region in written}) == len(written)
    np.testing.assert_array_equal(regions_to_frame_labels(read_regions(written, "tl"), labels, num_frames), frame_labels)


@given(st.lists(mostly(regions), max_size=5), st.integers(1, 60))
def test_regions_of_any_form_are_read_or_refused(result, num_frames):
    try:
        read = read_regions(result, "tl")
        frame_labels = regions_to_frame_labels(read, LABELS, num_frames)
    except RegionError:
        return
    spans = [span for region in read for span in region.ranges]
    assert all(type(start) is int and (end is None or type(end) is int) for start, end in spans)
    marked = {frame for region in read if region.labels for start, end in region.ranges
              for frame in range(start, min(end or num_frames, num_frames) + 1)}  # fmt: skip
    assert set(np.flatnonzero(frame_labels.any(axis=1)) + 1) == marked


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([int, float, np.int64, np.float32]))
def test_a_written_region_has_no_fractional_frame(start, length, score, kind):
    assume(kind(start) == start)
    assume(kind(start + length) == start + length)
    region = write_region(["Walk"], kind(start), kind(start + length), "tl", "clip", score)
    (read,) = read_regions([json.loads(json.dumps(region))])
    assert read == TimelineRegion(("Walk",), ((start, start + length),), region["id"])
    assert all(type(frame) is int for frame in read.ranges[0])


# The frame grid.

rates = st.floats(0.5, 1000)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), rates, st.integers(0, 300))
def test_rows_of_the_grid_are_as_many_as_frames_never_go_back_and_are_pictures(seconds, frame_rate, num_frames):
    rows = picture_rows(sorted(seconds), frame_rate, num_frames)
    assert rows.shape == (num_frames,)
    assert (np.diff(rows) >= 0).all()
    assert ((rows >= 0) & (rows < len(seconds))).all()


@given(st.integers(1, 500), st.sampled_from([10, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60]))
def test_a_file_at_its_own_rate_shows_each_picture_once(pictures, frame_rate):
    seconds = np.arange(pictures) / frame_rate
    assert count_frames(pictures / frame_rate, frame_rate) == pictures
    np.testing.assert_array_equal(picture_rows(seconds, frame_rate, pictures), np.arange(pictures))


number_texts = st.from_regex(r"[+\- ]?[0-9]{0,30}\.?[0-9]{0,30}([eE][+-]?[0-9]{1,4})?[x_ ]?", fullmatch=True)


@given(st.none() | numbers | st.booleans() | st.text() | number_texts)
def test_a_frame_rate_is_positive_and_finite_or_refused(value):
    try:
        rate = parse_frame_rate(value)
    except ValueError:
        return
    assert 0 < rate < math.inf
    assert rate >= 1


# Labeling configs.

values = (
    st.text(max_size=12)
    | number_texts
    | st.sampled_from(["true", "false", "$video", "$fps", "25", "0.5", "tl", "video", "7", "unknown", "unreviewed"])
)
names = st.sampled_from(
    [
        "name",
        "toName",
        "value",
        "frameRate",
        "alias",
        "predicted_values",
        "model_role",
        "MODEL_PATH",
        "model_xyz",
        *(p.name for p in PARAMETERS),
    ]
)


def tag(kind, attributes, children=()):
    shown = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    return f"<{kind} {shown}>{''.join(children)}</{kind}>"


@st.composite
def tags(draw, kind, sure, children=()):
    """Tags of a kind with these attributes, of which now and then one is missing, and with others besides."""
    attributes = {name: draw(value) for name, value in sure.items()}
    if attributes and draw(st.integers(1, 8)) == 8:
        attributes.pop(draw(st.sampled_from(sorted(attributes))))
    attributes.update(draw(st.dictionaries(names, values, max_size=draw(st.sampled_from([0, 0, 1, 2])))))
    return tag(kind, attributes, draw(st.lists(st.one_of(*children), max_size=4)) if children else ())


label_names = st.sampled_from(LABELS) | values
labels_and_others = [tags("Label", {"value": label_names}), tags("Choice", {"value": label_names})]
control_tags = tags(
    "TimelineLabels", {"name": st.sampled_from(["tl", "tl", "other"]), "toName": st.just("video")}, labels_and_others
)
video_tags = tags("Video", {"name": st.just("video"), "value": st.just("$video")})
other_tags = tags("Audio", {"name": st.just("sound"), "value": st.just("$sound")})
configs = st.builds(
    lambda control, video, more: tag("View", {}, [control, video, *more]),
    control_tags,
    video_tags,
    st.lists(
        control_tags | other_tags | st.text(st.sampled_from("ab &;"), max_size=3).filter(lambda text: "&" not in text),
        max_size=2,
    ),
)


@settings(max_examples=300)
@given(configs | st.text(max_size=40) | st.text(st.sampled_from("<>/=\"' &;!-[]?aVLT"), max_size=40))
def test_a_labeling_config_of_any_form_is_read_or_refused(xml):
    try:
        controls = read_labeling_config(xml)
    except ConfigError:
        return
    assert 1 <= len(controls) <= MAX_CONTROLS
    for control in controls:
        assert control.from_name
        assert control.to_name
        assert control.value_key
        assert 1 <= len(control.label_names) <= len(control.region_names) <= MAX_LABELS
        assert len(set(control.region_names)) == len(control.region_names)
        assert 0 <= control.parameters["model_score_threshold"] <= 1
        assert control.prediction_key()


@given(configs, anything)
def test_task_data_of_any_form_gives_an_address_and_a_rate_or_is_refused(xml, data):
    try:
        controls = read_labeling_config(xml.replace('name="video"', 'name="video" frameRate="$fps"', 1))
    except ConfigError:
        return
    for control in controls:
        for read in (control.media_source, control.frame_rate):
            try:
                assert read({"video": data, "fps": data})
            except RequestError:
                continue


# Events.

ids = st.integers(0, 5)
CONFIG = tag(
    "View",
    {},
    [
        tag("TimelineLabels", {"name": "tl", "toName": "clip", "model_trainable": "true"}, ['<Label value="Walk"/>']),
        tag("Video", {"name": "clip", "value": "$video"}),
    ],
)
moments = st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat()) | st.sampled_from(
    ["2025-01-01T10:00:00.1Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "20250101", "2025-W01-1", "10:00"]
)
annotations_of_any_form = shaped(
    id=ids,
    result=st.lists(mostly(regions), max_size=2),
    updated_at=moments,
    was_cancelled=st.booleans(),
    ground_truth=st.booleans(),
)
tasks_of_any_form = shaped(id=ids, data=shaped(video=st.text(max_size=5)))
ACTIONS = [
    "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED", "TASKS_CREATED", "TASKS_DELETED",
    "START_TRAINING", "PROJECT_UPDATED",
]  # fmt: skip


def one_or_many(strategy):
    return strategy | st.lists(mostly(strategy, 20), max_size=2)


events = shaped(
    action=st.sampled_from(ACTIONS),
    project=shaped(
        id=ids, title=st.text(max_size=5), label_config=st.just(CONFIG) | st.text(max_size=9), created_at=moments | st.none()
    ),
    annotation=one_or_many(annotations_of_any_form),
    annotations=one_or_many(annotations_of_any_form),
    task=one_or_many(tasks_of_any_form),
    tasks=one_or_many(tasks_of_any_form),
)


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assembly")
    names = {"MODEL_ROOT": "models", "CACHE_DIR": "cache", "DATA_DIR": "data"}
    return Assembly(Settings.from_env({name: str(folder / below) for name, below in names.items()}))


@settings(max_examples=250)
@given(event=events)
def test_an_event_of_any_form_is_recorded_or_refused_whole(assembly, event):
    # The event as it comes: JSON that was read.
    event = json.loads(json.dumps(event))
    before = assembly.annotations.counts()
    try:
        told = assembly.backend.on_event(event)
    except RequestError:
        assert assembly.annotations.counts() == before
        return
    assert told["status"] in ("recorded", "ignored")
    assert assembly.annotations.counts()["events"] == before["events"] + (told["status"] == "recorded")


mostly_false = st.sampled_from([False, False, False, True])
project_numbers = itertools.count(1000)
annotated = st.tuples(st.just("annotate"), ids, mostly_false, mostly_false)
honest_events = st.lists(
    annotated | annotated | st.tuples(st.sampled_from(["delete annotation", "delete task"]), ids), min_size=2, max_size=12
)


def as_event(project, number, told):
    """An event of Label Studio. ``number`` is when it happened, and what its annotation says."""
    known = {"id": project, "created_at": "2025-01-01T00:00:00Z", "label_config": CONFIG, "title": "x"}
    if told[0] == "delete annotation":
        return {"action": "ANNOTATIONS_DELETED", "project": known, "annotations": [{"id": told[1]}]}
    if told[0] == "delete task":
        return {"action": "TASKS_DELETED", "project": known, "tasks": [{"id": told[1]}]}
    _, annotation, cancelled, truth = told
    task = annotation % 3  # an annotation belongs to one task for good
    return {
        "action": "ANNOTATION_UPDATED",
        "project": known,
        "task": {"id": task, "data": {"video": f"{task}.mp4"}},
        "annotation": {
            "id": annotation,
            "result": [{"number": number}],
            "updated_at": f"2025-01-01T00:00:{number:02d}Z",
            "was_cancelled": cancelled,
            "ground_truth": truth,
        },
    }


@settings(max_examples=60)
@given(told=honest_events, data=st.data())
def test_events_that_come_late_and_twice_leave_the_same_training_set(assembly, told, data):
    twice = data.draw(st.lists(st.sampled_from(range(len(told))), max_size=5))
    order = data.draw(st.permutations([*range(len(told)), *twice]))
    found = []
    for numbers_in_order in (range(len(told)), order):
        project = next(project_numbers)
        for number in numbers_in_order:
            assembly.backend.on_event(as_event(project, number, told[number]))
        found.append(assembly.annotations.training_set(f"{project}.1735689600"))
    assert found[0] == found[1]


@given(st.text(st.characters()) | anything, st.sampled_from(FramewiseError.__subclasses__()))
def test_a_message_is_never_longer_than_is_shown(value, kind):
    assert len(str(kind(str(value) * 500))) <= MAX_MESSAGE_CHARS
