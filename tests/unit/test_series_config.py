"""<TimeSeriesLabels> on <TimeSeries>: its attributes as the editor reads them, and its regions."""

import numpy as np
import pytest

from framewise.core.errors import ConfigError, RangeOutsideVideo, RegionError, RequestError
from framewise.core.label_history import names_now, renamed_result
from framewise.core.series_regions import read_series_regions, series_region_frames, write_series_region
from framewise.core.series_time import SeriesTimes
from framewise.core.time_format import TimeFormat
from framewise.labeling_config import SeriesSettings, read_label_tags, read_labeling_config

CHANNELS = '<Channel column="x"/><MultiChannel><Channel column="Y"/><Channel column="x"/></MultiChannel>'


def config(series='timeColumn="t"', control='model_trainable="true"', channels=CHANNELS, more=""):
    return (
        f'<View><TimeSeriesLabels name="moves" toName="sensor" {control}><Label value="Walk"/></TimeSeriesLabels>'
        f'<TimeSeries name="sensor" value="$series" {series}>{channels}</TimeSeries>{more}</View>'
    )


def series_of(xml):
    (control,) = read_labeling_config(xml)
    assert (control.tag, control.from_name, control.to_name, control.value_key) == (
        "TimeSeriesLabels", "moves", "sensor", "series",
    )  # fmt: skip
    return control.series


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('timeColumn="t"', SeriesSettings("t", "", False, ",", False, ("x", "Y"))),
        ("", SeriesSettings("", "", False, ",", False, ("x", "Y"))),
        ('timeColumn="t" timeFormat="%Q" sep="tab"', SeriesSettings("t", "%Q", True, "\t", False, ("x", "Y"))),
        ('timecolumn="t" timeDisplayFormat="date"', SeriesSettings("t", "", True, ",", False, ("x", "Y"))),
        ('timeColumn="t" timeDisplayFormat=".2f"', SeriesSettings("t", "", False, ",", False, ("x", "Y"))),
        ('valueType="json"', SeriesSettings("", "", False, ",", True, ("x", "Y"))),
        ('sep=";"', SeriesSettings("", "", False, ";", False, ("x", "Y"))),
        ('sep="space"', SeriesSettings("", "", False, " ", False, ("x", "Y"))),
        ('sep="dot"', SeriesSettings("", "", False, ".", False, ("x", "Y"))),
        ('sep="auto"', SeriesSettings("", "", False, "", False, ("x", "Y"))),
        ('sep="\\t"', SeriesSettings("", "", False, "\t", False, ("x", "Y"))),
        ('sep=";;"', SeriesSettings("", "", False, ";", False, ("x", "Y"))),
    ],
)
def test_attributes_are_read_as_the_editor_reads_them(attributes, expected):
    assert series_of(config(attributes)) == expected


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            config(channels=""),
            r"TimeSeries 'sensor': expected at least one Channel inside it, found none",
        ),
        (config(channels="<Channel/>"), "expected a column on each Channel, found one without"),
        (config(channels='<Channel column="x"/>' * 201), "at most 200 channels, found 201"),
        (config('timeFormat="%H:%M"'), "timeFormat needs timeColumn; name the column of the times"),
        (
            config('timeColumn="t" timeFormat="%H:%M:%W"'),
            "TimeSeries 'sensor': timeFormat .* directive %W is not supported",
        ),
        (config('valueType="csv"'), "valueType must be url or json, found 'csv'"),
        (
            config(control='model_trainble="true"'),
            "TimeSeriesLabels 'moves': unknown attribute 'model_trainble'; did you",
        ),
        (config().replace("$series", "a.csv"), r"TimeSeries 'sensor': expected value=\"\$field\""),
        (
            config().replace('toName="sensor"', 'toName="other"'),
            "expected toName to be the name of a TimeSeries, found 'other'",
        ),
        (
            config(more='<Video name="clip" value="$v"/>').replace('toName="sensor"', 'toName="clip"'),
            "name of a TimeSeries, found 'clip'; that is the Video",
        ),
        (config(control='model_skip="true"'), "TimeSeriesLabels on TimeSeries, every one has model_skip"),
    ],
)
def test_what_cannot_work_is_refused(xml, message):
    with pytest.raises(ConfigError, match=message):
        read_labeling_config(xml)


def test_media_of_one_group_are_known():
    timeline = '<TimelineLabels name="tl" toName="clip"><Label value="Walk"/></TimelineLabels>'
    xml = config('sync="all"', more=f'{timeline}<Video name="clip" value="$v" frameRate="25" sync="all"/>')
    series, video = read_labeling_config(xml)
    assert (series.sync, video.sync, video.series) == ("all", "all", None)
    assert read_labeling_config(config())[0].sync is None


def test_a_change_of_how_a_series_is_read_changes_what_is_learned_and_predicted():
    (one,), (other,) = (read_labeling_config(config(f'timeColumn="{name}"')) for name in "tu")
    assert one.training_key() != other.training_key()
    assert one.prediction_key() != other.prediction_key()


def test_an_inline_series_is_the_same_however_it_is_written():
    (control,) = read_labeling_config(config('valueType="json"'))
    source = control.media_source({"series": {"t": [1, 2], "x": [3, None]}})
    assert source == control.media_source({"series": '{"x":[3,null], "t":[1,2]}'}) == '{"t": [1, 2], "x": [3, null]}'


@pytest.mark.parametrize("value", [None, 5, "a.csv", [1, 2], '{"t": [1', "[" * 100_000])
def test_a_task_without_a_series_is_refused(value):
    (inline,), (url,) = (read_labeling_config(config(f'valueType="{kind}"')) for kind in ("json", "url"))
    with pytest.raises(RequestError, match=r"expected the series itself in 'series' \(valueType=\"json\"\)"):
        inline.media_source({"series": value})
    with pytest.raises(RequestError, match="expected the series' address in 'series', found"):
        url.media_source({"series": {"t": [1]}})


def test_renamed_labels_of_a_series():
    history = [read_label_tags(config().replace("Walk", name)) for name in ("Walk", "Stroll")]
    result = [region(0, 1)]
    assert renamed_result(result, names_now(history, 0))[0]["value"]["timeserieslabels"] == ["Stroll"]


def region(start, end, labels=("Walk",), **more):
    value = {"start": start, "end": end, "instant": False, "timeserieslabels": list(labels)}
    return {"id": "r", "from_name": "moves", "to_name": "sensor", "type": "timeserieslabels", "value": value, **more}


def frames(item, times, rate=10.0):
    return series_region_frames(read_series_regions([item], "moves")[0], times, rate).ranges


NUMBERS = SeriesTimes(5 + np.arange(100) / 10)
DATES = SeriesTimes(np.arange(100) * 100.0, 1000.0, TimeFormat("%H:%M:%S.%L"))


@pytest.mark.parametrize(
    ("start", "end", "times", "expected"),
    [
        (5.3, 6.0, NUMBERS, (4, 11)),
        ("5.3", "6", NUMBERS, (4, 11)),
        (5.3, 5.3, NUMBERS, (4, 4)),
        (0, 99, NUMBERS, (1, 100)),
        (300, 1000, DATES, (4, 11)),
        (3, 10, SeriesTimes(np.arange(100.0), whole=True), (31, 101)),
    ],
)
def test_regions_become_frames(start, end, times, expected):
    assert frames(region(start, end), times) == (expected,)


def test_regions_of_other_controls_are_left_alone():
    choice = {**region(1, 2, type="choices"), "value": {"start": 1, "end": 2, "choices": ["Walk"]}}
    assert read_series_regions([region(1, 2, from_name="other"), choice, "x", None], "moves") == []


def test_a_region_is_read_by_its_control_and_labels_whatever_its_type():
    of_another_type, usual = region(1, 2, type="timelinelabels"), region(1, 2)
    assert read_series_regions([of_another_type], "moves") == read_series_regions([usual], "moves")


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (region(6, 5), RegionError, "region 'r': starts at 6 and ends before it, at 5"),
        (region("soon", 5), RegionError, "region 'r': expected a number, found 'soon'"),
        (region(20, 30), RangeOutsideVideo, "region 'r': 20 to 30 is outside a series from 5 to 14.9; is it the series"),
        (region(1, 2), RangeOutsideVideo, "outside a series"),
        (
            {**region(5, 6), "value": {"start": 5, "timeserieslabels": ["Walk"]}},
            RegionError,
            "expected an object 'value' with start",
        ),
        ({**region(5, 6), "value": None}, RegionError, "expected an object 'value'"),
        (region(5, 6, labels=[5]), RegionError, "expected a list of label names in 'timeserieslabels'"),
    ],
)
def test_a_region_that_cannot_be_is_refused(item, error, message):
    with pytest.raises(error, match=message):
        frames(item, NUMBERS)


def test_a_written_region_is_read_back():
    for times, expected in ((NUMBERS, (5.3, 6)), (SeriesTimes(np.arange(100.0), whole=True), (3, 10))):
        written = write_series_region(["Walk"], (3, 10), times, "moves", "sensor", 0.71234)
        value = {"start": expected[0], "end": expected[1], "instant": False, "timeserieslabels": ["Walk"]}
        assert (written["value"], written["score"], written["type"]) == (value, 0.7123, "timeserieslabels")
        (back,) = frames(written, times)
        assert times.samples_in(*back, 10.0) == (3, 10)
    assert write_series_region(["Walk"], (3, 3), NUMBERS, "moves", "sensor", 1.0)["value"]["instant"] is True


@pytest.mark.parametrize("rate", [2.0, 5.0, 0.5])
def test_an_instant_is_one_sample_and_one_step(rate):
    written = write_series_region(["Walk"], (2, 5), NUMBERS, "moves", "sensor", 1.0, instant=True)
    value = written["value"]
    assert (value["start"], value["end"], value["instant"]) == (NUMBERS.written(3), NUMBERS.written(3), True)
    (region,) = read_series_regions([written], "moves")
    step = int(NUMBERS.frames(rate)[3])
    assert series_region_frames(region, NUMBERS, rate).ranges == ((step, step),)
