"""From a legacy player to today's tags: what is read of a stranger's HTML, and how times and regions move."""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.errors import ConfigError, RequestError
from framewise.migrate.config import LabelingConfig
from framewise.migrate.files import Media, read_durations
from framewise.migrate.findings import NeedsReview, shown
from framewise.migrate.plan import (
    CONVERTED,
    NEEDS_REVIEW,
    RESCALED,
    UNCHANGED,
    MigrationOptions,
    MigrationOutcome,
    MigrationPlan,
    plan,
)
from framewise.migrate.player import MAX_HTML_CHARS, Player, read_player
from framewise.migrate.regions import remapped
from framewise.migrate.times import TimeMap, parser, read_times
from tests.legacy import GUIDE_CONFIG, exported, player, region, script, write_series
from tests.videos import colour_pictures, write_sound, write_video

VIDEO = "/static/samples/clip.mp4"
SECONDS = [row / 10 for row in range(100)]  # 9.9 s


def planned(
    tasks: Any, config: str = GUIDE_CONFIG, seconds: float = 10.0, rate: float | None = 25.0, **options: Any
) -> MigrationPlan:
    """The plan for tasks whose media are all as long as ``seconds``."""
    sources = ["/static/samples/clip.mp4", "/static/samples/other.mp4", "/static/samples/sound.mp3", "s3://bucket/clip.mp4"]
    return plan(
        LabelingConfig(config), tasks, MigrationOptions(durations={s: Media(seconds, rate) for s in sources}, **options)
    )


def inline(times: Any) -> dict[str, Any]:
    return {"time_column": list(times), "first_column": list(range(len(times)))}


def task(times: Any = SECONDS, source: str = VIDEO, number: int = 1, regions: Any = ()) -> dict[str, Any]:
    return exported(number, {"csv": inline(times), "video": player(source)}, regions)


def only(done: MigrationPlan) -> MigrationOutcome:
    (outcome,) = done.outcomes
    return outcome


# The two examples of the guide.


def test_the_guides_example_becomes_a_video_in_sync_with_its_series(tmp_path: Path) -> None:
    """Its import file is one object that is all data, and its series is the one that Label Studio makes up, saved."""
    write_video(tmp_path / "clip.mp4", colour_pictures(250))
    write_series(tmp_path / "time-series.csv", SECONDS)
    data = {"csv": "/samples/time-series.csv?time=time_column&values=first_column", "video": player(VIDEO)}

    done = plan(LabelingConfig(GUIDE_CONFIG), [data], MigrationOptions(media_folder=tmp_path))

    assert only(done).status == CONVERTED
    assert only(done).task == {**data, "video": VIDEO}
    assert done.config is not None
    assert '<Video name="video" value="$video" frameRate="25" sync="synced" />' in done.config
    assert '<TimeSeries name="ts" value="$csv" valueType="url" timeColumn="time_column" sync="synced">' in done.config
    assert '<TimeSeriesLabels name="label" toName="ts">' in done.config
    assert "HyperText" not in done.config


@pytest.mark.parametrize("tag", ["video", "audio"])
def test_with_a_sound_file_as_the_guide_says_it_becomes_an_audio(tmp_path: Path, tag: str) -> None:
    write_sound(tmp_path / "sound.m4a", seconds=4.0)
    data = {"csv": inline([0.0, 1.0, 2.0, 3.0, 4.0]), "video": player("/static/samples/sound.m4a", tag)}

    done = plan(LabelingConfig(GUIDE_CONFIG), [data], MigrationOptions(media_folder=tmp_path))

    assert only(done).status == CONVERTED
    assert done.config is not None
    assert '<Audio name="video" value="$video" sync="synced" />' in done.config


@pytest.mark.parametrize(
    "changed",
    [
        {"every": 20, "after": 1500},
        {"column": "Time_Column"},
    ],
    ids=str,
)
def test_names_and_numbers_of_the_script_may_differ(changed: dict[str, Any]) -> None:
    assert read_player(player(VIDEO, **changed)).source == VIDEO


def test_layout_about_the_player_and_a_source_element_are_read() -> None:
    html = f'<div><p>Watch</p><video controls onloadeddata="{script()}"><source src="{VIDEO}" type="video/mp4"></video></div>'

    assert read_player(html) == Player("video", VIDEO, "ts", "time_column")


# Strangers.


@pytest.mark.parametrize(
    ("html", "why"),
    [
        (f"<video src='{VIDEO}' controls>", "no script"),
        (f"<video src='{VIDEO}' onloadeddata='steal(document.cookie)'>", "not the published one"),
        (player(VIDEO).replace("v.duration*(r()", "2*v.duration*(r()"), "not the published one"),
        (player(VIDEO).replace("v.currentTime=", "fetch('/api/'+document.cookie);v.currentTime="), "not the published one"),
        (player(VIDEO).replace(" />", " onerror='x()' />"), "onerror of &lt;video&gt;"),
        (player(VIDEO).replace(" />", " onloadeddata='x()' />"), "not the published one"),
        (player(VIDEO) + "<script>x()</script>", "more than a player: &lt;script&gt;"),
        (player(VIDEO) + "<img src=x onerror=alert(1)>", "more than a player: &lt;img&gt;, onerror of &lt;img&gt;"),
        (player(VIDEO) + "<iframe srcdoc='x'></iframe>", "more than a player: &lt;iframe&gt;"),
        (player(VIDEO) + "<p onclick='x()'>", "onclick of &lt;p&gt;"),
        (player(VIDEO) + player(VIDEO), "found 2"),
        (player(VIDEO).replace(" />", "><source src='/static/b.mp4'></video>"), "exactly one media src, found 2"),
        (f"<video onloadeddata=\"{script()}\">", "exactly one media src, found 0"),
        (f"<video src='{VIDEO}' onloadeddata=\"{script()}", "expected one video or audio element"),
        (f"<video src='{VIDEO}' onloadeddata=\"{script(tag='audio')}\">", "moves a <audio>"),
        ("<video " + "<" * 50, "expected one video or audio element"),
        ("<video>" + "<![" * 3, ""),
    ],
)  # fmt: skip
def test_html_that_is_not_surely_the_trick_needs_review(html: str, why: str) -> None:
    with pytest.raises(NeedsReview) as refused:
        read_player(html)

    assert why in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", "java&#115;cript:alert(1)", "java\tscript:alert(1)",
        " &#1;javascript:alert(1)",
        "data:video/mp4;base64,AAAA", "file:///etc/passwd", "blob:http://a/b", "ftp://a/b.mp4", "vbscript:x", "http:", "http:///a.mp4",
        "//evil.example/a.mp4", "/etc/passwd", "/data/../../etc/passwd", "/data/%2e%2e/%2e%2e/etc/passwd", "../a.mp4",
        "a/../../b.mp4",
        "/data/local-files/?d=../../etc/passwd", "\\\\evil\\a.mp4", "/data/a\x1b[31m.mp4", "javascript%3Aalert(1)",
        "http://[::1/a.mp4", "", "  ",
        "x" * 5000,
    ],
)  # fmt: skip
def test_an_address_that_is_not_on_the_list_needs_review(source: str) -> None:
    with pytest.raises(NeedsReview, match="media src"):
        read_player(player(source))


@pytest.mark.parametrize(
    "source",
    [
        "http://example.org/a.mp4", "https://example.org/a.mp4?X-Signature=1", "s3://bucket/a.mp4", "gs://bucket/a b.mp4",
        "azure://container/a.mp4", "azure-blob://container/a.mp4", "/data/upload/3/1a2b3c4d-a.mp4",
        "/data/local-files/?d=a/b.mp4",
        "/static/samples/a.mp4", "a.mp4", "videos/a.mp4", "./a.mp4",
    ],
)  # fmt: skip
def test_an_address_on_the_list_is_kept_as_it_is(source: str) -> None:
    assert read_player(player(source)).source == source


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "localhost:8080", "10.0.0.1"])
def test_private_addresses_stay_text_and_nobody_is_asked(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def connect(*args: Any) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    source = f"http://{host}/clip.mp4"

    unknown = planned([task(source=source)], media_folder=tmp_path)
    known = plan(LabelingConfig(GUIDE_CONFIG), [task(source=source)], MigrationOptions(durations={source: Media(10.0, 25.0)}))

    assert only(unknown).status == NEEDS_REVIEW
    assert "--durations" in only(unknown).notes[0]
    assert only(known).task["data"]["video"] == source


def test_megabytes_of_nested_tags_end_at_once_with_a_reason() -> None:
    nested = "<video>" + "<div>" * 2_000_000

    with pytest.raises(NeedsReview, match=f"10000007 characters; at most {MAX_HTML_CHARS}"):
        read_player(nested)
    with pytest.raises(ConfigError, match="at most 1000000 are read"):
        LabelingConfig("<View>" * 2_000_000)
    with pytest.raises(ConfigError, match="nested more than 100 deep"):
        LabelingConfig("<View>" * 70_000 + "</View>" * 70_000)
    done = planned([{**task(), "data": {"csv": inline(SECONDS), "video": nested}}])

    assert only(done).status == NEEDS_REVIEW


@pytest.mark.parametrize("piece", ["<video ", "<!--", "<![CDATA[", "</", "<video src=", "<a b='", "&#", "<?", "<!x "])
def test_broken_markup_of_the_greatest_length_is_read_in_no_time(piece: str) -> None:
    with pytest.raises(NeedsReview):
        read_player("<video>" + piece * ((MAX_HTML_CHARS - 7) // len(piece)))


@pytest.mark.parametrize(
    "xml",
    [
        "<!DOCTYPE a [<!ENTITY b 'c'>]><View>&b;</View>",
        "<View>",
        "",
        "<View><TimeSeries/></View>",
        2 * GUIDE_CONFIG,
        GUIDE_CONFIG.replace("</View>", '<TimeSeries name="ts" value="$b"/></View>'),
        GUIDE_CONFIG.replace("</View>", '<HyperText name="b" value="$video"/></View>'),
    ],
)
def test_a_config_that_cannot_be_read_is_refused(xml: str) -> None:
    with pytest.raises(ConfigError):
        LabelingConfig(xml)


def test_what_strangers_wrote_is_shown_without_markup_and_control_characters() -> None:
    assert shown("<b>\x1b[2J\u202ea & b") == "&lt;b&gt;\\x1b[2J\\u202ea &amp; b"
    assert len(shown("<" * 10_000)) < 600


# Times.


def test_a_series_as_long_as_its_video_is_left_alone() -> None:
    old = task(regions=[region(1.0, 2.5)])

    done = only(planned([old]))

    assert (done.status, done.file) == (CONVERTED, None)
    assert done.task == {**old, "data": {**old["data"], "video": VIDEO}}


def test_a_series_of_another_length_gets_the_times_that_the_script_gave_it() -> None:
    """Eight seconds were stretched over twelve: by hand, v = 12 * (t - 5) / 8."""
    old = task([5.0, 7.0, 9.0, 13.0], regions=[region(7.0, 9.0), region(13.0, 13.0, "instant")])
    old["predictions"] = [{"id": 9, "result": [region(5.0, 7.0, "predicted")]}]
    old["drafts"] = [{"id": 3, "result": [region(9.0, 13.0, "draft")]}]

    done = only(planned([old], seconds=12.0))

    assert done.status == RESCALED
    assert any("times x 1.5" in note for note in done.notes)
    assert any("more than 2 %" in note for note in done.notes)
    assert done.task["data"]["csv"] == {"time_column": [0.0, 3.0, 6.0, 12.0], "first_column": [0, 1, 2, 3]}
    (annotation,), (prediction,), (draft,) = done.task["annotations"], done.task["predictions"], done.task["drafts"]
    assert (done.task["id"], annotation["id"], prediction["id"], draft["id"]) == (1, 101, 9, 3)
    assert annotation["result"] == [region(3.0, 6.0), region(12.0, 12.0, "instant")]
    assert prediction["result"] == [region(0.0, 3.0, "predicted")]
    assert draft["result"] == [region(6.0, 12.0, "draft")]


def test_regions_of_other_tags_and_answers_about_the_whole_stay() -> None:
    choice = {"id": "c", "from_name": "ok", "to_name": "video", "type": "choices", "value": {"choices": ["yes"]}}
    other = region(1, 2, "o", to_name="ts2")
    about_all = {"id": "w", "from_name": "w", "to_name": "ts", "type": "choices", "value": {"choices": ["yes"]}}

    done = only(planned([task([0.0, 4.0, 8.0], regions=[choice, other, about_all])], seconds=16))

    assert done.task["annotations"][0]["result"] == [choice, other, about_all]


def test_a_small_difference_is_rescaled_without_a_warning() -> None:
    done = only(planned([task([row / 100 for row in range(991)])]))  # 9.90 s every 0.01 s

    assert done.status == RESCALED
    assert not any("warning" in note for note in done.notes)


def test_a_frame_or_a_sample_of_difference_is_none() -> None:
    by_sample = planned([task(SECONDS)], seconds=10.0)
    by_frame = planned([task([row / 1000 for row in range(9961)])], seconds=10.0)  # 9.96 s, and 0.04 s is a frame
    by_neither = planned([task([row / 1000 for row in range(9950)])], seconds=10.0)

    assert [only(done).status for done in (by_sample, by_frame, by_neither)] == [CONVERTED, CONVERTED, RESCALED]


def test_dates_are_left_alone_where_all_series_agree() -> None:
    config = GUIDE_CONFIG.replace("timeColumn=", 'timeFormat="%Y-%m-%d %H:%M:%S.%L" timeColumn=')
    times = [f"2024-01-01 00:00:{row:02d}.500" for row in range(10)]
    old = task(times, regions=[region(times[2], times[4])])

    done = planned([old], config)

    assert only(done).status == CONVERTED
    assert only(done).task["annotations"] == old["annotations"]
    assert 'timeFormat="%Y-%m-%d %H:%M:%S.%L"' in str(done.config)


def test_where_one_series_of_dates_has_another_length_all_are_written_in_seconds() -> None:
    config = GUIDE_CONFIG.replace("timeColumn=", 'timeFormat="%Y-%m-%d %H:%M:%S.%L" timeDisplayFormat="%H:%M" timeColumn=')
    agreeing = [f"2024-01-01 00:00:{row:02d}.500" for row in range(11)]
    shorter = [f"2024-01-01 23:59:{row:02d}.250" for row in range(50, 55)]  # 4 s, of 10
    tasks = [task(agreeing, regions=[region(agreeing[2], agreeing[4])])]
    tasks.append(task(shorter, number=2, regions=[region(shorter[1], shorter[2])]))

    done = planned(tasks, config)

    first, second = (outcome.task for outcome in done.outcomes)
    assert [outcome.status for outcome in done.outcomes] == [CONVERTED, RESCALED]
    assert first["data"]["csv"]["time_column"] == [float(row) for row in range(11)]
    assert first["annotations"][0]["result"] == [region(2.0, 4.0)]
    assert second["data"]["csv"]["time_column"] == [0.0, 2.5, 5.0, 7.5, 10.0]
    assert second["annotations"][0]["result"] == [region(2.5, 5.0)]
    assert "Format" not in str(done.config)


@pytest.mark.parametrize(
    ("time_format", "cell", "milliseconds"),
    [
        ("%Q", "1704067200500", 1704067200500),
        ("%s", "1704067200", 1704067200000),
        ("%Y-%m-%d %H:%M:%S.%L", "2024-01-01 00:00:04.950", 1704067204950),
        ("%Y-%m-%dT%H:%M:%S.%f", "2024-01-01T00:00:04.950000", 1704067204950),
        ("%d/%m/%y %I:%M:%S %p", "01/01/24 01:00:00 PM", 1704114000000),
        ("%Y-%m-%d %H:%M:%S.%L", 1704067204950, 1704067204950),
        ("%d %b %Y %H:%M", "01 Jan 2024 13:00", 1704114000000),
    ],
)
def test_formatted_times_are_read_as_the_editor_reads_them(time_format: str, cell: Any, milliseconds: float) -> None:
    """Expected: `date -u -d '2024-01-01 00:00:04.950' +%s%3N`, and so on."""
    assert parser(time_format)([cell, cell]).tolist() == [milliseconds] * 2


def test_numbers_and_texts_of_one_column_are_each_read_as_what_they_are() -> None:
    assert parser("%Y")([2000, "1971", 3.5]).tolist() == [2000, 365 * 86_400_000, 3.5]


@pytest.mark.parametrize(
    ("time_format", "cell"),
    [
        ("%Y-%m-%d", "01.01.2024"), ("%H:%M:%S.%L", "00:00:01.5"), ("%H:%M:%S.%L", "00:00:01"), ("%U", "1"), ("%L %S", "1 1"),
        ("%L %L", "1 1"), ("%Y", True), ("%Y", ""),
        ("hello", "hello"), (None, "1,5"), (None, "nan"), (None, "inf"), (None, None), (None, True), ("%Q", "x"),
    ],
)  # fmt: skip
def test_what_is_no_time_needs_review(time_format: str | None, cell: Any) -> None:
    with pytest.raises(NeedsReview):
        parser(time_format)([cell])


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 1.0], [0.0, 2.0, 1.0], [0.0, "x"]], ids=str)
def test_a_series_without_a_time_that_goes_on_needs_review(times: Any) -> None:
    assert only(planned([task(times)])).status == NEEDS_REVIEW


def test_a_region_without_a_readable_time_needs_review() -> None:
    done = only(planned([task([0.0, 5.0], regions=[region("soon", 2.0)])], seconds=20))

    assert done.status == NEEDS_REVIEW
    assert "region 'r1': expected a number as a time" in done.notes[0]


# One project.


def test_videos_of_several_rates_get_a_field_with_their_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colour_pictures(100), 25)
    write_video(tmp_path / "b.mp4", colour_pictures(40), 10)
    times = [row / 10 for row in range(40)]
    tasks = [task(times, "/data/upload/1/a.mp4"), task(times, "/data/upload/1/b.mp4", 2)]

    done = plan(LabelingConfig(GUIDE_CONFIG), tasks, MigrationOptions(media_folder=tmp_path))

    assert [outcome.task["data"]["frame_rate"] for outcome in done.outcomes] == [25, 10]
    assert 'frameRate="$frame_rate"' in str(done.config)


def test_a_rate_that_nobody_knows_has_to_be_given() -> None:
    unknown, given_it = planned([task()], rate=None), planned([task()], rate=None, frame_rate=30)

    assert "--frame-rate" in only(unknown).notes[0]
    assert unknown.config is None
    assert 'frameRate="30"' in str(given_it.config)


def test_what_most_tasks_have_decides_and_the_others_need_review() -> None:
    tasks = [task(), task(number=2), task(source="/static/samples/sound.mp3", number=3)]

    done = planned(tasks)

    assert [outcome.status for outcome in done.outcomes] == [CONVERTED, CONVERTED, NEEDS_REVIEW]
    assert done.outcomes[2].task == tasks[2]


@pytest.mark.parametrize(
    "names", [{"series": "other"}, {"column": "first_column"}], ids=str
)  # fmt: skip
def test_a_script_for_another_series_or_column_needs_review(names: dict[str, Any]) -> None:
    old = exported(1, {"csv": inline(SECONDS), "video": player(VIDEO, **names)})

    assert "which the labeling config does not have" in only(planned([old])).notes[0]


def test_a_migrated_project_given_again_is_left_alone() -> None:
    first = planned([task(number=1), task([0.0, 5.0], number=2, regions=[region(0.0, 5.0)])])

    again = planned([outcome.task for outcome in first.outcomes], str(first.config))

    assert again.config is None
    assert [(o.status, o.task) for o in again.outcomes] == [(UNCHANGED, o.task) for o in first.outcomes]


def test_an_old_task_in_a_migrated_project_is_not_taken_for_migrated() -> None:
    config = str(planned([task()]).config)

    done = planned([task()], config)

    assert only(done).status == NEEDS_REVIEW


def test_a_project_without_the_trick_is_refused() -> None:
    with pytest.raises(ConfigError, match="found none"):
        planned([{"data": {"csv": inline(SECONDS), "video": "<p>Read this</p>"}}])


def test_two_players_are_refused() -> None:
    config = GUIDE_CONFIG.replace("<TimeSeries ", '<HyperText name="b" value="$b"/><TimeSeries ')
    with pytest.raises(ConfigError, match="found 2"):
        planned([{"data": {"csv": inline(SECONDS), "video": player(VIDEO), "b": player(VIDEO)}}], config)


def test_a_control_that_marks_the_hyper_text_is_refused() -> None:
    config = GUIDE_CONFIG.replace("<TimeSeries ", '<HyperTextLabels name="l" toName="video"/><TimeSeries ')
    with pytest.raises(ConfigError, match="marks text of <HyperText name='video'>"):
        planned([task()], config)


def test_comments_and_other_tags_stay_but_sample_tasks_go() -> None:
    sample = f"<!-- {json.dumps({'video': VIDEO})} -->"
    kept = (
        '<!-- mine --><HyperText name="help" value="$help" /><Choices name="ok" toName="video"><Choice value="yes" /></Choices>'
    )
    config = GUIDE_CONFIG.replace("<TimeSeries ", f"{kept}{sample}<TimeSeries ") + sample

    done = planned([task()], config)

    assert kept in str(done.config)
    assert VIDEO not in str(done.config)


def test_a_player_inside_of_the_series_comes_out_of_it() -> None:
    inside = GUIDE_CONFIG.replace('  <HyperText name="video" value="$video" inline="true"/>\n', "").replace(
        "<Channel", '<HyperText name="video" value="$video"/><Channel'
    )

    done = str(planned([task()], inside).config)

    assert done.index("<Video") < done.index("<TimeSeries name")


# Files.


def test_two_addresses_that_would_be_one_file_need_review(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", colour_pictures(25))
    tasks = [task(source="s3://a/one/clip.mp4"), task(source="s3://a/two/clip.mp4", number=2)]

    done = plan(LabelingConfig(GUIDE_CONFIG), tasks, MigrationOptions(media_folder=tmp_path))

    assert ["two addresses" in outcome.notes[0] for outcome in done.outcomes] == [True, True]


def test_a_link_out_of_the_media_folder_is_not_followed(tmp_path: Path) -> None:
    outside = write_video(tmp_path / "secret.mp4", colour_pictures(25))
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "clip.mp4").symlink_to(outside)

    done = plan(LabelingConfig(GUIDE_CONFIG), [task()], MigrationOptions(media_folder=tmp_path / "media"))

    assert only(done).status == NEEDS_REVIEW


@pytest.mark.parametrize(
    "text", ["[]", "x", '{"a": "1"}', '{"a": -1}', '{"a": {"seconds": 1, "frame_rate": 0}}', '{"a": true}']
)
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected"):
        read_durations(Path("durations.json"), text)


# What holds for any times.

ours = settings(max_examples=200, deadline=None, derandomize=True, database=None)
moments = st.floats(-1e9, 1e13)
spans = st.floats(1e-3, 1e7)


@ours
@given(moments, spans, spans, st.lists(moments, min_size=2, max_size=5))
def test_the_order_of_times_is_kept(start: float, span: float, seconds: float, times: list[float]) -> None:
    mapped = [TimeMap(start, span, seconds)(t) for t in sorted(times)]

    assert mapped == sorted(mapped)


@ours
@given(spans, st.lists(st.floats(0, 1e7), min_size=1))
def test_without_a_scale_and_from_zero_it_is_the_identity(span: float, times: list[float]) -> None:
    assert [TimeMap(0.0, span, span)(t) for t in times] == times


@ours
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30, unique=True).map(sorted), st.floats(0.1, 1e5), st.data())
def test_regions_stay_on_their_samples_and_instants_instants(times: list[float], seconds: float, data: st.DataObject) -> None:
    series = read_times(times, None, is_date=False)
    time_map = series.map_to(seconds)
    first = data.draw(st.integers(0, len(times) - 1))
    last = data.draw(st.integers(first, len(times) - 1))
    old = {"annotations": [{"result": [region(times[first], times[last])]}]}

    new, count = remapped(old, "ts", parser(None), time_map)

    value = new["annotations"][0]["result"][0]["value"]
    samples = time_map(series.native).tolist()
    assert count == 1
    assert (value["start"], value["end"]) == (samples[first], samples[last])
    assert value["instant"] is (first == last)
    np.testing.assert_allclose([samples[0], samples[-1]], [0.0, seconds], rtol=1e-12)


@ours
@given(st.text(max_size=60), st.text(max_size=30))
def test_any_html_is_read_or_needs_review(text: str, source: str) -> None:
    for html in (text, f"<video {text}", f"<video src='{source}' onloadeddata=\"{script()}\">{text}"):
        try:
            said = read_player(html).source
        except NeedsReview as error:
            said = str(error).replace("<video>", "").replace("<audio>", "")  # which we say ourselves
        assert said
        assert "<" not in said.removeprefix(source.strip())
