"""Regions of Label Studio to one row a frame and back."""

import json
import logging

import numpy as np
import pytest

from framewise.core.converter import get_label_map, regions_to_frame_labels, scores_to_segments
from framewise.core.errors import RangeOutsideVideo, RegionError, UnknownLabel
from framewise.core.regions import TimelineRegion, read_regions
from utils.converter import convert_probs_to_timelinelabels, convert_timelinelabels_to_probs


def region(*ranges, labels=("Rain",), region_id="a3f", from_name="tl", type="timelinelabels"):
    """A region as Label Studio saves it; ranges are (start, end)."""
    return {
        "id": region_id,
        "type": type,
        "from_name": from_name,
        "to_name": "video",
        "origin": "manual",
        "value": {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": list(labels)},
    }


def frame_labels(regions, labels=("Rain", "Wind"), num_frames=8):
    """Each label's column as a text of 0 and 1, one character a frame."""
    array = regions_to_frame_labels(read_regions(regions), labels, num_frames)
    assert array.dtype == np.uint8
    assert array.shape == (num_frames, len(labels))
    return ["".join(str(value) for value in column) for column in array.T]


def test_both_ends_of_a_range_are_included():
    assert frame_labels([region((3, 5))]) == ["00111000", "00000000"]


def test_a_single_frame():
    assert frame_labels([region((8, 8))]) == ["00000001", "00000000"]


def test_every_range_of_a_region_counts():
    assert frame_labels([region((1, 2), (5, 5), (7, 8))]) == ["11001011", "00000000"]


def test_every_label_of_a_region_counts():
    assert frame_labels([region((2, 3), labels=("Rain", "Wind"))]) == ["01100000", "01100000"]


def test_overlapping_regions_add_up():
    regions = [region((1, 4)), region((3, 6)), region((4, 8), labels=("Wind",))]
    assert frame_labels(regions) == ["11111100", "00011111"]


def test_a_region_without_labels_marks_nothing():
    assert frame_labels([region((1, 4), labels=())]) == ["00000000", "00000000"]


def test_an_open_end_runs_to_the_last_frame():
    assert frame_labels([region((6, None))]) == ["00000111", "00000000"]


def test_a_range_without_an_end_is_open():
    open_region = region((6, 7))
    del open_region["value"]["ranges"][0]["end"]
    assert frame_labels([open_region]) == ["00000111", "00000000"]


def test_a_frame_that_is_written_as_a_whole_float_is_a_frame():
    assert frame_labels([region((2.0, 3.0))]) == ["01100000", "00000000"]


@pytest.mark.parametrize("frame", [5.5, "5", True, float("nan"), float("inf"), float("-inf"), [5], None])
def test_a_start_that_is_no_whole_number_is_refused(frame):
    with pytest.raises(RegionError, match="'a3f': start must be a whole frame number"):
        read_regions([region((frame, 9))])


@pytest.mark.parametrize("frame", [5.5, "5", False, float("inf")])
def test_an_end_that_is_no_whole_number_is_refused(frame):
    with pytest.raises(RegionError, match="'a3f': end must be a whole frame number"):
        read_regions([region((1, frame))])


@pytest.mark.parametrize(("frames", "cut"), [((0, 5), (1, 5)), ((-2, 5), (1, 5)), ((0, 0), (1, 1)), ((0, None), (1, None))])
def test_a_start_a_few_frames_early_is_cut_as_an_end_that_is_late(frames, cut):
    assert read_regions([region(frames)])[0].ranges == (cut,)


@pytest.mark.parametrize("start", [-3, -4])
def test_a_start_before_frame_one_is_refused(start):
    with pytest.raises(RangeOutsideVideo, match=f"'a3f': starts at frame {start}, but .* start at 1"):
        read_regions([region((start, 5))])
    with pytest.raises(RangeOutsideVideo, match="'a3f': starts at frame -2, but .* start at 1"):
        read_regions([region((-2, -1))])


def test_a_reversed_range_is_refused():
    with pytest.raises(RegionError, match="'a3f': starts at frame 5 and ends before it, at frame 4"):
        read_regions([region((5, 4))])


def test_a_range_past_the_last_frame_is_refused():
    with pytest.raises(RangeOutsideVideo, match="'a3f': frames 900-1200 are outside a video of 100 frames; .*frameRate"):
        regions_to_frame_labels([TimelineRegion(("Rain",), ((900, 1200),), "a3f")], ["Rain"], num_frames=100)


def test_a_start_past_the_last_frame_is_refused_also_with_an_open_end():
    with pytest.raises(RangeOutsideVideo, match="'a3f': .* outside a video of 8 frames"):
        frame_labels([region((9, None))])


@pytest.mark.parametrize("end", [9, 11])
def test_an_end_up_to_three_frames_past_the_grid_is_cut_and_logged(end, caplog):
    with caplog.at_level(logging.INFO):
        assert frame_labels([region((7, end))]) == ["00000011", "00000000"]
    assert f"region 'a3f': end {end} cut to the last frame, 8" in caplog.text


def test_an_end_four_frames_past_the_grid_is_refused():
    with pytest.raises(RangeOutsideVideo, match="frames 7-12 are outside a video of 8 frames"):
        frame_labels([region((7, 12))])


def test_an_unknown_label_is_refused():
    with pytest.raises(UnknownLabel, match="'a3f': label 'Hail' is not in the labeling config, which has .*Rain.*Wind"):
        frame_labels([region((1, 2), labels=("Rain", "Hail"))])


def test_regions_of_other_controls_are_left_alone():
    others = [
        {"id": "b", "type": "choices", "from_name": "weather", "to_name": "video", "value": {"choices": ["Rain"]}},
        {"id": "c", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": {"sequence": [], "labels": []}},
        {"id": "d", "type": "relation", "from_id": "a", "to_id": "b"},
        region((1, 9999), from_name="another-timeline"),
        "not a region",
    ]
    assert read_regions([*others, region((2, 3))], "tl") == [TimelineRegion(("Rain",), ((2, 3),), "a3f")]


@pytest.mark.parametrize("kind", ["timelinelabels", "timeserieslabels", "labels", "choices", None])
def test_a_region_is_its_control_s_by_name_and_field_of_labels_whatever_its_type(kind):
    """As the editor takes it: see tests/browser/test_regions."""
    assert read_regions([region((2, 3), type=kind)], "tl") == [TimelineRegion(("Rain",), ((2, 3),), "a3f")]
    elsewhere = {**region((2, 3), type=kind), "value": {"ranges": [{"start": 2, "end": 3}], "rectanglelabels": ["Rain"]}}
    assert kind == "timelinelabels" or read_regions([elsewhere], "tl") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "expected an object 'value'"),
        ({"ranges": [{"start": 1, "end": 2}]}, "expected a list of label names"),
        ({"ranges": [{"start": 1, "end": 2}], "timelinelabels": "Rain"}, "expected a list of label names"),
        ({"timelinelabels": ["Rain"]}, "expected a list of ranges"),
        ({"timelinelabels": ["Rain"], "ranges": [7]}, "expected a range with start and end"),
        ({"timelinelabels": ["Rain"], "ranges": [{"end": 7}]}, "start must be a whole frame number, found None"),
    ],
)
def test_a_region_that_is_no_interval_is_refused_with_its_id(value, expected):
    with pytest.raises(RegionError, match=f"'a3f': {expected}"):
        read_regions([{**region((1, 2)), "value": value}])


def test_segments_are_runs_at_or_above_the_threshold_with_their_mean_score():
    scores = np.array([[0.5, 0.1], [0.7, 0.1], [0.49, 0.1], [0.9, 0.1], [0.1, 0.8]])
    segments = [(s.label_index, s.index, s.stop) for s in scores_to_segments(scores, 0.5)]
    assert segments == [(0, 0, 2), (0, 3, 4), (1, 4, 5)]
    assert [s.score for s in scores_to_segments(scores, 0.5)] == pytest.approx([0.6, 0.9, 0.8])


def test_no_score_at_the_threshold_gives_no_region():
    assert convert_probs_to_timelinelabels(np.full((4, 1), 0.49), {"Rain": 0}) == []


@pytest.mark.parametrize("probs", [[], np.empty((0, 2))])
def test_no_frame_gives_no_region(probs):
    assert convert_probs_to_timelinelabels(probs, {"Rain": 0, "Wind": 1}) == []


def test_predicted_regions_are_what_the_editor_can_draw():
    probs = np.tile(np.array([[0.9], [0.1]], dtype=np.float32), (200, 1))
    regions = convert_probs_to_timelinelabels(probs, {"Rain": 0}, from_name="tl", to_name="clip")
    assert len(regions) == 200
    assert len({r["id"] for r in regions}) == 200
    assert {(r["type"], r["from_name"], r["to_name"]) for r in regions} == {("timelinelabels", "tl", "clip")}
    ends = [frame for r in json.loads(json.dumps(regions)) for span in r["value"]["ranges"] for frame in span.values()]
    assert {type(frame) for frame in ends} == {int}
    assert ends[:4] == [1, 1, 3, 3]
    assert regions[0]["score"] == pytest.approx(0.9, abs=1e-4)


def test_regions_to_array_to_regions_and_back_changes_nothing():
    rng = np.random.default_rng(0)
    label_map = get_label_map(["Rain", "Wind", "Sun"])
    array = (rng.random((500, 3)) < 0.5).astype(np.uint8)
    regions = convert_probs_to_timelinelabels(array, label_map)
    again, used = convert_timelinelabels_to_probs(regions, label_map, max_frame=500)
    np.testing.assert_array_equal(again, array)
    assert used == {"Rain", "Wind", "Sun"}
    values = [r["value"] for r in regions]
    assert [r["value"] for r in convert_probs_to_timelinelabels(again, label_map)] == values


def test_columns_follow_the_label_map_and_not_its_order():
    label_map = {"Wind": 1, "Rain": 0}
    array, _ = convert_timelinelabels_to_probs([region((1, 1), labels=("Wind",))], label_map, max_frame=2)
    np.testing.assert_array_equal(array, [[0, 1], [0, 0]])
    assert convert_probs_to_timelinelabels(array, label_map)[0]["value"]["timelinelabels"] == ["Wind"]


def test_the_frames_of_regions_alone_make_no_timeline_without_measure():
    with pytest.raises(RangeOutsideVideo, match="a region ends after frame 1000000, the maximum of a timeline"):
        convert_timelinelabels_to_probs([region((1, 10**12))], {"Rain": 0})


def test_what_is_quoted_of_a_region_is_short_however_deep_it_is():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    places = [
        {"type": "timelinelabels", "id": "r", "value": deep},
        {"type": "timelinelabels", "id": "r", "value": {"timelinelabels": deep, "ranges": []}},
        {"type": "timelinelabels", "id": "r", "value": {"timelinelabels": [], "ranges": [deep]}},
        {"type": "timelinelabels", "id": "r", "value": {"timelinelabels": [], "ranges": [{"start": deep}]}},
        {"type": "timelinelabels", "id": deep, "value": None},
        {"type": "timelinelabels", "id": "x" * 100_000, "value": "y" * 100_000},
    ]
    for place in places:
        with pytest.raises(RegionError) as caught:
            read_regions([place])
        assert len(str(caught.value)) < 1000
