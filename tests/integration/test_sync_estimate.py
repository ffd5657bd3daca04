"""``framewise sync estimate`` on files that are made here: sounds and films of one scene, and what cannot be compared."""

import json
import logging
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framewise.commands.cli import main
from framewise.core.errors import FramewiseError, MediaError, RequestError
from framewise.sync.manifest import read
from framewise.sync.offsets.estimate import EstimateOptions, estimate_offsets
from tests.videos import colour_pictures, cut, write_video
from tools.sync_material import Take, make, record, write_sound
from tools.sync_scenes import film, make_scene, random_camera


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three cameras with sound and picture, that start at 4, 6.5133 and 2.25 s of the scene's clock, and others."""
    folder = tmp_path_factory.mktemp("sync")
    rng = np.random.default_rng(11)
    sound, scene = make("speech", rng, 26), make_scene(rng, 26)
    for number, (offset, drift_ppm, rate) in enumerate(((4.0, 0, 48000), (6.5133, 100, 44100), (2.25, -60, 22050))):
        camera = random_camera(rng, offset, 14)
        film(scene, camera, rng, folder / "film.mp4")
        take = Take(offset, 14, drift_ppm, 10.0, 0.25, sample_rate=rate, codec="aac")
        joined(folder / "film.mp4", record(sound, take, rng, folder / "sound"), folder / f"cam{number}.mp4")
    record(make("speech", rng, 14), Take(0.0, 12), rng, folder / "stranger")
    write_sound(folder / "silence", np.zeros(48000 * 6, np.float32), 48000)
    write_sound(folder / "noise", rng.normal(0, 0.05, 48000 * 8).astype(np.float32), 48000)
    record(sound, Take(7.0, 5.0), rng, folder / "short")
    return folder


def joined(pictures: Path, sound: Path, target: Path) -> None:
    with av.open(str(target), "w") as out, av.open(str(pictures)) as one, av.open(str(sound)) as two:
        streams = [
            (one, out.add_stream_from_template(one.streams.video[0])),
            (two, out.add_stream_from_template(two.streams.audio[0])),
        ]
        for source, stream in streams:
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)


def test_the_command_finds_when_three_cameras_started(folder, tmp_path, capsys):
    cameras = [str(folder / f"cam{n}.mp4") for n in range(3)]
    where = [
        "--output",
        str(tmp_path / "sync.json"),
        "--log",
        str(tmp_path / "logs/sync.log"),
        "--pictures",
        str(tmp_path / "look"),
    ]

    status = main(["sync", "estimate", *cameras, *where])

    made = read(tmp_path / "sync.json")
    first, second, third = made.recordings
    assert status == 0
    assert made.reference == "cam0.mp4"
    assert (first.offset, first.confidence) == (0.0, 1.0)
    assert second.offset == pytest.approx(2.5133, abs=1e-3)
    assert third.offset == pytest.approx(-1.75, abs=1e-3)
    assert second.drift_ppm == pytest.approx(100, abs=15)  # of 11 s
    assert min(second.confidence, third.confidence) >= 0.8
    assert second.rating == "excellent"
    assert second.visual is not None
    assert second.visual.offset == pytest.approx(2.5133, abs=1 / 25)
    assert second.audio_video_diff < 0.04
    assert second.sample_rate == 44100
    assert made.loop_residual < 0.001
    assert {(p.a, p.b) for p in made.pairs if p.method == "audio"} == {
        ("cam0.mp4", "cam1.mp4"), ("cam0.mp4", "cam2.mp4"), ("cam1.mp4", "cam2.mp4"),
    }  # fmt: skip
    names = {"sync_indicators", "audio_waveforms", "motion_energy", "correlation_matrix", "correlations"}
    assert {path.stem for path in (tmp_path / "look").glob("*.png")} == names
    log = (tmp_path / "logs/sync.log").read_text()
    assert f"[{made.request_id}] sound of cam1.mp4: done" in log
    assert "cam1.mp4   +2.513" in capsys.readouterr().out


def test_a_stranger_is_not_answered_and_the_exit_code_says_so(folder, tmp_path, capsys):
    where = ["--output", str(tmp_path / "sync.json"), "--log", str(tmp_path / "sync.log"), "--method", "audio"]

    status = main(["sync", "estimate", str(folder / "cam0.mp4"), str(folder / "stranger.wav"), *where])

    stranger = json.loads((tmp_path / "sync.json").read_text())["recordings"][1]
    assert status == 3
    assert (stranger["answered"], stranger["offset"]) == (False, None)
    assert stranger["confidence"] < 0.2
    assert "no common sound" in capsys.readouterr().out


def answer(folder: Path, *names: str, **options):
    return estimate_offsets([folder / name for name in names], EstimateOptions(**options)).recordings[-1]


def test_pictures_alone_are_right_within_a_frame(folder):
    found = answer(folder, "cam0.mp4", "cam2.mp4", method="visual")

    assert found.answered
    assert found.offset == pytest.approx(-1.75, abs=1 / 25)


def test_an_offset_outside_of_the_range_is_said(folder):
    found = answer(folder, "cam0.mp4", "cam1.mp4", method="audio", max_offset=1.0)

    assert not found.answered
    assert "+2.51 s, which is outside the searched range of 1 s; use --max-offset 4" in found.reason


@pytest.mark.parametrize(
    ("name", "reason"), [("silence.wav", "its sound is silence"), ("noise.wav", "steady noise")], ids=["silence", "noise"]
)
def test_a_sound_with_nothing_in_it_is_not_answered(folder, name, reason):
    found = answer(folder, "cam0.mp4", name, method="audio")

    assert not found.answered
    assert reason in found.reason


def test_pictures_in_which_nothing_moves_are_not_answered(folder, tmp_path):
    write_video(tmp_path / "still.mp4", colour_pictures(1) * 150)

    found = estimate_offsets([folder / "cam0.mp4", tmp_path / "still.mp4"], EstimateOptions("visual")).recordings[1]

    assert not found.answered
    assert "nothing moves" in found.reason


def test_five_seconds_within_a_longer_recording_are_found(folder):
    found = answer(folder, "cam0.mp4", "short.wav", method="audio")

    assert found.answered
    assert found.offset == pytest.approx(3.0, abs=1e-3)


def test_two_cameras_of_one_name_are_told_apart(folder, tmp_path):
    shutil.copy(folder / "cam1.mp4", tmp_path / "cam0.mp4")

    made = estimate_offsets([folder / "cam0.mp4", tmp_path / "cam0.mp4"], EstimateOptions("audio"))

    assert [r.name for r in made.recordings] == ["cam0.mp4", "cam0-2.mp4"]


def test_one_recording_is_refused(folder):
    with pytest.raises(RequestError, match="expected two recordings or more, found 1"):
        estimate_offsets([folder / "cam0.mp4"], EstimateOptions())


def test_the_same_recording_twice_is_refused(folder, tmp_path):
    shutil.copy(folder / "cam0.mp4", tmp_path / "copy.mp4")

    for twin in (folder / "cam0.mp4", tmp_path / "copy.mp4"):
        with pytest.raises(RequestError, match="are the same recording"):
            estimate_offsets([folder / "cam0.mp4", twin], EstimateOptions())


def test_recordings_without_sound_are_refused_by_the_method_that_needs_it(tmp_path):
    for number in range(2):
        write_video(tmp_path / f"{number}.mp4", colour_pictures(30, seed=number), Fraction(30))

    with pytest.raises(MediaError, match="none of 2 recordings has a sound track; use --method visual"):
        estimate_offsets([tmp_path / "0.mp4", tmp_path / "1.mp4"], EstimateOptions("audio"))


def test_a_corrupt_file_is_named(folder, tmp_path):
    shutil.copy(folder / "cam1.mp4", tmp_path / "broken.mp4")
    cut(tmp_path / "broken.mp4", 0.5)
    (tmp_path / "nothing.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")

    for name in ("broken.mp4", "nothing.mp4", "text.mp4", "missing.mp4"):
        with pytest.raises(FramewiseError, match=name):
            estimate_offsets([folder / "cam0.mp4", tmp_path / name], EstimateOptions())


def test_options_that_cannot_work_are_refused(folder):
    cameras = [folder / "cam0.mp4", folder / "cam1.mp4"]

    for options in (EstimateOptions("smell"), EstimateOptions(max_offset=0), EstimateOptions(minimum_confidence=1.5)):
        with pytest.raises(RequestError, match="expected"):
            estimate_offsets(cameras, options)


def test_a_page_is_told_how_far_it_is_and_nothing_is_printed(folder, capsys, caplog):
    told = []

    with caplog.at_level(logging.INFO, "framewise.sync"):
        estimate_offsets(
            [folder / "cam0.mp4", folder / "short.wav"],
            EstimateOptions("audio"),
            lambda share, what: told.append((what, share)),
        )

    assert ("sound of cam0.mp4", 1.0) in told
    assert ("comparing", 1.0) in told
    assert all(0 <= share <= 1 for _, share in told)
    assert capsys.readouterr() == ("", "")
    assert caplog.records
