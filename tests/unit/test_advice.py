"""Advice about files' timing, on real files: the finding, its meaning, and a cure to be pasted."""

import json
import re
import shlex
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from framewise.media.advice import VideoFacts, picture_rate, timing_notes
from framewise.media.video import decode, probe
from tests.index_clips import make_index_clip

NTSC = Fraction(30000, 1001)


def facts(path: Path, frame_rate: float) -> VideoFacts:
    """As they are kept in the database."""
    found = VideoFacts.of(probe(path), np.array([picture.pts for picture in decode(path)]), frame_rate)
    return VideoFacts.from_json(json.loads(json.dumps(found.to_json())))


def advice(path: Path, frame_rate: float, annotated: int = 0) -> list[str]:
    notes = timing_notes(path.name, facts(path, frame_rate), frame_rate, annotated)
    return [note.about(path.name) for note in notes]


def write(path: Path, codec: str, pixel_format: str = "yuv420p", **options: str) -> Path:
    """A file of ten grey pictures, 25 a second, in the container of the path's suffix, that with FFmpeg's options."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        for index in range(10):
            picture = np.full((64, 96, 3), index * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("file_rate", "frame_rate"),
    [
        (25, 25.0),
        (30, 30.0),
        (NTSC, 29.97),
        (NTSC, 30000 / 1001),
        (Fraction(24000, 1001), 23.976),
        (Fraction(60000, 1001), 59.94),
    ],
)
def test_nothing_is_said_of_a_file_at_the_rate_of_the_config(tmp_path, file_rate, frame_rate):
    assert advice(make_index_clip(tmp_path / "clip.mp4", 100, file_rate, size=(64, 64)), frame_rate) == []


@pytest.mark.parametrize(
    ("file_rate", "frame_rate", "right"), [(24, 23.976, "24"), (Fraction(24000, 1001), 24.0, "23.976"), (NTSC, 30.0, "29.97")]
)
def test_rates_that_drift_apart_within_a_minute_are_told_apart(tmp_path, file_rate, frame_rate, right):
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 100, file_rate, size=(64, 64)), frame_rate)
    assert f'frameRate="{right}"' in text


def test_a_file_of_another_rate_is_named_with_both_rates_the_effect_and_two_cures(tmp_path):
    # 300 pictures in 10.01 s are 250 frames at 25 a second: 50 pictures have none
    (text,) = advice(make_index_clip(tmp_path / "my clip.mp4", 300, NTSC, size=(64, 64)), 25.0)
    assert text.startswith(
        "my clip.mp4: 29.97 pictures a second, but the labeling config's frameRate is 25 "
        "(of its 300 pictures Label Studio never shows 50, and 0 of its 250 frames show a picture once more). "
    )
    assert 'Before you annotate, write frameRate="29.97" into the Video tag' in text
    line = "ffmpeg -i 'my clip.mp4' -vf fps=25 -c:v libx264 -pix_fmt yuv420p -movflags +faststart 'my clip-25fps.mp4'"
    assert line in text


def test_a_slower_file_shows_pictures_more_than_once(tmp_path):
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 30, 15, size=(64, 64)), 30.0)
    assert "never shows 0, and 30 of its 60 frames show a picture once more" in text


def test_a_variable_rate_is_called_one_and_not_put_into_the_config(tmp_path):
    steps = [Fraction(step, 1000) for step in (40, 40, 80, 40, 20, 40, 160, 40, 33)]
    times = [sum(steps[:index], Fraction(0)) for index in range(10)]
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 10, 25, size=(64, 64), presentation_times=times), 25.0)
    assert "a variable number of pictures a second" in text
    assert "(about 25 pictures a second; " in text
    assert "into the Video tag" not in text
    assert "ffmpeg -i clip.mp4 -vf fps=25 " in text


def test_with_annotations_nobody_is_told_to_change_the_frame_rate(tmp_path):
    """Followed, it would move every region: at 30 a second, what was drawn at 60 s with 25 a second is shown at 50 s."""
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 30, 30, size=(64, 64)), 25.0, annotated=5)
    assert "Before you annotate" not in text
    assert "Convert it. Leave frameRate as it is: another one would move the regions of 5 annotations in Label Studio" in text
    assert "at 30 from 60 s to 50 s" in text


def test_a_frame_rate_below_one_is_never_advised(tmp_path):
    """frameRate="0.5" would be two frames a second to Label Studio."""
    clip = facts(make_index_clip(tmp_path / "clip.mp4", 10, 25, size=(64, 64)), 25.0)
    slow = replace(clip, rate=0.5, span_seconds=18.0, longest_seconds=20.0)
    for annotated in (0, 5):
        (note,) = timing_notes("clip.mp4", slow, 25.0, annotated)
        assert note.found == "0.5 pictures a second, but the labeling config's frameRate is 25"
        assert 'frameRate="' not in note.cure
        assert " at 0.5" not in note.cure


def test_notes_are_of_the_labeling_config_of_now(tmp_path):
    """Facts that were noted at 25 a second, looked at with other rates."""
    known = facts(make_index_clip(tmp_path / "clip.mp4", 300, 30, size=(64, 64)), 25.0)
    assert timing_notes("clip.mp4", known, 30.0) == []
    (note,) = timing_notes("clip.mp4", known, 15.0)
    assert note.detail == "of its 300 pictures Label Studio never shows 150, and 0 of its 150 frames show a picture once more"


def test_a_dropped_picture_makes_no_variable_rate(tmp_path):
    times = [Fraction(index, 25) for index in range(51) if index != 20]
    assert advice(make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), presentation_times=times), 25.0) == []


def test_times_rounded_to_milliseconds_have_the_rate_that_was_rounded():
    for rate in (NTSC, Fraction(24000, 1001), Fraction(60000, 1001), Fraction(30)):
        pts = np.array([round(1000 * index / rate) for index in range(600)])
        found, constant = picture_rate(pts, Fraction(1, 1000))
        assert constant
        assert found == pytest.approx(float(rate), rel=1e-3)


def test_one_picture_has_no_rate_to_speak_of(tmp_path):
    assert advice(make_index_clip(tmp_path / "clip.mp4", 1, 10, size=(64, 64)), 25.0) == []


@pytest.mark.parametrize(
    ("file", "codec", "pixel_format", "what"),
    [
        ("clip.mp4", "mpeg4", "yuv420p", "the codec MPEG-4 Part 2, which OpenCV writes"),
        ("clip.mov", "mjpeg", "yuvj420p", "the codec mjpeg. "),
        ("clip.avi", "libx264", "yuv420p", "the container avi. "),
        ("clip.avi", "mpeg4", "yuv420p", "nor the container avi. "),
        ("clip.ts", "libx264", "yuv420p", "the container mpegts. "),
    ],
)
def test_what_no_browser_plays_is_named_with_its_cure(tmp_path, file, codec, pixel_format, what):
    text = advice(write(tmp_path / file, codec, pixel_format), 25.0)[0]
    assert text.startswith(f"{file}: browsers do not play ")
    assert what in text
    assert text.endswith(f"ffmpeg -i {file} -c:v libx264 -pix_fmt yuv420p -movflags +faststart clip-h264.mp4")


def test_a_name_that_label_studio_takes_for_unplayable_is_to_be_changed(tmp_path):
    (text,) = advice(write(tmp_path / "clip.mov", "libx264"), 25.0)
    assert text.startswith("clip.mov: Label Studio asks the browser about video/quicktime")
    assert text.endswith("ffmpeg -i clip.mov -c copy -movflags +faststart clip-copy.mp4")


def test_a_recording_without_a_length_ends_the_editor(tmp_path):
    (text,) = advice(write(tmp_path / "clip.webm", "libvpx", live="1"), 25.0)
    assert text.startswith("clip.webm: the header does not say how long it is")
    assert text.endswith("ffmpeg -i clip.webm -c copy clip-copy.webm")


def test_a_clock_that_jitters_by_a_millisecond_is_constant():
    rng = np.random.default_rng(0)
    pts = np.array([3000 * index + rng.integers(-90, 91) for index in range(900)])
    found, constant = picture_rate(pts, Fraction(1, 90000))
    assert constant
    assert found == pytest.approx(30.0, rel=1e-4)


def test_hevc_plays_in_some_browsers(tmp_path):
    (text,) = advice(write(tmp_path / "clip.mp4", "libx265"), 25.0)
    assert text.startswith("clip.mp4: the codec HEVC (H.265) plays in some browsers only")


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_h264_beyond_eight_bits_and_half_colour_plays_in_some_browsers(tmp_path, pixel_format):
    (text,) = advice(write(tmp_path / "clip.mp4", "libx264", pixel_format), 25.0)
    assert text.startswith(
        f"clip.mp4: H.264 with the pixel format {pixel_format} plays in Chromium and Chrome, but not in Firefox"
    )


@pytest.mark.parametrize(
    ("file", "codec", "pixel_format"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.mp4", "libx264", "yuvj420p"),
        ("clip.mkv", "libx264", "yuv420p"),
        ("clip.webm", "libvpx", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mp4", "libsvtav1", "yuv420p"),
    ],
)
def test_nothing_is_said_of_what_browsers_play(tmp_path, file, codec, pixel_format):
    assert advice(write(tmp_path / file, codec, pixel_format), 25.0) == []


def test_pictures_that_start_late_and_alone_leave_the_length_open(tmp_path):
    # a second of nothing, then 2 s of pictures, the last at 2.96 s: the header says 2 s
    (text,) = advice(make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), start_offset=1), 25.0)
    assert text.startswith(
        "clip.mp4: nothing in the file begins at 0 s, so browsers disagree about its length "
        "(it begins at 1.000 s and is 50 or 74 frames long)"
    )
    assert text.endswith("ffmpeg -i clip.mp4 -c:v libx264 -pix_fmt yuv420p -movflags +faststart clip-from-0.mp4")


def test_pictures_that_start_after_the_sound_are_as_long_as_they_seem(tmp_path):
    path = make_index_clip(tmp_path / "clip.mp4", 50, 25, size=(64, 64), start_offset=1, audio_seconds=3)
    assert advice(path, 25.0) == []


def test_a_line_to_paste_keeps_names_with_blanks_and_quotes_whole(tmp_path):
    (text,) = advice(write(tmp_path / "it's a clip.mp4", "mpeg4"), 25.0)
    found = re.search(r"ffmpeg .*", text)
    assert found
    assert shlex.split(found.group())[1:3] == ["-i", "it's a clip.mp4"]
    assert shlex.split(found.group())[-1] == "it's a clip-h264.mp4"
