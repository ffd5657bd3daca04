"""Media of one sync group: who learns together, one time for all, and what is told of media that do not fit."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.audio_regions import audio_region_frames, read_audio_regions, write_audio_region
from framewise.core.converter import Segment, on_grid, regridded
from framewise.core.errors import ConfigError
from framewise.core.regions import TimelineRegion
from framewise.core.series_regions import read_series_regions, series_region_frames, write_series_region
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.labeling_config import read_labeling_config, sync_groups, training_keys
from framewise.media.group_notes import Clock, Played, group_notes
from tests.sync_group_help import sync_config

FRAME_RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50)]
FRAME_RATES += [Fraction(60000, 1001), Fraction(60), Fraction(120), Fraction(240)]
ours = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def groups(xml):
    return [[c.from_name for c in members] for members in sync_groups(read_labeling_config(xml))]


def test_controls_on_media_that_play_in_sync_learn_together():
    assert groups(sync_config("video", "audio")) == [["moves", "timeline", "sounds"]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('frameRate="25" sync="all"', 'frameRate="25"'),
        ('frameRate="25" sync="all"', 'frameRate="25" sync="other"'),
        ('name="timeline" toName="clip" model_trainable="true"', 'name="timeline" toName="clip" model_skip="true"'),
        ('toName="clip" model_trainable="true"', 'toName="clip" model_trainable="true" model_classifier_type="lstm"'),
    ],
)
def test_a_control_may_learn_by_itself(old, new):
    config = sync_config("video")
    assert old in config
    assert groups(config.replace(old, new)) == []


def test_two_controls_on_one_medium_alone_are_no_group():
    config = sync_config("video").replace(' sync="all" value="$series"', ' value="$series"')
    second = config.replace(
        "</View>", config[config.index("<TimelineLabels") : config.index("<Video")].replace("timeline", "second")
    )
    assert groups(second + "</View>") == []


def test_tags_that_name_each_other_are_one_group():
    """As in Label Studio's template of a video's timeline by its sound."""
    config = sync_config("video", "audio").replace(' sync="all" value="$series"', ' value="$series"')
    named = config.replace('frameRate="25" sync="all"', 'sync="audio"')
    named = named.replace('value="$audio" sync="all"', 'value="$audio" sync="clip"')
    assert groups(named) == [["timeline", "sounds"]]


def test_what_is_learned_changes_with_the_group():
    config = sync_config("video")
    alone = config.replace('frameRate="25" sync="all"', 'frameRate="25"')
    keys = [training_keys(read_labeling_config(xml)) for xml in (config, alone, config.replace("0.5", "0.6"))]
    assert len(keys[0]) == 1
    assert len(keys[1]) == 2
    assert not keys[0] & keys[1]
    assert keys[0] == keys[2]


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ('model_unmarked="unknown"', "expected the same model_unmarked on all of them, found 'off' and 'unknown'"),
        ('model_marks="points"', "expected the same model_marks on all of them, found 'intervals' and 'points'"),
        ('model_group="$person"', r"expected the same model_group on all of them, found none and '\$person'"),
    ],
)
def test_controls_that_learn_together_take_annotations_in_one_way(attribute, message):
    config = sync_config("video")
    one = config.replace('name="timeline"', f'name="timeline" {attribute}')
    with pytest.raises(ConfigError, match=rf"controls 'moves' and 'timeline' are learned together \(sync 'all'\): {message}"):
        groups(one)
    assert groups(one.replace('name="moves"', f'name="moves" {attribute}')) == [["moves", "timeline"]]
    assert groups(one.replace('frameRate="25" sync="all"', 'frameRate="25"')) == []


def test_a_label_of_controls_that_learn_together_has_one_role():
    config, skipped = sync_config("video"), '<Label value="Skipped" model_role="unreviewed"/>'
    on_one = config.replace("</TimelineLabels>", f"{skipped}</TimelineLabels>")
    assert groups(on_one) == [["moves", "timeline"]]
    with pytest.raises(ConfigError, match="expected label 'Skipped' to have the same model_role on all of them"):
        groups(on_one.replace("</TimeSeriesLabels>", '<Label value="Skipped"/></TimeSeriesLabels>'))


def times(rate, samples, kind, start=1709596805043.0):
    if kind == "date":
        native = np.round(start + np.arange(samples) * 1000 / rate)
        return SeriesTimes(native, 1000.0, TimeFormat("%Y-%m-%d %H:%M:%S.%L"))
    return SeriesTimes(np.arange(samples) / rate + (100 if kind == "number" else 0))


@ours
@given(
    st.sampled_from(FRAME_RATES),
    st.integers(1, 4),
    st.sampled_from(["date", "number"]),
    st.integers(1, 1500),
    st.integers(0, 300),
)
def test_frames_to_a_series_and_back_through_a_group_is_the_identity(frame_rate, multiple, kind, start, length):
    """Every frame has a sample, and a millisecond resolves half of one."""
    rate, end = float(frame_rate), start + length
    series = times(rate * multiple, (end + 2) * multiple, kind)
    samples = series.samples_in(start, end, rate)
    written = write_series_region(["Walk"], samples, series, "moves", "sensor", 0.5)
    (read,) = read_series_regions([written], "moves")
    assert series_region_frames(read, series, rate).ranges == ((start, end),)
    sound = write_audio_region(["Walk"], (start, end), (end + 2) / rate, rate, ("sounds", "audio"), 0.5)
    (heard,) = read_audio_regions([sound], "sounds")
    assert audio_region_frames(heard, (end + 2) / rate, rate).ranges == ((start, end),)


@ours
@given(st.sampled_from(FRAME_RATES), st.floats(0.5, 20), st.integers(0, 1000), st.integers(0, 200))
def test_beside_a_slower_sensor_a_region_moves_by_less_than_a_sample_or_is_an_instant(frame_rate, rate, start, length):
    grid, first, last = float(frame_rate), start + 1, start + length + 1
    series = times(rate, round((last / grid + 2) * rate) + 2, "number")
    samples = series.samples_in(first, last, grid) or series.instant_in(first, last, grid)
    written = write_series_region(["Walk"], samples, series, "moves", "sensor", 0.5)
    assert written["value"]["instant"] == (samples[0] == samples[1])
    (read,) = read_series_regions([written], "moves")
    ((back, until),) = series_region_frames(read, series, grid).ranges
    assert abs(back - first) <= grid / rate + 1
    assert abs(until - last) <= grid / rate + 1


def test_in_a_gap_there_is_nothing_to_write():
    series = SeriesTimes(np.array([0, 0.1, 0.2, 0.3, 9.0, 9.1]))
    assert series.instant_in(100, 120, 25.0) is None
    assert series.instant_in(9, 9, 25.0) == (3, 3)


@ours
@given(st.sampled_from(FRAME_RATES), st.sampled_from(FRAME_RATES), st.integers(1, 3000), st.integers(0, 500))
def test_frames_of_a_video_at_another_rate_and_back_hold_what_they_held(own, other, start, length):
    frames = 4000
    region = TimelineRegion(("Walk",), ((start, start + length),), "r")
    moved = regridded(region, float(own), frames, float(other)).ranges[0]
    back = on_grid(Segment(0, moved[0] - 1, moved[1], 0.5), float(other), float(own), frames)
    assert back.index + 1 <= start
    assert back.stop >= min(start + length, frames)
    reach = float(own) / float(other) + 1
    assert start - back.index - 1 <= reach
    assert back.stop - start - length <= reach
    if own == other:
        assert (back.index + 1, back.stop) == (start, start + length)


def series(name, start, rate, seconds):
    played = Played(name, seconds, Clock.of(SeriesTimes(start + np.arange(round(rate * seconds)) / rate)))
    return Played.from_json(name, json.loads(json.dumps(played.to_json())))


def told(own, *others):
    return [note.about("task 1") for note in group_notes(own, others)]


def test_series_that_do_not_begin_together_are_told_of_with_the_cure():
    for one, other in (("a", "b"), ("b", "a")):
        starts = {"a": 5.0, "b": 7.0}
        (text,) = told(series(one, starts[one], 50, 10), series(other, starts[other], 50, 10))
        assert text.startswith("task 1: series 'b' begins after series 'a' of the same sync group (2.000 s later)")
        assert "Cut the beginning of 'a'" in text
    assert not told(series("b", 5.01, 50, 10), series("a", 5.0, 50, 10))


def test_rates_that_are_no_whole_number_of_each_other_are_told_of():
    video = Played("clip", 10.0, frame_rate=25.0)
    (text,) = told(series("a", 0, 40, 10), video)
    assert "the rates of series 'a' and the 25 frames a second of video 'clip' are not whole multiples of each other" in text
    assert "40 samples a second, 0.025 s apart" in text
    assert "Resample the series to 50 a second" in text
    for rate in (25, 50, 100, 12.5, 5):
        assert not told(video, series("a", 0, rate, 10))
    assert not told(video, Played("a", 10.0, Clock.of(SeriesTimes(np.arange(10.0), whole=True))))


def test_spans_that_differ_by_more_than_two_percent_are_told_of():
    video = Played("clip", 10.0, frame_rate=25.0)
    (text,) = told(Played("audio", 9.7), video)
    assert text.startswith("task 1: 'clip' lasts longer than 'audio', of the same sync group (10.00 s and 9.70 s)")
    assert not told(Played("audio", 9.85), video)
