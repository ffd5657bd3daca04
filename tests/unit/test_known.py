"""Annotations that mark only a part: the frames that are known by them, and those that are not."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.assembly import Assembly
from framewise.controls import Medium, SeriesControl, TrainedModel, VideoControl, learners_of
from framewise.controls.examples import completed, notes_on
from framewise.core.converter import regions_to_frame_labels
from framewise.core.errors import NothingMarked, RangeOutsideVideo
from framewise.core.known import UNMARKED, known_cells, never_overlapping, point_cells, reviewed_rows
from framewise.core.regions import TimelineRegion
from framewise.core.series_time import SeriesTimes
from framewise.features.kinds.lite0 import LITE0
from framewise.features.sensors import SeriesFeatures
from framewise.labeling_config import read_labeling_config
from framewise.settings import Settings
from tests import cache_help
from tests.messages import labeling_config, region
from tests.sync_group_help import sync_config

ours = settings(max_examples=150, deadline=None, derandomize=True, database=None)
ROWS, LABELS = 40, ["Walk", "Run", "Sit"]
TOLD = np.ones(3, bool)


def drawn(start, end, *labels):
    return TimelineRegion(labels, ((start, end),), "r")


spans = st.tuples(st.integers(1, ROWS), st.integers(0, 12)).map(lambda s: (s[0], min(s[0] + s[1], ROWS)))
some_regions = st.lists(st.builds(lambda span, label: drawn(*span, label), spans, st.sampled_from(LABELS)), max_size=5)


def rows(*spans):
    """True in rows [index, stop)."""
    found = np.zeros(ROWS, bool)
    for index, stop in spans:
        found[index:stop] = True
    return found


def known(regions, unmarked, unreviewed=(), told=TOLD, apart=None):
    on = regions_to_frame_labels(regions, LABELS, ROWS)
    apart = never_overlapping([on]) if apart is None and unmarked == "unknown" else apart
    return known_cells(on, reviewed_rows(regions, unreviewed, ROWS, unmarked), told, apart)


# Rows that were looked at.


def test_off_takes_every_row_as_looked_at():
    assert reviewed_rows([drawn(3, 5, "Walk")], [], ROWS, "off").all()
    assert reviewed_rows([], [], ROWS, "off").all()


def test_after_last_takes_rows_up_to_the_last_end_as_looked_at():
    regions = [drawn(3, 16, "Walk"), drawn(10, 12, "Run")]
    np.testing.assert_array_equal(reviewed_rows(regions, [], ROWS, "after_last"), rows((0, 16)))


def test_after_last_an_annotation_without_regions_says_nothing():
    assert not reviewed_rows([], [], ROWS, "after_last").any()


def test_a_region_without_a_known_label_tells_how_far_somebody_looked():
    np.testing.assert_array_equal(reviewed_rows([drawn(9, 9)], [], ROWS, "after_last"), rows((0, 9)))


def test_an_open_region_reaches_to_the_end():
    assert reviewed_rows([drawn(30, None, "Walk")], [], ROWS, "after_last").all()


def test_unreviewed_regions_hide_what_they_cover_and_are_not_the_last():
    np.testing.assert_array_equal(reviewed_rows([], [drawn(5, 8)], ROWS, "off"), rows((0, 4), (8, ROWS)))
    found = reviewed_rows([drawn(2, 10, "Walk")], [drawn(5, 6), drawn(30, 35)], ROWS, "after_last")
    np.testing.assert_array_equal(found, rows((0, 4), (6, 10)))


def test_a_region_far_past_the_end_is_refused_and_one_just_past_it_cut():
    assert reviewed_rows([drawn(39, ROWS + 3, "Walk")], [], ROWS, "after_last").all()
    with pytest.raises(RangeOutsideVideo):
        reviewed_rows([drawn(39, ROWS + 4, "Walk")], [], ROWS, "after_last")
    with pytest.raises(RangeOutsideVideo):
        reviewed_rows([], [drawn(ROWS + 1, ROWS + 1)], ROWS, "off")


# Cells that are known.


def test_unknown_takes_a_label_as_off_only_where_one_that_never_overlaps_it_is_on():
    """Run is inside of Walk; Sit is with neither."""
    found = known([drawn(1, 10, "Walk"), drawn(4, 6, "Run"), drawn(21, 30, "Sit")], "unknown")
    np.testing.assert_array_equal(found[:, 0], rows((0, 10), (20, 30)))
    np.testing.assert_array_equal(found[:, 1], rows((3, 6), (20, 30)))
    np.testing.assert_array_equal(found[:, 2], rows((0, 10), (20, 30)))


def test_of_a_label_that_was_not_told_nothing_is_known():
    told = np.array([True, False, True])
    for unmarked in UNMARKED:
        found = known([drawn(1, 10, "Walk")], unmarked, told=told)
        assert not found[:, 1].any()
        assert found[:, 0].any()


def test_two_labels_overlap_if_they_do_so_in_any_annotation():
    first = regions_to_frame_labels([drawn(1, 10, "Walk"), drawn(11, 20, "Run"), drawn(21, 30, "Sit")], LABELS, ROWS)
    second = regions_to_frame_labels([drawn(1, 10, "Walk", "Run")], LABELS, ROWS)
    np.testing.assert_array_equal(never_overlapping([first]), ~np.eye(3, dtype=bool))
    expected = [[False, False, True], [False, False, True], [True, True, False]]
    np.testing.assert_array_equal(never_overlapping([first, second]), expected)


def test_a_frame_that_two_long_regions_share_is_a_slip():
    def pair(shared):
        on = np.zeros((400, 2), np.uint8)
        on[:100, 0] = on[100 - shared : 300, 1] = 1
        return never_overlapping([on])[0, 1]

    assert [pair(shared) for shared in (0, 1, 2, 3)] == [True, True, True, False]


@ours
@given(some_regions, some_regions, st.sampled_from(UNMARKED))
def test_whatever_is_marked_and_looked_at_is_known_and_nothing_that_is_hidden(regions, hiding, unmarked):
    found = known(regions, unmarked, hiding)
    on = regions_to_frame_labels(regions, LABELS, ROWS) > 0
    hidden = regions_to_frame_labels(hiding, LABELS, ROWS).any(axis=1)
    assert found.shape == on.shape
    assert not found[hidden].any()
    assert found[on & ~hidden[:, None]].all()


@ours
@given(some_regions, some_regions)
def test_off_knows_all_that_after_last_knows_and_that_all_that_unknown_knows(regions, hiding):
    off, after_last, unknown = (known(regions, unmarked, hiding) for unmarked in UNMARKED)
    assert (after_last <= off).all()
    assert (unknown <= after_last).all()


@ours
@given(st.lists(some_regions, min_size=1, max_size=4))
def test_more_annotations_never_make_more_labels_exclude_each_other_but_by_slips(annotations):
    on = [regions_to_frame_labels(regions, LABELS, ROWS) for regions in annotations]
    apart = never_overlapping(on)
    assert (apart == apart.T).all()
    assert not apart.diagonal().any()
    for i, j in zip(*np.nonzero(apart), strict=True):  # 2 % of so few rows are less than three
        assert sum(int((one[:, i] & one[:, j]).sum()) for one in on) < 3


# Points.


def test_regions_of_one_frame_are_points_and_longer_ones_are_not():
    found = point_cells([drawn(5, 5, "Walk"), drawn(9, 10, "Walk"), drawn(7, 7, "Run", "Sit")], LABELS, ROWS)
    assert sorted(zip(*(x.tolist() for x in np.nonzero(found)), strict=True)) == [(4, 0), (6, 1), (6, 2)]


def test_a_point_inside_a_drawn_region_of_its_label_is_none():
    found = point_cells([drawn(5, 9, "Walk"), drawn(7, 7, "Walk"), drawn(7, 7, "Run")], LABELS, ROWS)
    assert np.argwhere(found).tolist() == [[6, 1]]


@ours
@given(some_regions)
def test_points_are_marked_cells_and_gone_if_all_regions_are_longer(regions):
    found, on = point_cells(regions, LABELS, ROWS), regions_to_frame_labels(regions, LABELS, ROWS)
    assert (found <= (on > 0)).all()
    assert found.any() <= any(r.ranges[0][0] == r.ranges[0][1] for r in regions)
    longer = [TimelineRegion(r.labels, ((max(s - 1, 1), max(e, 2)),)) for r in regions for s, e in r.ranges]
    assert not point_cells(longer, LABELS, ROWS).any()


# By the labeling config.

SKIPPED = '<Label value="Skipped" model_role="unreviewed"/>'


@pytest.fixture
def video(tmp_path):
    cache_help.put(tmp_path, "film", ROWS)
    return cache_help.get(tmp_path, "film")


@functools.cache
def parts():
    """Parts of a service without any files."""
    folder = Path(tempfile.mkdtemp())
    folders = {"model_root": folder / "models", "cache_dir": folder / "cache", "data_dir": folder / "data"}
    return Assembly(Settings(model_path=LITE0, **folders)).parts


def model(*labels, **parameters):
    (control,) = read_labeling_config(labeling_config(*(labels or LABELS), model_trainable="true", **parameters))
    return TrainedModel([VideoControl(control, "1", parts())])


def notes(model, examples):
    return notes_on(model.settings, completed(model.settings, examples))


def example(model, features, *result, told=None, **data):
    return model.task_example([Medium(model.controls[0], features, "film")], data, result, told and {"tl": told})


def test_by_default_all_that_is_not_marked_is_off(video):
    found = example(model(), video, region("Walk", (3, 5)))
    assert found.known.all()
    assert (found.points, found.group, found.notes) == (None, None, [])
    assert example(model(), video).known.all()


def test_an_annotation_knows_nothing_of_a_label_that_was_added_later(video):
    found = example(model(model_unmarked="after_last"), video, region("Walk", (3, 5)), told=["Walk", "Run"])
    np.testing.assert_array_equal(found.known, rows((0, 5))[:, None] & [True, True, False])
    np.testing.assert_array_equal(found.known.any(axis=0), [True, True, False])


def test_what_labels_rule_out_is_known_when_all_examples_are(video):
    control = model(model_unmarked="unknown")
    one = example(control, video, region("Walk", (1, 10)), region("Run", (21, 30)), told=["Walk", "Run"])
    two = example(control, video, region("Run", (1, 10)), region("Sit", (5, 6)))
    np.testing.assert_array_equal(one.known, np.stack([rows((0, 10)), rows((20, 30)), rows()], 1))
    first, second = completed(control.settings, [one, two])
    np.testing.assert_array_equal(first.known, np.stack([rows((0, 10), (20, 30))] * 2 + [rows()], 1))
    np.testing.assert_array_equal(second.known, np.stack([rows((0, 10)), rows((0, 10)), rows((4, 6))], 1))
    np.testing.assert_array_equal(second.video.known, second.known)


def test_regions_of_an_unreviewed_label_hide_all_labels_and_are_no_stranger(video):
    control = model(*LABELS, SKIPPED)
    found = example(control, video, region("Walk", (3, 8)), region("Skipped", (7, 20)), region("Fly", (30, 31)))
    np.testing.assert_array_equal(found.known, np.repeat(rows((0, 6), (20, ROWS))[:, None], 3, 1))
    assert found.frame_labels.shape == (ROWS, 3)
    assert len(found.notes) == 1
    assert "['Fly']" in found.notes[0]


def test_points_are_kept_apart_and_not_where_they_are_hidden(video):
    marks = [region("Walk", (3, 3)), region("Run", (9, 9)), region("Sit", (11, 14)), region("Skipped", (8, 10))]
    found = example(model(*LABELS, SKIPPED, model_marks="points"), video, *marks)
    assert np.argwhere(found.points).tolist() == [[2, 0]]
    assert found.known[:7].all()


@pytest.mark.parametrize("unmarked", ["after_last", "unknown"])
def test_an_annotation_that_says_nothing_is_no_example(video, unmarked):
    control = model(*LABELS, SKIPPED, model_unmarked=unmarked)
    with pytest.raises(NothingMarked, match=f'nothing is marked in it, and with model_unmarked="{unmarked}"'):
        example(control, video)
    with pytest.raises(NothingMarked, match="nothing is marked in it outside of unreviewed regions"):
        example(control, video, region("Walk", (1, 5)), region("Skipped", (1, 5)))
    with pytest.raises(NothingMarked, match="unreviewed regions cover all of it"):
        example(model(*LABELS, SKIPPED), video, region("Skipped", (1, ROWS)))


def test_recordings_of_one_group_are_one_and_of_no_file(video):
    control = model(model_group="$person")
    groups = [
        example(control, video, **data).video.group for data in ({"person": "film"}, {"person": "film"}, {}, {"person": ""})
    ]
    assert groups == ["group film", "group film", "file film", "file film"]


def test_what_the_user_should_know_of_the_marks_is_said_once(video):
    control = model(model_group="$person", model_unmarked="unknown")
    examples = [example(control, video, region(x, (1, 5)), region("Sit", (1, 9))) for x in ("Walk", "Run")]
    lacking, never_off = notes(control, examples)
    assert "'tl': 2 of 2 annotated tasks have no 'person', which model_group names" in lacking
    assert "nothing says where ['Sit'] are off" in never_off
    other = example(control, video, region("Walk", (1, 9)), person="Ann")
    assert notes(control, [other]) != []
    apart = example(control, video, region("Walk", (1, 9)), region("Run", (11, 19)), person="Ann")
    assert notes(control, [apart]) == []


def test_marks_of_a_sync_group_are_joined(video):
    """Series and video of 40 frames; the last region is the series', and the video's hides what both show."""
    xml = sync_config("video").replace("model_trainable", 'model_unmarked="after_last" model_group="$person" model_trainable')
    xml = xml.replace("</TimelineLabels>", f"{SKIPPED}</TimelineLabels>")
    moves, timeline = (
        kind(control, "1", parts())
        for kind, control in zip((SeriesControl, VideoControl), read_labeling_config(xml), strict=True)
    )
    (learner,) = learners_of([moves, timeline])
    series = SeriesFeatures(SeriesTimes(np.arange(ROWS) / 25), np.zeros((ROWS, 3), np.float32))
    name = moves.settings.label_names[0]
    value = {"start": 10 / 25, "end": 19 / 25, "instant": False, "timeserieslabels": [name]}
    result = [
        {"id": "a", "from_name": "moves", "to_name": "sensor", "type": "timeserieslabels", "value": value},
        region(name, (2, 4), control="timeline"),
        region("Skipped", (5, 8), control="timeline"),
    ]
    found = learner.task_example([Medium(moves, series, "s"), Medium(timeline, video, "v")], {"person": "Ann"}, result, None)
    np.testing.assert_array_equal(found.known, np.repeat(rows((0, 4), (8, 20))[:, None], found.frame_labels.shape[1], 1))
    assert (found.video.group, found.notes) == ("group Ann", [])


def test_an_annotation_from_before_a_change_of_the_frame_rate_is_at_the_times_that_its_annotator_saw(tmp_path):
    """At 50 frames a second, frames 6 to 10 last from .1 to .2 s; at 25 that touches frames 3 (.08 to .12 s) to 5."""
    cache_help.put(tmp_path, "film", ROWS)
    features = cache_help.get(tmp_path, "film")
    timeline = model()
    media = [Medium(timeline.controls[0], features, "film")]
    for rates, expected in (({"tl": "50"}, (2, 5)), ({"tl": "25"}, (5, 10)), ({"other": "50"}, (5, 10)), (None, (5, 10))):
        found = timeline.task_example(media, {}, [region("Walk", (6, 10))], frame_rates=rates)
        np.testing.assert_array_equal(found.frame_labels[:, 0].astype(bool), rows(expected), str(rates))
