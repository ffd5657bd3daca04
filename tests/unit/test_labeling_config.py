"""A labeling config is read as the editor reads it, and refused with a message that says how to mend it."""

import re
import time

import pytest

from framewise.core.errors import ConfigError, RequestError
from framewise.labeling_config import match_classes, read_labeling_config
from framewise.labeling_config.parameters import DEFAULTS

# Names and defaults of Label Studio's published guide to TimelineLabels.
GUIDE_DEFAULTS = {
    "model_trainable": False,
    "model_classifier_epochs": 1000,
    "model_classifier_sequence_size": 16,
    "model_classifier_hidden_size": 32,
    "model_classifier_num_layers": 1,
    "model_classifier_f1_threshold": 0.95,
    "model_classifier_accuracy_threshold": 1.00,
    "model_score_threshold": 0.5,
    "model_path": None,
    "model_skip": False,
}


def config(control="", video="", labels='<Label value="Rain"/><Label value="Wind"/>', before=""):
    """A labeling config; ``control`` and ``video`` are more attributes of the two tags."""
    return (
        f'<View>{before}<TimelineLabels name="tl" toName="video" {control}>{labels}</TimelineLabels>'
        f'<Video name="video" value="$video" {video}/></View>'
    )


def read_one(xml):
    (control,) = read_labeling_config(xml)
    return control


@pytest.mark.parametrize(("name", "default"), GUIDE_DEFAULTS.items())
def test_defaults_are_those_of_the_guide(name, default):
    value = read_one(config()).parameters[name]
    assert value == default
    assert type(value) is type(default)


def test_the_standard_crop_is_the_default():
    assert read_one(config()).parameters["model_crop"] == "center"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model_trainable", "true", True),
        ("model_trainable", "True", True),
        ("model_trainable", "1", True),
        ("model_trainable", "no", False),
        ("model_classifier_epochs", "5", 5),
        ("model_classifier_sequence_size", " 32 ", 32),
        ("model_classifier_hidden_size", "64", 64),
        ("model_classifier_num_layers", "2", 2),
        ("model_classifier_f1_threshold", "0.9", 0.9),
        ("model_classifier_accuracy_threshold", ".99", 0.99),
        ("model_score_threshold", "0", 0.0),
        ("model_path", " best.pt ", "best.pt"),
        ("model_path", "", None),
        ("model_crop", "Squash", "squash"),
        ("model_pose", " yolo11n-pose.pt ", "yolo11n-pose.pt"),
        ("model_pose", "", None),
        ("model_unmarked", "After_Last", "after_last"),
        ("model_unmarked", "unknown", "unknown"),
        ("model_marks", " points ", "points"),
        ("model_group", " $person ", "$person"),
        ("model_group", "", None),
    ],
)
def test_parameters_are_read(name, text, value):
    assert read_one(config(f'{name}="{text}"')).parameters[name] == value


def with_effect(name, text):
    """An attribute, beside those without which it does nothing."""
    lstm = ' model_classifier_type="lstm"' * name.startswith("model_classifier")
    trainable = ' model_trainable="true"' * (name != "model_trainable")
    return f'{name}="{text}"{trainable}{lstm}'


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("model_trainable", "maybe", "true or false"),
        ("model_skip", "", "true or false"),
        ("model_classifier_epochs", "0", "a whole number from 1 to 100000"),
        ("model_classifier_epochs", "many", "a whole number from 1 to 100000"),
        ("model_classifier_epochs", "1.5", "a whole number from 1 to 100000"),
        ("model_classifier_sequence_size", "1", "a whole number from 2 to 4096"),
        ("model_classifier_hidden_size", "-3", "a whole number from 1 to 1024"),
        ("model_classifier_num_layers", "9", "a whole number from 1 to 8"),
        ("model_classifier_f1_threshold", "95", "a number from 0 to 1"),
        ("model_classifier_accuracy_threshold", "-0.1", "a number from 0 to 1"),
        ("model_score_threshold", "nan", "a number from 0 to 1"),
        ("model_score_threshold", "half", "a number from 0 to 1"),
        ("model_crop", "round", "center or fit or squash"),
        ("model_unmarked", "on", "off or after_last or unknown"),
        ("model_marks", "", "intervals or points"),
        ("model_group", "subject", r'a field of the task data with its dollar sign, such as "\$subject"'),
        ("model_group", "$", r'a field of the task data with its dollar sign, such as "\$person"'),
    ],
)
def test_a_bad_value_is_refused_with_what_was_expected(name, text, expected):
    with pytest.raises(ConfigError, match=f"TimelineLabels 'tl': {name} must be {expected}, found '{re.escape(text)}'"):
        read_labeling_config(config(with_effect(name, text)))


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("model_unmarked", "after-last", "after_last"),
        ("model_unmarked", "unmarked", "unknown"),
        ("model_marks", "point", "points"),
        ("model_crop", "centre", "center"),
    ],
)
def test_of_a_bad_value_the_nearest_is_named(name, text, meant):
    with pytest.raises(ConfigError, match=f"found '{text}'; did you mean '{meant}'"):
        read_labeling_config(config(with_effect(name, text)))


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ('model_trainable="true" model_classifier_epochs="many"', "model_classifier_epochs"),
        ('model_classifier_type="gru"', "model_classifier_type"),
        ('model_classifier_f1_threshold="95"', "model_classifier_f1_threshold"),
        ('model_group="person"', "model_group"),
    ],
)
def test_of_an_attribute_that_does_nothing_the_value_does_not_matter(attributes, name):
    control = read_one(config(attributes))
    assert [note.split(" is not used: ")[0] for note in control.notes] == [f"TimelineLabels 'tl': {name}"]
    assert control.parameters[name] == DEFAULTS[name]


def test_nothing_of_a_skipped_control_is_refused_but_that_it_is_skipped():
    skipped = '<TimelineLabels name="other" toName="gone" model_skip="true" model_crop="?" model_epoch="1" value="$labels"/>'
    control = read_one(config(before=skipped))
    assert (control.from_name, control.beside) == ("tl", ("other", "tl"))
    with pytest.raises(ConfigError, match="'other': model_skip must be true or false, found 'yep'"):
        read_labeling_config(config(before=skipped.replace('"true"', '"yep"')))


def test_labels_on_sound_that_are_for_people_alone_may_come_from_task_data():
    beside = '<Labels name="speech" toName="a" value="$speakers"/><Audio name="a" value="$audio"/>'
    assert read_one(config(before=beside)).from_name == "tl"
    with pytest.raises(ConfigError, match="Labels 'speech': its labels come from the task data"):
        read_labeling_config(config(before=beside.replace("<Labels", '<Labels model_trainable="true"')))
    with pytest.raises(ConfigError, match="did you mean 'model_trainable'"):
        read_labeling_config(config(before=beside.replace("<Labels", '<Labels model_trainble="true"')))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("model_trainabel", "model_trainable"),
        ("model_classifier_epoch", "model_classifier_epochs"),
        ("model_threshold", "model_score_threshold"),
        ("model_PTAH", "model_path"),
        ("model_epoch", "model_classifier_epochs"),
        ("model_max_epochs", "model_classifier_epochs"),
        ("model_conf", "model_score_threshold"),
        ("model_min_confidence", "model_score_threshold"),
        ("model_f1_threshold", "model_classifier_f1_threshold"),
        ("model_accuracy", "model_classifier_accuracy_threshold"),
        ("model_hidden_units", "model_classifier_hidden_size"),
        ("model_seq_len", "model_classifier_sequence_size"),
        ("model_weights", "model_path"),
        ("model_classifer_type", "model_classifier_type"),
        ("model_ignore", "model_skip"),
        ("model_keypoints", "model_pose"),
        ("model_poses", "model_pose"),
    ],
)
def test_an_unknown_model_attribute_is_refused_with_the_nearest_known_name(written, meant):
    with pytest.raises(ConfigError, match=f"'tl': unknown attribute '{written.lower()}'; did you mean '{meant}'"):
        read_labeling_config(config(f'{written}="1"'))


@pytest.mark.parametrize(
    "name", ["model_iou", "model_iou_threshold", "model_tracker", "model_size", "model_type", "model_lr", "model_"]
)
def test_an_attribute_that_means_none_of_ours_is_a_note_and_no_guess(name):
    control = read_one(config(f'{name}="1"'))
    assert control.notes == (f"TimelineLabels 'tl': {name} is not used: framewise has no such attribute",)


@pytest.mark.parametrize(
    ("attributes", "notes"),
    [
        ('model_trainable="true"', []),
        (
            'model_trainable="true" model_classifier_epochs="5"',
            [
                "model_classifier_epochs is not used: this control learns by "
                'model_classifier_type="auto", and only "lstm" has such settings'
            ],
        ),
        ('model_trainable="true" model_classifier_type="lstm" model_classifier_epochs="5" model_score_threshold="0.4"', []),
        (
            'model_classifier_type="auto" model_classifier_num_layers="2" model_group="$p" model_crop="fit"',
            [
                "model_classifier_type, model_classifier_num_layers and model_group are not used: "
                'without model_trainable="true" nothing is learned'
            ],
        ),
    ],
)
def test_attributes_without_effect_are_told_of(attributes, notes):
    control = read_one(config(attributes))
    assert control.notes == tuple(f"TimelineLabels 'tl': {note}" for note in notes)
    assert control == read_one(config(f'{attributes} model_tracker="x"'))  # what does nothing makes no other control


def test_attributes_that_are_not_ours_are_left_alone():
    assert read_one(config('showInline="true" modelling="x"')).from_name == "tl"


@pytest.mark.parametrize("xml", ["", "   ", None])
def test_an_empty_config_is_refused(xml):
    with pytest.raises(ConfigError, match="the labeling config is empty"):
        read_labeling_config(xml)


@pytest.mark.parametrize("xml", ["<View>", "not XML", '{"a": 1}', "<View></Vue>", "<View/><View/>"])
def test_what_is_not_xml_is_refused(xml):
    with pytest.raises(ConfigError, match="the labeling config is not XML"):
        read_labeling_config(xml)


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE View [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]>',
        '<!DOCTYPE View [<!ENTITY file SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE View SYSTEM "http://127.0.0.1:9/evil.dtd">',
    ],
)
def test_a_dtd_is_refused(head):
    with pytest.raises(ConfigError, match="has a DTD, entities or other things that are not allowed"):
        read_labeling_config(head + config())


def test_a_config_that_is_far_too_long_is_refused_before_it_is_parsed():
    with pytest.raises(ConfigError, match="1200000 characters; at most 1000000"):
        read_labeling_config("<" * 1_200_000)


def test_a_config_without_timeline_labels_is_refused_with_what_it_has():
    xml = '<View><Choices name="c" toName="t"><Choice value="a"/></Choices><Text name="t" value="$text"/></View>'
    with pytest.raises(ConfigError, match="expected TimelineLabels on Video.*found only Choice, Choices, Text, View; connect "):
        read_labeling_config(xml)


@pytest.mark.parametrize(
    ("medium", "control"), [("Video", "TimelineLabels"), ("TimeSeries", "TimeSeriesLabels"), ("Audio", "Labels")]
)
def test_a_medium_without_its_control_is_told_which_to_add(medium, control):
    xml = f'<View><Choices name="c" toName="m"><Choice value="a"/></Choices><{medium} name="m" value="$m"/></View>'
    with pytest.raises(ConfigError, match=f'add {control} with name="labels" toName="m" model_trainable="true"'):
        read_labeling_config(xml)


def test_the_control_to_add_has_a_name_that_is_free_on_a_medium_that_has_one():
    text = '<Labels name="labels" toName="t"><Label value="a"/></Labels><Text name="t" value="$t"/>'
    with pytest.raises(ConfigError, match='add Labels with name="labels2" toName="a" '):
        read_labeling_config(f'<View>{text}<Audio name="a" value="$audio"/></View>')
    with pytest.raises(
        ConfigError, match='add name="video" to the Video, and TimelineLabels with name="labels" toName="video" '
    ):
        read_labeling_config('<View><Video value="$video"/></View>')


def test_a_control_without_a_name_is_told_to_have_one():
    with pytest.raises(ConfigError, match='TimelineLabels: it has no name; add name="labels" to the tag'):
        read_labeling_config(config().replace('name="tl" ', ""))


@pytest.mark.parametrize(
    ("to_name", "what"),
    [("sound", "that is the Audio"), ("nowhere", "there is no tag of that name"), ("", "there is no tag of that name")],
)
def test_timeline_labels_that_are_not_on_a_video_are_refused(to_name, what):
    xml = (
        f'<View><TimelineLabels name="tl" toName="{to_name}"><Label value="Rain"/></TimelineLabels>'
        '<Audio name="sound" value="$audio"/><Video name="video" value="$video"/></View>'
    )
    with pytest.raises(ConfigError, match=f"'tl': expected toName to be the name of a Video, found '{to_name}'; {what}"):
        read_labeling_config(xml)


@pytest.mark.parametrize("labels", ["", "<Choice value='Rain'/>"])
def test_a_control_without_labels_is_refused(labels):
    with pytest.raises(ConfigError, match="'tl': expected at least one Label"):
        read_labeling_config(config(labels=labels))


def test_a_label_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="'tl': expected a value on each Label, found one without"):
        read_labeling_config(config(labels="<Label/>"))


def test_two_labels_of_one_name_are_refused():
    labels = '<Label value="Rain"/><Label value="Drizzle" alias="Rain"/>'
    with pytest.raises(ConfigError, match="'tl': two labels have the same name"):
        read_labeling_config(config(labels=labels))


@pytest.mark.parametrize("rate", ["-25", "Infinity"])
def test_a_frame_rate_without_a_timeline_is_refused(rate):
    with pytest.raises(ConfigError, match=f"Video 'video': frameRate must be a .*{rate}"):
        read_labeling_config(config(video=f'frameRate="{rate}"'))


@pytest.mark.parametrize("value", ["video", "$", "/data/upload/a.mp4"])
def test_a_video_that_is_no_field_of_the_task_is_refused(value):
    with pytest.raises(ConfigError, match="Video 'video': expected value="):
        read_labeling_config(config().replace('value="$video"', f'value="{value}"'))


def test_attribute_names_are_read_without_case():
    xml = (
        '<View><TimelineLabels NAME="tl" toname="video" MODEL_Trainable="true"><Label Value="Rain"/></TimelineLabels>'
        '<Video Name="video" VALUE="$video" framerate="12.5"/></View>'
    )
    control = read_one(xml)
    assert (control.from_name, control.to_name, control.trainable) == ("tl", "video", True)
    assert control.label_names == ["Rain"]
    assert control.frame_rate({}) == 12.5


def test_an_alias_is_the_name_in_annotations_and_the_value_still_names_the_class():
    (label,) = read_one(config(labels='<Label value="soccer ball" alias="Ball"/>')).labels
    assert label.name == "Ball"
    assert label.predicted_values == ("soccer ball",)


SKIPPED = '<Label value="Rain"/><Label value="Not looked at" alias="Skipped" model_role="Unreviewed"/>'


def test_an_unreviewed_label_is_known_and_not_learned():
    control = read_one(config(labels=SKIPPED))
    assert control.label_names == ["Rain"]
    assert control.unreviewed == ("Skipped",)
    assert control.region_names == ["Rain", "Skipped"]
    assert read_one(config(labels='<Label value="Rain" model_role=""/>')).unreviewed == ()


def test_an_unreviewed_label_is_no_class_of_the_backbone():
    control = read_one(config(labels='<Label value="Goal"/><Label value="soccer ball" model_role="unreviewed"/>'))
    assert match_classes(control, CLASSES) == {"Goal": [2]}


@pytest.mark.parametrize("role", ["reviewed", "skip", "unreviewd"])
def test_another_role_of_a_label_is_refused(role):
    labels = f'<Label value="Rain"/><Label value="Skipped" model_role="{role}"/>'
    message = f"TimelineLabels 'tl': label 'Skipped': model_role must be 'unreviewed', or left out, found '{role}'"
    with pytest.raises(ConfigError, match=message):
        read_labeling_config(config(labels=labels))


def test_a_misspelt_role_is_refused_and_other_attributes_of_a_label_are_left_alone():
    with pytest.raises(ConfigError, match="label 'Rain': unknown attribute 'model_rol'; did you mean 'model_role'"):
        read_labeling_config(config(labels='<Label value="Rain" model_rol="unreviewed"/>'))
    assert read_one(config(labels='<Label value="Rain" model_index="0"/>')).label_names == ["Rain"]


def test_a_control_without_a_label_to_learn_is_refused():
    labels = '<Label value="A" model_role="unreviewed"/><Label value="B" model_role="unreviewed"/>'
    with pytest.raises(ConfigError, match="TimelineLabels 'tl': expected at least one label that is learned, .*'A', 'B'"):
        read_labeling_config(config(labels=labels))


@pytest.mark.parametrize(
    ("control", "labels", "named"),
    [
        ('model_unmarked="unknown"', '<Label value="Rain"/>', 'model_unmarked="unknown"'),
        ('model_unmarked="after_last"', '<Label value="Rain"/>', 'model_unmarked="after_last"'),
        ('model_marks="points"', '<Label value="Rain"/>', 'model_marks="points"'),
        ("", SKIPPED, 'model_role="unreviewed"'),
    ],
)
def test_the_lstm_network_cannot_leave_frames_out(control, labels, named):
    lstm = f'model_classifier_type="lstm" {control}'
    with pytest.raises(
        ConfigError, match=f"TimelineLabels 'tl': {named} needs model_classifier_type=\"auto\"; the lstm"
    ) as told:
        read_labeling_config(config(f'model_trainable="true" {lstm}', labels=labels))
    assert not set("<>") & set(str(told.value))
    assert read_one(config(lstm, labels=labels)).label_names  # in simple mode neither counts
    explicit = (
        'model_trainable="true" model_classifier_type="lstm" model_unmarked="off" model_marks="intervals" model_group="$a"'
    )
    assert read_one(config(explicit)).trainable


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"person": "Ann"}, "Ann"),
        ({"person": " Ann "}, "Ann"),
        ({"person": 7}, "7"),
        ({"person": "7"}, "7"),
        ({"person": ["Ann", "Bob"]}, '["Ann", "Bob"]'),
        ({"person": ""}, None),
        ({"person": None}, None),
        ({}, None),
    ],
)
def test_the_group_of_a_task_is_a_field_of_its_data(data, value):
    assert read_one(config('model_group="$person"')).group_value(data) == value
    assert read_one(config()).group_value(data) is None


def test_labels_keep_their_order_also_inside_other_tags():
    labels = '<Label value="b"/><View><Label value="a"/></View><Label value="c"/>'
    assert read_one(config(labels=labels)).label_names == ["b", "a", "c"]


def test_a_video_of_another_name_and_field():
    xml = (
        '<View><Video name="clip" value="$url" frameRate="30"/>'
        '<TimelineLabels name="acts" toName="clip"><Label value="Rain"/></TimelineLabels></View>'
    )
    control = read_one(xml)
    assert (control.from_name, control.to_name, control.value_key) == ("acts", "clip", "url")
    assert control.media_source({"url": " /data/upload/1/a.mp4 ", "video": "other.mp4"}) == "/data/upload/1/a.mp4"


@pytest.mark.parametrize("data", [{}, {"video": None}, {"video": ""}, {"video": 7}])
def test_a_task_without_its_video_is_refused(data):
    with pytest.raises(RequestError, match="expected the video's address in 'video'"):
        read_one(config()).media_source(data)


@pytest.mark.parametrize(
    ("video", "data", "frame_rate"),
    [
        ("", {}, 24.0),
        ('frameRate="25"', {}, 25.0),
        ('frameRate="0.04"', {}, 25.0),
        ('frameRate="$fps"', {"fps": 12}, 12.0),
        ('frameRate="$fps"', {"fps": "29.97"}, 29.97),
        ('frameRate="$fps"', {}, 24.0),
    ],
)
def test_the_frame_rate_of_a_task(video, data, frame_rate):
    assert read_one(config(video=video)).frame_rate(data) == pytest.approx(frame_rate)


def test_a_negative_frame_rate_in_a_task_is_refused():
    with pytest.raises(RequestError, match="Video 'video': frameRate must be a positive number, got -25"):
        read_one(config(video='frameRate="$fps"')).frame_rate({"fps": -25})


def test_a_skipped_control_is_left_out():
    other = '<TimelineLabels name="other" toName="video" model_skip="true"><Label value="Sun"/></TimelineLabels>'
    assert [c.from_name for c in read_labeling_config(config(before=other))] == ["tl"]


def test_a_config_whose_every_control_is_skipped_is_refused():
    with pytest.raises(ConfigError, match='every one has model_skip="true"'):
        read_labeling_config(config('model_skip="true"'))


def test_two_controls_are_both_read():
    other = '<TimelineLabels name="other" toName="video" model_trainable="1"><Label value="Sun"/></TimelineLabels>'
    assert [(c.from_name, c.trainable) for c in read_labeling_config(config(before=other))] == [("other", True), ("tl", False)]


def test_the_score_threshold_of_the_service_holds_where_the_config_has_none():
    assert read_labeling_config(config(), 0.3)[0].parameters["model_score_threshold"] == 0.3
    assert read_labeling_config(config('model_score_threshold="0.7"'), 0.3)[0].parameters["model_score_threshold"] == 0.7


CLASSES = {0: "soccer_ball", 1: "golf ball", 2: "Goal", 3: "lawn_mower"}


@pytest.mark.parametrize(
    ("label", "indices"),
    [
        ('<Label value="soccer_ball"/>', [0]),
        ('<Label value="Soccer Ball"/>', [0]),
        ('<Label value="GOLF_BALL"/>', [1]),
        ('<Label value="x" predicted_values="soccer_ball, Golf Ball"/>', [0, 1]),
        ('<Label value="x" predicted_values="goal,unheard of"/>', [2]),
        ('<Label value="goal" alias="x"/>', [2]),
    ],
)
def test_labels_stand_for_classes_without_case_and_underscores(label, indices):
    control = read_one(config(labels=label))
    assert match_classes(control, CLASSES) == {control.label_names[0]: indices}


def test_labels_that_stand_for_no_class_are_left_out():
    control = read_one(config(labels='<Label value="Rain"/><Label value="goal"/>'))
    assert match_classes(control, CLASSES) == {"goal": [2]}


def test_simple_mode_without_a_single_class_is_refused_with_near_ones():
    control = read_one(config(labels='<Label value="soccer bal"/>'))
    with pytest.raises(
        ConfigError, match="none of the labels .*'soccer bal'.*is a class .*'soccer ball'.*predicted_values"
    ) as near:
        match_classes(control, CLASSES)
    assert "model_trainable" not in str(near.value)  # one cure
    with pytest.raises(ConfigError, match='none of the labels .*is a class of the backbone; add model_trainable="true"') as own:
        match_classes(read_one(config()), CLASSES)
    assert "predicted_values" not in str(own.value)


@pytest.mark.parametrize(
    "changed",
    [
        config('model_score_threshold="0.6"'),
        config('model_crop="fit"'),
        config('model_path="other.pt"'),
        config('model_trainable="true"'),
        config(video='frameRate="25"'),
        config(labels='<Label value="Rain"/>'),
        config(labels='<Label value="Rain"/><Label value="Wind" predicted_values="Storm"/>'),
        config(labels='<Label value="Rain"/><Label value="Wind" model_role="unreviewed"/>'),
    ],
)
def test_what_shapes_a_prediction_changes_its_key(changed):
    assert read_one(config()).prediction_key() != read_one(changed).prediction_key()


def test_what_shapes_no_prediction_leaves_its_key():
    same = config('model_classifier_epochs="7" showInline="true"', before="<Header value='Hi'/>")
    taught = config('model_unmarked="unknown" model_marks="points" model_group="$person"')
    assert read_one(config()).prediction_key() == read_one(same).prediction_key() == read_one(taught).prediction_key()


@pytest.mark.parametrize(
    "changed",
    [
        config('model_unmarked="after_last"'),
        config('model_marks="points"'),
        config('model_group="$person"'),
        config(labels='<Label value="Rain"/><Label value="Wind"/><Label value="Skipped" model_role="unreviewed"/>'),
    ],
)
def test_how_annotations_are_taken_changes_what_is_learned(changed):
    assert read_one(config()).training_key() != read_one(changed).training_key()


def test_more_labels_than_people_annotate_with_are_refused():
    labels = "".join(f'<Label value="{number}"/>' for number in range(1001))
    with pytest.raises(ConfigError, match="'tl': expected at most 1000 labels, found 1001"):
        read_labeling_config(config(labels=labels))


def test_more_controls_than_people_annotate_with_are_refused():
    others = "".join(f'<TimelineLabels name="o{n}" toName="video"><Label value="a"/></TimelineLabels>' for n in range(20))
    with pytest.raises(ConfigError, match="at most 20 controls, found 21 TimelineLabels"):
        read_labeling_config(config(before=others))
    assert len(read_labeling_config(config('model_skip="true"', before=others))) == 20


@pytest.mark.parametrize("depth", [1000, 140_000])
def test_a_config_that_is_nested_deeply_is_read_like_any_other(depth):
    inside = config().removeprefix("<View>").removesuffix("</View>")
    assert read_one("<a>" * depth + inside + "</a>" * depth).from_name == "tl"


@pytest.mark.parametrize(
    "text",
    ["1" * 400_000 + "x", "1" * 400_000 + ".", "." * 400_000, " " * 400_000 + "x", "1e" + "9" * 400_000],
    ids=["digits and a letter", "digits and a point", "points", "spaces", "an exponent"],
)
@pytest.mark.parametrize("attribute", ["frameRate", "model_score_threshold", "model_classifier_epochs", "model_trainable"])
def test_a_long_text_where_a_number_should_be_is_answered_at_once(attribute, text):
    start = time.process_time()
    try:
        read_labeling_config(config(f'{attribute}="{text}"' if attribute != "frameRate" else "", f'frameRate="{text}"'))
    except ConfigError as error:
        assert len(str(error)) <= 2000  # noqa: PT017
    assert time.process_time() - start < 2


def test_what_is_quoted_of_a_config_is_short():
    for xml in (config(f'model_crop="{"x" * 500_000}"'), f"<{'x' * 500_000}/>", config(labels='<Label value="a"/>' * 20_000)):
        with pytest.raises(ConfigError) as caught:
            read_labeling_config(xml)
        assert len(str(caught.value)) <= 2000


@pytest.mark.parametrize("rate", [[25], {"fps": 25}, [[[]]]])
def test_a_frame_rate_that_is_no_number_at_all_is_refused(rate):
    with pytest.raises(RequestError, match="Video 'video': frameRate must be a number, found"):
        read_one(config(video='frameRate="$fps"')).frame_rate({"fps": rate})
