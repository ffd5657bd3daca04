"""Regions of one recording as regions of the others, each on its own grid."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewise.core.errors import ConfigError, FramewiseError, MediaError, RequestError
from framewise.core.series_time import SeriesTimes
from framewise.core.timeline import FrameAxis, SampleAxis, TimeSpan
from framewise.labeling_config import ControlSettings, LabelSettings
from framewise.sync.labels import ANNOTATIONS, PREDICTIONS
from framewise.sync.labels.carrying import CarriedLabels, carry_labels
from framewise.sync.labels.regions import LabelTrack, carry
from framewise.sync.manifest import Manifest, Recording

LABELS = '<Label value="Kick"/><Label value="Run"/>'


def recording(name: str, offset: float | None = 0.0, duration: float = 10.0, drift: float = 0.0) -> Recording:
    answered = offset is not None
    return Recording(
        name, Path("/x") / name, 1, duration, Fraction(25), 250, 48000, answered, offset, drift if answered else None,
        0.9 if answered else 0.1, "excellent" if answered else "poor", "" if answered else "silence",
    )  # fmt: skip


def manifest(*recordings: Recording) -> Manifest:
    return Manifest("2026-01-02T03:04:05Z", "0a1b2c3d", "both", 20.0, 0.2, recordings[0].name, recordings)


def track(of: Recording, frame_rate: float = 25.0, times: SeriesTimes | None = None) -> LabelTrack:
    tag = "TimeSeriesLabels" if times else "TimelineLabels"
    control = ControlSettings(tag, "l", "v", "v", None, (LabelSettings("Kick", ()), LabelSettings("Run", ())), {})
    return LabelTrack(control, of, SampleAxis(times) if times else FrameAxis(frame_rate, of.duration))


def timeline(start: int, end: int | None, name: str = "r1", label: str = "Kick", control: str = "l") -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}
    return {"id": name, "type": "timelinelabels", "from_name": control, "to_name": "v", "value": value}


def frames_carried(region: dict[str, Any], source: LabelTrack, target: LabelTrack) -> list[tuple[int, int]] | None:
    (found,) = source.read([region])
    carried = carry(found, source.recording, target, None)
    return [(r["start"], r["end"]) for r in carried.region["value"]["ranges"]] if carried.region else None


@pytest.mark.parametrize(
    ("offset", "rate", "expected"),
    [
        # Frames 26-50 of 25 a second are [1, 2) s. t_j = t_i + o_i - o_j.
        (0.0, 25.0, (26, 50)),
        (0.4, 25.0, (16, 40)),
        (-1.234, 25.0, (57, 81)),  # [2.234, 3.234) s is [55.85, 80.85) frames, of which edges are 56 and 81
        (0.4, 30.0, (19, 48)),  # [0.6, 1.6) s
        (1.5, 25.0, (1, 13)),  # cut: [-0.5, 0.5) s; 12.5 frames, halves up
        (-8.4, 25.0, (236, 250)),  # cut: [9.4, 10.4) of 10 s
        (2.0, 25.0, None),
        (-9.0, 25.0, None),
    ],
)
def test_frames_of_one_camera_are_those_of_another_at_the_same_instants(
    offset: float, rate: float, expected: tuple[int, int] | None
) -> None:
    got = frames_carried(timeline(26, 50), track(recording("a")), track(recording("b", offset), rate))

    assert got == ([expected] if expected else None)


def test_drift_is_followed() -> None:
    """100 ppm over 3000 s are 0.3 s: [3000, 3001) of the reference is [2999.70003, 3000.69993) of a slower clock, which is from
    74992.5008 to 75017.4983 frames."""
    long, slow = recording("a", duration=4000), recording("b", 0.0, 4000, drift=100.0)

    assert frames_carried(timeline(75001, 75025), track(long), track(slow)) == [(74994, 75017)]


RATES = st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 120.0])


@given(st.integers(1, 200), st.integers(0, 50), st.floats(-5, 5), RATES, RATES)
def test_edges_move_by_at_most_half_a_frame(start: int, more: int, offset: float, rate: float, other: float) -> None:
    source, target = track(recording("a", 0, 1000), rate), track(recording("b", offset, 1000), other)

    got = frames_carried(timeline(start, start + more), source, target)

    first, stop = (start - 1) / rate - offset, (start + more) / rate - offset
    if stop <= 0:
        assert got is None
        return
    assert got
    ((low, high),) = got
    assert 1 <= low <= high
    if more > 20 and first > 0:
        assert abs((low - 1) / other - first) <= 0.5 / other + 1e-9
        assert abs(high / other - stop) <= 0.5 / other + 1e-9


@given(st.integers(1, 200), st.integers(0, 50), st.integers(-100, 100), RATES)
def test_whole_frames_come_back_as_they_were(start: int, more: int, shift: int, rate: float) -> None:
    source, target = track(recording("a", 0, 1000), rate), track(recording("b", -(shift + 100) / rate, 1000), rate)
    region = timeline(start, start + more)

    there = frames_carried(region, source, target)

    assert there == [(start + shift + 100, start + more + shift + 100)]
    assert frames_carried(timeline(*there[0]), target, source) == [(start, start + more)]


@given(st.lists(st.floats(0.01, 20), min_size=2, max_size=6, unique=True), RATES)
def test_spans_that_meet_still_meet_unless_one_is_shorter_than_a_frame(edges: list[float], rate: float) -> None:
    edges = sorted(edges)
    spans = [FrameAxis(rate, 1000).from_seconds(TimeSpan(a, b)) for a, b in zip(edges, edges[1:], strict=False)]

    for (_, end), (start, _), length in zip(spans, spans[1:], np.diff(edges), strict=False):
        if length > 1 / rate and edges[-1] - edges[-2] > 1 / rate:
            assert start in (end + 1, end)


@pytest.mark.parametrize("rate", [50.0, 100.0])
@settings(max_examples=30)
@given(st.integers(2, 200), st.integers(0, 50))
def test_frames_to_a_series_and_back_are_the_same_frames(rate: float, start: int, more: int) -> None:
    """A series of milliseconds that plays in sync with each of two cameras, two seconds apart."""
    times = SeriesTimes(np.round(np.arange(2000) / rate, 3))
    camera, sensor = track(recording("a", 0, 15), 25.0), track(recording("b", -2.0, 19), times=times)
    (found,) = camera.read([timeline(start, start + more)])

    there = carry(found, camera.recording, sensor, 0.5).region

    assert there
    assert there["value"]["start"] == pytest.approx((start - 1) / 25 + 2, abs=1 / rate)
    assert there["value"]["end"] < (start + more) / 25 + 2
    (again,) = sensor.read([{**there, "from_name": "l"}])
    back = carry(again, sensor.recording, camera, 0.5).region
    assert back
    assert back["value"]["ranges"] == [{"start": start, "end": start + more}]


# Tasks.

BOTH = f"""<View>
<Video name="cam1" value="$one" frameRate="25"/>
<TimelineLabels name="first" toName="cam1" model_skip="true">{LABELS}</TimelineLabels>
<Video name="cam2" value="$two" frameRate="$rate"/><TimelineLabels name="second" toName="cam2">{LABELS}</TimelineLabels>
<Audio name="mic" value="$sound"/><Labels name="heard" toName="mic">{LABELS}</Labels></View>"""
ONE = (
    f'<View><Video name="v" value="$video" frameRate="25"/><TimelineLabels name="l" toName="v">{LABELS}</TimelineLabels></View>'
)
THREE = (recording("a.mp4"), recording("b 2.mp4", 0.4), recording("c.wav", -1.0))


def exported(number: int, data: dict[str, Any], *results: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = [{"id": number * 10 + i, "result": result, "was_cancelled": False} for i, result in enumerate(results)]
    return {"id": number, "data": data, "annotations": annotations, "predictions": []}


def one_task(*regions: dict[str, Any]) -> dict[str, Any]:
    data = {
        "one": "/data/upload/3/1a2b3c4d-a.mp4",
        "two": "/data/local-files/?d=x/b_2.mp4",
        "sound": "s3://k/c.wav?x=1",
        "rate": 30,
    }
    return exported(7, data, list(regions))


def test_one_task_with_several_videos_gets_regions_of_each_control() -> None:
    own = timeline(1, 5, "own", control="second")
    task = one_task(timeline(26, 50, control="first"), timeline(1, 5, "r2", "Run", "first"), own)

    done = carry_labels(manifest(*THREE), BOTH, [task])

    (annotation,) = done.tasks[0]["annotations"]
    result = annotation["result"]
    assert result[:3] == task["annotations"][0]["result"]
    assert [(r["from_name"], r["to_name"]) for r in result[3:]] == [("second", "cam2"), ("heard", "mic"), ("heard", "mic")]
    assert result[3]["value"] == {"ranges": [{"start": 19, "end": 48}], "timelinelabels": ["Kick"]}
    assert result[4]["value"] == {"start": 2.0, "end": 3.0, "channel": 0, "labels": ["Kick"]}
    assert result[4]["original_length"] == 10.0
    assert all(r["origin"] == "manual" and "score" not in r for r in result[3:])
    assert [(o.recording, o.carried, o.cut) for o in done.outcomes] == [("b 2.mp4", 1, 0), ("c.wav", 2, 0)]
    assert done.outcomes[0].lost == ["'r2' (Run, 0.00 s to 0.20 s): outside of it"]

    again = carry_labels(manifest(*THREE), BOTH, done.tasks)
    assert again.tasks == done.tasks


def test_from_another_recording_than_the_reference() -> None:
    heard = {
        "id": "h", "type": "labels", "from_name": "heard", "to_name": "mic", "original_length": 10,
        "value": {"start": 2.0, "end": 3.0, "channel": 0, "labels": ["Kick"]},
    }  # fmt: skip
    done = carry_labels(manifest(*THREE), BOTH, [one_task(heard)], "c.wav", PREDICTIONS)

    (prediction,) = done.tasks[0]["predictions"]
    assert prediction["score"] == 0.9
    assert [(r["from_name"], r["value"]["ranges"], r["score"]) for r in prediction["result"]] == [
        ("first", [{"start": 26, "end": 50}], 0.9), ("second", [{"start": 19, "end": 48}], 0.9),
    ]  # fmt: skip
    assert done.model_version == prediction["model_version"]
    assert done.model_version.startswith("sync-0a1b2c3d-")
    assert done.tasks[0]["annotations"] == one_task(heard)["annotations"]


def test_a_task_for_each_camera_gets_an_annotation_for_each_of_the_first_ones() -> None:
    kick, run = timeline(26, 50), timeline(60, 70, "r2", "Run")
    tasks = [exported(1, {"video": "/data/upload/1/aaaaaaaa-a.mp4"}, [kick], [run]), exported(2, {"video": "b_2.mp4"})]

    done = carry_labels(manifest(*THREE[:2]), ONE, tasks)

    values = [annotation["result"][0]["value"] for annotation in done.tasks[1]["annotations"]]
    assert values == [
        {"ranges": [{"start": 16, "end": 40}], "timelinelabels": ["Kick"]},
        {"ranges": [{"start": 50, "end": 60}], "timelinelabels": ["Run"]},
    ]
    assert done.tasks[0] == tasks[0]
    assert carry_labels(manifest(*THREE[:2]), ONE, done.tasks).tasks == done.tasks


def test_regions_of_an_unreviewed_label_are_carried_as_others() -> None:
    config = ONE.replace(LABELS, LABELS + '<Label value="Skipped" model_role="unreviewed"/>')
    skipped = timeline(26, 50, "r", "Skipped")
    tasks = [exported(1, {"video": "/data/upload/1/aaaaaaaa-a.mp4"}, [skipped]), exported(2, {"video": "b_2.mp4"})]

    done = carry_labels(manifest(*THREE[:2]), config, tasks)

    (annotation,) = done.tasks[1]["annotations"]
    assert annotation["result"][0]["value"]["timelinelabels"] == ["Skipped"]


def test_series_belong_to_the_recording_that_they_play_in_sync_with(tmp_path: Path) -> None:
    config = f"""<View><Video name="v" value="$video" sync="g" frameRate="25"/>
    <TimeSeries name="s" value="$csv" sync="g" timeColumn="t"><Channel column="x"/></TimeSeries>
    <TimeSeriesLabels name="m" toName="s">{LABELS}</TimeSeriesLabels></View>"""
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("t,x\n" + "".join(f"{100 + row / 50},0\n" for row in range(500)))
    region = {
        "id": "r", "type": "timeserieslabels", "from_name": "m", "to_name": "s",
        "value": {"start": 102.0, "end": 103.0, "instant": False, "timeserieslabels": ["Run"]},
    }  # fmt: skip
    tasks = [
        exported(1, {"video": "a.mp4", "csv": "one.csv"}, [region]),
        exported(2, {"video": "b 2.mp4", "csv": "/x/two.csv"}),
    ]

    with pytest.raises(MediaError, match="one.csv is needed .* --media-folder"):
        carry_labels(manifest(*THREE[:2]), config, tasks)
    done = carry_labels(manifest(*THREE[:2]), config, tasks, media_folder=tmp_path)

    value = done.tasks[1]["annotations"][0]["result"][0]["value"]
    assert value == {"start": 101.6, "end": 102.6, "instant": False, "timeserieslabels": ["Run"]}


def lost(outcomes: list[CarriedLabels]) -> list[str]:
    return [text for outcome in outcomes for text in outcome.lost]


def test_what_cannot_be_carried_is_told_and_not_invented() -> None:
    tasks = [exported(1, {"video": "a.mp4"}, [timeline(1, 5)])]
    unknown = manifest(THREE[0], recording("x.mp4", None), recording("y.mp4", 1.0))

    done = carry_labels(unknown, ONE, tasks)

    assert lost(done.outcomes) == ["its offset is not known: silence", "no task shows it"]
    assert done.tasks == tasks
    other = ONE.replace('<Label value="Kick"/>', "")
    both = [*tasks, exported(2, {"video": "b 2.mp4"})]
    assert "no control of it has the label" in lost(carry_labels(manifest(*THREE[:2]), other, both).outcomes)[0]


A, B = {"video": "a.mp4"}, {"video": "b 2.mp4"}


def test_regions_of_a_control_that_is_gone_are_told_of() -> None:
    tasks = [exported(1, A, [timeline(30, 40), timeline(30, 40, "r2", control="before")]), exported(2, B)]
    done = carry_labels(manifest(*THREE[:2]), ONE, tasks)
    assert done.outcomes[0].carried == 1
    assert lost(done.outcomes) == [
        "regions of 'before', a control that the labeling config does not have (it has 'l'); was it renamed?"
    ]


@pytest.mark.parametrize(
    ("tasks", "config", "source", "kind", "said"),
    [
        ([exported(1, {"video": "z.mp4"})], ONE, None, RequestError, r"no task shows a.mp4: expected .* in \['video'\]"),
        ([exported(1, {"video": "a.mp4"})], ONE, None, RequestError, "has no annotation that counts"),
        ([exported(n, A, []) for n in (1, 2)], ONE, None, RequestError, "one task that shows it, found tasks 1 and 2"),
        ([exported(1, {"video": "a.mp4"}, [])], ONE, "q.mp4", RequestError, "no recording 'q.mp4'"),
        ([], '<View><Choices name="c"/></View>', None, ConfigError, "expected TimelineLabels on Video, Labels on Audio"),
        ([exported(1, A, [timeline(-4, 5)]), exported(2, B)], ONE, None, FramewiseError, "'r1'"),
        ([{"id": 1, "data": 5}], ONE, None, RequestError, "no task shows"),
        ([{"id": 1, "data": {"video": ["a.mp4"]}}], ONE, None, RequestError, "no task shows"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(tasks: Any, config: str, source: str | None, kind: type[FramewiseError], said: str) -> None:
    with pytest.raises(kind, match=said):
        carry_labels(manifest(*THREE[:2]), config, tasks, source)


def test_a_skipped_annotation_does_not_count_and_the_newest_becomes_the_prediction() -> None:
    task = exported(1, {"video": "a.mp4"}, [timeline(26, 50)], [timeline(60, 70)], [timeline(100, 110)])
    task["annotations"][2]["was_cancelled"] = True
    tasks = [task, exported(2, {"video": "b 2.mp4"})]

    done = carry_labels(manifest(*THREE[:2]), ONE, tasks, kind=PREDICTIONS)

    (prediction,) = done.tasks[1]["predictions"]
    assert prediction["result"][0]["value"]["ranges"] == [{"start": 50, "end": 60}]
    assert len(carry_labels(manifest(*THREE[:2]), ONE, tasks, kind=ANNOTATIONS).tasks[1]["annotations"]) == 2
    assert json.loads(json.dumps(done.tasks)) == done.tasks


def test_an_offset_corrected_by_hand_moves_what_was_carried() -> None:
    tasks = [exported(1, {"video": "a.mp4"}, [timeline(26, 50)]), exported(2, {"video": "b 2.mp4"})]
    first = carry_labels(manifest(*THREE[:2]), ONE, tasks)

    done = carry_labels(manifest(THREE[0], replace(THREE[1], offset=0.2)), ONE, first.tasks)

    (annotation,) = done.tasks[1]["annotations"]
    assert annotation["result"][0]["value"]["ranges"] == [{"start": 21, "end": 45}]
