"""Forms of labeling configs that Label Studio takes: tags, fields and values as its editor reads them."""

import pytest

from framewise.core.errors import ConfigError, RequestError
from framewise.labeling_config import read_label_tags, read_labeling_config

TAGS = {"video": "Video", "sound": "Audio", "series": "TimeSeries"}
CONTROLS = {"video": "TimelineLabels", "sound": "Labels", "series": "TimeSeriesLabels"}


def config(kind="video", value='value="$field"', control="", media="", labels='<Label value="Rain"/><Label value="Wind"/>'):
    """A labeling config of a control on one medium; the texts are more attributes of the two tags."""
    inside = '<Channel column="x"/>' if kind == "series" else ""
    return (
        f'<View><{CONTROLS[kind]} name="l" toName="m" model_trainable="true" {control}>{labels}</{CONTROLS[kind]}>'
        f'<{TAGS[kind]} name="m" {value} {media}>{inside}</{TAGS[kind]}></View>'
    )


def read_one(xml):
    (control,) = read_labeling_config(xml)
    return control


@pytest.mark.parametrize("tag", ["AudioPlus", "audioplus", "AUDIO"])
def test_sound_has_two_tags(tag):
    assert read_one(config("sound").replace("Audio", tag)) == read_one(config("sound"))


@pytest.mark.parametrize("kind", TAGS)
@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_tags_are_read_in_any_case(kind, written):
    xml = config(kind)
    for tag in (CONTROLS[kind], TAGS[kind], "Label", "Channel"):
        xml = xml.replace(f"<{tag} ", f"<{written(tag)} ").replace(f"</{tag}>", f"</{written(tag)}>")
    assert read_one(xml) == read_one(config(kind))
    assert read_label_tags(xml) == read_label_tags(config(kind)) == {"l": [("Rain", {}), ("Wind", {})]}


@pytest.mark.parametrize("kind", TAGS)
@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("$media.address", {"media": {"address": "/a"}}),
        ("$media.address", {"media.address": "/a", "media": {"address": "/other"}}),
        ("$all[0]", {"all": ["/a", "/b"]}),
        ("$all[1].url", {"all": ["/b", {"url": "/a"}]}),
        ("/$file", {"file": "a"}),
        ("$folder/$file", {"folder": "", "file": "a"}),
    ],
)
def test_an_address_is_found_where_the_editor_finds_it(kind, value, data):
    control = read_one(config(kind, f'value="{value}"'))
    assert control.media_source(data) == "/a"
    assert control.has_media(data)
    assert not control.has_media({})
    with pytest.raises(RequestError, match=f"expected the {control.kind.possessive} address in '.*', found None"):
        control.media_source({})


def test_text_inside_of_a_tag_is_its_value():
    control = read_one(config(value="", labels="<Label>Rain</Label>").replace(" ></Video>", ">$video</Video>"))
    assert control.media_source({"video": "/a.mp4"}) == "/a.mp4"
    assert control.label_names == ["Rain"]


@pytest.mark.parametrize(
    ("written", "data", "rate"),
    [
        ("$media.rate", {"media": {"rate": 30}}, 30),
        ("$rates[1]", {"rates": [1, "25"]}, 25),
        ("$fps", {}, 24),
        ("$a$b", {"a": 2, "b": 5}, 25),
        ("1$zero", {"zero": 0}, 10),
    ],
)
def test_a_frame_rate_is_found_where_the_editor_finds_it(written, data, rate):
    assert read_one(config(media=f'frameRate="{written}"')).frame_rate(data) == rate


def test_a_group_is_found_in_a_path():
    assert read_one(config(control='model_group="$who.name"')).group_value({"who": {"name": "Ann"}}) == "Ann"


@pytest.mark.parametrize("value", ["", 'value=""'])
def test_a_series_without_a_value_is_the_whole_of_the_data(value):
    control = read_one(config("series", value, media='valueType="json" timeColumn="t"'))
    assert control.media_source({"t": [1, 2], "x": [3, 4]}) == '{"t": [1, 2], "x": [3, 4]}'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (config(value=""), r'Video \'m\' has no value: add value="\$video", with the field of the task data'),
        (config("series", ""), r'TimeSeries \'m\' has no value: add value="\$timeseries", with the field'),
        (config(value='value=" "'), "Video 'm' has no value"),
        (
            config(control='value="$names"', labels=""),
            r"TimelineLabels 'l': its labels come from the task data \(\$names\), .*; write each of them as a Label",
        ),
        (config("series", control='value="$names"', labels=""), "TimeSeriesLabels 'l': its labels come from the task data"),
        (config("sound", control='value="$names"', labels=""), "Labels 'l': its labels come from the task data"),
        (
            config().replace("<View>", '<View><Repeater on="$clips">').replace("</View>", "</Repeater></View>"),
            "TimelineLabels 'l': it stands in a Repeater, .*; write the control and its medium outside of the Repeater",
        ),
    ],
)
def test_what_cannot_work_is_refused_as_what_it_is(xml, message):
    with pytest.raises(ConfigError, match=message) as refused:
        read_labeling_config(xml)
    assert not set("<>") & set(str(refused.value))


def test_two_controls_of_one_name_are_refused():
    xml = config().replace("</View>", config("sound").removeprefix("<View>").replace('"m"', '"n"'))
    with pytest.raises(ConfigError, match="'l' is the name of several controls; give each a name of its own"):
        read_labeling_config(xml)


def test_a_repeater_beside_is_left_alone():
    beside = '<Repeater on="$images"><Image name="i-{{idx}}" value="$images[{{idx}}].url"/></Repeater>'
    assert read_one(config().replace("<View>", f"<View>{beside}")).from_name == "l"
